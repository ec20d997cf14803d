"""`CheckpointManager`, which waits for what is still being saved when the interpreter ends."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Any

from proteinflex_optimization._log import get_logger

from . import _native
from ._at_exit import at_exit
from ._outline import rows
from ._reopen import attributes, reopen
from .errors import ProteinFlexError
from .types import StrPath, ValueInfo

logger = get_logger()

_managers: weakref.WeakSet[CheckpointManager] = weakref.WeakSet()
_pending: set[_native.PendingCheckpoint] = set()
"""Saves that go on, or whose error nobody has seen, also where their manager is gone."""


class CheckpointManager(_native.CheckpointManager):  # noqa: D101, it is the native class's
    __doc__ = _native.CheckpointManager.__doc__

    def __init__(
        self,
        base_dir: StrPath,
        max_checkpoints: int = 5,
        auto_cleanup: bool = True,
        *,
        keep_every: int | None = None,
        link_unchanged: bool = True,
        durable: bool = True,
        read_only: bool = False,
    ) -> None:
        self._options: dict[str, Any] = {
            "max_checkpoints": max_checkpoints,
            "auto_cleanup": auto_cleanup,
            "keep_every": keep_every,
            "link_unchanged": link_unchanged,
            "durable": durable,
            "read_only": read_only,
        }
        super().__init__(base_dir, **self._options)
        _managers.add(self)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the directory and the options."""
        arguments = (self.base_dir.absolute(),)
        recipe = (type(self), CheckpointManager, arguments, self._options)
        return reopen, recipe, self.__getstate__()

    def __getstate__(self) -> dict[str, Any] | None:
        """Return what a subclass has added."""
        return attributes(self, "_options")

    def _repr_html_(self) -> str:
        """Show in a notebook which checkpoints there are."""
        from ._html import checkpoints

        return checkpoints(str(self.base_dir), self.list_checkpoints())

    def outline(self, checkpoint_path: StrPath) -> dict[str, list[ValueInfo]]:
        """Tell what a checkpoint holds, without loading its arrays and without running any code of it.

        Parameters
        ----------
        checkpoint_path : str
            From `create_checkpoint`, `latest` or `list_checkpoints`.

        Returns
        -------
        dict
            For each component its values, in their order: ``path`` (the keys that lead to it),
            ``type``, ``dtype`` and ``shape`` of arrays and tensors, ``bytes``, and ``value`` of small
            plain ones, as text.

        Raises
        ------
        CheckpointError
            There is no checkpoint.
        CorruptDataError
            Its plain values are damaged. The arrays are not read.
        """
        return {name: rows(value) for name, value in self._outline(checkpoint_path).items()}

    def create_checkpoint_async(
        self,
        checkpoint_id: str,
        component_states: dict[str, Any],
        *,
        metadata: dict[str, Any] | None = None,
        allow_pickle: bool = False,
    ) -> _native.PendingCheckpoint:
        """Save a state in the background.

        The state is copied before this returns, so it may be changed at once. One checkpoint is
        made at a time: this waits for an earlier one. The interpreter does not end before it is done.

        Parameters
        ----------
        checkpoint_id, component_states, metadata, allow_pickle
            As for `create_checkpoint`.

        Returns
        -------
        PendingCheckpoint
            With ``result(timeout=None)``, which returns the path or raises what went wrong, and
            ``done()``.

        Raises
        ------
        InvalidTypeError
            A value can't be stored; nothing was written.
        ProteinFlexError, OSError
            The error of an earlier save in the background that was not raised yet.
        """
        pending = super().create_checkpoint_async(
            checkpoint_id, component_states, metadata=metadata, allow_pickle=allow_pickle
        )
        _pending.difference_update([one for one in list(_pending) if not one._is_open()])
        _pending.add(pending)
        return pending


@at_exit
def _finish() -> None:
    """Let saves in the background finish; the end of the process would cut them off."""
    waits: list[Callable[[], object]] = [one.result for one in list(_pending) if one._is_open()]
    for wait in (*waits, *(manager.wait for manager in list(_managers))):
        try:
            wait()
        except (ProteinFlexError, OSError) as error:
            logger.error("a checkpoint in the background failed (pid %d): %s", os.getpid(), error)
