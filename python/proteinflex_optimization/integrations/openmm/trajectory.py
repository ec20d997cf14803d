"""A reporter that writes the frames of an OpenMM simulation into a cache.

Each frame carries the step at which it was taken, so a simulation that is restarted from a
checkpoint goes on in the same trajectory: what was written after that checkpoint is dropped first,
and frames before it that are missing are an error. So is a finished trajectory of another simulation.
"""

from __future__ import annotations

import logging
import os
import sys
import weakref
from types import TracebackType
from typing import TYPE_CHECKING, Any

from proteinflex_optimization import _native
from proteinflex_optimization._arguments import flag, instance, whole
from proteinflex_optimization._at_exit import at_exit
from proteinflex_optimization._log import get_logger
from proteinflex_optimization._topology_columns import chosen_atoms
from proteinflex_optimization.errors import InvalidArgumentError, ResumeError

from .frame import FrameContents
from .restored import frames_when_saved, remember_trajectory, restored_with
from .steps import steps_until
from .stored_frames import StoredFrames
from .topology import topology_from_openmm

if TYPE_CHECKING:
    from proteinflex_optimization.data_handler import DataHandler
    from proteinflex_optimization.types import AtomSelection, Precision

logger = get_logger()

OF_SIMULATION: Any = type("OfSimulation", (), {"__repr__": lambda _: "<of the simulation>"})()
"""Stands for the simulation's own topology, which is not known before it steps."""


_reporters: weakref.WeakSet[TrajectoryReporter] = weakref.WeakSet()


@at_exit
def _end_all() -> None:
    if sys.exc_info()[1] is not None:
        return  # An exception ends a child of multiprocessing: it stays unfinished.
    for reporter in list(_reporters):
        reporter._finalizer()


def _at_end(writer: Any, process: int) -> None:
    """Finish what nobody closed, when its reporter goes or the program ends."""
    if os.getpid() != process:
        return  # A forked child ends: the trajectory is its parent's.
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
    precision : float, dict or None, optional
        The spacing, in Å, of the grid that positions may be rounded to; the error is at most half of
        it. The default, 0.001 Å, is ten times finer than the 0.001 nm of XTC files. Velocities and
        forces keep every bit of their single-precision numbers, unless a dict names them, too:
        ``{'frames': 0.001, 'velocities': 0.01, 'forces': 1.0}``, in Å, Å/ps and kJ/mol/nm. None takes
        the handler's, which keeps every bit unless it was made with one.
    metadata : dict, optional
        Plain values that are kept with the trajectory.
    velocities, forces, energies : bool, optional
        What to write beside the positions.
    atoms : int, slice or array_like, optional
        Which atoms are written, in this order: indices or a mask, as NumPy indexes an array; default:
        all. Of a solvated protein, those without water are a small part.
    enforce_periodic_box : bool or None, optional
        Whether molecules are moved into the periodic box; None: if the system is periodic.
    resume : bool, optional
        Whether to go on with the trajectory of this name where there is one: True by default, for a
        restarted script is the same script. A finished one needs a simulation that is known to go
        on with it (`ResumeError`). With False, one that is there is an error.
    overwrite : bool, optional
        Whether to begin an empty trajectory where there is one, whatever `resume` says.
    structure : object, optional
        The topology that is kept with the frames: anything that `DataHandler.store_trajectory` takes.
        Default: the simulation's, of `atoms`; where a trajectory that is resumed has none, it stays without.
        None keeps none, and does not compare.

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
    leaves it unfinished. The next reporter of the same name goes on with it, and with a finished one
    where the simulation was restored from a checkpoint that was saved with it, has written it itself,
    or `resume_at` was called. When the simulation begins to step (or in `resume_at`) stored frames
    later than its step are dropped, with a warning in the log, so no step is ever there twice, and
    frames that are missing before it are an error.

    Raises
    ------
    InvalidArgumentError
        `interval` is not a whole number of steps; the trajectory was stored with another `precision`,
        is being written by another writer, or is there and neither `resume` nor `overwrite` is set.
        When the simulation begins to step: `atoms` are not atoms of it, each once; the frames so far
        have another topology, the reporter is closed, or it has frames of another simulation.
    ResumeError
        When the simulation begins to step, or is at its last step already and the reporter is closed:
        the frames that it was saved with are not there, or those that are there belong to another
        simulation. Nothing was changed.
    """

    def __init__(
        self,
        handler: DataHandler,
        data_id: str,
        interval: int,
        *,
        precision: Precision | None = 0.001,
        metadata: dict[str, Any] | None = None,
        velocities: bool = False,
        forces: bool = False,
        energies: bool = False,
        atoms: AtomSelection | None = None,
        enforce_periodic_box: bool | None = None,
        resume: bool = True,
        overwrite: bool = False,
        structure: Any = OF_SIMULATION,
    ) -> None:
        instance("handler", handler, _native.DataHandler, "a DataHandler")
        self._interval = whole("interval", interval)
        self._handler = handler
        self._data_id = data_id
        self._contents = FrameContents(
            flag("velocities", velocities), flag("forces", forces), flag("energies", energies)
        )
        self._atoms = atoms
        self._periodic = enforce_periodic_box
        if precision is None:
            # Not what an unfinished trajectory has, which the writer takes where nothing is asked for.
            precision = handler._arguments()[1]["precision"]
        self._writer = handler.trajectory_writer(
            data_id,
            metadata,
            precision=precision,
            resume=resume and not overwrite,
            overwrite=overwrite,
            structure=None if structure is OF_SIMULATION else structure,
        )
        self._takes_topology = structure is OF_SIMULATION
        self._stored = StoredFrames(handler, data_id, self._writer, self._interval, overwrite)
        self._simulation: weakref.ref[Any] | None = None
        self._last_step: int | None = None
        self._reported_step: int | None = None
        self._appended: tuple[int, int] | None = None
        self._n_frames_when_closed: int | None = None
        self._finalizer = weakref.finalize(self, _at_end, self._writer, os.getpid())
        _reporters.add(self)

    def __repr__(self) -> str:
        state = ", closed" if self._is_closed else ""
        return (
            f"<TrajectoryReporter {self._data_id!r}, every {self._interval} steps, "
            f"{self.n_frames} frames{state}>"
        )

    @property
    def _is_closed(self) -> bool:
        return self._n_frames_when_closed is not None

    @property
    def data_id(self) -> str:
        """The trajectory's name in the cache."""
        return self._data_id

    @property
    def n_frames(self) -> int:
        """How many frames the trajectory has so far."""
        if self._n_frames_when_closed is not None:
            return self._n_frames_when_closed
        return int(self._writer.n_frames)

    def resume_at(self, step: int) -> None:
        """Go on from a simulation step: drop the frames that were stored after it.

        Call it after restoring a state in another way than by `load_run`, before anything is
        computed: it makes sure that the frames up to there are stored. When the simulation begins to
        step, the reporter does the same by itself, except that it can't tell a state that was restored
        from a simulation that is first reported at that step (after an equilibration, say): a finished
        trajectory is refused then, and one without frames is begun there, with a warning. Later calls
        do nothing, except where the simulation was set back.

        Parameters
        ----------
        step : int
            The simulation's current step.

        Raises
        ------
        ResumeError
            The stored frames do not reach the step: they were removed or evicted, have another name,
            or were not durable when the checkpoint was saved. What counts is the interval between
            the last two of them, also where `interval` is another now. Nothing was changed.
        InvalidArgumentError
            The stored frames do not carry their steps.
        """
        self._simulation = None
        if self._last_step is None:
            self._stored.check_reach(step, first=False)
        self._go_on_from(step, logging.INFO)

    def _go_on_from(self, step: int, level: int = logging.WARNING) -> None:
        self._note_appended()
        if self._last_step is not None and self._last_step <= step:
            return
        self._stored.drop_after(step, level)
        self._last_step = step
        self._reported_step = None

    def describeNextReport(self, simulation: Any) -> dict[str, Any]:  # noqa: N802
        """Tell OpenMM when the next frame is due and what it needs; OpenMM calls this.

        Raises
        ------
        InvalidArgumentError
            This reporter is closed, or has frames of another simulation.
        """
        self._check_open()
        step = int(simulation.currentStep)
        self._begin(simulation, step)
        if self._last_step == step - self._interval:
            # An exception of a signal's handler kept this step's frame from being stored.
            self.report_due(simulation)
        return {
            "steps": steps_until(self._interval, step),
            "periodic": self._periodic,
            "include": self._contents.include(),
        }

    def report(self, simulation: Any, state: Any) -> None:
        """Write one frame; OpenMM calls this. A frame of the same step again is left out.

        Raises
        ------
        InvalidArgumentError
            A position is NaN or infinite, or a number is beyond float32: the simulation is broken,
            and its frames before are kept.
        """
        self._check_open()
        step = int(simulation.currentStep)
        self._note_appended()
        if step == self._reported_step:
            return  # A checkpoint of this step needed it before OpenMM came to this reporter.
        if self._last_step is None:
            self._begin(simulation, step - 1)
        try:
            positions = self._contents.positions(state, step)
            fields = self._contents.fields(simulation, state, step)
        except InvalidArgumentError as error:
            stored = f"{self.n_frames} frames up to step {self._last_step} are stored"
            raise InvalidArgumentError(f"{error}; {stored}") from None
        self._appended = step, self.n_frames + 1
        self._writer.append(positions, **fields)
        self._note_appended()

    def _note_appended(self) -> None:
        """Note the step of a frame that was appended, also where a signal's handler raised after it."""
        if self._appended is not None:
            step, n_frames = self._appended
            if n_frames == self.n_frames:
                self._last_step = self._reported_step = step
            self._appended = None

    def report_due(self, simulation: Any) -> None:
        """Write the frame of this step now, if one is due that OpenMM has not asked for yet.

        OpenMM calls reporters in an order of its own, in which one that saves a checkpoint may come
        first.
        """
        if self._is_closed:
            return
        step = int(simulation.currentStep)
        self._begin(simulation, step)
        if step == self._last_step or step % self._interval:
            return
        periodic = self._periodic
        if periodic is None:
            periodic = simulation.system.usesPeriodicBoundaryConditions()
        state = simulation.context.getState(
            enforcePeriodicBox=periodic,
            groups=simulation.integrator.getIntegrationForceGroups(),
            **dict.fromkeys(self._contents.include(), True),
        )
        self.report(simulation, state)

    def flush(self) -> None:
        """Make every frame so far durable; once it is closed, all of them are."""
        if not self._is_closed:
            self._writer.flush()

    def close(self) -> None:
        """Finish the trajectory, which can be read from then on. Does nothing the second time."""
        self._end()

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
        self._end(kind, value, trace)

    def _end(
        self,
        kind: type[BaseException] | None = None,
        value: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        is_unused = self._simulation is None and self._last_step is None
        if kind is None and is_unused and not self._is_closed:
            try:
                self._check_never_stepped()
            except ResumeError as error:
                self._end(type(error), error, error.__traceback__)
                raise
        if self._finalizer.detach() is not None:
            self._n_frames_when_closed = int(self._writer.n_frames)
            if kind is None and self._n_frames_when_closed == 0:
                self._writer.suspend()
            else:
                self._writer.__exit__(kind, value, trace)

    def _check_never_stepped(self) -> None:
        """Look for the frames of a restored simulation that had nothing left to do."""
        for simulation in restored_with(self):
            self._stored.are_those_saved(simulation, int(simulation.currentStep))

    def _begin(self, simulation: Any, step: int) -> None:
        """Go on from the step at which the simulation begins to report."""
        self._check_same(simulation, step)
        if self._takes_topology:
            self._take_topology(simulation)
        if self._last_step is None and not self._stored.are_those_saved(simulation, step):
            others = frames_when_saved(simulation, step)
            self._stored.check_reach(step, first=True, others=others)
            self._stored.check_may_go_on(simulation, step)
        self._go_on_from(step)
        remember_trajectory(simulation, self._handler.cache_dir, self._data_id)

    def _check_open(self) -> None:
        if self._is_closed:
            raise InvalidArgumentError(
                f"trajectory {self._data_id!r}: its reporter is closed, and the simulation steps on: "
                "take it out of simulation.reporters, or step before it is closed"
            )

    def _check_same(self, simulation: Any, step: int) -> None:
        """Refuse a second simulation, unless it was restored to go on with this trajectory."""
        # One that is gone was another one, too.
        is_first = self._simulation is None
        if self._simulation is not None and self._simulation() is simulation:
            return
        if not is_first and self._data_id not in frames_when_saved(simulation, step):
            raise InvalidArgumentError(
                f"trajectory {self._data_id!r}: its reporter is another simulation's: make one for "
                "each, with a data_id of its own; where this one takes the place of the other, call "
                "resume_at(step) first"
            )
        if self._atoms is not None:
            chosen = chosen_atoms(self._atoms, simulation.system.getNumParticles())
            if len(chosen) == 0:
                raise InvalidArgumentError("atoms selects none: expected at least one atom")
            self._contents = self._contents._replace(atoms=chosen)
        self._simulation = weakref.ref(simulation)

    def _take_topology(self, simulation: Any) -> None:
        """Keep the simulation's topology, or see whether it is that of the frames so far."""
        try:
            topology = topology_from_openmm(simulation.topology, self._atoms)
        except InvalidArgumentError as error:
            logger.warning("trajectory %r: its topology is not kept: %s", self._data_id, error)
        else:
            try:
                self._writer._set_topology(topology._encoded, required=False)
            except InvalidArgumentError as error:
                raise InvalidArgumentError(
                    f"{error} (structure=None goes on without comparing)"
                ) from error
        self._takes_topology = False
