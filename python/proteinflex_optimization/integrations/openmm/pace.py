"""Reports that come by the clock, of a simulation that asks for them in steps."""

from __future__ import annotations

import time

SECONDS = 0.2
"""Between two reports: progress that moves, and a request to stop that is obeyed within a second. One
costs OpenMM and Python about 20 µs."""


class Pace:
    """How many steps take about `SECONDS`, by the time that the last ones took."""

    def __init__(self) -> None:
        self._steps = 1
        self._last: tuple[int, float] | None = None

    def steps_until(self, step: int) -> int:
        """Return the steps from `step` to the next report, 1 or more.

        OpenMM asks after each report of any reporter; the next one stays where it was said to be.
        """
        now = time.monotonic()
        if self._last is not None:
            begun, before = self._last
            done = step - begun
            if 0 <= done < self._steps:
                return self._steps - done
            if done > 0:
                fit = int(SECONDS / max((now - before) / done, 1e-9))
                # What else happened meanwhile, such as a save, changes it by half at most.
                self._steps = max(1, self._steps // 2, min(fit, 2 * self._steps))
        self._last = step, now
        return self._steps
