"""Checkpoints and progress of real OpenMM simulations, as reporters in any order."""

import importlib
import itertools
import resource
import shutil
import sys

import numpy as np
import openmm
import pytest
from openmm import app
from proteinflex_optimization import (
    CheckpointManager,
    DataHandler,
    InvalidArgumentError,
    ProgressTracker,
    ResumeError,
)
from proteinflex_optimization.integrations.openmm import (
    CheckpointReporter,
    ProgressReporter,
    TrajectoryReporter,
    load_latest,
    load_run,
    pace,
    progress,
    save_run,
)

FRAMES, CHECKPOINTS, TOTAL = 10, 50, 250


def simulation(integrator=None):
    """Make 8 atoms on springs in a periodic box that they leave, the same each time."""
    topology, system = app.Topology(), openmm.System()
    residue = topology.addResidue("CHN", topology.addChain())
    bonds = openmm.HarmonicBondForce()
    bonds.setUsesPeriodicBoundaryConditions(True)
    for index in range(8):
        topology.addAtom("C", app.element.carbon, residue)
        system.addParticle(12)
        if index:
            bonds.addBond(index - 1, index, 0.15, 1000)
    system.addForce(bonds)
    system.setDefaultPeriodicBoxVectors((2, 0, 0), (0, 2, 0), (0, 0, 2))
    if integrator is None:
        integrator = openmm.LangevinMiddleIntegrator(300, 1, 0.002)
        integrator.setRandomNumberSeed(1)
    platform = openmm.Platform.getPlatformByName("Reference")
    made = app.Simulation(topology, system, integrator, platform)
    made.context.setPositions([(1.9 + 0.15 * index, 0, 0) for index in range(8)])
    made.context.setVelocitiesToTemperature(300, 1)
    return made


def frames_in(handler, **options):
    return TrajectoryReporter(handler, "md", FRAMES, precision=None, **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The frames of a run that nothing interrupts, with molecules as they are and in the box."""
    found = {}
    for periodic in (False, True):
        handler = DataHandler(tmp_path_factory.mktemp("whole"))
        run = simulation()
        with frames_in(handler, enforce_periodic_box=periodic) as reporter:
            run.reporters.append(reporter)
            run.step(TOTAL)
        found[periodic] = handler.load_data(handler.key_for("md"))["frames"]
    assert not np.array_equal(found[False], found[True])
    return found


@pytest.fixture
def handler(tmp_path):
    return DataHandler(tmp_path / "cache")


@pytest.fixture
def manager(tmp_path):
    return CheckpointManager(tmp_path / "checkpoints", max_checkpoints=10)


def check_whole(handler, whole, periodic=False):
    found = handler.load_data(handler.key_for("md"))
    assert found["step"].tolist() == list(range(FRAMES, TOTAL + 1, FRAMES))
    np.testing.assert_array_equal(found["frames"], whole[periodic])


def crash(reporter):
    """End as a program does that dies of an error."""
    reporter.__exit__(RuntimeError, RuntimeError("crashed"), None)


@pytest.mark.parametrize("order", list(itertools.permutations(["frames", "checkpoint", "other"])))
@pytest.mark.parametrize(("periodic", "others"), [(False, 1), (False, 2), (True, 1)])
def test_every_checkpoint_has_its_frames_whatever_the_order(
    tmp_path, handler, manager, whole, order, periodic, others
):
    run = simulation()
    frames = frames_in(handler, enforce_periodic_box=periodic)
    reporters = {
        "frames": frames,
        "checkpoint": CheckpointReporter(manager, CHECKPOINTS),
        "other": app.DCDReporter(str(tmp_path / "1.dcd"), 25, enforcePeriodicBox=not periodic),
    }
    run.reporters += [reporters[name] for name in order]
    if others == 2:
        # More of them are wrapped, or not, than frames are: OpenMM calls these first, and with them
        # what needs no positions.
        run.reporters.append(
            app.DCDReporter(str(tmp_path / "2.dcd"), 50, enforcePeriodicBox=not periodic)
        )
    run.step(235)
    crash(frames)
    ids = [row["checkpoint_id"] for row in manager.list_checkpoints()]
    assert ids == [f"step-{step:09d}" for step in (50, 100, 150, 200)]
    for row in reversed(manager.list_checkpoints()):
        state = manager.load_checkpoint(row["path"])["md"]
        assert state["trajectories"] == {"md": state["step"] // FRAMES}
        again = load_run(state)
        with frames_in(handler, enforce_periodic_box=periodic) as frames:
            again.reporters.append(frames)
            again.step(TOTAL - again.currentStep)
        check_whole(handler, whole, periodic)


def test_several_trajectories_are_flushed_before_a_checkpoint(handler, manager):
    run = simulation()
    several = [TrajectoryReporter(handler, f"md-{n}", n) for n in (20, 25)]
    run.reporters += [CheckpointReporter(manager, 100), *several]
    run.step(140)
    again = load_latest(manager)
    (state,) = [manager.load_checkpoint(manager.latest())["md"]]
    assert state["trajectories"] == {"md-20": 5, "md-25": 4}
    for reporter in several:
        crash(reporter)
    with (
        TrajectoryReporter(handler, "md-20", 20) as one,
        TrajectoryReporter(handler, "md-25", 25) as two,
    ):
        again.reporters += [one, two]
        again.step(100)
    for n in (20, 25):
        found = handler.load_data(handler.key_for(f"md-{n}"))
        assert found["step"].tolist() == list(range(n, 201, n))


@pytest.mark.parametrize("lost", ["all", "some", "one in between"])
def test_a_restored_run_without_its_frames_is_an_error_by_itself(tmp_path, handler, manager, lost):
    run = simulation()
    with frames_in(handler) as frames:
        run.reporters += [frames, CheckpointReporter(manager, CHECKPOINTS)]
        run.step(100)
    if lost == "all":
        shutil.rmtree(tmp_path / "cache")
        handler = DataHandler(tmp_path / "cache")
    elif lost == "some":
        with handler.trajectory_writer("md", resume=True) as writer:
            writer.truncate(7)
    else:
        kept = handler.load_data(handler.key_for("md"))
        kept = {name: np.delete(values, 4, axis=0) for name, values in kept.items()}
        handler.store_trajectory(kept, "md")
    again = load_latest(manager)
    with frames_in(handler) as frames:
        again.reporters.append(frames)
        with pytest.raises(ResumeError, match=r"from step 100, and .* where it was saved with 10"):
            again.step(50)
    again = load_latest(manager)
    with frames_in(handler, overwrite=True) as frames:
        again.reporters.append(frames)
        again.step(50)
    assert handler.load_data(handler.key_for("md"))["step"].tolist() == [110, 120, 130, 140, 150]


@pytest.mark.parametrize("is_gone", [True, False])
def test_a_complete_run_says_that_its_frames_are_gone(tmp_path, handler, manager, is_gone):
    run = simulation()
    with frames_in(handler) as frames:
        run.reporters += [frames, CheckpointReporter(manager, CHECKPOINTS)]
        run.step(100)
    if is_gone:
        handler.remove("md")

    def again():
        run = load_latest(manager)
        with frames_in(handler) as frames:
            run.reporters.append(frames)
            run.step(100 - run.currentStep)
        return frames

    if is_gone:
        with pytest.raises(ResumeError, match=r"from step 100, and 0 stored .* saved with 10"):
            again()
        assert handler.get_cache_stats()["unfinished"] == 0
    else:
        before = handler.open("md").content_id
        assert again().n_frames == 10
        assert handler.open("md").content_id == before


def test_a_checkpoint_from_before_the_trajectory_does_not_replace_a_finished_one(handler, manager):
    run = simulation()
    run.step(30)
    manager.create_checkpoint("equilibrated", {"md": save_run(run)})

    def production():
        run = load_latest(manager)
        with frames_in(handler) as frames:
            run.reporters.append(frames)
            run.step(50)

    production()
    with pytest.raises(ResumeError, match="is finished, with 5 frames up to step 80"):
        production()
    assert handler.open("md").read(field="step").tolist() == [40, 50, 60, 70, 80]


def test_a_checkpoint_saved_by_hand_before_the_first_step_counts_no_later_frames(handler, manager):
    run = simulation()
    frames = frames_in(handler)
    run.reporters += [frames, CheckpointReporter(manager, CHECKPOINTS)]
    run.step(90)
    crash(frames)
    again = load_latest(manager)
    checkpoints = CheckpointReporter(manager, CHECKPOINTS, states=lambda: {"mine": [1, 2]})
    with frames_in(handler) as frames:
        again.reporters += [frames, checkpoints]
        path = checkpoints.save(again)
    states = manager.load_checkpoint(path)
    assert states["mine"] == [1, 2]
    assert states["md"]["trajectories"] == {"md": 5}


def test_a_run_can_be_saved_after_its_trajectory_was_closed(handler, manager):
    run = simulation()
    checkpoints = CheckpointReporter(manager, CHECKPOINTS)
    with frames_in(handler) as frames:
        run.reporters += [frames, checkpoints]
        run.step(95)
    checkpoints.save(run)
    again = load_latest(manager)
    assert again.currentStep == 95
    with frames_in(handler) as frames:
        again.reporters.append(frames)
        again.step(5)
    assert handler.load_data(handler.key_for("md"))["step"].tolist() == list(range(10, 101, 10))


class StopRequestedError(Exception):
    pass


class Stop:
    """A request to stop from some step on."""

    def __init__(self, run, step):
        self._run, self._step = run, step

    @property
    def requested(self):
        return self._run.currentStep >= self._step

    def check(self):
        if self.requested:
            raise StopRequestedError


def test_a_request_to_stop_is_obeyed_within_a_second_and_goes_on(
    tmp_path, handler, manager, monkeypatch
):
    tracker = ProgressTracker(checkpoint_dir=tmp_path / "board")
    run = simulation()
    monkeypatch.setattr(pace, "time", Clock(run))
    stop = Stop(run, 223)
    frames = frames_in(handler)
    run.reporters += [
        CheckpointReporter(manager, 10**9, stop=stop),
        ProgressReporter(tracker, 10**9),
        frames,
    ]
    with pytest.raises(StopRequestedError), frames:
        run.step(1000)
    # A second has 50 steps.
    assert 223 <= run.currentStep < 273
    (row,) = manager.list_checkpoints()
    again = load_latest(manager)
    step = again.currentStep
    assert row["checkpoint_id"] == f"step-{step:09d}"
    assert tracker.get_progress()["tasks"]["md"]["completed"] == step
    with frames_in(handler) as frames:
        assert frames.n_frames == step // FRAMES
        again.reporters.append(frames)
        again.step(100)
    found = handler.load_data(handler.key_for("md"))
    assert found["step"].tolist() == list(range(FRAMES, step + 101, FRAMES))
    np.testing.assert_allclose(found["time"], found["step"] * 0.002)


def test_looking_for_a_request_changes_nothing(handler, manager, whole):
    run = simulation()
    stop = Stop(run, 1000)
    with frames_in(handler, enforce_periodic_box=False) as frames:
        run.reporters += [frames, CheckpointReporter(manager, CHECKPOINTS, stop=stop)]
        run.step(TOTAL)
    check_whole(handler, whole)
    assert len(manager.list_checkpoints()) == TOTAL // CHECKPOINTS


def test_a_broken_simulation_replaces_no_checkpoint(manager):
    run = simulation()
    run.reporters.append(CheckpointReporter(manager, CHECKPOINTS))
    run.step(CHECKPOINTS)
    run.context.setVelocities(np.full((8, 3), np.nan))
    with pytest.raises(InvalidArgumentError, match="of atom 0 at step 100 is"):
        run.step(CHECKPOINTS)
    assert [row["checkpoint_id"] for row in manager.list_checkpoints()] == ["step-000000050"]


def test_wrong_arguments_are_refused(manager, tmp_path):
    tracker = ProgressTracker()
    for interval in (0, 1.5, True):
        with pytest.raises(InvalidArgumentError, match="interval"):
            CheckpointReporter(manager, interval)
        with pytest.raises(InvalidArgumentError, match="total_steps"):
            ProgressReporter(tracker, interval)
    with pytest.raises(InvalidArgumentError, match="manager="):
        CheckpointReporter(tmp_path, 10)
    with pytest.raises(InvalidArgumentError, match="stop=5"):
        CheckpointReporter(manager, 10, stop=5)
    for name in ("", "a/b", ".a", "a\n", "x" * 300):
        with pytest.raises(InvalidArgumentError, match="name="):
            CheckpointReporter(manager, 10, name=name)
    with pytest.raises(InvalidArgumentError, match="states: returned a NoneType"):
        CheckpointReporter(manager, 10, states=lambda: None).save(simulation())
    CheckpointReporter(manager, 10, name="é" * 80).save(simulation())
    manager.delete(manager.latest())
    reporter = CheckpointReporter(manager, 10, states=lambda: {"md": 1})
    with pytest.raises(InvalidArgumentError, match=r"'md'.*expected other names"):
        reporter.save(simulation())
    assert manager.list_checkpoints() == []


def test_a_crash_is_not_replaced_by_the_error_of_a_full_disk(handler, caplog):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def run_and_crash():
        with frames_in(handler) as reporter:
            run = simulation()
            run.reporters.append(reporter)
            run.step(20)
            resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
            raise ZeroDivisionError

    try:
        with pytest.raises(ZeroDivisionError):
            run_and_crash()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "its last frames may not be durable" in caplog.text


class TupleReporter:
    """A reporter that describes its reports as those before OpenMM 8.2 had to."""

    def __init__(self):
        self.steps = []

    def describeNextReport(self, simulation):  # noqa: N802
        return (30 - simulation.currentStep % 30, True, False, False, False)

    def report(self, simulation, state):
        self.steps.append(simulation.currentStep)


def test_reporters_of_the_older_protocol_run_beside_ours(handler, manager, whole):
    other = TupleReporter()
    run = simulation()
    with frames_in(handler, enforce_periodic_box=True, velocities=True) as frames:
        run.reporters += [other, CheckpointReporter(manager, CHECKPOINTS), frames]
        run.step(TOTAL)
    check_whole(handler, whole, periodic=True)
    assert other.steps == list(range(30, TOTAL, 30))


class Clock:
    """A second passes with each 50 steps of a simulation."""

    def __init__(self, run):
        self._run = run

    def monotonic(self):
        return self._run.currentStep / 50


def task(directory):
    return ProgressTracker.attach(directory).get_progress()["tasks"]["md"]


def test_progress_counts_each_step_once_over_reruns(tmp_path, monkeypatch, manager):
    board = tmp_path / "board"
    run = simulation()
    for module in (progress, pace):
        monkeypatch.setattr(module, "time", Clock(run))
    with ProgressTracker(checkpoint_dir=board) as tracker:
        run.reporters += [
            ProgressReporter(tracker, 500, task_name="Villin"),
            CheckpointReporter(manager, 100),
        ]
        run.step(270)
        # 50 steps of 0.002 ps in a second; a report for each 10 of them, 0.2 seconds.
        assert task(board)["message"] == "8.64 ns/day"
    assert 260 <= task(board)["completed"] <= 270
    assert task(board)["total"] == 500
    again = load_latest(manager)
    assert again.currentStep == 200
    with ProgressTracker(checkpoint_dir=board) as tracker:
        again.reporters.append(ProgressReporter(tracker, 500, task_name="Villin"))
        again.step(1)
        assert task(board)["completed"] in (200, 201)
        again.step(298)
        assert task(board)["status"] == "running"
        again.step(1)
        assert (task(board)["completed"], task(board)["status"]) == (500, "completed")
        # A run that goes further than it was said to counts no more.
        again.step(100)
        assert task(board)["completed"] == 500


def test_progress_of_a_simulation_that_is_set_back_begins_there(tmp_path):
    run = simulation()
    with ProgressTracker(checkpoint_dir=tmp_path) as tracker:
        run.reporters.append(ProgressReporter(tracker, 500))
        run.step(300)
        run.currentStep = 100
        run.step(50)
        assert 100 <= task(tmp_path)["completed"] <= 150


def test_importing_the_reporters_needs_no_openmm(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "openmm"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "openmm", None)
    package = "proteinflex_optimization.integrations.openmm"
    for name in [name for name in sys.modules if name.startswith(package)]:
        monkeypatch.delitem(sys.modules, name)
    reporters = importlib.import_module(package)
    assert reporters.TrajectoryReporter.__module__ == f"{package}.trajectory"


class InterruptError(BaseException):
    """What a signal's handler raises, as Ctrl-C does."""


def interrupted(reporter, moment):
    """Let the next `append` be interrupted, before or after it has done its work."""
    append = reporter._writer.append

    class Writer:
        def __getattr__(self, name):
            return getattr(writer, name)

        def append(self, *arguments, **fields):
            reporter._writer = writer
            if moment == "after":
                append(*arguments, **fields)
            raise InterruptError

    writer, reporter._writer = reporter._writer, Writer()


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("saves", [False, True])
def test_a_step_whose_report_is_interrupted_is_there_once(handler, tmp_path, moment, saves):
    run = simulation()
    with frames_in(handler) as frames:
        checkpoints = CheckpointReporter(CheckpointManager(tmp_path / "saved"), 10**6)
        run.reporters.extend([frames, checkpoints])
        run.step(2 * FRAMES)
        interrupted(frames, moment)
        with pytest.raises(InterruptError):
            run.step(2 * FRAMES)
        assert run.currentStep == 3 * FRAMES
        if saves:
            checkpoints.save(run)
            assert frames.n_frames == 3
        run.step(2 * FRAMES)
    found = handler.load_data(handler.key_for("md"))
    assert found["step"].tolist() == [FRAMES * index for index in range(1, 6)]


def test_precision_none_goes_on_with_no_rounded_frames(handler):
    run = simulation()
    frames = TrajectoryReporter(handler, "md", FRAMES)
    run.reporters.append(frames)
    run.step(FRAMES)
    frames.__exit__(InterruptError, InterruptError(), None)
    with pytest.raises(InvalidArgumentError, match=r"precision.*0\.001"):
        TrajectoryReporter(handler, "md", FRAMES, precision=None)
    rounding = DataHandler(handler.cache_dir, precision=0.001)
    with TrajectoryReporter(rounding, "md", FRAMES, precision=None) as frames:
        assert frames.n_frames == 1
