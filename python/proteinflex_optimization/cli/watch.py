"""``flexopt watch``: the progress of jobs that run in other processes."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proteinflex_optimization._needed import needed
from proteinflex_optimization.cli import prometheus
from proteinflex_optimization.cli.board_table import (
    COLUMNS,
    BoardTable,
    Changes,
    cells,
    headline,
)
from proteinflex_optimization.cli.boards import Boards, find, is_over, of_one_job
from proteinflex_optimization.cli.commands import add_command
from proteinflex_optimization.cli.directories import check_directory, home_expanded
from proteinflex_optimization.cli.output import plain, point_in_time, print_json, print_table, warn
from proteinflex_optimization.cli.queued import Queue
from proteinflex_optimization.errors import InvalidArgumentError, ProteinFlexError

if TYPE_CHECKING:
    from rich.console import Console

    from proteinflex_optimization.progress import ProgressReader

LINES_INTERVAL = 1.0
"""Seconds between two readings where there is no terminal, or there are many jobs."""
ADDRESS = "127.0.0.1"
MAX_WIDTH = 1 << 16
"""Of a line that no terminal cuts."""


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = add_command(
        subparsers,
        "watch",
        "show the progress of running jobs",
        "flexopt watch run",
        "flexopt watch runs --once",
        "flexopt watch runs --once --json",
        "flexopt watch runs --web 0",
        description="Show the progress of the jobs whose trackers have their directories in or below "
        "DIR, until they are done: the tree of a single one, else a table with failed, stopped and "
        "stalled jobs first. What SLURM still has in its queue of these jobs is waited for. Exit status "
        "1 where a task failed, a job stopped before it was done, or "
        "its progress can't be read.",
    )
    parser.add_argument(
        "directories",
        type=home_expanded,
        metavar="DIR",
        nargs="+",
        help="the checkpoint_dir of a job's tracker, or a folder above several",
    )
    parser.add_argument("--once", action="store_true", help="show it once and exit")
    parser.add_argument(
        "--json", action="store_true", help="one JSON object a line: a job, or {boards: [...]}"
    )
    parser.add_argument(
        "--interval",
        type=_seconds,
        default=None,
        metavar="SECONDS",
        help="seconds between two readings; by default 0.1 for a single job in a terminal, else "
        f"{LINES_INTERVAL:g}",
    )
    parser.add_argument(
        "--web",
        type=_port,
        metavar="PORT",
        help="serve a page for the browser instead, on this machine alone, until Ctrl-C; 0 for a "
        "free port. It shows checkpoints, caches and GPUs, too",
    )
    exporter = parser.add_argument_group("metrics for Prometheus")
    exporter.add_argument(
        "--prometheus",
        type=_port,
        metavar="PORT",
        help="serve metrics on this port instead, 0 for a free one, until the jobs end",
    )
    exporter.add_argument(
        "--address",
        default=ADDRESS,
        metavar="ADDRESS",
        help="the address to listen on; this machine alone by default",
    )
    exporter.add_argument(
        "--linger",
        type=_pause,
        default=prometheus.LINGER,
        metavar="SECONDS",
        help="seconds for which the last values are served when the jobs have ended; "
        f"by default {prometheus.LINGER:g}",
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
    for directory in options.directories:
        check_directory(directory)
        if not Path(directory).is_dir():
            raise ProteinFlexError(f"no progress in {directory}: there is no directory")
    _refuse_what_has_no_use(options)
    if options.web is not None:
        from proteinflex_optimization.cli import web

        web.serve(options.directories, options.web, options.interval or LINES_INTERVAL)
        return 0
    if options.prometheus is not None:
        _need_prometheus()
    found = find(options.directories)
    for note in found.notes:
        warn(note)
    if len(options.directories) == 1 and found.boards in ([], options.directories):
        return _run_one(options)
    with Boards(options.directories) as looker:
        return _run_many(options, looker)


def _run_one(options: argparse.Namespace) -> int:
    from proteinflex_optimization.display import BARS_INTERVAL, console_for

    directory = options.directories[0]
    reader, queue = _attach(directory), Queue()

    def is_done(progress: Mapping[str, Any]) -> bool:
        if options.once or not is_over([progress]):
            return bool(options.once)
        batches = [progress["batch"], *(task["batch"] for task in progress["tasks"].values())]
        return not queue.has_more(batches)

    if options.prometheus is not None:
        label = str(Path(directory).absolute())
        _serve(
            options,
            lambda: {label: reader.get_progress()},
            lambda: is_done(reader.get_progress()),
        )
        return _status(reader.get_progress())
    console = None if options.json else console_for(sys.stdout)
    interval = options.interval or (BARS_INTERVAL if console is not None else LINES_INTERVAL)
    progress = reader.get_progress()
    with contextlib.nullcontext(_one_line(options)) if console is None else _tree(console) as show:
        show(progress)
        while not is_done(progress):
            time.sleep(interval)
            progress = reader.get_progress()
            show(progress)
    if _has_stopped(progress):
        why = f" ({progress['reason']})" if progress["reason"] else ""
        warn(f"the job has stopped before it was done{why}; run it again to resume")
    return _status(progress)


@contextlib.contextmanager
def _tree(console: Console) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    from rich.live import Live

    from proteinflex_optimization.display import tree

    with Live(console=console, auto_refresh=False) as live:
        yield lambda progress: live.update(tree(progress), refresh=True)


def _one_line(options: argparse.Namespace) -> Callable[[Mapping[str, Any]], None]:
    """Return what prints a line for each change."""
    from proteinflex_optimization.display import failures, line

    last: str | None = None

    def show(progress: Mapping[str, Any]) -> None:
        nonlocal last
        text = _json(progress) if options.json else line(progress)
        if text == last:
            return
        failed = failures(progress)
        if options.once and not options.json and len(failed) > 1:
            print(*(f"failed: {text}" for text in failed), sep="\n")
        print(text, flush=True)
        last = text

    return show


def _run_many(options: argparse.Namespace, looker: Boards) -> int:
    from proteinflex_optimization.display import console_for

    records, queue = looker.look(), Queue()

    def is_done(records: list[dict[str, Any]]) -> bool:
        if options.once or not is_over(records):
            return bool(options.once)
        return not queue.has_more(
            {**record, "system": record["batch_system"]} for record in records
        )

    where = ", ".join(options.directories)
    if not records:
        raise ProteinFlexError(f"no progress in {where}: no job has counted there or below")
    if options.prometheus is not None:
        _serve(options, looker.progress, lambda: is_done(looker.look()))
        return _status_of_many(looker.look())
    console = None if options.json else console_for(sys.stdout)
    interval = options.interval or LINES_INTERVAL
    if console is not None:
        shown_by = _table(options, console)
    else:
        shown_by = _json_lines() if options.json else _log_lines(options)
    known_notes: set[str] = set(looker.notes)
    with shown_by as show:
        while records:
            done = is_done(records)
            show(records, done)
            for note in set(looker.notes) - known_notes:
                warn(note)
            known_notes |= set(looker.notes)
            if done:
                return _status_of_many(records)
            time.sleep(interval)
            records = looker.look()
    raise ProteinFlexError(f"no progress in {where} any more: what was watched is gone")


Show = Callable[[list[dict[str, Any]], bool], None]
"""Shows what was seen; the second argument tells whether it is the last time."""


@contextlib.contextmanager
def _table(options: argparse.Namespace, console: Console) -> Iterator[Show]:
    from rich.live import Live

    if options.once:
        yield lambda records, _: console.print(BoardTable(records, fits_height=False))
        return
    with Live(console=console, auto_refresh=False) as live:

        def show(records: list[dict[str, Any]], is_last: bool) -> None:
            # The last one stays, whole.
            live.update(BoardTable(records, fits_height=not is_last), refresh=True)

        yield show


@contextlib.contextmanager
def _json_lines() -> Iterator[Show]:
    def show(records: list[dict[str, Any]], _: bool) -> None:
        boards = [{**board, "updated": point_in_time(board["updated"])} for board in records]
        print_json({"boards": boards}, indent=None)

    yield show


@contextlib.contextmanager
def _log_lines(options: argparse.Namespace) -> Iterator[Show]:
    changes = Changes()

    def show(records: list[dict[str, Any]], is_last: bool) -> None:
        if options.once:
            print_table(tuple(COLUMNS), (tuple(cells(record, MAX_WIDTH)) for record in records))
            print(headline(records), flush=True)
        else:
            for text in changes.lines(records, is_last=is_last):
                print(text, flush=True)

    yield show


def _attach(directory: str) -> ProgressReader:
    from proteinflex_optimization.progress import ProgressTracker

    try:
        return ProgressTracker.attach(directory)
    except FileNotFoundError as error:
        raise ProteinFlexError(
            f"no progress in {directory}: no job has counted there or below"
        ) from error


def _json(progress: Mapping[str, Any]) -> str:
    updated = plain(point_in_time(progress["updated"]))
    return json.dumps({**of_one_job(progress), "updated": updated})


def _refuse_what_has_no_use(options: argparse.Namespace) -> None:
    given = {
        "--once": options.once,
        "--json": options.json,
        "--interval": options.interval is not None,
        "--prometheus": options.prometheus is not None,
        "--address": options.address != ADDRESS,
        "--linger": options.linger != prometheus.LINGER,
    }
    if options.web is not None:
        mode, useless = f"--web={options.web}", [name for name in given if name != "--interval"]
        why = "the page is served to this machine alone, until Ctrl-C"
    elif options.prometheus is not None:
        mode = f"--prometheus={options.prometheus}"
        useless = ["--once", "--json", "--interval"]
        why = "metrics are served until the jobs end, and looked at when they are asked for"
    else:
        mode, useless = "a watch without --prometheus", ["--address", "--linger"]
        why = "it serves no metrics"
    for name in useless:
        if given[name]:
            raise InvalidArgumentError(f"{mode} is not valid together with {name}: {why}")


def _need_prometheus() -> None:
    with needed("prometheus_client", "prometheus", "--prometheus"):
        import prometheus_client  # noqa: F401, only whether it is there


def _serve(
    options: argparse.Namespace,
    look: Callable[[], Mapping[str, Mapping[str, Any]]],
    is_over: Callable[[], bool],
) -> None:
    prometheus.serve(look, options.prometheus, options.address, is_over, options.linger)


def _has_stopped(progress: Mapping[str, Any]) -> bool:
    """Return whether it is not done and nobody works on it."""
    return progress["status"] in ("stopped", "running", "pending") and not progress["alive"]


def _status(progress: Mapping[str, Any]) -> int:
    failed = any(task["status"] == "failed" for task in progress["tasks"].values())
    return 1 if failed or progress["status"] == "failed" or _has_stopped(progress) else 0


def _status_of_many(records: list[dict[str, Any]]) -> int:
    """Return 1 also where all boards are gone: nobody knows how their jobs ended."""
    problems = (
        record["status"] in ("failed", "stopped", "unreadable") or record["tasks_failed"]
        for record in records
    )
    return int(not records or any(problems))
