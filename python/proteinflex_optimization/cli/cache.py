"""`flexopt cache`: what is in a cache, whether it is whole, and making room by hand."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proteinflex_optimization.cli import confirm, objects, remote, removal, transfer
from proteinflex_optimization.cli.commands import (
    Run,
    add_command,
    add_commands,
    complete_entries,
    look_at_cache,
    open_cache,
)
from proteinflex_optimization.cli.directories import home_expanded
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
KEY_HELP = "a key, the beginning of one, a name, or the URL of a trajectory"


def add_parser(subparsers: Any) -> None:
    """Add this command."""
    parser = add_command(
        subparsers,
        "cache",
        "list, check and prune cached structures and trajectories",
        "flexopt cache ls",
        "flexopt cache export protein1_md run.xtc --dir cache",
        description="What is in a cache directory. KEY is a key, the name (data_id) of an entry or, but "
        "for rm, a unique beginning of a key. Sizes are decimal: 1 GB is 10^9 bytes.",
    )
    commands = add_commands(parser, "COMMAND")
    for add in (
        _add_ls,
        _add_stats,
        _add_info,
        _add_verify,
        _add_prune,
        _add_export,
        _add_import,
        _add_push,
        _add_pull,
        _add_rm,
        _add_clear,
    ):
        add(commands)


def _add_ls(commands: Any) -> None:
    command = _command(
        commands,
        "ls",
        _list,
        "list the entries, those used last first, and unfinished trajectories",
        "flexopt cache ls --sort size",
        "flexopt cache ls --dir cache --json",
        "flexopt cache ls s3://bucket/project",
    )
    command.add_argument(
        "url", nargs="?", metavar="URL", help="list the objects below a URL instead of a cache"
    )
    command.add_argument("--kind", choices=("structure", "trajectory"), help="only these")
    command.add_argument("--sort", choices=tuple(SORTED_BY), default="used")
    command.add_argument("-q", "--quiet", action="store_true", help="print keys only")


def _add_stats(commands: Any) -> None:
    _command(commands, "stats", _stats, "how full the cache is", "flexopt cache stats --dir cache")


def _add_info(commands: Any) -> None:
    command = _command(
        commands,
        "info",
        _info,
        "show what an entry holds: arrays, metadata, sizes",
        "flexopt cache info protein1_md",
        "flexopt cache info s3://bucket/run.fxt",
    )
    _add_key(command)


def _add_verify(commands: Any) -> None:
    command = _command(
        commands,
        "verify",
        _verify,
        "read every byte back and name what is damaged",
        "flexopt cache verify",
        "flexopt cache verify protein1_md --quarantine",
    )
    _add_key(command, "keys", "*")
    command.add_argument(
        "--quarantine", action="store_true", help="move damaged entries out of the way"
    )


def _add_prune(commands: Any) -> None:
    command = _command(
        commands,
        "prune",
        removal.prune,
        "remove leftover files, and entries down to a size",
        "flexopt cache prune --to 50GB --dry-run",
        "flexopt cache prune --to 80% --yes",
    )
    command.add_argument(
        "--to", metavar="SIZE", help="with its unit: 500MB, 50GB, 4GiB, or 80%% of the limit"
    )
    confirm.add_arguments(command)


def _add_export(commands: Any) -> None:
    command = _command(
        commands,
        "export",
        _export,
        "write an entry as a file of another format",
        "flexopt cache export protein1_md run.xtc",
        "flexopt cache export t-1f0c92 arrays.npz",
        "flexopt cache export https://example.org/run.fxt run.xtc",
    )
    _add_key(command)
    command.add_argument(
        "file",
        type=home_expanded,
        metavar="FILE",
        help=".npz for its arrays; of a trajectory in Å, .fxt for a copy, or .xtc, .dcd, .trr, .h5md, "
        ".pdb, …, .zarr",
    )
    command.add_argument("--force", action="store_true", help="replace a file that is there")


def _add_import(commands: Any) -> None:
    command = _command(
        commands,
        "import",
        _import,
        "store a file as an entry; makes the cache where there is none",
        "flexopt cache import 1ubq.pdb --dir cache",
        "flexopt cache import run.xtc --topology protein.gro --id protein1_md",
    )
    command.add_argument(
        "files",
        nargs="+",
        type=home_expanded,
        metavar="FILE",
        help="a structure (.pdb, .cif), .fxt, .npz, .zarr, or anything MDAnalysis reads; several are the "
        "parts of one run",
    )
    command.add_argument(
        "--kind", choices=("structure", "trajectory"), help="default: by suffix and topology"
    )
    command.add_argument(
        "--topology",
        type=home_expanded,
        metavar="FILE",
        help="such as .pdb, .gro or .psf; it is kept with the frames",
    )
    command.add_argument("--format", help="such as LAMMPSDUMP; default: by suffix")
    command.add_argument("--topology-format", metavar="FORMAT", help="default: by suffix")
    command.add_argument(
        "--dt", type=float, metavar="PS", help="between frames, where the file has no times"
    )
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
    command.add_argument(
        "--precision",
        type=transfer.parse_precision,
        metavar="SPACING",
        help="of coordinates, in Å, or by field: frames=0.001,velocities=0.01,forces=1 "
        "(Å, Å/ps, kJ/mol/nm); default: lossless",
    )
    command.add_argument("--profile", choices=("default", "archive"))
    command.add_argument("--force", action="store_true", help="replace an entry of this name")


def _add_push(commands: Any) -> None:
    command = _command(
        commands,
        "push",
        remote.push,
        "send entries to an object store",
        "flexopt cache push protein1_md s3://bucket/cache",
        "flexopt cache push --all s3://bucket/cache --dir cache",
    )
    _add_key(command, "keys", "*", "a key, the beginning of one, or a name")
    command.add_argument("url", metavar="URL", help="below which they are stored")
    command.add_argument("--all", action="store_true", help="all entries")


def _add_pull(commands: Any) -> None:
    command = _command(
        commands,
        "pull",
        remote.pull,
        "fetch an entry, or all below a URL; makes the cache where there is none",
        "flexopt cache pull s3://bucket/cache --dir cache",
    )
    command.add_argument("url", metavar="URL", help="of one entry, or what push was given")


def _add_rm(commands: Any) -> None:
    command = _command(
        commands,
        "rm",
        removal.remove,
        "remove entries",
        "flexopt cache rm protein1_md",
        "flexopt cache rm protein1 protein1_md --dry-run",
    )
    _add_key(command, "keys", "+", "a whole key, or a name")
    command.add_argument(
        "--unfinished", action="store_true", help="trajectories that wait to be resumed instead"
    )
    confirm.add_arguments(command)


def _add_clear(commands: Any) -> None:
    command = _command(
        commands,
        "clear",
        removal.clear,
        "remove all entries, also pinned ones",
        "flexopt cache clear --dir cache --dry-run",
        "flexopt cache clear --dir cache --yes",
    )
    confirm.add_arguments(command)


def _command(commands: Any, name: str, run: Run, text: str, *examples: str) -> Any:
    parser = add_command(commands, name, text, *examples)
    parser.add_argument(
        "--dir",
        type=home_expanded,
        metavar="DIR",
        help="the cache directory; default: as DataHandler() finds it",
    )
    parser.add_argument("--json", action="store_true", help="for scripts")
    parser.set_defaults(func=run)
    return parser


def _add_key(
    parser: Any, name: str = "key", count: str | None = None, text: str = KEY_HELP
) -> None:
    argument = parser.add_argument(name, metavar="KEY", nargs=count, help=text)
    argument.completer = complete_entries


def _list(options: argparse.Namespace) -> int:
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


def _stats(options: argparse.Namespace) -> int:
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


def _info(options: argparse.Namespace) -> int:
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


def _verify(options: argparse.Namespace) -> int:
    from proteinflex_optimization import CacheKeyError, UnsupportedFormatError

    urls = [key for key in options.keys if is_url(key)]
    if urls:
        return _verify_objects(options, urls)
    handler = look_at_cache(options)
    keys = [entry_key(handler, key) for key in options.keys] or handler.keys()
    if options.quarantine:
        handler = open_cache(options.dir)
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
        except UnsupportedFormatError as error:
            if options.keys:
                raise
            warn(f"{error}; it is not verified")
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
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


def _export(options: argparse.Namespace) -> int:
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


def _import(options: argparse.Namespace) -> int:
    given = [("FILE", file) for file in options.files] + [("--topology", options.topology)]
    for argument, file in given:
        # Before a cache is made.
        if file is not None and not Path(file).exists():
            raise InvalidArgumentError(f"{argument}={file!r} is not valid: there is no such file")
    with removal.no_unused_cache(options.dir):
        result = transfer.import_files(open_cache(options.dir), options)
    if options.json:
        print_json(result)
        return 0
    print(
        f"stored {printable(result['data_id'])} as {result['key']} "
        f"({size(result['stored_bytes'])}, {result['saved_percent']:.1f} % saved)"
    )
    return 0
