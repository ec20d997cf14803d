"""Which errors are of the system, whatever library raises them: they tell nothing of a file's content."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

NO_THREAD = "can't start new thread"
"""What Python says in a bare `RuntimeError`."""


def is_of_system(error: BaseException) -> bool:
    """Whether the system failed, memory and threads included, rather than what was read is wrong.

    Libraries raise an `OSError` without a number for what a file holds, netCDF4 one below 0, and
    damage makes them seek to where nothing can be (EINVAL).
    """
    if isinstance(error, OSError):
        return (error.errno or 0) > 0 and error.errno != errno.EINVAL
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and str(error) == NO_THREAD
    )


@contextmanager
def naming(path: str | os.PathLike[str], hidden: str | None = None) -> Iterator[None]:
    """Name a file in the errors of the system that name none, or a hidden one that becomes it."""
    try:
        yield
    except OSError as error:
        if is_of_system(error) and error.filename is None:
            error.filename = os.fspath(path)
        for attribute in ("filename", "filename2"):
            name = getattr(error, attribute)
            if hidden is not None and isinstance(name, str):
                setattr(error, attribute, name.replace(hidden, os.fsdecode(path)))
        raise
