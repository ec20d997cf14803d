"""Several requests at the same time, each of which waits in a thread of its own.

One that a server lets hang holds up the call that waits for it, and nothing else.
"""

from __future__ import annotations

import errno
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Thread, current_thread, main_thread
from typing import TypeVar

from .._native import is_interrupted
from .._system_errors import is_of_system
from ..errors import RemoteError

IN_FLIGHT = 16
"""Requests of a call at the same time: at 50 ms each, 1 MB each, they fill a line of 300 MB/s."""
PAUSE = 0.05
"""Seconds after which a wait looks whether it is still wanted."""

Key = TypeVar("Key")
Value = TypeVar("Value")


def waited(task: Callable[[], Value]) -> Value:
    """Run a task; in the main thread so that Ctrl-C ends the wait for it, which no library looks for."""
    if current_thread() is main_thread():
        return run_all([task])[0]
    return task()


def within(seconds: float, shown: str, task: Callable[[], Value]) -> Value:
    """Run a task that may never end; after so many seconds it is left to itself."""
    ((_, value),) = finished([(None, task)], patience=seconds, shown=shown)
    return value


def run_all(tasks: Sequence[Callable[[], Value]]) -> list[Value]:
    """Run tasks at the same time and return what they return, in their order."""
    values = dict(finished(enumerate(tasks)))
    return [values[number] for number in range(len(tasks))]


def finished(
    tasks: Iterable[tuple[Key, Callable[[], Value]]],
    in_flight: int = IN_FLIGHT,
    *,
    patience: float = math.inf,
    shown: str = "",
) -> Iterator[tuple[Key, Value]]:
    """Run tasks, so many at a time, and yield the key of each that ends with what it returns.

    Raises
    ------
    RemoteError
        None of them has ended for `patience` seconds; it names what is `shown`.
    InterruptedError
        The call of this package that waits for them was interrupted. Any error of a task: that of
        the first one that failed. Those that have not begun are left out. An `OSError` with EAGAIN
        where no thread can be started; while others run, the work goes on with these.
    """
    results: SimpleQueue[tuple[Thread, Key, Future[Value]]] = SimpleQueue()

    def run(key: Key, task: Callable[[], Value]) -> None:
        future: Future[Value] = Future()
        try:
            future.set_result(task())
        except BaseException as error:
            future.set_exception(error)
        results.put((current_thread(), key, future))

    def next_result() -> tuple[Key, Value]:
        until = time.monotonic() + patience
        while time.monotonic() < until:
            if is_interrupted():
                raise InterruptedError
            with suppress(Empty):
                thread, key, future = results.get(timeout=PAUSE)
                thread.join()  # It has ended but for that, and would count beside the next one.
                return key, future.result()
        raise RemoteError(errno.ETIMEDOUT, f"there was no answer within {patience:g} s", shown)

    left = iter(tasks)
    running = 0
    while True:
        for key, task in islice(left, in_flight - running):
            try:
                _start(run, key, task)
            except BlockingIOError:
                if running == 0:
                    raise
                left = chain([(key, task)], left)
                break
            running += 1
        if running == 0:
            return
        yield next_result()
        running -= 1


def need_threads(count: int) -> None:
    """Refuse to go on where the system would not start so many threads now.

    Raises
    ------
    BlockingIOError
        It would not.
    """
    is_known = Event()
    started: list[Thread] = []
    try:
        for _ in range(count):
            started.append(_start(is_known.wait))
    finally:
        is_known.set()
        for thread in started:
            thread.join()
            # Python has done with it; the system counts it for a moment more, and may give its
            # number to another.
            task, until = Path(f"/proc/self/task/{thread.native_id}"), time.monotonic() + 1
            while task.exists() and time.monotonic() < until:
                time.sleep(0.001)


def _start(run: Callable[..., object], *arguments: object) -> Thread:
    # Daemonic, so that one whose store never answers does not keep the program from ending.
    thread = Thread(target=run, args=arguments, name="proteinflex-request", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        if not is_of_system(error):
            raise
        text = "no thread can be started: the limit of threads or of memory is reached"
        raise BlockingIOError(errno.EAGAIN, text) from None
    return thread
