"""Items that are counted while a loop goes through them."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable
from typing import Any, TypeVar

from ._log import get_logger
from ._native import TaskHandle

Item = TypeVar("Item")

_log = get_logger(__name__)

_newest: dict[tuple[str, str, int], object] = {}
"""The loop that began last, by place, task and thread."""


class Tracked(Generator[Item, None, None]):
    """What `track` returns: the items, once, each of which counts once its loop body has run.

    ``len()`` is the number of items, where that is known.
    """

    def __init__(
        self, items: Generator[Item, None, None], task: TaskHandle, n_items: int | None
    ) -> None:
        self._items = items
        self._task = task
        self._n_items = n_items

    @property
    def task(self) -> TaskHandle:
        """The task that counts the items: ``loop.task.update(0, "loss 0.3")`` shows a message."""
        return self._task

    def send(self, value: None) -> Item:
        """Return the next item."""
        return self._items.send(value)

    def throw(self, *error: Any) -> Item:
        """End the loop by an error."""
        return self._items.throw(*error)

    def __len__(self) -> int:
        """Return the number of items."""
        if self._n_items is None:
            raise TypeError("the number of these items is not known")
        return self._n_items

    def __bool__(self) -> bool:
        """Return True, as of any iterator."""
        return True


def count_each(
    iterable: Iterable[Item], handle: TaskHandle, loops: dict[str, list[int]], place: str
) -> Generator[Item, None, None]:
    """Count the items of a loop; `loops` has the threads of the loops that run, by task."""
    # Each step is a whole one without a lock, which a fork could copy locked.
    running, thread = loops.setdefault(handle.task_id, []), threading.get_ident()
    running.append(thread)
    loop, key = object(), (place, handle.task_id, thread)
    _newest[key] = loop
    is_told = False
    try:
        with handle:
            for item in iterable:
                yield item
                # Only now: one that was left and is still held looks the same until it goes on.
                if _newest.get(key) is not loop and not is_told:
                    is_told = True
                    _log.warning(
                        "another loop counts in the same task, %r, within this one: loops that share "
                        "a checkpoint_dir need a name each",
                        handle.task_id,
                    )
                handle.update()
    finally:
        running.remove(thread)
        if _newest.get(key) is loop:
            del _newest[key]
