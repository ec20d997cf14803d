"""Several requests of a process at the same time, each of which waits in a thread of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from queue import SimpleQueue
from threading import Thread, current_thread, main_thread
from typing import Any

from .._native import is_interrupted

IN_FLIGHT = 16
"""Requests at the same time: at 50 ms each, 1 MB each, they fill a line of 300 MB/s."""
PAUSE = 0.05
"""Seconds after which a wait looks whether it is still wanted."""

Task = tuple["Future[Any]", Callable[[], Any]]


class _Threads:
    """Daemon threads: a request that a server lets hang does not keep a program from ending."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self._tasks: SimpleQueue[Task] = SimpleQueue()
        self._started = 0

    def submit(self, task: Callable[[], Any]) -> Future[Any]:
        if self._started < IN_FLIGHT:
            # One too many, where two threads come here at once, does no harm.
            self._started += 1
            Thread(target=self._work, name="proteinflex-request", daemon=True).start()
        future: Future[Any] = Future()
        self._tasks.put((future, task))
        return future

    def _work(self) -> None:
        while True:
            future, task = self._tasks.get()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(task())
            except BaseException as error:
                future.set_exception(error)
            # Nothing of the last request stays in memory while this waits for another.
            del future, task


_threads: _Threads | None = None


def waited(task: Callable[[], Any]) -> Any:
    """Run a task; in the main thread so that Ctrl-C ends the wait for it, which no library looks for."""
    if current_thread() is main_thread():
        return run_all([task])[0]
    return task()


def run_all(tasks: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run tasks at the same time and return what they return, in their order.

    Raises
    ------
    InterruptedError
        The call of this package that waits for them was interrupted. Any error of a task: that of
        the first one that failed. In both cases those that have not begun are left out.
    """
    global _threads
    threads = _threads
    if threads is None or threads.process != os.getpid():
        # A child that was forked has the object and not its threads.
        threads = _threads = _Threads()
    futures = [threads.submit(task) for task in tasks]
    waiting = set(futures)
    try:
        while waiting:
            done, waiting = wait(waiting, timeout=PAUSE, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
            if is_interrupted():
                raise InterruptedError
    except BaseException:
        for future in waiting:
            future.cancel()
        raise
    return [future.result() for future in futures]
