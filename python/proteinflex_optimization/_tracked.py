"""Items that are counted while a loop goes through them."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

from ._native import TaskHandle

Item = TypeVar("Item")


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
