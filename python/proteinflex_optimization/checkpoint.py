"""`CheckpointManager`, which waits for what is still being saved when the interpreter ends."""

from __future__ import annotations

import atexit
import logging
import os
import weakref
from typing import Any

from . import _native
from .errors import ProteinFlexError

logger = logging.getLogger("proteinflex_optimization")

_managers: weakref.WeakSet[CheckpointManager] = weakref.WeakSet()


class CheckpointManager(_native.CheckpointManager):  # noqa: D101, it is the native class's
    __doc__ = _native.CheckpointManager.__doc__

    def __init__(self, *arguments: Any, **options: Any) -> None:
        _managers.add(self)


@atexit.register
def _finish() -> None:
    """Let saves in the background finish; a daemon thread would be cut off in the middle."""
    for manager in list(_managers):
        try:
            manager.wait()
        except (ProteinFlexError, OSError) as error:
            logger.error("a checkpoint in the background failed (pid %d): %s", os.getpid(), error)
