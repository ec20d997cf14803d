"""Making the parsers of commands, each with an example, and completion of names."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from proteinflex_optimization._arguments import path_text
from proteinflex_optimization.cli.directories import check_directory
from proteinflex_optimization.remote.tiered_cache import DIRECTORY_VARIABLE

if TYPE_CHECKING:
    from proteinflex_optimization import DataHandler

Run = Callable[[argparse.Namespace], int]


def add_command(
    commands: Any, name: str, text: str, *examples: str, description: str | None = None
) -> Any:
    """Add a command whose help ends with examples.

    Parameters
    ----------
    commands : subparsers action
        Where to add it.
    name : str
        Its name.
    text : str
        One line of help.
    *examples : str
        Command lines.
    description : str, optional
        What ``--help`` says of it; the line of help by default.
    """
    parser = commands.add_parser(
        name, help=text, description=description or f"{text[0].upper()}{text[1:]}."
    )
    add_examples(parser, *examples)
    return parser


def add_commands(parser: Any, metavar: str) -> Any:
    """Let a command have others below it; without one, its help says which there are."""

    def show_help(_: argparse.Namespace) -> int:
        parser.print_help(sys.stderr)
        return 2

    parser.set_defaults(func=show_help)
    return parser.add_subparsers(metavar=metavar)


def add_examples(parser: Any, *examples: str) -> None:
    """End the help of a command with command lines, each on a line of its own."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = textwrap.fill(parser.description, WIDTH)
    parser.epilog = "examples:\n" + "\n".join(f"  {example}" for example in examples)


def open_cache(directory: str | None, *, read_only: bool = False) -> DataHandler:
    """Open a cache; by `read_only` nothing in it is changed, and none that is missing is made."""
    from proteinflex_optimization import DataHandler

    given = directory or os.environ.get(DIRECTORY_VARIABLE)
    if given:
        check_directory(path_text("cache_dir" if directory else DIRECTORY_VARIABLE, given))
    return DataHandler(directory, read_only=read_only)


def look_at_cache(options: argparse.Namespace) -> DataHandler:
    """Open the cache of a command without changing anything in it; an error where there is none."""
    return open_cache(options.dir, read_only=True)


def complete_entries(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    """Return the names and keys of entries that begin so, for a shell."""
    try:
        handler = open_cache(getattr(parsed_args, "dir", None), read_only=True)
        keys = handler.keys()
        if prefix.startswith(("s-", "t-")):
            return [key for key in keys if key.startswith(prefix)]
        return sorted({handler.info(key)["data_id"] for key in keys[:MAX_COMPLETED]})
    except Exception:
        return []  # A shell has no place for an error.


def complete_checkpoints(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    """Return the ids of checkpoints that begin so, for a shell."""
    from proteinflex_optimization import CheckpointManager

    try:
        rows = CheckpointManager(parsed_args.directory, read_only=True).list_checkpoints()
        return [row["checkpoint_id"] for row in rows if row["checkpoint_id"].startswith(prefix)]
    except Exception:
        return []


WIDTH = 78
MAX_COMPLETED = 1000
"""Entries whose names are read for a completion: a tenth of a second."""
