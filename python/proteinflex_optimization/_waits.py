"""Which threads of this process wait for which, as far as the standard library shows it.

A thread that computes an entry may wait for another thread that asks for the same entry: neither
would end. What it waits for is in its frames: the thread that it joins, or the future or the result of a
pool that it waits for.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

Functions = dict[str, tuple[str, Callable[[dict[str, Any]], Any]]]

# What a thread waits for, and what it works at: functions, their modules, and where it is among their
# local variables.
AWAITED: Functions = {
    "join": ("threading", lambda own: own["self"]),
    "result": ("concurrent.futures._base", lambda own: own["self"]),
    "exception": ("concurrent.futures._base", lambda own: own["self"]),
    "wait": ("multiprocessing.pool", lambda own: own["self"]._job),
}
WORKED_AT: Functions = {
    "_bootstrap_inner": ("threading", lambda own: own["self"]),
    "run": ("concurrent.futures.thread", lambda own: own["self"].future),
    "worker": ("multiprocessing.pool", lambda own: own["job"]),
}


def ends_only_after(thread: int, other: int, awaited_entries: list[tuple[int, int]]) -> bool:
    """Return whether a thread waits, through others maybe and without a limit, for another one.

    Parameters
    ----------
    thread, other : int
        Identifiers of threads.
    awaited_entries : list
        Pairs of a thread that waits for an entry, and the thread that computes it.
    """
    frames = sys._current_frames()
    workers = {work: worker for worker, frame in frames.items() for work in _of(frame, WORKED_AT)}
    reached, new = {thread}, [thread]
    while new:
        one = new.pop()
        awaited = [workers[work] for work in _of(frames.get(one), AWAITED) if work in workers]
        awaited += [computing for waiting, computing in awaited_entries if waiting == one]
        new += set(awaited) - reached
        reached.update(awaited)
    return other in reached


def _of(frame: FrameType | None, functions: Functions) -> Iterator[Any]:
    """Yield what a thread waits for, or works at, where no time limits it."""
    while frame is not None:
        module, found = functions.get(frame.f_code.co_name, ("", None))
        if found is not None and frame.f_globals.get("__name__") == module:
            own = frame.f_locals
            try:
                if own.get("timeout") is None:
                    yield found(own)
            except (AttributeError, KeyError):  # The function has just begun, or is ending.
                pass
        frame = frame.f_back
