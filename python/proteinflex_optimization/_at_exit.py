"""What is done when a process ends in order, whatever made it.

`multiprocessing` ends the children that it has forked by `os._exit`, which runs nothing of `atexit`,
but what it calls finalizers. It forgets those of the parent when a child begins.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable

_functions: list[Callable[[], None]] = []
_is_known = False

LAST = -100
"""The priority of finalizers that run when the children of this process have ended."""


def at_exit(function: Callable[[], None]) -> Callable[[], None]:
    """Have a function called at the end of this process and of those that are forked from it.

    It may be called twice.
    """
    atexit.register(function)
    _functions.append(function)
    _add_finalizers(function)
    return function


def _add_finalizers(*functions: Callable[[], None]) -> None:
    global _is_known
    # It is there in each of its children; importing it takes longer than this package does.
    util = sys.modules.get("multiprocessing.util")
    if util is None:
        return
    for function in functions:
        util.Finalize(None, function, exitpriority=LAST)
    if not _is_known:
        _is_known = True
        util.register_after_fork(_add_finalizers, lambda _: _add_finalizers(*_functions))


def _after_fork() -> None:
    # In a child of multiprocessing this is called before it forgets finalizers.
    if not _is_known:
        _add_finalizers()


os.register_at_fork(after_in_child=_after_fork)
