"""A reporter that counts the steps of a simulation as a task."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

from proteinflex_optimization._arguments import whole
from proteinflex_optimization.errors import InvalidTypeError

from .pace import Pace

if TYPE_CHECKING:
    from proteinflex_optimization.progress import ProgressTracker, TaskHandle

RATE_REPORTS = 100
"""Reports, five a second, over which the rate is taken: more are steadier, fewer follow a change sooner."""
PS_PER_NS = 1000.0
SECONDS_PER_DAY = 86_400.0


class ProgressReporter:
    """Counts the steps of a simulation as a task, with the rate in ns/day as its message.

    Parameters
    ----------
    tracker : ProgressTracker
        Where to count.
    total_steps : int
        The step at which the task is complete, counted as ``simulation.currentStep`` is, over all
        runs.
    task_id, task_name, parent_task : str, optional
        As for `ProgressTracker.start_task`. Simulations that share a board need a `task_id` each.

    Notes
    -----
    The task moves about five times a second. It is at the simulation's step, whatever was counted
    before, so a rerun counts each step once. The rate is simulated time by wall time, of the last 20
    seconds.

    Raises
    ------
    InvalidArgumentError
        `total_steps` is not a whole number of steps.
    InvalidTypeError
        `tracker` is not a `ProgressTracker`.
    """

    def __init__(
        self,
        tracker: ProgressTracker,
        total_steps: int,
        *,
        task_id: str = "md",
        task_name: str = "Molecular dynamics",
        parent_task: str | None = None,
    ) -> None:
        if not callable(getattr(tracker, "start_task", None)):
            raise InvalidTypeError(f"tracker={tracker!r}: expected a ProgressTracker")
        self._tracker = tracker
        self._total = whole("total_steps", total_steps)
        self._task_id = task_id
        self._task_name = task_name
        self._parent = parent_task
        self._task: TaskHandle | None = None
        self._step = 0
        self._pace = Pace()
        self._samples: deque[tuple[float, float]] = deque(maxlen=RATE_REPORTS)

    def __repr__(self) -> str:
        return f"<ProgressReporter {self._task_id!r}, of {self._total} steps>"

    def describeNextReport(self, simulation: Any) -> dict[str, Any]:  # noqa: N802
        """Tell OpenMM when to report next; OpenMM calls this."""
        step = int(simulation.currentStep)
        if self._task is None or step < self._step:
            self._start(simulation, step)
        steps = self._pace.steps_until(step)
        if step < self._total:
            steps = min(steps, self._total - step)
        return {"steps": steps, "periodic": None, "include": []}

    def report(self, simulation: Any, state: Any) -> None:
        """Move the task to the simulation's step; OpenMM calls this."""
        step = int(simulation.currentStep)
        if self._task is None:
            self._start(simulation, step)
        assert self._task is not None
        self._step = step
        self._samples.append((time.monotonic(), _picoseconds(simulation)))
        self._task.set(min(step, self._total), self._message())
        if step >= self._total:
            self._task.complete()

    def _start(self, simulation: Any, step: int) -> None:
        """Begin at the simulation's step, also where it was set back."""
        self._task = self._tracker.start_task(
            self._task_id,
            self._task_name,
            self._total,
            self._parent,
            completed=min(step, self._total),
        )
        self._step = step
        self._samples.clear()
        self._samples.append((time.monotonic(), _picoseconds(simulation)))

    def _message(self) -> str | None:
        (began, first), (now, last) = self._samples[0], self._samples[-1]
        if now <= began or last <= first:
            return None  # The clock of the simulation was set back.
        rate = (last - first) / PS_PER_NS / (now - began) * SECONDS_PER_DAY
        return f"{rate:.3g} ns/day" if rate < 100 else f"{rate:.0f} ns/day"


def _picoseconds(simulation: Any) -> float:
    from openmm import unit

    return float(simulation.context.getTime().value_in_unit(unit.picosecond))
