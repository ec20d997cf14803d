"""``flexopt watch``: the progress of a job that runs in another process."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proteinflex_optimization.cli.commands import add_command
from proteinflex_optimization.cli.directories import check_directory
from proteinflex_optimization.cli.output import plain, warn
from proteinflex_optimization.cli.prometheus import LINGER
from proteinflex_optimization.errors import ProteinFlexError
from proteinflex_optimization.types import ProgressInfo

if TYPE_CHECKING:
    from proteinflex_optimization.progress import ProgressReader

LINES_INTERVAL = 1.0
"""Seconds between two readings where there is no terminal."""


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = add_command(
        subparsers,
        "watch",
        "show the progress of a running job",
        "flexopt watch run",
        "flexopt watch run --once --json",
        description="Show the progress of the job whose tracker has the directory DIR, until it is "
        "done. Exit status 1 where a task failed, or where the job stopped before it was done.",
    )
    parser.add_argument("directory", metavar="DIR", help="the checkpoint_dir of the job's tracker")
    parser.add_argument("--once", action="store_true", help="show it once and exit")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument(
        "--interval", type=_seconds, default=None, metavar="S", help="seconds between two readings"
    )
    exporter = parser.add_argument_group("metrics for Prometheus")
    exporter.add_argument(
        "--prometheus",
        type=_port,
        metavar="PORT",
        help="serve metrics on this port instead, 0 for a free one, until the job ends",
    )
    exporter.add_argument(
        "--address",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="the address to listen on; this machine alone by default",
    )
    exporter.add_argument(
        "--linger",
        type=_pause,
        default=LINGER,
        metavar="S",
        help="seconds for which the last values are served",
    )
    parser.set_defaults(func=run)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.01 <= seconds <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0.01 to 86400")
    return seconds


def _pause(text: str) -> float:
    return 0.0 if text == "0" else _seconds(text)


def _port(text: str) -> int:
    port = int(text) if text.isdecimal() else -1
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")
    return port


def run(options: argparse.Namespace) -> int:
    """Show the progress; returns the exit status."""
    from proteinflex_optimization.display import BARS_INTERVAL, _console, failures, line, tree

    reader = _attach(options.directory)
    if options.prometheus is not None:
        return _export(options, reader.get_progress)
    console = None if options.json else _console(sys.stdout)
    progress = reader.get_progress()
    interval = options.interval or (BARS_INTERVAL if console is not None else LINES_INTERVAL)
    if console is not None:
        from rich.live import Live

        with Live(tree(progress), console=console, auto_refresh=False) as live:
            while not (options.once or _is_over(progress)):
                time.sleep(interval)
                progress = reader.get_progress()
                live.update(tree(progress), refresh=True)
    else:
        shown = None
        while True:
            text = json.dumps(record(progress)) if options.json else line(progress)
            if text != shown:
                failed = failures(progress)
                if options.once and not options.json and len(failed) > 1:
                    print(*(f"failed: {text}" for text in failed), sep="\n")
                print(text, flush=True)
                shown = text
            if options.once or _is_over(progress):
                break
            time.sleep(interval)
            progress = reader.get_progress()
    if _has_stopped(progress):
        why = f" ({progress['reason']})" if progress["reason"] else ""
        warn(f"the job has stopped before it was done{why}; run it again to resume")
    return _status(progress)


def _attach(directory: str) -> ProgressReader:
    from proteinflex_optimization.progress import ProgressTracker

    check_directory(directory)
    try:
        return ProgressTracker.attach(directory)
    except FileNotFoundError as error:
        there = "no job has counted there" if Path(directory).is_dir() else "there is no directory"
        raise ProteinFlexError(f"no progress in {directory}: {there}") from error


def record(progress: Mapping[str, Any]) -> dict[str, Any]:
    """Return the progress as it is printed for scripts: failed tasks first."""
    failed = [
        {"task": task, "name": data["name"], "reason": data["message"]}
        for task, data in progress["tasks"].items()
        if data["status"] == "failed"
    ]
    return dict(plain({"failed": failed, **progress}))


def _export(options: argparse.Namespace, progress: Callable[[], ProgressInfo]) -> int:
    try:
        import prometheus_client  # noqa: F401, only whether it is there
    except ImportError:
        raise ImportError(
            "--prometheus needs the client library: pip install "
            "'proteinflex-optimization[prometheus]'"
        ) from None
    from proteinflex_optimization.cli.prometheus import serve

    last = serve(
        progress,
        str(Path(options.directory).absolute()),
        options.prometheus,
        options.address,
        _is_over,
        lambda url: print(url, flush=True),
        options.linger,
    )
    return _status(last)


def _is_over(progress: Mapping[str, Any]) -> bool:
    """Return whether the job is done, or no process is active any more."""
    return progress["status"] in ("completed", "stopped") or not progress["alive"]


def _has_stopped(progress: Mapping[str, Any]) -> bool:
    """Return whether it is not done and nobody works on it."""
    return progress["status"] in ("stopped", "running", "pending") and not progress["alive"]


def _status(progress: Mapping[str, Any]) -> int:
    failed = any(task["status"] == "failed" for task in progress["tasks"].values())
    return 1 if failed or progress["status"] == "failed" or _has_stopped(progress) else 0
