"""The paths that a command was given, and what is wrong with a directory before anything is asked of it."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from proteinflex_optimization._arguments import path_text
from proteinflex_optimization.errors import InvalidArgumentError, ProteinFlexError


def home_expanded(text: str) -> str:
    """Return a path that was typed: of ``--dir=~/cache``, a shell leaves the ``~`` to the program.

    Raises
    ------
    ArgumentTypeError
        There is no such home directory, it is a URL, no file can have this path, or it is empty, as
        that of a variable of the shell that is not set: it would be the current directory.
    """
    try:
        return path_text("path", text)
    except InvalidArgumentError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("path=")) from None


def expanded_path(text: str) -> Path:
    """Return what was typed as a `Path`, as `home_expanded` does as a text."""
    return Path(home_expanded(text))


def check_directory(path: str | Path) -> None:
    """Refuse something else than a directory, or one that may not be read.

    One that is not there is left to the command, which knows what should be in it.

    Raises
    ------
    ProteinFlexError
        It is a file, or permissions keep it from being read.
    """
    try:
        os.scandir(path).close()
        may_enter = os.access(path, os.X_OK)
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise ProteinFlexError(f"{path} is not a directory: expected one, found a file") from None
    except PermissionError:
        may_enter = False
    if not may_enter:
        raise ProteinFlexError(f"{path} can't be read: its permissions deny it to this user")
