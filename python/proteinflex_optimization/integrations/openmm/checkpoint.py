"""A reporter that saves the whole simulation, after the frames that go with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from proteinflex_optimization._arguments import callback, text, whole
from proteinflex_optimization.errors import InvalidArgumentError, InvalidTypeError

from .pace import Pace
from .progress import ProgressReporter
from .run import save_run
from .steps import steps_until

if TYPE_CHECKING:
    from proteinflex_optimization.checkpoint import CheckpointManager

DEFAULT_NAME = "md"
MAX_NAME = 160
"""In bytes: an id of a checkpoint has at most 192, and the step comes behind the name."""


class Stop(Protocol):
    """A request to stop, such as a `StopRequest`."""

    @property
    def requested(self) -> bool:
        """Whether the job should stop."""
        ...

    def check(self) -> None:
        """Raise, if the job should stop."""
        ...


class CheckpointReporter:
    """Saves a simulation so that `load_latest` or `load_run` goes on with it.

    Parameters
    ----------
    manager : CheckpointManager
        Where to save.
    interval : int
        A checkpoint is saved after every so many steps, as ``step-000010000``.
    name : str, optional
        The component of the checkpoint that holds the simulation (`save_run`). Of another one than the
        default, checkpoints are saved as ``name-step-000010000``. Replicas need a directory
        each: in one, `max_checkpoints` counts the checkpoints of all, whatever their names, so that
        those of one replica remove those of another.
    states : callable, optional
        Returns further component states, by name; called at each save, without arguments.
    stop : StopRequest, optional
        Once it is requested, a checkpoint is saved at the next report, within about 0.2 s and a step,
        and ``stop.check()`` raises out of ``simulation.step``.

    Notes
    -----
    The order in ``simulation.reporters`` does not matter: every `TrajectoryReporter` there writes
    the frame of this step first and makes all its frames durable, then the checkpoint is saved, also
    durable when ``report`` returns. Other reporters' files (DCD, PDB) are not flushed, and a restart
    may find frames in them that come after the checkpoint.

    Raises
    ------
    InvalidArgumentError
        `interval` is not a whole number of steps, no id of a checkpoint can begin with `name`, or a
        component of `states` has this name.
    InvalidTypeError
        `manager` is not a `CheckpointManager`, or `stop` not a `StopRequest`; `states` returns no dict.
    """

    def __init__(
        self,
        manager: CheckpointManager,
        interval: int,
        *,
        name: str = DEFAULT_NAME,
        states: Callable[[], Mapping[str, Any]] | None = None,
        stop: Stop | None = None,
    ) -> None:
        if not callable(getattr(manager, "create_checkpoint", None)):
            raise InvalidTypeError(f"manager={manager!r}: expected a CheckpointManager")
        if stop is not None and not callable(getattr(stop, "check", None)):
            raise InvalidTypeError(f"stop={stop!r}: expected a StopRequest")
        self._manager = manager
        self._interval = whole("interval", interval)
        callback("states", states)
        self._name = _checked_name(text("name", name))
        self._states = states
        self._stop = stop
        self._pace = Pace()

    def __repr__(self) -> str:
        return f"<CheckpointReporter in {self._manager.base_dir}, every {self._interval} steps>"

    def save(self, simulation: Any) -> str:
        """Save a checkpoint now, for example at the end of a run; returns its path.

        Raises
        ------
        InvalidArgumentError
            Something of the simulation can't be kept (`save_run`); nothing was written.
        """
        component = save_run(simulation)
        others = {} if self._states is None else self._states()
        if not isinstance(others, Mapping):
            raise InvalidTypeError(
                f"states: returned a {type(others).__name__}: expected a dict of component states"
            )
        if self._name in others:
            raise InvalidArgumentError(
                f"states: returned a component {self._name!r}, which is the simulation's: "
                "expected other names, or another name="
            )
        checkpoint_id = f"step-{component['step']:09d}"
        if self._name != DEFAULT_NAME:
            checkpoint_id = f"{self._name}-{checkpoint_id}"
        return self._manager.create_checkpoint(checkpoint_id, {self._name: component, **others})

    def describeNextReport(self, simulation: Any) -> dict[str, Any]:  # noqa: N802
        """Tell OpenMM when to report next; OpenMM calls this."""
        step = int(simulation.currentStep)
        steps = steps_until(self._interval, step)
        if self._stop is not None:
            steps = min(steps, self._pace.steps_until(step))
        return {"steps": steps, "periodic": None, "include": []}

    def report(self, simulation: Any, state: Any) -> None:
        """Save a checkpoint if one is due, or if the job should stop; OpenMM calls this."""
        stopping = self._stop is not None and self._stop.requested
        if stopping or simulation.currentStep % self._interval == 0:
            self.save(simulation)
        if stopping and self._stop is not None:
            for reporter in simulation.reporters:
                if isinstance(reporter, ProgressReporter):
                    reporter.report(simulation, state)
            self._stop.check()


def _checked_name(name: str) -> str:
    """Return a name with which the id of a checkpoint can begin."""
    begins_well = name and not name.startswith((".", "-", " "))
    is_visible = name.isprintable() and "/" not in name
    if not (begins_well and is_visible and len(name.encode()) <= MAX_NAME):
        shown = name if len(name) <= MAX_NAME else f"{name[:40]}…"
        raise InvalidArgumentError(
            f"name={shown!r} is not valid: expected 1 to {MAX_NAME} bytes of visible characters and "
            "spaces, without /, not beginning with . or - or a space"
        )
    return name
