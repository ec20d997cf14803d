"""Checkpoints that the updates of a tracker save: every so often, and before a stop."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from proteinflex_optimization._log import get_logger

_log = get_logger("proteinflex_optimization.progress")


class Pending(Protocol):
    """A checkpoint that is being saved."""

    def done(self) -> bool: ...

    def result(self, timeout: float | None = None) -> Any: ...


class Manager(Protocol):
    """A `CheckpointManager`."""

    def create_checkpoint_async(
        self, checkpoint_id: str, component_states: dict[str, Any]
    ) -> Pending: ...

    def create_checkpoint(self, checkpoint_id: str, component_states: dict[str, Any]) -> str: ...


class Stop(Protocol):
    """A `StopRequest`."""

    _is_active: bool

    @property
    def requested(self) -> bool: ...

    def check(self) -> None: ...

    def _notify(self, tracker: Any) -> None: ...


class CheckpointHook:
    """Saves states; logs each kind of error once."""

    def __init__(
        self,
        manager: Manager,
        states: Callable[[], Mapping[str, Any]],
        stop: Stop | None,
        interval: float,
        call_again: Callable[[], None],
    ) -> None:
        self._manager = manager
        self._states = states
        self._stop = stop
        self._interval = interval
        self._due = time.monotonic() + interval
        self._call_again = call_again
        self._stopping = threading.local()
        self._has_saved_to_stop = False
        self._pending: Pending | None = None
        self._logged: set[str] = set()
        self._process = os.getpid()

    def __call__(self) -> None:
        if os.getpid() != self._process:
            return
        try:
            self._look()
        finally:
            if self._stop is not None and self._stop.requested:
                # By the next update of whichever thread: each of them is to stop.
                self._call_again()

    def _look(self) -> None:
        if self._stop is not None:
            if self._stop.requested and not hasattr(self._stopping, "has_begun"):
                self._stopping.has_begun = True
                self._save_and_stop(self._stop)
            if time.monotonic() < self._due:
                return
            self._due = time.monotonic() + self._interval
        try:
            if self._pending is not None:
                if not self._pending.done():
                    return
                pending, self._pending = self._pending, None
                pending.result(0)
        except Exception as error:
            self._log_once("saving the last checkpoint failed", error)
        try:
            states = dict(self._states())
            self._pending = self._manager.create_checkpoint_async(_checkpoint_id(), states)
        except Exception as error:
            self._log_once("no checkpoint was made", error)

    def _save_and_stop(self, stop: Stop) -> None:
        is_main = threading.current_thread() is threading.main_thread()
        if self._has_saved_to_stop and not is_main:
            stop.check()
        self._has_saved_to_stop = True
        pending, self._pending = self._pending, None
        try:
            if pending is not None:
                # Else its error would be raised in place of the last save.
                pending.result()
        except Exception as error:
            self._log_once("saving the last checkpoint failed", error)
        try:
            self._manager.create_checkpoint(_checkpoint_id(), dict(self._states()))
        except Exception as error:
            _log.error("no checkpoint was made; the job stops", exc_info=error)
            # Raised here, so that the error is its context.
            stop.check()
        stop.check()

    def _log_once(self, what: str, error: Exception) -> None:
        kind = f"{what}: {type(error).__name__}"
        if kind not in self._logged:
            self._logged.add(kind)
            _log.error("%s; the job goes on", what, exc_info=error)


def _checkpoint_id() -> str:
    return f"progress-{time.time_ns() // 1_000_000}"
