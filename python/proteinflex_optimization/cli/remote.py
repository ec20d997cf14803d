"""`flexopt cache push` and `pull`: entries between a cache and an object store."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING

from proteinflex_optimization.cli import removal, unused
from proteinflex_optimization.cli.commands import look_at_cache, open_cache
from proteinflex_optimization.cli.output import counted, print_json, printable, size
from proteinflex_optimization.cli.selection import entry_key
from proteinflex_optimization.cli.transfer import ProgressLine
from proteinflex_optimization.errors import InvalidArgumentError

if TYPE_CHECKING:
    from proteinflex_optimization.types import TransferredEntry

MEGABYTE = 10**6


def push(options: argparse.Namespace) -> int:
    """Send entries below a URL."""
    handler = look_at_cache(options)
    if options.all and options.keys:
        raise InvalidArgumentError(
            f"--all is not valid together with KEY={options.keys[0]!r}: expected one of them"
        )
    if not (options.all or options.keys):
        raise InvalidArgumentError(
            "KEY=… is not valid: expected the entries to send, or --all, before the URL, which "
            f"{options.url!r} was taken for"
        )
    if options.all:
        infos, *unreadable = removal.infos(handler)
    else:
        infos = [handler.info(entry_key(handler, key)) for key in options.keys]
        unreadable = []
    total = sum(info["stored_bytes"] for info in infos)
    reports: list[TransferredEntry] = []
    with ProgressLine("pushing", "MB") as progress:
        for info in infos:
            before = sum(report["bytes"] for report in reports)
            draw = partial(_draw, progress, before, total)
            reports.append(handler.push(info["key"], options.url, progress=draw))
    _print(reports, "sent", options)
    return 1 if any(unreadable) else 0


def pull(options: argparse.Namespace) -> int:
    """Fetch an entry, or all below a URL."""
    with unused.no_unused_cache(options.dir), ProgressLine("pulling", "MB") as progress:
        draw = partial(_draw, progress, 0, None)
        reports = open_cache(options.dir).pull(options.url, progress=draw)
    _print(reports, "fetched", options)
    return 0


def _draw(progress: ProgressLine, before: int, total: int | None, done: int, of_these: int) -> None:
    progress((before + done) // MEGABYTE, (total or of_these) // MEGABYTE)


def _print(reports: list[TransferredEntry], verb: str, options: argparse.Namespace) -> None:
    if options.json:
        print_json({"entries": reports})
        return
    copied = [report for report in reports if report["copied"]]
    for report in copied:
        print(f"{report['key']}  {size(report['bytes'])}  {printable(report['url'])}")
    there = len(reports) - len(copied)
    n_bytes = sum(report["bytes"] for report in copied)
    print(
        f"{verb} {counted(len(copied), 'entry', 'entries')} ({size(n_bytes)})"
        + (f", {there} there already" if there else "")
    )
