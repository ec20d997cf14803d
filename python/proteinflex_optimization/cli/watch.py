"""``flexopt watch``: the progress of a job that runs in another process."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from proteinflex_optimization.cli.prometheus import LINGER
from proteinflex_optimization.types import ProgressInfo

LINES_INTERVAL = 1.0
"""Seconds between two readings where there is no terminal."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "watch",
        help="show the progress of a running job",
        description="Show the progress of the job whose tracker has the directory DIR, until it is "
        "done. Exit status 1 where it failed, or stopped before it was done.",
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
    from proteinflex_optimization.display import BARS_INTERVAL, _console, line, tree
    from proteinflex_optimization.progress import ProgressTracker

    reader = ProgressTracker.attach(options.directory)
    if options.prometheus is not None:
        return _export(options, reader.get_progress)
    console = None if options.json else _console(sys.stdout)
    if options.once:
        progress = reader.get_progress()
        if console is not None:
            console.print(tree(progress))
        else:
            print(json.dumps(progress) if options.json else line(progress))
        return _status(progress)
    interval = options.interval or (BARS_INTERVAL if console is not None else LINES_INTERVAL)
    if console is not None:
        from rich.live import Live

        progress = reader.get_progress()
        with Live(tree(progress), console=console, auto_refresh=False) as live:
            while not _is_over(progress):
                time.sleep(interval)
                progress = reader.get_progress()
                live.update(tree(progress), refresh=True)
    else:
        shown = None
        while True:
            progress = reader.get_progress()
            text = json.dumps(progress) if options.json else line(progress)
            if text != shown:
                print(text, flush=True)
                shown = text
            if _is_over(progress):
                break
            time.sleep(interval)
    if progress["status"] == "running":
        print("the job has stopped before it was done; run it again to resume", file=sys.stderr)
    return _status(progress)


def _export(options: argparse.Namespace, progress: Callable[[], ProgressInfo]) -> int:
    try:
        import prometheus_client  # noqa: F401, only whether it is there
    except ImportError:
        print(
            "--prometheus needs the client library: pip install prometheus-client", file=sys.stderr
        )
        return 2
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
    return progress["status"] == "completed" or not progress["alive"]


def _status(progress: Mapping[str, Any]) -> int:
    stopped = progress["status"] in ("running", "pending") and not progress["alive"]
    return 1 if progress["status"] == "failed" or stopped else 0
