"""Progress of long jobs: hierarchical, shared between processes, and safe from ``kill -9``."""

from __future__ import annotations

import os
import reprlib
import sys
import threading
import weakref
from collections.abc import Callable, Generator, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from proteinflex_optimization import _native
from proteinflex_optimization._arguments import flag, renamed, text, whole
from proteinflex_optimization._at_exit import at_exit
from proteinflex_optimization._checkpoint_hook import CheckpointHook, Manager, Stop
from proteinflex_optimization._log import get_logger
from proteinflex_optimization._native import TaskHandle
from proteinflex_optimization._reopen import attributes, reopen
from proteinflex_optimization._tracked import Tracked, count_each
from proteinflex_optimization.errors import InvalidArgumentError, InvalidTypeError
from proteinflex_optimization.types import ProgressInfo, StrPath

if TYPE_CHECKING:
    from proteinflex_optimization.display import Display

__all__ = ["ProgressReader", "ProgressTracker", "TaskHandle", "Tracked", "track"]

Item = TypeVar("Item")

_log = get_logger(__name__)

DEFAULT_STEPS = type("Default", (int,), {})(100)
"""This very object stands for none: the sum of the root tasks counts."""

STOP_SECONDS = 0.5
"""How late a time limit may be noticed, at most."""


class ProgressReader(_native.ProgressReader):  # noqa: D101, it is the native class's
    __doc__ = _native.ProgressReader.__doc__

    def _repr_html_(self) -> str:
        """Show the tasks in a notebook."""
        from proteinflex_optimization.display import html

        return html(self.get_progress())


class ProgressTracker(_native.ProgressTracker):  # noqa: D101, it is the native class's
    __doc__ = _native.ProgressTracker.__doc__

    _display: Display | None

    def __init__(
        self,
        total_steps: int | None = DEFAULT_STEPS,
        checkpoint_dir: StrPath | None = None,
        auto_checkpoint: bool = True,
        checkpoint_interval: float = 300,
        *,
        display: bool | None = None,
    ) -> None:
        if display is not None:
            flag("display", display)
        super().__init__(
            None if total_steps is DEFAULT_STEPS else total_steps,
            checkpoint_dir,
            auto_checkpoint,
            checkpoint_interval,
        )
        self._interval = checkpoint_interval
        self._display = None
        _trackers.add(self)
        if display:
            self._start_display()

    @staticmethod
    def attach(directory: StrPath) -> ProgressReader:
        """Read the progress of another process, live.

        Parameters
        ----------
        directory : str or path
            The `checkpoint_dir` of that job's tracker.

        Returns
        -------
        ProgressReader
            Its ``get_progress()`` returns the progress of that job.

        Raises
        ------
        FileNotFoundError
            There are no progress files.
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
        *,
        completed: int = 0,
    ) -> Tracked[Item]:
        """Iterate, and count each item once its loop body has run.

        A rerun iterates from the beginning, so the task begins again too, unless another process or
        a loop of another thread is at it.

        Parameters
        ----------
        iterable : iterable
            The items.
        task_id : str
            The task that counts the items; started here.
        task_name : str, optional
            Its display name; the id by default.
        total_steps : int, optional
            The number of items; by default ``completed + len(iterable)``, and unknown where that
            raises TypeError, as of a generator.
        parent_task : str, optional
            The parent task.
        completed : int
            Items that were done before, where `iterable` holds only the rest.

        Returns
        -------
        Tracked
            An iterator of the items, with ``len()`` where their number is known, and ``task``, the
            handle of the task. The task is complete after the last item, and failed where the
            iterable raises; it stays as it is where the loop is left early.
        """
        text("task_id", task_id)
        whole("completed", completed, 0)
        if total_steps is None:
            try:
                total_steps = completed + len(iterable)  # type: ignore[arg-type]
            except TypeError:
                total_steps = None
        name = task_id if task_name is None else task_name
        # Loops of several threads share a task: only the first of them begins it. One of this thread
        # is no longer at it: it was left, and a variable still holds it.
        loops: dict[str, list[int]] = self.__dict__.setdefault("_loops", {})
        is_shared = any(thread != threading.get_ident() for thread in list(loops.get(task_id, ())))
        begins = None if is_shared else completed
        handle = self.start_task(task_id, name, total_steps, parent_task, completed=begins)
        n_items = None if total_steps is None else max(0, total_steps - completed)
        place = os.path.realpath(self.checkpoint_dir) if self.checkpoint_dir else str(id(self))
        return Tracked(count_each(iterable, handle, loops, place), handle, n_items)

    def checkpoint_with(
        self,
        manager: Manager,
        states: Callable[[], Mapping[str, Any]],
        *,
        stop: Stop | None = None,
    ) -> None:
        """Save what `states` returns, every `checkpoint_interval` seconds and before a stop.

        It is called by the next update after the interval, in the thread of that update: a safe
        point of the job. It may update tasks itself, and is never called from within itself. Its
        result is saved in the background by ``manager.create_checkpoint_async``. An exception of
        either of them is logged, each kind once, and not raised to the job.

        With `stop`, the first update after a request saves once more, waits until that is durable,
        and raises `StopRequested` from that update. The job ends so even where saving failed: the
        error is its context, and is logged. The next update of each other thread raises it as well,
        in the main thread after another save. A thread that goes on all the same is not stopped
        again, and its updates save every `checkpoint_interval` as before.

        One manager saves at a time: a later call takes the place of an earlier one and of its `stop`,
        which is logged where the later one has none.

        Parameters
        ----------
        manager : CheckpointManager
            Where to save.
        states : callable
            Returns the dict of component states; takes no arguments.
        stop : StopRequest, optional
            Whose request to obey; in its block.

        Raises
        ------
        InvalidArgumentError
            The block of `stop` has not begun or has ended: it would notice nothing.
        """
        if not callable(getattr(manager, "create_checkpoint_async", None)):
            shown = reprlib.repr(manager)
            raise InvalidTypeError(f"manager={shown}: expected a CheckpointManager")
        if not callable(states):
            shown = reprlib.repr(states)
            raise InvalidTypeError(f"states={shown}: expected a function without arguments")
        if stop is not None and not callable(getattr(stop, "_notify", None)):
            raise InvalidTypeError(f"stop={reprlib.repr(stop)}: expected a StopRequest")
        if stop is not None and not stop._is_active:
            raise InvalidArgumentError(
                f"stop={reprlib.repr(stop)} notices nothing outside of its block: expected one in "
                "`with StopRequest() as stop:`"
            )
        # A time limit sends no signal: it is looked at about every second.
        interval = self._interval if stop is None else min(self._interval, STOP_SECONDS)
        reference = weakref.ref(self)

        def call_again() -> None:
            if (tracker := reference()) is not None:
                tracker._trigger_hook()

        hook = CheckpointHook(manager, states, stop, self._interval, call_again)
        if stop is None and self.__dict__.get("_stop") is not None:
            _log.warning(
                "checkpoint_with without stop=: the stop request given before counts no more"
            )
        self._stop = stop
        self._set_hook(hook, interval)
        if stop is not None:
            stop._notify(self)

    def finish(self) -> None:
        """Declare everything done, write a last snapshot and end the background thread.

        All tasks are completed but those that have failed, and those that other processes still work
        on: the whole is complete once these are.
        """
        try:
            super().finish()
        finally:
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
        """Close it, also after an exception; a later run resumes."""
        if sys.is_finalizing():
            return  # As of a loop that was left early: it was closed at exit.
        try:
            self.close()
        except Exception as error:
            if kind is None:
                raise
            _log.warning("closing the progress failed after an exception: %s", error)

    def __repr__(self) -> str:
        """Show percent, number of tasks and directory."""
        progress = self.get_progress()
        place = self.checkpoint_dir or "in memory"
        percent, n_tasks = progress["percent"], len(progress["tasks"])
        tasks = f"{n_tasks} task{'' if n_tasks == 1 else 's'}"
        return f"<ProgressTracker {percent:.1f} %, {tasks}, {place}>"

    def _repr_html_(self) -> str:
        """Show the tasks in a notebook."""
        from proteinflex_optimization.display import html

        return html(self.get_progress())

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by directory: the other process counts in the same file."""
        if self.checkpoint_dir is None:
            raise TypeError(
                "a tracker without checkpoint_dir can't be sent to another process; give it one"
            )
        return _reopen, (self.checkpoint_dir, type(self)), self.__getstate__()

    def __getstate__(self) -> dict[str, Any] | None:
        """Return what a subclass has added."""
        return attributes(self, "_display", "_interval", "_loops", "_stop")

    def _start_display(self) -> None:
        from proteinflex_optimization.display import Display

        reference = weakref.ref(self)

        def progress() -> ProgressInfo | None:
            tracker = reference()
            return None if tracker is None else tracker.get_progress()

        self._display = Display(progress)
        self._display.start()

    def _stop_display(self) -> None:
        display, self._display = self._display, None
        if display is not None:
            display.stop()


def track(
    iterable: Iterable[Item],
    name: str = "items",
    total_steps: int | None = None,
    *,
    checkpoint_dir: StrPath | None = None,
    display: bool = True,
) -> Tracked[Item]:
    """Iterate with a progress bar: ``for frame in track(frames): …``.

    Parameters
    ----------
    iterable : iterable
        The items.
    name : str
        What they are called beside the bar.
    total_steps : int, optional
        The number of items; by default ``len(iterable)``, and unknown where that raises TypeError,
        as of a generator.
    checkpoint_dir : str or path, optional
        Where to keep the progress for ``flexopt watch`` and `ProgressTracker.attach`; by default in
        memory. Loops that share it need a `name` each.
    display : bool
        Whether to show bars in a terminal or notebook, and else a line every ten seconds.

    Returns
    -------
    Tracked
        An iterator of the items, each of which counts once its loop body has run; with ``len()`` where
        their number is known, and ``task``, the handle of the task: ``loop.task.update(0, "loss 0.3")``
        shows a message.
    """
    flag("display", display)
    text("name", name)
    tracker = ProgressTracker(None, checkpoint_dir)
    with renamed("task_id", "name"):
        items = tracker.track(iterable, name, None, total_steps)
    return Tracked(_tracked(tracker, items, display), items.task, items._n_items)


def _tracked(
    tracker: ProgressTracker, items: Iterable[Item], display: bool
) -> Generator[Item, None, None]:
    """Pass items on, and close the tracker after the last, or where the loop is left early."""
    with tracker:
        if display:
            tracker._start_display()
        yield from items


_trackers: weakref.WeakSet[ProgressTracker] = weakref.WeakSet()
_reopened: weakref.WeakValueDictionary[tuple[type, str], ProgressTracker]
_reopened = weakref.WeakValueDictionary()


@at_exit
def _close_all() -> None:
    """Close open trackers at exit: a last snapshot, and the threads end."""
    for tracker in list(_trackers):
        try:
            tracker.close()
        except Exception as error:
            _log.warning("the last snapshot of %s failed: %s", tracker.checkpoint_dir, error)


def _after_fork() -> None:
    for tracker in list(_trackers):
        tracker._after_fork()
        # Its thread is the parent's, and so is the terminal.
        tracker._display = None


os.register_at_fork(after_in_child=_after_fork)


def _reopen(directory: str, kind: type[ProgressTracker] = ProgressTracker) -> ProgressTracker:
    """Open a tracker's directory in another process, once."""
    key = kind, str(Path(directory).resolve())
    tracker = _reopened.get(key)
    if tracker is None:
        # The process that made it writes the snapshots.
        options = {"checkpoint_dir": directory, "auto_checkpoint": False}
        tracker = reopen(kind, ProgressTracker, (), options)
        _reopened[key] = tracker
    return tracker


def _reopen_task(directory: str, task_id: str) -> TaskHandle:
    return _reopen(directory)._task(task_id)
