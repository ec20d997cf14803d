"""Progress of long jobs: hierarchical, shared between processes, and safe from ``kill -9``."""

from __future__ import annotations

import atexit
import logging
import os
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from proteinflex_optimization import _native
from proteinflex_optimization._native import ProgressReader, TaskHandle
from proteinflex_optimization.errors import InvalidTypeError
from proteinflex_optimization.types import ProgressInfo, StrPath

if TYPE_CHECKING:
    from proteinflex_optimization.display import Display

__all__ = ["ProgressReader", "ProgressTracker", "TaskHandle"]

Item = TypeVar("Item")

_log = logging.getLogger(__name__)


class _Pending(Protocol):
    def done(self) -> bool: ...

    def result(self, timeout: float | None = None) -> Any: ...


class _Manager(Protocol):
    def create_checkpoint_async(
        self, checkpoint_id: str, component_states: dict[str, Any]
    ) -> _Pending: ...


class ProgressTracker(_native.ProgressTracker):  # noqa: D101, it is the native class's
    __doc__ = _native.ProgressTracker.__doc__

    _display: Display | None
    _interval: float

    def __init__(
        self,
        total_steps: int | None = 100,
        checkpoint_dir: StrPath | None = None,
        auto_checkpoint: bool = True,
        checkpoint_interval: float = 300,
        *,
        display: bool | None = None,
    ) -> None:
        # The native constructor has done the work, and knows whether total_steps was passed.
        self._interval = checkpoint_interval
        self._display = None
        _trackers.add(self)
        if display:
            from proteinflex_optimization.display import Display

            reference = weakref.ref(self)

            def progress() -> ProgressInfo | None:
                tracker = reference()
                return None if tracker is None else tracker.get_progress()

            self._display = Display(progress)
            self._display.start()

    @staticmethod
    def attach(directory: StrPath) -> ProgressReader:
        """Read the progress of a job that runs elsewhere, live.

        Parameters
        ----------
        directory : str or path
            The `checkpoint_dir` of that job's tracker.

        Returns
        -------
        ProgressReader
            Its ``get_progress()`` shows what the job has done so far.

        Raises
        ------
        FileNotFoundError
            No tracker was ever opened there.
        CorruptDataError, UnsupportedFormatError
            The counters are damaged and there is no snapshot, or they are of another format.
        """
        return ProgressReader(directory)

    def track(
        self,
        iterable: Iterable[Item],
        task_id: str,
        task_name: str | None = None,
        total_steps: int | None = None,
        parent_task: str | None = None,
    ) -> Iterator[Item]:
        """Go through an iterable and count each item once its work is done.

        Parameters
        ----------
        iterable : iterable
            What to go through.
        task_id : str
            The task that counts it; started here.
        task_name : str, optional
            What people call it; the id by default.
        total_steps : int, optional
            How many items there are; by default ``len(iterable)``, and unknown where it has none.
        parent_task : str, optional
            The task that this one is a part of.

        Returns
        -------
        iterator
            The items. The task is complete after the last, and failed where the iterable raises.
        """
        if total_steps is None:
            length = getattr(type(iterable), "__len__", None)
            total_steps = None if length is None else length(iterable)
        handle = self.start_task(
            task_id, task_id if task_name is None else task_name, total_steps, parent_task
        )
        return _counted(iterable, handle)

    def checkpoint_with(self, manager: _Manager, states: Callable[[], Mapping[str, Any]]) -> None:
        """Save what `states` returns, every `checkpoint_interval` seconds.

        It is called in the thread of the next update after the interval, which is the job's own
        safe point, and its result is saved in the background by
        ``manager.create_checkpoint_async``. What either of them raises is logged, each kind once,
        and never reaches the job.

        Parameters
        ----------
        manager : CheckpointManager
            Where to save.
        states : callable
            Returns the dict of component states; takes no arguments.
        """
        if not callable(getattr(manager, "create_checkpoint_async", None)):
            raise InvalidTypeError(f"manager={manager!r}: expected a CheckpointManager")
        if not callable(states):
            raise InvalidTypeError(f"states={states!r}: expected a function without arguments")
        self._set_hook(_CheckpointHook(manager, states), self._interval)

    def finish(self) -> None:
        """Declare everything done, write a last snapshot and end the background thread."""
        super().finish()
        self._stop_display()

    def close(self) -> None:
        """End the background thread, after a last snapshot; what is counted stays."""
        self._stop_display()
        super().close()

    def __enter__(self) -> ProgressTracker:
        """Use as a context manager: it is closed at the end."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it, whatever happened; a later run resumes."""
        self.close()

    def __repr__(self) -> str:
        """Show how far it is."""
        progress = self.get_progress()
        place = self.checkpoint_dir or "in memory"
        percent, tasks = progress["percent"], len(progress["tasks"])
        return f"<ProgressTracker {percent:.1f} %, {tasks} tasks, {place}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by directory: the other process counts in the same file."""
        if self.checkpoint_dir is None:
            raise TypeError(
                "a tracker without checkpoint_dir can't be sent to another process; give it one"
            )
        return _reopen, (self.checkpoint_dir,)

    def _stop_display(self) -> None:
        if self._display is not None:
            self._display.stop()
            self._display = None


def _counted(iterable: Iterable[Item], handle: TaskHandle) -> Iterator[Item]:
    try:
        for item in iterable:
            yield item
            handle.update()
    except GeneratorExit:
        # Left early: what is done is counted, and a later run may go on.
        raise
    except Exception as error:
        handle.fail(f"{type(error).__name__}: {error}")
        raise
    handle.complete()


class _CheckpointHook:
    """Saves states now and then, and keeps quiet about a problem that it has told once."""

    def __init__(self, manager: _Manager, states: Callable[[], Mapping[str, Any]]) -> None:
        self._manager = manager
        self._states = states
        self._pending: _Pending | None = None
        self._told: set[str] = set()
        self._process = os.getpid()

    def __call__(self) -> None:
        if os.getpid() != self._process:
            return
        try:
            if self._pending is not None:
                if not self._pending.done():
                    return
                pending, self._pending = self._pending, None
                pending.result(0)
        except Exception as error:
            self._tell("saving the last checkpoint failed", error)
        try:
            states = dict(self._states())
            self._pending = self._manager.create_checkpoint_async(
                f"progress-{time.time_ns() // 1_000_000}", states
            )
        except Exception as error:
            self._tell("no checkpoint was made", error)

    def _tell(self, what: str, error: Exception) -> None:
        kind = f"{what}: {type(error).__name__}"
        if kind not in self._told:
            self._told.add(kind)
            _log.error("%s; the job goes on", what, exc_info=error)


_trackers: weakref.WeakSet[ProgressTracker] = weakref.WeakSet()
_reopened: weakref.WeakValueDictionary[str, ProgressTracker] = weakref.WeakValueDictionary()


def _close_all() -> None:
    """Close what is still open at exit: a last snapshot, and the threads end."""
    for tracker in list(_trackers):
        try:
            tracker.close()
        except Exception as error:
            _log.warning("the last snapshot of %s failed: %s", tracker.checkpoint_dir, error)


atexit.register(_close_all)


def _after_fork() -> None:
    for tracker in list(_trackers):
        tracker._after_fork()
        # Its thread is the parent's, and so is the terminal.
        tracker._display = None


os.register_at_fork(after_in_child=_after_fork)


def _reopen(directory: str) -> ProgressTracker:
    """Open a tracker's directory in another process, once."""
    key = str(Path(directory).resolve())
    tracker = _reopened.get(key)
    if tracker is None:
        # The process that made it writes the snapshots.
        tracker = ProgressTracker(checkpoint_dir=directory, auto_checkpoint=False)
        _reopened[key] = tracker
    return tracker


def _reopen_task(directory: str, task_id: str) -> TaskHandle:
    return _reopen(directory)._task(task_id)
