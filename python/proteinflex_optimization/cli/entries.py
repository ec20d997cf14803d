"""What the commands of `flexopt cache` print: of all entries, of one, of what was written or stored."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proteinflex_optimization.cli import objects, removal, transfer, unused
from proteinflex_optimization.cli.commands import look_at_cache, open_cache
from proteinflex_optimization.cli.output import (
    age,
    counted,
    print_json,
    printable,
    shown,
    size,
    warn,
)
from proteinflex_optimization.cli.selection import entry_key
from proteinflex_optimization.errors import InvalidArgumentError
from proteinflex_optimization.remote.urls import is_url

if TYPE_CHECKING:
    from proteinflex_optimization import DataHandler
    from proteinflex_optimization.types import CacheVerification, EntryInfo

SORTED_BY: dict[str, Callable[[EntryInfo], Any]] = {
    "used": itemgetter("last_used"),
    "size": itemgetter("stored_bytes"),
    "created": itemgetter("created"),
    "id": itemgetter("data_id"),
}
OF_THE_PROCESS = ("hits", "misses", "evictions", "corrupt", "memory", "upstream")
"""What `get_cache_stats` counts for one process: nothing worth printing by this one."""


def print_list(options: argparse.Namespace) -> int:
    """List the entries of a cache, or the objects below a URL."""
    if options.url is not None:
        return objects.print_list(options)
    handler = look_at_cache(options)
    entries, damaged, _ = removal.infos(handler, options.kind)
    entries.sort(key=SORTED_BY[options.sort], reverse=options.sort != "id")
    unfinished = [] if options.kind == "structure" else handler.unfinished()
    if options.json:
        directory = str(handler.cache_dir)
        print_json({"cache_dir": directory, "entries": entries, "unfinished": unfinished})
    elif options.quiet:
        for entry in entries:
            print(entry["key"])
    else:
        print(printable(str(handler.cache_dir)))
        removal.print_entries(entries)
        removal.print_unfinished(unfinished)
    return 1 if damaged else 0


def stats_of_directory(handler: DataHandler) -> dict[str, Any]:
    """Return what ``stats --json`` prints: what is true of a cache whoever looks."""
    stats = handler.get_cache_stats()
    return {name: value for name, value in stats.items() if name not in OF_THE_PROCESS}


def print_stats(options: argparse.Namespace) -> int:
    """Print how full a cache is."""
    stats = stats_of_directory(look_at_cache(options))
    if options.json:
        print_json(stats)
        return 0
    print(printable(str(stats["cache_dir"])))
    print(
        f"used        {size(stats['used_bytes'])} of {size(stats['max_bytes'])} "
        f"({stats['usage_percent']:.1f} %)"
    )
    print(
        f"entries     {stats['entries']}: {counted(stats['structures'], 'structure')}, "
        f"{counted(stats['trajectories'], 'trajectory', 'trajectories')}"
    )
    print(f"unfinished  {counted(stats['unfinished'], 'trajectory', 'trajectories')}")
    print(f"saved       {stats['saved_percent']:.1f} % of {size(stats['raw_bytes'])}")
    print(f"pinned      {size(stats['pinned_bytes'])}")
    if stats["quarantined"]:
        print(f"quarantine  {counted(stats['quarantined'], 'damaged entry', 'damaged entries')}")
    return 0


def print_info(options: argparse.Namespace) -> int:
    """Print what an entry holds."""
    info: Any
    if is_url(options.key):
        info = objects.info(options.key)
    else:
        handler = look_at_cache(options)
        info = handler.info(entry_key(handler, options.key))
    if options.json:
        print_json(info)
        return 0
    print(f"{printable(info['data_id'])}  {info['kind']}  {info['key']}")
    print(
        f"  {size(info['stored_bytes'])} for {size(info['raw_bytes'])} of arrays "
        f"({info['saved_percent']:.1f} % saved){', pinned' if info.get('pinned') else ''}"
    )
    used = f", used {age(info['last_used'])} ago" if "last_used" in info else ""
    print(f"  stored {age(info['created'])} ago{used}")
    if info["has_topology"]:
        counts = (
            counted(info["n_atoms"] or 0, "atom"),
            counted(info["n_residues"] or 0, "residue"),
            counted(info["n_chains"] or 0, "chain"),
        )
        print(f"  topology  {', '.join(counts)}")
    for array in info["arrays"]:
        shape = " × ".join(map(str, array["shape"])) or "scalar"
        spacing = info["precision"].get(array["name"])
        rounded = "" if spacing is None else f", to {spacing:g}"
        print(f"  {printable(array['name'])}  {array['dtype']}  {shape}{rounded}")
    for name, value in info["metadata"].items():
        print(f"  {printable(shown(name))}: {printable(shown(value))}")
    return 0


def verify(options: argparse.Namespace) -> int:
    """Read entries back, and print what is damaged."""
    from proteinflex_optimization import CacheKeyError, UnsupportedFormatError

    urls = [key for key in options.keys if is_url(key)]
    if urls:
        return _verify_objects(options, urls)
    handler = look_at_cache(options)
    keys = [entry_key(handler, key) for key in options.keys] or handler.keys()
    if options.quarantine:
        handler = open_cache(options.dir)
    reports = []
    with transfer.ProgressLine("verifying", "entries") as progress:
        for number, key in enumerate(keys, 1):
            try:
                reports.append(handler.verify(key))
            except CacheKeyError:
                if options.keys:
                    raise
                # Evicted since it was listed.
            except UnsupportedFormatError as error:
                if options.keys:
                    raise
                warn(f"{error}; it is not verified")
            progress(number, len(keys))
    return _print_verified(options, reports)


def _verify_objects(options: argparse.Namespace, urls: list[str]) -> int:
    if len(urls) < len(options.keys) or options.quarantine:
        raise InvalidArgumentError(
            "KEY is not valid: expected URLs alone and no --quarantine, or entries of a cache"
        )
    return _print_verified(options, [objects.verify(url) for url in urls])


def _print_verified(options: argparse.Namespace, reports: list[CacheVerification]) -> int:
    damaged = [entry for report in reports for entry in report["damaged"]]
    if options.json:
        print_json({"checked": len(reports), "ok": not damaged, "damaged": damaged})
    else:
        for entry in damaged:
            print(f"{entry['key']}: {printable(entry['reason'])}")
        print(f"{len(reports)} checked, {len(damaged)} damaged")
    return 1 if damaged else 0


def export(options: argparse.Namespace) -> int:
    """Write an entry as a file."""
    if is_url(options.key):
        result = objects.export(options)
    else:
        handler = look_at_cache(options)
        options.key = entry_key(handler, options.key)
        result = transfer.export_entry(handler, options)
    if options.json:
        print_json(result)
        return 0
    print(f"wrote {printable(result['file'])} ({size(result['bytes'])})")
    if result["left_out"]:
        names = printable(", ".join(result["left_out"]))
        print(f"left out, for this format has no place for them: {names}")
    return 0


def import_files(options: argparse.Namespace) -> int:
    """Store files as an entry."""
    given = [("FILE", file) for file in options.files] + [("--topology", options.topology)]
    for argument, file in given:
        # Before a cache is made.
        if file is not None and not Path(file).exists():
            raise InvalidArgumentError(f"{argument}={file!r} is not valid: there is no such file")
    with unused.no_unused_cache(options.dir):
        result = transfer.import_files(open_cache(options.dir), options)
    if options.json:
        print_json(result)
        return 0
    print(
        f"stored {printable(result['data_id'])} as {result['key']} "
        f"({size(result['stored_bytes'])}, {result['saved_percent']:.1f} % saved)"
    )
    return 0
