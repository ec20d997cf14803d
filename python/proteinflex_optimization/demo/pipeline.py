"""The job from beginning to end, and what makes it safe to interrupt anywhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from proteinflex_optimization import CheckpointManager, DataHandler, GPUManager, ProgressTracker
from proteinflex_optimization.errors import CorruptDataError, ProteinFlexError, ResumeError
from proteinflex_optimization.integrations.openmm import (
    CheckpointReporter,
    ProgressReporter,
    TrajectoryReporter,
)
from proteinflex_optimization.progress import TaskHandle

from . import results
from .analysis import analyse
from .settings import Settings
from .simulation import Dynamics
from .stopping import InterruptedRunError, StagedStop
from .structure import Protein, load_protein

__all__ = ["InterruptedRunError", "run"]

CACHE_GB = 5.0
MINIMISATION_STEPS = 500
MINIMISATION_BLOCK = 20
CONVERGED = 1.0
"""In kJ/mol: a block of iterations that gains less is the last."""


def run(settings: Settings, *, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Run the job, or what is left of it.

    Parameters
    ----------
    settings : Settings
        The input and the choices. The same settings again take the result from the cache;
        other settings are another run beside it.
    say : callable
        Takes one line of text for the user at a time.

    Returns
    -------
    dict
        The summary, which is also written as ``summary.json`` in the run's directory.

    Raises
    ------
    InterruptedRunError
        It was asked to stop: by Ctrl-C, another signal or the time limit of its job; within a second.
    StructureError
        The structure can't be simulated.
    """
    with StagedStop(margin=settings.stop_margin) as stop:
        return stop.run(lambda: _run(settings, stop, say))


def _run(settings: Settings, stop: StagedStop, say: Callable[[str], None]) -> dict[str, Any]:
    started = time.perf_counter()
    handler = DataHandler(str(settings.output / "cache"), max_cache_size=CACHE_GB)
    result_id = f"{settings.run_id}:flexibility"
    result_key = handler.key_for(result_id, kind="structure")
    if result_key in handler:
        result = handler.load_data(result_key)
        results.publish(settings, result)
        seconds, computed = time.perf_counter() - started, result["summary"]["wall_seconds"]
        say(
            f"taken from the cache in {seconds:.2f} s: {computed / seconds:.0f} times faster "
            f"than the {computed:.1f} s that computing it took"
        )
        summary: dict[str, Any] = result["summary"]
        return summary

    settings.run_directory.mkdir(parents=True, exist_ok=True)
    say(
        f"run {settings.run_id}; watch it with: flexopt watch {settings.run_directory / 'progress'}"
    )
    plan = 2 + MINIMISATION_STEPS + settings.steps + 2 * settings.n_frames
    tracker = ProgressTracker(
        total_steps=plan, checkpoint_dir=str(settings.run_directory / "progress"), display=True
    )
    with tracker:
        job = Job(settings, handler, tracker, stop, say, started)
        result = job.compute()
        stop.check()
        handler.store_structure(result, result_id, {"run": settings.run_id})
        stop.stage = "while drawing the figure"
        results.publish(settings, result)
        tracker.complete_task("figure")
        tracker.finish()
    summary = result["summary"]
    say(f"wrote {settings.run_directory / 'flexibility.png'} and summary.json beside it")
    return summary


class Job:
    """A run that has to be computed: the steps, in order."""

    def __init__(
        self,
        settings: Settings,
        handler: DataHandler,
        tracker: ProgressTracker,
        stop: StagedStop,
        say: Callable[[str], None],
        started: float,
    ) -> None:
        self.settings = settings
        self.handler = handler
        self.tracker = tracker
        self.stop = stop
        self.say = say
        self.started = started
        self.checkpoints = CheckpointManager(str(settings.run_directory / "checkpoints"))
        self.trajectory_id = f"{settings.run_id}:md"
        self.trajectory_key = handler.key_for(self.trajectory_id)
        self.earlier_seconds = 0.0
        self.resumed_at: list[int] = []
        self.minimised = 0

    def compute(self) -> dict[str, Any]:
        """Do everything that is not done yet; returns arrays and summary, as they are cached."""
        start, settings = self.tracker.start_task, self.settings
        preparing = start("prepare", "Prepare the structure", 1)
        self.minimising = start("minimise", "Minimise the energy", MINIMISATION_STEPS)
        self.simulating = self._start_dynamics()
        # The analysis is short, and begins again in each run.
        analysing = start("analyse", "Analyse flexibility", 2 * settings.n_frames, completed=0)
        start("figure", "Draw the figure", 1)

        self.stop.stage = "while preparing the structure"
        protein = load_protein(settings.pdb, drop_unknown=settings.drop_unknown, say=self.say)
        structure_key = self.handler.store_structure(
            protein.as_data(), f"{settings.run_id}:structure", {"source": settings.pdb.name}
        )
        preparing.complete()
        self.stop.check()

        platform = self.simulate(protein)
        self.stop.stage = "during the analysis"
        with self.handler.open(self.trajectory_key) as trajectory:
            if not self._is_complete(trajectory):
                raise ProteinFlexError(
                    f"the cache has {trajectory.n_frames} frames of {settings.n_frames}: it was "
                    "changed while this ran; run the same command again"
                )
            analysed = 0

            def advanced(frames: int) -> None:
                nonlocal analysed
                analysed += frames
                analysing.set(analysed)
                self.stop.check()

            flexibility = analyse(
                trajectory, protein.alpha_carbons, protein.masses, on_block=advanced
            )
        run = {
            "platform": platform,
            "resumed_at_steps": self.resumed_at,
            "wall_seconds": round(self._seconds(), 2),
            "structure_key": structure_key,
        }
        return {
            "rmsf": flexibility.rmsf,
            "rmsd": flexibility.rmsd,
            "radius_of_gyration": flexibility.radius_of_gyration,
            "plddt": protein.confidence[results.measured(protein)],
            "labels": results.labels(protein),
            "summary": results.summarise(
                settings, protein, flexibility, self.handler, self.trajectory_key, run
            ),
        }

    def simulate(self, protein: Protein) -> str:
        """Run the molecular dynamics that is still missing; names what it ran on."""
        saved = self._checkpoints()
        if self.trajectory_key in self.handler:
            with self.handler.open(self.trajectory_key) as trajectory:
                if self._is_complete(trajectory):
                    self._remember(next(iter(saved.values()), None))
                    self.say("molecular dynamics is complete already; going on with the analysis")
                    self.minimising.complete()
                    self.simulating.complete()
                    return str(trajectory.metadata["platform"])
        manager = GPUManager(required_memory={"dynamics": 2000}, prefer_single_gpu=True)
        with manager.reserve("dynamics") as gpus:
            dynamics = Dynamics(protein, self.settings, gpus)
            device = f"GPU {gpus[0]}" if dynamics.platform == "CUDA" else "the CPU"
            self.say(f"OpenMM runs {protein.topology.getNumAtoms()} atoms on {device}")
            reporter = self._resumed(dynamics, saved)
            with reporter:
                self._minimise(dynamics)
                self._run_dynamics(dynamics, reporter)
        return dynamics.platform

    def _checkpoints(self) -> dict[str, dict[str, Any]]:
        """Load the states that a run may go on from, newest first."""
        states = {}
        for row in reversed(self.checkpoints.list_checkpoints()):
            try:
                states[row["checkpoint_id"]] = self.checkpoints.load_checkpoint(row["path"])
            except CorruptDataError as error:
                self.say(f"left out a damaged checkpoint: {error}")
        return states

    def _remember(self, saved: dict[str, Any] | None) -> None:
        if saved is not None:
            self.earlier_seconds = saved["run"]["wall_seconds"]
            self.resumed_at = saved["run"]["resumed_at"]
            self.minimised = saved["run"]["minimised"]

    def _resumed(self, dynamics: Dynamics, saved: dict[str, dict[str, Any]]) -> TrajectoryReporter:
        """Go on from the newest checkpoint up to which every frame is there, or begin again."""
        settings = self.settings
        reporter = TrajectoryReporter(
            self.handler,
            self.trajectory_id,
            settings.frame_interval,
            precision=settings.precision,
            metadata={
                "run": settings.run_id,
                "temperature": settings.temperature,
                "platform": dynamics.platform,
            },
        )
        for name, state in saved.items():
            step = state["dynamics"]["step"]
            try:
                reporter.resume_at(step)
            except ResumeError:
                self.say(f"can't go on from step {step}: the frames before it are gone")
                # Nothing may go on from it later either, among the frames of another run.
                self.checkpoints.delete(name)
                continue
            self._remember(state)
            dynamics.restore(state["dynamics"])
            if step > 0:
                self.resumed_at.append(step)
            self.say(f"resuming from the checkpoint at step {step}")
            # What was computed after the checkpoint is computed again.
            self.simulating = self._start_dynamics(completed=step)
            return reporter
        if saved or reporter.n_frames > 0:
            self.say("no checkpoint goes with the frames that are there: beginning again")
        self.minimising.reset()
        self.simulating.reset()
        reporter.resume_at(0)
        return reporter

    def _start_dynamics(self, completed: int | None = None) -> TaskHandle:
        """Start or go on with the task; at `completed` steps, which are no work of this run."""
        return self.tracker.start_task(
            "simulate", "Molecular dynamics", self.settings.steps, completed=completed
        )

    def _minimise(self, dynamics: Dynamics) -> None:
        """Minimise in blocks of iterations, each of which a rerun goes on from."""
        if dynamics.step == 0 and self.minimised < MINIMISATION_STEPS:
            self.stop.stage = "during the minimisation"
            checkpoints = self._checkpoint_reporter(dynamics)
            energy = dynamics.energy()
            while self.minimised < MINIMISATION_STEPS:
                before, energy = energy, dynamics.minimise(MINIMISATION_BLOCK)
                self.minimised += MINIMISATION_BLOCK
                if before - energy < CONVERGED:
                    self.minimised = MINIMISATION_STEPS
                if self.minimised == MINIMISATION_STEPS:
                    dynamics.draw_velocities()
                self.minimising.set(self.minimised, f"{energy:.0f} kJ/mol")
                checkpoints.save(dynamics.simulation)
                self.stop.check()
        self.minimising.complete()

    def _run_dynamics(self, dynamics: Dynamics, reporter: TrajectoryReporter) -> None:
        settings = self.settings
        self.stop.stage = f"at step {dynamics.step}"
        checkpoints = self._checkpoint_reporter(dynamics)
        dynamics.simulation.reporters += [
            reporter,
            checkpoints,
            ProgressReporter(
                self.tracker, settings.steps, task_id="simulate", task_name="Molecular dynamics"
            ),
        ]
        dynamics.advance(settings.steps - dynamics.step)
        if dynamics.step % settings.checkpoint_interval:
            checkpoints.save(dynamics.simulation)

    def _checkpoint_reporter(self, dynamics: Dynamics) -> CheckpointReporter:
        """Return what saves the run's own state beside the simulation, until it is asked to stop."""

        def states() -> dict[str, Any]:
            if dynamics.step > 0:
                self.stop.stage = f"at step {dynamics.step}"
            run = {
                "wall_seconds": self._seconds(),
                "resumed_at": self.resumed_at,
                "minimised": self.minimised,
            }
            return {"run": run}

        return CheckpointReporter(
            self.checkpoints,
            self.settings.checkpoint_interval,
            name="dynamics",
            states=states,
            stop=self.stop,
        )

    def _is_complete(self, trajectory: Any) -> bool:
        """Whether every frame of the run is there, by its step."""
        interval = self.settings.frame_interval
        expected = np.arange(interval, self.settings.steps + 1, interval)
        return "step" in trajectory.fields and np.array_equal(
            trajectory.read(field="step"), expected
        )

    def _seconds(self) -> float:
        """Wall time of this run and of those that it resumes, in s."""
        return self.earlier_seconds + time.perf_counter() - self.started
