"""Saying what is wrong with a directory that a command was given, before anything is asked of it."""

from __future__ import annotations

import os
from pathlib import Path

from proteinflex_optimization.errors import ProteinFlexError


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
