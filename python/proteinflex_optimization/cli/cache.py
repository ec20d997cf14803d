"""`flexopt cache`: what is in a cache, whether it is whole, and making room by hand."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proteinflex_optimization.cli import transfer
from proteinflex_optimization.errors import InvalidArgumentError

if TYPE_CHECKING:
    from proteinflex_optimization import DataHandler
    from proteinflex_optimization.types import EntryInfo, EntryKind

UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
SORTED_BY: dict[str, Callable[[EntryInfo], Any]] = {
    "used": itemgetter("last_used"),
    "size": itemgetter("stored_bytes"),
    "created": itemgetter("created"),
    "id": itemgetter("data_id"),
}


def add_parser(subparsers: Any) -> None:
    """Add this command."""
    parser = subparsers.add_parser(
        "cache",
        help="list, check and prune cached structures and trajectories",
        description="What is in a cache directory. Sizes are decimal: 1 GB is 10^9 bytes.",
    )
    commands = parser.add_subparsers(dest="cache_command", metavar="COMMAND", required=True)

    command = _command(commands, "ls", _list, "list the entries, those used last first")
    command.add_argument("--kind", choices=("structure", "trajectory"), help="only these")
    command.add_argument("--sort", choices=tuple(SORTED_BY), default="used")
    command.add_argument("-q", "--quiet", action="store_true", help="print keys only")

    _command(commands, "stats", _stats, "how full the cache is")

    command = _command(
        commands, "verify", _verify, "read every byte back; damaged entries go to quarantine"
    )
    command.add_argument("keys", nargs="*", metavar="KEY", help="only these entries")

    command = _command(
        commands, "prune", _prune, "remove leftover files, and entries down to a size"
    )
    command.add_argument("--to", metavar="SIZE", help="such as 50GB, or 80%% of the limit")
    command.add_argument("--dry-run", action="store_true", help="only say what would be removed")

    command = _command(commands, "export", _export, "write an entry as a file of another format")
    command.add_argument("key", metavar="KEY")
    command.add_argument(
        "file",
        metavar="FILE",
        help=".npz for its arrays; .xtc, .dcd, .trr, .h5md, … or .zarr for a trajectory in Å",
    )
    command.add_argument("--force", action="store_true", help="replace a file that is there")

    command = _command(commands, "import", _import, "store a file as an entry")
    command.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="a structure (.pdb, .cif), .npz, .zarr, or anything MDAnalysis reads; several are the "
        "parts of one run",
    )
    command.add_argument(
        "--kind", choices=("structure", "trajectory"), help="default: by suffix and topology"
    )
    command.add_argument("--topology", metavar="FILE", help="such as .pdb, .gro or .psf")
    command.add_argument("--format", help="such as LAMMPSDUMP; default: by suffix")
    command.add_argument("--topology-format", metavar="FORMAT", help="default: by suffix")
    command.add_argument(
        "--overlap",
        choices=("remove", "keep"),
        default="remove",
        help="what to do with frames that the next part has, too",
    )
    command.add_argument(
        "--allow-truncated", action="store_true", help="store the whole frames of a cut file"
    )
    command.add_argument("--id", help="its name in the cache; default: the file's, without suffix")
    command.add_argument("--precision", type=float, metavar="Å", help="default: lossless")
    command.add_argument("--profile", choices=("default", "archive"))
    command.add_argument("--force", action="store_true", help="replace an entry of this name")

    command = _command(commands, "rm", _remove, "remove entries")
    command.add_argument("keys", nargs="+", metavar="KEY")


def _command(commands: Any, name: str, run: Any, text: str) -> Any:
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.add_argument(
        "--dir", metavar="DIR", help="the cache directory; default: as DataHandler() finds it"
    )
    parser.add_argument("--json", action="store_true", help="for scripts")
    parser.set_defaults(func=run)
    return parser


def _open(options: argparse.Namespace) -> DataHandler:
    from proteinflex_optimization import DataHandler

    if options.dir is not None and not Path(options.dir).is_dir():
        raise InvalidArgumentError(
            f"--dir={options.dir!r} is not valid: expected the directory of a cache"
        )
    return DataHandler(options.dir)


def _list(options: argparse.Namespace) -> int:
    handler = _open(options)
    entries = _infos(handler, options.kind)
    entries.sort(key=SORTED_BY[options.sort], reverse=options.sort != "id")
    if options.json:
        print(json.dumps(entries, indent=2, default=str))
    elif options.quiet:
        for entry in entries:
            print(entry["key"])
    else:
        _print_table(entries)
    return 0


def _infos(handler: DataHandler, kind: EntryKind | None) -> list[EntryInfo]:
    from proteinflex_optimization import CacheKeyError, CorruptDataError

    entries = []
    for key in handler.keys(kind):
        try:
            info = handler.info(key)
        except CacheKeyError:
            continue  # Evicted since it was listed.
        except CorruptDataError as error:
            print(f"flexopt: {error}", file=sys.stderr)
            continue
        entries.append(info)
    return entries


def _print_table(entries: list[EntryInfo]) -> None:
    print(f"{'KEY':34} {'SIZE':>9} {'SAVED':>6} {'USED':>8}  ID")
    now = time.time()
    for entry in entries:
        print(
            f"{entry['key']:34} {_size(entry['stored_bytes']):>9} "
            f"{entry['saved_percent']:5.1f}% {_age(now - entry['last_used']):>8}  "
            f"{printable(entry['data_id'])}"
        )
    total = sum(entry["stored_bytes"] for entry in entries)
    print(f"{len(entries)} {'entry' if len(entries) == 1 else 'entries'}, {_size(total)}")


def _stats(options: argparse.Namespace) -> int:
    stats = _open(options).get_cache_stats()
    if options.json:
        print(json.dumps(stats, indent=2, default=str))
        return 0
    print(printable(str(stats["cache_dir"])))
    print(
        f"used     {_size(stats['used_bytes'])} of {_size(stats['max_bytes'])} "
        f"({stats['usage_percent']:.1f} %)"
    )
    print(
        f"entries  {stats['entries']}: {stats['structures']} structures, "
        f"{stats['trajectories']} trajectories"
    )
    print(f"saved    {stats['saved_percent']:.1f} % of {_size(stats['raw_bytes'])}")
    print(f"pinned   {_size(stats['pinned_bytes'])}")
    return 0


def _verify(options: argparse.Namespace) -> int:
    from proteinflex_optimization import CacheKeyError

    handler = _open(options)
    keys = options.keys or handler.keys()
    reports = []
    for number, key in enumerate(keys, 1):
        if sys.stderr.isatty():
            print(f"\r{number}/{len(keys)}", end="", file=sys.stderr, flush=True)
        try:
            reports.append(handler.verify(key))
        except CacheKeyError:
            if options.keys:
                raise
            # Evicted since it was listed.
    if sys.stderr.isatty():
        print("\r", end="", file=sys.stderr)
    damaged = [entry for report in reports for entry in report["damaged"]]
    if options.json:
        print(json.dumps({"checked": len(reports), "damaged": damaged}, indent=2, default=str))
    else:
        for entry in damaged:
            print(f"{entry['key']}: {printable(entry['reason'])}")
        print(f"{len(reports)} checked, {len(damaged)} damaged")
    return 1 if damaged else 0


def _prune(options: argparse.Namespace) -> int:
    handler = _open(options)
    stats = handler.get_cache_stats()
    target = None if options.to is None else parse_size(options.to, stats["max_bytes"])
    if options.dry_run:
        victims = [] if target is None else _victims(handler, target)
        freed = sum(victim["stored_bytes"] for victim in victims)
        if options.json:
            keys = [victim["key"] for victim in victims]
            print(json.dumps({"would_remove": keys, "would_free_bytes": freed}, indent=2))
        else:
            _print_table(victims)
            print(f"nothing was removed; {_size(freed)} would be")
        return 0
    cleaned = handler.cleanup()
    evicted = 0 if target is None else handler.prune(target / 1e9)
    freed = stats["used_bytes"] - handler.get_cache_stats()["used_bytes"]
    if options.json:
        print(json.dumps({"evicted": evicted, "freed_bytes": freed, "cleaned": cleaned}, indent=2))
    else:
        files = sum(count for count in cleaned.values() if isinstance(count, int))
        print(f"{evicted} evicted, {files} leftover files removed; {_size(freed)} less")
    return 0


def _victims(handler: DataHandler, target: int) -> list[EntryInfo]:
    """Choose as eviction does: those used least recently first, pinned ones never."""
    entries = _infos(handler, None)
    excess = sum(entry["stored_bytes"] for entry in entries) - target
    victims = []
    for entry in sorted(entries, key=itemgetter("last_used")):
        if excess > 0 and not entry["pinned"]:
            victims.append(entry)
            excess -= entry["stored_bytes"]
    return victims


def _export(options: argparse.Namespace) -> int:
    result = transfer.export_entry(_open(options), options)
    if options.json:
        transfer.print_json(result)
        return 0
    print(f"wrote {result['file']} ({_size(result['bytes'])})")
    if result["left_out"]:
        names = printable(", ".join(result["left_out"]))
        print(f"left out, for this format has no place for them: {names}")
    return 0


def _import(options: argparse.Namespace) -> int:
    result = transfer.import_files(_open(options), options)
    if options.json:
        transfer.print_json(result)
        return 0
    print(
        f"stored {printable(result['data_id'])} as {result['key']} "
        f"({_size(result['stored_bytes'])}, {result['saved_percent']:.1f} % saved)"
    )
    return 0


def _remove(options: argparse.Namespace) -> int:
    from proteinflex_optimization import CacheKeyError

    handler = _open(options)
    missing = []
    for key in options.keys:
        try:
            handler.remove(key)
        except CacheKeyError as error:
            missing.append(key)
            print(f"flexopt: {printable(str(error))}", file=sys.stderr)
    removed = [key for key in options.keys if key not in missing]
    if options.json:
        print(json.dumps({"removed": removed, "missing": missing}, indent=2))
    return 1 if missing else 0


def parse_size(text: str, limit: int) -> int:
    """Return bytes for a text such as ``50GB``, or ``80%`` of a limit.

    Raises
    ------
    InvalidArgumentError
        The text is neither.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(%|[KMGT]?B?)\s*", text, re.IGNORECASE)
    unit = match.group(2).upper() if match else "?"
    if match is None or (unit not in UNITS and unit != "%" and unit + "B" not in UNITS):
        raise InvalidArgumentError(
            f"--to={text!r} is not valid: expected a size such as 500MB or 50GB, or a part of the "
            "limit such as 80%"
        )
    number = float(match.group(1))
    if unit == "%":
        return int(limit * number / 100)
    return int(number * UNITS[unit if unit in UNITS else unit + "B"])


def printable(text: str) -> str:
    """Return text that can't move a terminal's cursor or change its colours."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _size(size: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _age(seconds: float) -> str:
    for limit, unit, text in ((60, 1, "s"), (3600, 60, "min"), (86400, 3600, "h")):
        if seconds < limit:
            return f"{max(seconds, 0) / unit:.0f} {text}"
    return f"{seconds / 86400:.0f} d"
