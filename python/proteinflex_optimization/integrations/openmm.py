"""A reporter that writes an OpenMM simulation into a cache, and survives restarts.

    simulation.reporters.append(TrajectoryReporter(handler, "protein1_md", 1000))
    simulation.step(1_000_000)

Each frame carries the step at which it was taken, so a simulation that is restarted from a
checkpoint goes on in the same trajectory: what was written after that checkpoint is dropped first.
"""

from __future__ import annotations

import logging
import sys
import weakref
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from proteinflex_optimization.errors import InvalidArgumentError, InvalidTypeError

if TYPE_CHECKING:
    from proteinflex_optimization.data_handler import DataHandler

logger = logging.getLogger("proteinflex_optimization")

ANGSTROM_PER_NM = 10.0
COPIED_FRAMES = 64
"""Frames in memory at a time while a finished trajectory is taken up again."""


def _at_end(writer: Any) -> None:
    """Finish what nobody closed, when its reporter goes or the program ends."""
    if writer.n_frames > 0 and getattr(sys, "last_value", None) is None:
        writer.close()
    else:
        # The program dies of an error: keep everything, for the run that goes on.
        writer.suspend()


class TrajectoryReporter:
    """Writes positions, and more on request, of a simulation into a cache.

    Parameters
    ----------
    handler : DataHandler
        The cache.
    data_id : str
        The trajectory's name in it: ``handler.key_for(data_id)`` is its key.
    interval : int
        A frame is written after every so many steps.
    precision : float or None, optional
        The spacing, in Å (velocities: Å/ps, forces: kJ/mol/nm), of the grid that numbers may be
        rounded to; the error is at most half of it. None keeps every bit of the single-precision
        numbers. The default, 0.001 Å, is ten times finer than the 0.001 nm of XTC files.
    metadata : dict, optional
        Plain values that are kept with the trajectory.
    velocities, forces, energies : bool, optional
        What to write beside the positions.
    enforce_periodic_box : bool or None, optional
        Whether molecules are moved into the periodic box; None: if the system is periodic.
    resume : bool, optional
        Whether to go on with the trajectory of this name where there is one: True by default, for a
        restarted script is the same script. False replaces it.

    Notes
    -----
    The trajectory has these fields, one item per frame:

    ===========  ==============  =======  =========
    field        shape           dtype    unit
    ===========  ==============  =======  =========
    frames       (n_atoms, 3)    float32  Å
    step         ()              int64    1
    time         ()              float64  ps
    box          (3, 3)          float64  Å, only of periodic systems
    velocities   (n_atoms, 3)    float32  Å/ps
    forces       (n_atoms, 3)    float32  kJ/mol/nm
    potential    ()              float64  kJ/mol, with ``energies``
    kinetic      ()              float64  kJ/mol, with ``energies``
    ===========  ==============  =======  =========

    What was reported is durable after `flush`; the trajectory can be read once `close` has been
    called, by hand, at the end of a ``with`` block, or at the end of the program. A run that dies
    leaves it unfinished, and the next reporter of the same name goes on with it. When the
    simulation begins to step (or in `resume_at`) stored frames later than its step are dropped, so
    no step is ever there twice.
    """

    def __init__(
        self,
        handler: DataHandler,
        data_id: str,
        interval: int,
        *,
        precision: float | None = 0.001,
        metadata: dict[str, Any] | None = None,
        velocities: bool = False,
        forces: bool = False,
        energies: bool = False,
        enforce_periodic_box: bool | None = None,
        resume: bool = True,
    ) -> None:
        if isinstance(interval, bool) or not isinstance(interval, (int, np.integer)):
            raise InvalidTypeError(
                f"interval={interval!r} is of type {type(interval).__name__}: "
                "expected a whole number of steps, 1 or more"
            )
        if interval < 1:
            raise InvalidArgumentError(
                f"interval={interval!r} is not valid: expected a whole number of steps, 1 or more"
            )
        self._handler = handler
        self._data_id = data_id
        self._interval = int(interval)
        self._velocities = velocities
        self._forces = forces
        self._energies = energies
        self._periodic = enforce_periodic_box
        self._writer = handler.trajectory_writer(
            data_id, metadata, precision=precision, resume=resume
        )
        self._resume = resume
        self._last_step: int | None = None
        self._n_frames_when_closed: int | None = None
        self._finalizer = weakref.finalize(self, _at_end, self._writer)

    def __repr__(self) -> str:
        state = ", closed" if self._n_frames_when_closed is not None else ""
        return (
            f"<TrajectoryReporter {self._data_id!r}, every {self._interval} steps, "
            f"{self.n_frames} frames{state}>"
        )

    @property
    def n_frames(self) -> int:
        """How many frames the trajectory has so far."""
        if self._n_frames_when_closed is not None:
            return self._n_frames_when_closed
        return int(self._writer.n_frames)

    def resume_at(self, step: int) -> None:
        """Go on from a simulation step: drop the frames that were stored after it.

        The reporter does this by itself when the simulation begins to step. Call it before, where
        something has to know `n_frames` earlier. Later calls do nothing, except where the
        simulation was set back.

        Parameters
        ----------
        step : int
            The simulation's current step.
        """
        if self._last_step is None:
            self._take_up_finished(step)
        elif self._last_step <= step:
            return
        steps = self._stored_steps()
        kept = int(np.searchsorted(steps, step, side="right"))
        if kept < len(steps):
            logger.info(
                "trajectory %r: dropped %d frames after step %d, from which the simulation goes on",
                self._data_id,
                len(steps) - kept,
                step,
            )
            self._writer.truncate(kept)
        self._last_step = step

    def describeNextReport(self, simulation: Any) -> dict[str, Any]:  # noqa: N802
        """Tell OpenMM when the next frame is due and what it needs; OpenMM calls this."""
        self.resume_at(simulation.currentStep)
        include = ["positions"]
        if self._velocities:
            include.append("velocities")
        if self._forces:
            include.append("forces")
        if self._energies:
            include.append("energy")
        steps = self._interval - simulation.currentStep % self._interval
        return {"steps": steps, "periodic": self._periodic, "include": include}

    def report(self, simulation: Any, state: Any) -> None:
        """Write one frame; OpenMM calls this.

        Raises
        ------
        InvalidArgumentError
            A position is NaN or infinite: the simulation is broken, and its frames before are kept.
        """
        step = int(simulation.currentStep)
        if self._last_step is None:
            self.resume_at(step - 1)
        positions = state.getPositions(asNumpy=True)._value
        finite = np.isfinite(positions).all(axis=1)
        if not finite.all():
            atom = int(np.argmin(finite))
            raise InvalidArgumentError(
                f"the position of atom {atom} at step {step} is {positions[atom].tolist()}: the "
                f"simulation has become unstable; {self.n_frames} frames up to step "
                f"{self._last_step} are stored"
            )
        frame = (positions * ANGSTROM_PER_NM).astype(np.float32)
        self._writer.append(frame, **self._other_fields(simulation, state, step))
        self._last_step = step

    def flush(self) -> None:
        """Make every frame so far durable."""
        self._writer.flush()

    def close(self) -> None:
        """Finish the trajectory, which can be read from then on. Does nothing the second time."""
        self._end(failed=False)

    def __enter__(self) -> TrajectoryReporter:
        """Return this reporter."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the trajectory, or after an exception, leave it to be resumed."""
        self._end(failed=kind is not None)

    def _end(self, *, failed: bool) -> None:
        if self._finalizer.detach() is not None:
            self._n_frames_when_closed = int(self._writer.n_frames)
            if not failed and self._n_frames_when_closed > 0:
                self._writer.close()
            else:
                self._writer.suspend()

    def _stored_steps(self) -> Any:
        if self.n_frames == 0:
            return np.empty(0, np.int64)
        try:
            steps = self._writer.read(field="step")
        except InvalidArgumentError as error:
            raise self._not_ours() from error
        return steps

    def _take_up_finished(self, step: int) -> None:
        """Begin with the frames of a finished trajectory of this name, up to a step."""
        key = self._handler.key_for(self._data_id)
        if not self._resume or self.n_frames > 0 or key not in self._handler:
            return
        with self._handler.open(key) as finished:
            others = [name for name in finished.fields if name != "frames"]
            if "step" not in others:
                raise self._not_ours()
            kept = int(np.searchsorted(finished.read(field="step"), step, side="right"))
            for start in range(0, kept, COPIED_FRAMES):
                stop = min(start + COPIED_FRAMES, kept)
                fields = {name: finished.read(start, stop, field=name) for name in others}
                self._writer.append(finished.read(start, stop), **fields)
            logger.info(
                "trajectory %r: going on after step %d with %d of its %d frames",
                self._data_id,
                step,
                kept,
                finished.n_frames,
            )

    def _not_ours(self) -> InvalidArgumentError:
        return InvalidArgumentError(
            f"data_id={self._data_id!r} is not valid: expected a trajectory whose frames carry "
            "their step; pass resume=False to replace the one that is there"
        )

    def _other_fields(self, simulation: Any, state: Any, step: int) -> dict[str, Any]:
        from openmm import unit

        fields: dict[str, Any] = {
            "step": np.int64(step),
            "time": np.float64(state.getTime().value_in_unit(unit.picosecond)),
        }
        if simulation.system.usesPeriodicBoundaryConditions():
            vectors = state.getPeriodicBoxVectors(asNumpy=True)._value
            fields["box"] = np.asarray(vectors, np.float64) * ANGSTROM_PER_NM
        if self._velocities:
            velocities = state.getVelocities(asNumpy=True)._value
            fields["velocities"] = (velocities * ANGSTROM_PER_NM).astype(np.float32)
        if self._forces:
            fields["forces"] = state.getForces(asNumpy=True)._value.astype(np.float32)
        if self._energies:
            mole = unit.kilojoule_per_mole
            fields["potential"] = np.float64(state.getPotentialEnergy().value_in_unit(mole))
            fields["kinetic"] = np.float64(state.getKineticEnergy().value_in_unit(mole))
        return fields
