"""Numbers of steps, as reporters take and return them."""

from __future__ import annotations

from typing import Any

import numpy as np

from proteinflex_optimization.errors import InvalidArgumentError, InvalidTypeError


def steps_until(interval: int, step: int) -> int:
    """Return the steps from `step` to the next multiple of an interval, 1 or more."""
    return interval - step % interval


def checked_steps(name: str, value: Any) -> int:
    """Return a number of steps that was passed as an argument.

    Raises
    ------
    InvalidArgumentError
        It is not a whole number, or less than 1.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise InvalidTypeError(
            f"{name}={value!r} is of type {type(value).__name__}: "
            "expected a whole number of steps, 1 or more"
        )
    if value < 1:
        raise InvalidArgumentError(
            f"{name}={value!r} is not valid: expected a whole number of steps, 1 or more"
        )
    return int(value)
