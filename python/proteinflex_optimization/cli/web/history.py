"""Values over time in bounded memory."""

from __future__ import annotations

import math
from array import array

__all__ = ["Series"]

MAX_POINTS = 240
"""Points that are kept of a series: more than a small chart can show."""
BREAK_SECONDS = 30.0
"""From which time between two points on nothing is known between them, at least."""
BREAK_GAPS = 4
"""The same, in times of the usual time between two points."""


class Series:
    """Values at points in time. Where it is full, every second point is left out from then on."""

    def __init__(self) -> None:
        self._times = array("d")
        self._values = array("d")
        self._gap = 0.0

    def add(self, time: float, value: float | None) -> None:
        """Add a value; one that is unknown leaves a gap, and so does a clock that was set back."""
        if value is None or not math.isfinite(value):
            return
        if self._times and time - self._times[-1] < max(self._gap, 1e-3):
            return
        self._times.append(time)
        self._values.append(value)
        if len(self._times) > MAX_POINTS:
            del self._times[1::2]
            del self._values[1::2]
            self._gap = 2 * (self._times[-1] - self._times[0]) / MAX_POINTS

    def points(self) -> list[list[float | None]]:
        """Return pairs of time and value; a value of None is where the line has to be broken."""
        pairs: list[list[float | None]] = []
        longest = max(BREAK_SECONDS, BREAK_GAPS * self._gap)
        for index, time in enumerate(self._times):
            if index and time - self._times[index - 1] > longest:
                pairs.append([self._times[index - 1], None])
            pairs.append([round(time, 1), self._values[index]])
        return pairs
