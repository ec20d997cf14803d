"""The job from beginning to end, and what makes it safe to interrupt anywhere."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from proteinflex_optimization import CheckpointManager, DataHandler, GPUManager, ProgressTracker
from proteinflex_optimization.integrations.openmm import TrajectoryReporter

from . import figure
from .analysis import Flexibility, analyse
from .settings import TIME_STEP, Settings
from .simulation import Dynamics
from .structure import Protein, load_protein

CACHE_GB = 5.0
STEPS_PER_UPDATE = 20
"""So that progress moves several times a second, and an interruption is noticed as fast."""


class InterruptedRunError(Exception):
    """The run was asked to stop; what it did so far is safe."""


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
        On Ctrl-C or SIGTERM, after a checkpoint.
    StructureError
        The structure can't be simulated.
    """
    started = time.perf_counter()
    handler = DataHandler(str(settings.output / "cache"), max_cache_size=CACHE_GB)
    result_id = f"{settings.run_id}:flexibility"
    result_key = handler.key_for(result_id, kind="structure")
    if result_key in handler:
        result = handler.load_data(result_key)
        _publish(settings, result)
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
    plan = 3 + settings.steps + 2 * settings.n_frames
    tracker = ProgressTracker(
        total_steps=plan, checkpoint_dir=str(settings.run_directory / "progress"), display=True
    )
    with tracker, StopRequest() as stop:
        job = Job(settings, handler, tracker, stop, say, started)
        result = job.compute()
        handler.store_structure(result, result_id, {"run": settings.run_id})
        _publish(settings, result)
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
        stop: StopRequest,
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
        self.earlier_seconds = 0.0
        self.resumed_at: list[int] = []

    def compute(self) -> dict[str, Any]:
        """Do everything that is not done yet; returns arrays and summary, as they are cached."""
        tracker, settings = self.tracker, self.settings
        tracker.start_task("prepare", "Prepare the structure", 1)
        tracker.start_task("minimise", "Minimise the energy", 1)
        tracker.start_task("simulate", "Molecular dynamics", settings.steps)
        tracker.start_task("analyse", "Analyse flexibility", 2 * settings.n_frames)
        tracker.start_task("figure", "Draw the figure", 1)

        protein = load_protein(settings.pdb)
        structure_key = self.handler.store_structure(
            protein.as_data(), f"{settings.run_id}:structure", {"source": settings.pdb.name}
        )
        tracker.complete_task("prepare")

        platform = self.simulate(protein)
        with self.handler.open(self.handler.key_for(self.trajectory_id)) as trajectory:
            before = self._completed("analyse")
            remaining = iter(range(before))

            def advanced(frames: int) -> None:
                # A resumed run analyses again from the start: count only what is new.
                repeated = sum(1 for _ in zip(range(frames), remaining, strict=False))
                tracker.update_task("analyse", frames - repeated)
                self._stop_if_asked()

            flexibility = analyse(
                trajectory, protein.alpha_carbons, protein.masses, on_block=advanced
            )
            summary = self._summary(protein, flexibility, platform, structure_key)
        return {
            "rmsf": flexibility.rmsf,
            "rmsd": flexibility.rmsd,
            "radius_of_gyration": flexibility.radius_of_gyration,
            "plddt": protein.confidence[self._measured(protein)],
            "labels": self._labels(protein),
            "summary": summary,
        }

    def simulate(self, protein: Protein) -> str:
        """Run the molecular dynamics that is still missing; names what it ran on."""
        settings, tracker = self.settings, self.tracker
        trajectory_key = self.handler.key_for(self.trajectory_id)
        latest = self.checkpoints.latest()
        saved = self.checkpoints.load_checkpoint(latest) if latest is not None else None
        if saved is not None:
            self.earlier_seconds = saved["run"]["wall_seconds"]
            self.resumed_at = saved["run"]["resumed_at"]
        if trajectory_key in self.handler and saved is not None:
            self.say("molecular dynamics is complete already; going on with the analysis")
            return str(saved["dynamics"]["platform"])

        manager = GPUManager(required_memory={"dynamics": 2000}, prefer_single_gpu=True)
        with manager.reserve("dynamics") as gpus:
            dynamics = Dynamics(protein, settings, gpus)
            device = f"GPU {gpus[0]}" if dynamics.platform == "CUDA" else "the CPU"
            self.say(f"OpenMM runs {protein.topology.getNumAtoms()} atoms on {device}")
            if saved is None:
                dynamics.minimise()
            else:
                dynamics.restore(saved["dynamics"])
                self.resumed_at.append(dynamics.step)
                self.say(f"resuming from the checkpoint at step {dynamics.step}")
            tracker.complete_task("minimise")
            self._run_dynamics(dynamics)
        return dynamics.platform

    def _run_dynamics(self, dynamics: Dynamics) -> None:
        settings = self.settings
        reporter = TrajectoryReporter(
            self.handler,
            self.trajectory_id,
            settings.frame_interval,
            precision=settings.precision,
            metadata={"run": settings.run_id, "temperature": settings.temperature},
        )
        with reporter:
            dynamics.simulation.reporters.append(reporter)
            reporter.resume_at(dynamics.step)
            while dynamics.step < settings.steps:
                to_checkpoint = (
                    settings.checkpoint_interval - dynamics.step % settings.checkpoint_interval
                )
                left = settings.steps - dynamics.step
                dynamics.advance(min(STEPS_PER_UPDATE, to_checkpoint, left))
                # After a kill the counter may be ahead of the checkpoint; it waits there.
                done = dynamics.step - self._completed("simulate")
                if done > 0:
                    self.tracker.update_task("simulate", done, f"step {dynamics.step}")
                at_end = dynamics.step == settings.steps
                if at_end or self.stop.requested or to_checkpoint <= STEPS_PER_UPDATE:
                    self._checkpoint(dynamics, reporter)
                self._stop_if_asked(dynamics)

    def _checkpoint(self, dynamics: Dynamics, reporter: TrajectoryReporter) -> None:
        """Make frames durable first, so that no checkpoint is ahead of its trajectory."""
        reporter.flush()
        self.checkpoints.create_checkpoint(
            f"step-{dynamics.step:09d}",
            {
                "dynamics": dynamics.state(),
                "trajectory": {"data_id": self.trajectory_id, "n_frames": reporter.n_frames},
                "run": {"wall_seconds": self._seconds(), "resumed_at": self.resumed_at},
            },
        )

    def _stop_if_asked(self, dynamics: Dynamics | None = None) -> None:
        if self.stop.requested:
            where = f"at step {dynamics.step}" if dynamics is not None else "during the analysis"
            raise InterruptedRunError(f"stopped {where}; the same command goes on from there")

    def _completed(self, task: str) -> int:
        return int(self.tracker.get_progress()["tasks"][task]["completed"])

    def _seconds(self) -> float:
        """Wall time of this run and of those that it resumes, in s."""
        return self.earlier_seconds + time.perf_counter() - self.started

    @staticmethod
    def _measured(protein: Protein) -> list[int]:
        """List the residues that have a Cα, by index."""
        atoms = list(protein.topology.atoms())
        return [atoms[index].residue.index for index in protein.alpha_carbons]

    def _labels(self, protein: Protein) -> list[str]:
        residues = protein.residues
        chains = {residue.chain.id for residue in residues}
        return [
            (f"{residues[i].chain.id}:" if len(chains) > 1 else "")
            + f"{residues[i].name} {residues[i].id}"
            for i in self._measured(protein)
        ]

    def _summary(
        self, protein: Protein, flexibility: Flexibility, platform: str, structure_key: str
    ) -> dict[str, Any]:
        settings = self.settings
        key = self.handler.key_for(self.trajectory_id)
        stored = self.handler.info(key)
        labels = self._labels(protein)
        ranked = sorted(zip(flexibility.rmsf.tolist(), labels, strict=True), reverse=True)
        return {
            "run": settings.run_id,
            "structure": settings.pdb.name,
            "n_atoms": protein.topology.getNumAtoms(),
            "n_residues": len(protein.residues),
            "n_frames": len(flexibility.rmsd),
            "steps": settings.steps,
            "simulated_ps": settings.steps * TIME_STEP,
            "temperature_K": settings.temperature,
            "platform": platform,
            "resumed_at_steps": self.resumed_at,
            "wall_seconds": round(self._seconds(), 2),
            "rmsf_A": {
                label: round(value, 3)
                for label, value in zip(labels, flexibility.rmsf.tolist(), strict=True)
            },
            "mean_rmsf_A": round(float(flexibility.rmsf.mean()), 3),
            "most_flexible": [label for _, label in ranked[:3]],
            "final_rmsd_A": round(float(flexibility.rmsd[-1]), 3),
            "mean_radius_of_gyration_A": round(float(flexibility.radius_of_gyration.mean()), 3),
            "structure_key": structure_key,
            "trajectory_key": key,
            "trajectory_bytes": stored["stored_bytes"],
            "trajectory_raw_bytes": stored["raw_bytes"],
            "trajectory_saved_percent": round(stored["saved_percent"], 1),
            "precision_A": settings.precision,
        }


class StopRequest:
    """Turns the first Ctrl-C or SIGTERM into a request that the run obeys at a safe point.

    A second one interrupts at once, as usual.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        """Listen, where signals can be listened to: in the main thread."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._request)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Restore the signal handlers."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


def _publish(settings: Settings, result: dict[str, Any]) -> None:
    """Write figure and summary; each is whole or absent."""
    directory = settings.run_directory
    directory.mkdir(parents=True, exist_ok=True)
    summary = result["summary"]
    picture, text = directory / "flexibility.png", directory / "summary.json"
    temporary = directory / f".flexibility-{os.getpid()}.png"
    figure.draw(
        temporary,
        Flexibility(result["rmsf"], result["rmsd"], result["radius_of_gyration"]),
        labels=result["labels"],
        confidence=result["plddt"],
        frame_time=settings.frame_interval * TIME_STEP,
        title=f"{summary['structure']}: {summary['n_residues']} residues, "
        f"{summary['simulated_ps']:.0f} ps at {summary['temperature_K']:.0f} K",
    )
    temporary.replace(picture)
    temporary = directory / f".summary-{os.getpid()}.json"
    temporary.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    temporary.replace(text)
