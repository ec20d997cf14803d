"""Writers of trajectories that are still open when the process ends: what they hold is kept."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from ._at_exit import at_exit
from ._log import get_logger
from .errors import ProteinFlexError

if TYPE_CHECKING:
    from . import _native

_log = get_logger(__name__)

_writers: weakref.WeakSet[_native.TrajectoryWriter] = weakref.WeakSet()


def kept_at_exit(writer: _native.TrajectoryWriter) -> _native.TrajectoryWriter:
    """Return a writer, which is suspended at the end of the process where nobody has closed it."""
    _writers.add(writer)
    return writer


@at_exit
def _suspend_all() -> None:
    # One that is collected does the same by itself, but not every object is, at the end.
    for writer in list(_writers):
        try:
            writer.suspend()
        except (ProteinFlexError, OSError) as error:
            _log.warning("the last frames of %r may not be durable: %s", writer, error)
