"""Side by side timing: interleaved rounds, medians, Markdown.

Machines are noisy and drift, so rounds of all contenders alternate: whatever slows the machine down
for a while slows all of them, and a ratio of medians stays meaningful where a time does not.
"""

from __future__ import annotations

import datetime
import gc
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path


def medians(
    contenders: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 7,
    after: Callable[[], object] = lambda: None,
    collect: bool = False,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Seconds of one call of each contender: medians over rounds in which each has its turn.

    What is done `after` each call is not measured. With `collect` Python's garbage collector works as
    it does in programs. A `clock` of the process's own time leaves out what others use of the machine.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for contender in contenders.values():
        contender()
        after()
    if not collect:
        gc.disable()
    try:
        for _ in range(rounds):
            for name, contender in contenders.items():
                started = clock()
                contender()
                seconds[name].append(clock() - started)
                after()
    finally:
        gc.enable()
    return {name: statistics.median(values) for name, values in seconds.items()}


def often(times: int, call: Callable[[], object]) -> Callable[[], None]:
    """Return a function that calls another one many times, as a job does."""

    def run() -> None:
        for _ in range(times):
            call()

    return run


def table(title: str, columns: list[str], rows: list[list[str]]) -> str:
    """Make a Markdown table under a heading that says where and when it was measured."""
    lines = [
        f"### {title}",
        "",
        f"{machine()}, {datetime.date.today().isoformat()}",
        "",
        "| " + " | ".join(columns) + " |",
        "|" + " --- |" * len(columns),
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
    ]
    return "\n".join(lines)


def machine() -> str:
    """Name processor, cores and Python, for a table's caption."""
    model = platform.processor() or platform.machine()
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            names = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
        model = names[0] if names else model
    except OSError:
        pass
    return f"{model}, {len(os.sched_getaffinity(0))} cores, CPython {platform.python_version()}"


def put_into(page: Path, command: str, text: str) -> None:
    """Replace what stands between a command's marks in a page."""
    begin, end = f"<!-- {command}: begin -->", f"<!-- {command}: end -->"
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{page} has no lines {begin} and {end}")
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")
