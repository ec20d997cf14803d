"""What the core knows about file systems, for the command line."""

from __future__ import annotations

from proteinflex_optimization import _native
from proteinflex_optimization.types import StrPath

__all__ = ["is_local"]


def is_local(directory: StrPath) -> bool:
    """Tell whether a directory is on a file system that is known to be of this host alone."""
    return _native.is_local_filesystem(directory)
