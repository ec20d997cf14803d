"""`flexopt cache`: what is in a cache, whether it is whole, and making room by hand."""

from __future__ import annotations

from typing import Any

from proteinflex_optimization.cli import confirm, entries, remote, removal, transfer
from proteinflex_optimization.cli.commands import (
    Run,
    add_command,
    add_commands,
    complete_entries,
)
from proteinflex_optimization.cli.directories import home_expanded

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
        entries.print_list,
        "list the entries, those used last first, and unfinished trajectories",
        "flexopt cache ls --sort size",
        "flexopt cache ls --dir cache --json",
        "flexopt cache ls s3://bucket/project",
    )
    command.add_argument(
        "url", nargs="?", metavar="URL", help="list the objects below a URL instead of a cache"
    )
    command.add_argument("--kind", choices=("structure", "trajectory"), help="only these")
    command.add_argument("--sort", choices=tuple(entries.SORTED_BY), default="used")
    command.add_argument("-q", "--quiet", action="store_true", help="print keys only")


def _add_stats(commands: Any) -> None:
    _command(
        commands,
        "stats",
        entries.print_stats,
        "how full the cache is",
        "flexopt cache stats --dir cache",
    )


def _add_info(commands: Any) -> None:
    command = _command(
        commands,
        "info",
        entries.print_info,
        "show what an entry holds: arrays, metadata, sizes",
        "flexopt cache info protein1_md",
        "flexopt cache info s3://bucket/run.fxt",
    )
    _add_key(command)


def _add_verify(commands: Any) -> None:
    command = _command(
        commands,
        "verify",
        entries.verify,
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
        entries.export,
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
        entries.import_files,
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
        "--dt",
        type=float,
        metavar="PS",
        help="between frames, where the file has no times; others are kept",
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
