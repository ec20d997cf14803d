"""What files are, and where."""

from __future__ import annotations

import stat
from pathlib import Path

from proteinflex_optimization import _native
from proteinflex_optimization._arguments import path_text
from proteinflex_optimization.errors import InvalidArgumentError
from proteinflex_optimization.types import StrPath

__all__ = ["is_local", "refuse_other_than_a_file"]


def is_local(directory: StrPath) -> bool:
    """Tell whether a directory is on a file system that is known to be of this host alone."""
    return _native.is_local_filesystem(directory)


def refuse_other_than_a_file(name: str, path: Path) -> None:
    """Refuse what is there and no regular file: a pipe would block, and a device never end.

    Raises
    ------
    InvalidArgumentError
        The argument ``name`` is a directory, a pipe, a socket or a device, or no file can have it.
    """
    path_text(name, path)
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        what = "a directory" if stat.S_ISDIR(mode) else "a pipe, a socket or a device"
        raise InvalidArgumentError(
            f"{name}={str(path)!r} is not valid: it is {what}, expected a regular file"
        )
