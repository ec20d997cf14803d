"""``flexopt watch``: the progress of a job that runs in another process."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any


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
        "--interval", type=_seconds, default=None, metavar="S", help="seconds between two looks"
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


def run(options: argparse.Namespace) -> int:
    """Show it; gives the exit status."""
    from proteinflex_optimization.display import BARS_EVERY, _console, line, tree
    from proteinflex_optimization.progress import ProgressTracker

    reader = ProgressTracker.attach(options.directory)
    console = None if options.json else _console(sys.stdout)
    if options.once:
        progress = reader.get_progress()
        if console is not None:
            console.print(tree(progress))
        else:
            print(json.dumps(progress) if options.json else line(progress))
        return _status(progress)
    if console is not None:
        from rich.live import Live

        progress = reader.get_progress()
        with Live(tree(progress), console=console, auto_refresh=False) as live:
            while not _is_over(progress):
                time.sleep(options.interval or BARS_EVERY)
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
            time.sleep(options.interval or 1.0)
    if progress["status"] == "running":
        print("the job has stopped before it was done; run it again to resume", file=sys.stderr)
    return _status(progress)


def _is_over(progress: dict[str, Any]) -> bool:
    """Tell whether there is nothing more to see: it is done, or nobody works on it any more."""
    return progress["status"] == "completed" or not progress["alive"]


def _status(progress: dict[str, Any]) -> int:
    stopped = progress["status"] in ("running", "pending") and not progress["alive"]
    return 1 if progress["status"] == "failed" or stopped else 0
