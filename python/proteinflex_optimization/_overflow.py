"""Finite numbers that a conversion makes infinite, of which NumPy warns at most."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .errors import InvalidArgumentError


@contextmanager
def overflow() -> Iterator[list[Any]]:
    """Yield a list, which is empty as long as NumPy makes no finite number infinite."""
    noticed: list[Any] = []
    with np.errstate(over="call", call=lambda *error: noticed.append(error)):
        yield noticed


def refuse_infinite(source: str, name: str, values: Any, first: int = 0) -> None:
    """Refuse an array that has an infinite number; of frames, `first` is the number of the first.

    Raises
    ------
    InvalidArgumentError
        It names the place.
    """
    array = np.atleast_1d(values)
    places = np.argwhere(np.isinf(array))
    if len(places):
        frame, *place = places[0].tolist()
        where = ", ".join(map(str, [frame + first, *place]))
        raise InvalidArgumentError(
            f"{source} is not valid: {name}[{where}] is too large for {array.dtype}"
        )
