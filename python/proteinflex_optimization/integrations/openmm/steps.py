"""Numbers of steps, as reporters take and return them."""

from __future__ import annotations


def steps_until(interval: int, step: int) -> int:
    """Return the steps from `step` to the next multiple of an interval, 1 or more."""
    return interval - step % interval
