"""`flexopt cache rm`, `prune` and `clear`: what goes is shown first, and asked for where it is most."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from datetime import datetime, timezone
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from proteinflex_optimization._text import PROBLEMS
from proteinflex_optimization.cli import confirm
from proteinflex_optimization.cli.commands import look_at_cache, open_cache
from proteinflex_optimization.cli.output import (
    age,
    counted,
    print_json,
    print_table,
    printable,
    size,
    warn,
)
from proteinflex_optimization.cli.selection import entry_key, unfinished_key
from proteinflex_optimization.cli.sizes import parse_size
from proteinflex_optimization.remote.entries import object_name

if TYPE_CHECKING:
    from proteinflex_optimization import DataHandler
    from proteinflex_optimization.types import (
        CleanupReport,
        EntryInfo,
        EntryKind,
        UnfinishedTrajectory,
    )


NEVER = datetime.fromtimestamp(0, timezone.utc)
"""When an entry was stored that can't be read."""


class Infos(NamedTuple):
    """The entries of a cache."""

    whole: list[EntryInfo]
    """Those used last first."""
    damaged: list[EntryInfo]
    newer: list[EntryInfo]
    """Those that a newer version of this package stored."""


def infos(handler: DataHandler, kind: EntryKind | None = None) -> Infos:
    """Describe all entries; those that can't be read are named on standard error as well."""
    from proteinflex_optimization import CacheKeyError, CorruptDataError, UnsupportedFormatError

    found = Infos([], [], [])
    for key in handler.keys(kind):
        try:
            found.whole.append(handler.info(key))
        except CacheKeyError:
            continue  # Evicted since it was listed.
        except CorruptDataError as error:
            warn(str(error))
            found.damaged.append(_unreadable(handler, key, PROBLEMS["damaged"]))
        except UnsupportedFormatError as error:
            warn(str(error))
            found.newer.append(_unreadable(handler, key, PROBLEMS["newer"]))
    return found


def _unreadable(handler: DataHandler, key: str, problem: str) -> EntryInfo:
    path = Path(handler.cache_dir) / object_name(key)
    stored = path.stat().st_size if path.exists() else 0
    return {
        "key": key,
        "data_id": problem,
        "kind": "structure" if key.startswith("s") else "trajectory",
        "created": NEVER,
        "last_used": NEVER,
        "raw_bytes": stored,
        "stored_bytes": stored,
        "saved_percent": 0.0,
        "n_frames": None,
        "n_atoms": None,
        "n_residues": None,
        "n_chains": None,
        "has_topology": False,
        "metadata": {},
        "arrays": [],
        "precision": {},
        "pinned": False,
    }


def print_entries(entries: list[EntryInfo]) -> None:
    """Print entries as a table, and their number and size."""
    rows = [
        (
            entry["key"],
            size(entry["stored_bytes"]),
            f"{entry['saved_percent']:.1f}%",
            age(entry["last_used"]),
            printable(entry["data_id"]) + ("  (pinned)" if entry["pinned"] else ""),
        )
        for entry in entries
    ]
    if rows:
        print_table(("KEY", "SIZE", "SAVED", "USED", "ID"), rows, "<>>>")
    print(f"{counted(len(entries), 'entry', 'entries')}, {size(sum(_sizes(entries)))}")


def print_unfinished(unfinished: list[UnfinishedTrajectory]) -> None:
    """Print the trajectories that are being written or wait to be resumed."""
    if not unfinished:
        return
    print("unfinished trajectories:")
    rows = []
    for one in unfinished:
        written = f"written {age(one['last_written'])} ago"
        if one["writer"] is not None:
            written += f", process {one['writer']} on {printable(str(one['host']))} is writing it"
        frames = "?" if one["n_frames"] is None else str(one["n_frames"])
        rows.append((one["key"], size(one["stored_bytes"]), frames, written, _name(one)))
    print_table(("KEY", "SIZE", "FRAMES", "STATE", "ID"), rows, "<>>")


def _name(unfinished: UnfinishedTrajectory) -> str:
    data_id = unfinished["data_id"]
    return "can't be read" if data_id is None else printable(data_id)


def remove(options: argparse.Namespace) -> int:
    """Remove the entries that are meant; 1 where one of them is not there."""
    from proteinflex_optimization import CacheKeyError

    if options.unfinished:
        return _remove_unfinished(options)
    handler = look_at_cache(options)
    keys, missing = [], []
    for text in options.keys:
        try:
            keys.append(entry_key(handler, text, whole=True))
        except CacheKeyError as error:
            missing.append(text)
            warn(str(error))
    entries = [entry for found in infos(handler) for entry in found]
    chosen = [entry for entry in entries if entry["key"] in keys]
    if len(options.keys) > 1 or options.dry_run:
        _show(chosen, options)
    if options.dry_run:
        _dry_run(chosen, options)
        return 1 if missing else 0
    # One that is named may go without a question, also where it is the last.
    if len(chosen) > 1 and not confirm.confirmed(_removal(chosen, entries), options):
        return confirm.refused()
    removed = _remove(options, chosen, spare_used=False)
    if options.json:
        print_json({"removed": [entry["key"] for entry in removed], "missing": missing})
    else:
        for entry in removed:
            print(f"removed {entry['key']} ({printable(entry['data_id'])})")
    return 1 if missing else 0


def _remove_unfinished(options: argparse.Namespace) -> int:
    """Remove unfinished trajectories, of which frames can be resumed: always asked for."""
    unfinished = look_at_cache(options).unfinished()
    keys = {
        unfinished_key([(one["key"], one["data_id"]) for one in unfinished], text)
        for text in options.keys
    }
    chosen = [one for one in unfinished if one["key"] in keys]
    if not options.json:
        print_unfinished(chosen)
    names, sizes = [one["key"] for one in chosen], [one["stored_bytes"] for one in chosen]
    if options.dry_run:
        return confirm.dry_run(options, names, sum(sizes))
    removal = confirm.Removal.of(sizes, sizes, *LEFTOVERS["unfinished"])
    if not confirm.confirmed(removal, options):
        return confirm.refused()
    handler = open_cache(options.dir)
    removed = [key for key in names if handler.remove_unfinished(key)]
    written = [key for key in names if key not in removed]
    for key in written:
        warn(f"{key} is being written, and stays")
    if options.json:
        print_json({"removed": removed, "missing": written})
    else:
        for one in chosen:
            if one["key"] in removed:
                print(f"removed {one['key']} ({_name(one)})")
    return 1 if written else 0


def prune(options: argparse.Namespace) -> int:
    """Remove leftover files, and the least recently used entries down to a size; 1 above that size."""
    if options.to is not None:
        parse_size(options.to, "--to", 100)  # Wrong usage, whatever the cache is.
    handler = look_at_cache(options)
    found, leftovers = infos(handler), handler.cleanup(dry_run=True)
    kept = _kept(found, handler, leftovers)
    victims: list[EntryInfo] = []
    target, is_told = math.inf, False
    if options.to is not None:
        target = parse_size(options.to, "--to", handler.get_cache_stats()["max_bytes"])
        victims = _victims(found.whole, target - sum(kept.values()))
        is_told = _tell_kept(kept, target)
    status = _asked(victims, found.whole, leftovers, options, would_keep=kept)
    if status is not None:
        return max(status, int(is_told))
    removed = _remove(options, victims, spare_used=True)
    handler = open_cache(options.dir)
    cleaned = handler.cleanup()
    freed, used = sum(_sizes(removed)), handler.get_cache_stats()["used_bytes"]
    if options.json:
        keys = [entry["key"] for entry in removed]
        print_json(
            {
                "removed": keys,
                "freed_bytes": freed,
                "cleaned": cleaned,
                "kept": kept,
                "used_bytes": used,
            }
        )
    else:
        files = sum(count for count in cleaned.values() if isinstance(count, int))
        print(
            f"{counted(len(removed), 'entry', 'entries')} removed, {size(freed)}; "
            f"{counted(files, 'leftover file')} removed"
        )
        if len(removed) < len(victims):
            print(f"{len(victims) - len(removed)} stay: they were used or pinned meanwhile")
    if used > target and not is_told:
        warn(f"{size(used)} are used, more than {size(target)}: others use the cache meanwhile")
    return int(used > target)


def clear(options: argparse.Namespace) -> int:
    """Remove all entries, also pinned ones."""
    handler = look_at_cache(options)
    entries = [entry for found in infos(handler) for entry in found]
    status = _asked(entries, entries, handler.cleanup(dry_run=True), options)
    if status is not None:
        return status
    removed = open_cache(options.dir).clear()
    if options.json:
        print_json({"removed": [entry["key"] for entry in entries], "count": removed})
    else:
        print(f"{counted(removed, 'entry', 'entries')} removed")
    return 0


def _asked(
    victims: list[EntryInfo],
    entries: list[EntryInfo],
    leftovers: CleanupReport,
    options: argparse.Namespace,
    **beside: Any,
) -> int | None:
    """Show what would go and ask whether it may; returns the exit status where it stays."""
    _show(victims, options)
    _show_leftovers(leftovers, options)
    if options.dry_run:
        return _dry_run(victims, options, leftovers, **beside)
    removal = _removal(victims, entries)
    count = leftovers["unfinished"]
    if count:
        # Each may be a run that waits to go on; it never goes unasked.
        removal.also = counted(count, *LEFTOVERS["unfinished"])
    return None if confirm.confirmed(removal, options) else confirm.refused()


KEPT = {
    "pinned": "pinned entries",
    "unfinished": "unfinished trajectories",
    "damaged": "damaged entries",
    "newer": "entries of a newer version",
}
"""What no `prune` removes, though it counts towards the limit."""


def _kept(found: Infos, handler: DataHandler, leftovers: CleanupReport) -> dict[str, int]:
    """Return the bytes of what stays whatever the size, by the names of `KEPT`."""
    unfinished = handler.unfinished()
    waiting = [one for one in unfinished if one["writer"] is None]
    # Those that were not written to for longest are removed with other leftovers.
    removed = sorted(waiting, key=itemgetter("last_written"))[: leftovers["unfinished"]]
    return {
        "pinned": sum(_sizes([entry for entry in found.whole if entry["pinned"]])),
        "unfinished": sum(_sizes(unfinished)) - sum(_sizes(removed)),
        "damaged": sum(_sizes(found.damaged)),
        "newer": sum(_sizes(found.newer)),
    }


def _tell_kept(kept: dict[str, int], target: float) -> bool:
    """Say what keeps a cache above a size; returns whether it does."""
    stays = sum(kept.values())
    if stays > target:
        parts = [f"{KEPT[kind]} ({size(count)})" for kind, count in kept.items() if count]
        warn(f"{size(stays)} stay, more than {size(target)}: {', '.join(parts)}")
    return stays > target


def _victims(entries: list[EntryInfo], room: int) -> list[EntryInfo]:
    """Choose as eviction does: those used least recently first, pinned ones never."""
    unpinned = [entry for entry in entries if not entry["pinned"]]
    excess = sum(_sizes(unpinned)) - room
    victims = []
    for entry in sorted(unpinned, key=itemgetter("last_used")):
        if excess > 0:
            victims.append(entry)
            excess -= entry["stored_bytes"]
    return victims


def _removal(chosen: list[EntryInfo], entries: list[EntryInfo]) -> confirm.Removal:
    return confirm.Removal.of(_sizes(chosen), _sizes(entries), "entry", "entries")


def _sizes(entries: Sequence[EntryInfo | UnfinishedTrajectory]) -> list[int]:
    return [entry["stored_bytes"] for entry in entries]


def _show(entries: list[EntryInfo], options: argparse.Namespace) -> None:
    if not options.json:
        print("to be removed:")
        print_entries(entries)


LEFTOVERS = {
    "temporary": ("file of a dead writer", "files of dead writers"),
    "quarantined": ("damaged entry in quarantine", "damaged entries in quarantine"),
    "unfinished": ("unfinished trajectory", "unfinished trajectories"),
    "pins": ("pin of an entry that is gone", "pins of entries that are gone"),
}


def _show_leftovers(leftovers: CleanupReport, options: argparse.Namespace) -> None:
    if options.json:
        return
    for kind, names in LEFTOVERS.items():
        count: int = leftovers[kind]  # type: ignore[literal-required]
        if count:
            long_ago = ", not written to for 30 days" if kind == "unfinished" else ""
            print(f"and {counted(count, *names)}{long_ago}")


def _dry_run(
    entries: list[EntryInfo],
    options: argparse.Namespace,
    leftovers: CleanupReport | None = None,
    **beside: Any,
) -> int:
    keys, freed = [entry["key"] for entry in entries], sum(_sizes(entries))
    if leftovers is None:
        return confirm.dry_run(options, keys, freed)
    files = sum(leftovers[kind] for kind in LEFTOVERS)  # type: ignore[literal-required]
    more = f", and {counted(files, 'leftover file')}" if files else ""
    return confirm.dry_run(options, keys, freed, more, would_clean=leftovers, **beside)


def _remove(
    options: argparse.Namespace, entries: list[EntryInfo], *, spare_used: bool
) -> list[EntryInfo]:
    """Remove just what was shown; what was used or pinned since then stays where that is asked."""
    from proteinflex_optimization import CacheKeyError

    if not entries:
        return []
    handler = open_cache(options.dir)
    removed = []
    for entry in entries:
        try:
            if spare_used and _is_used(handler.info(entry["key"]), entry):
                continue
            handler.remove(entry["key"])
        except CacheKeyError:
            continue  # Evicted meanwhile.
        removed.append(entry)
    return removed


def _is_used(now: EntryInfo, before: EntryInfo) -> bool:
    return now["pinned"] or now["last_used"] != before["last_used"]
