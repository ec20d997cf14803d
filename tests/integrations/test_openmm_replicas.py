"""Several simulations, or several stages of one, that share a script or a directory of checkpoints."""

import numpy as np
import openmm
import pytest
from openmm import app
from proteinflex_optimization import (
    CheckpointManager,
    DataHandler,
    InvalidArgumentError,
    ResumeError,
)
from proteinflex_optimization.integrations.openmm import (
    CheckpointReporter,
    TrajectoryReporter,
    load_latest,
)


def simulation(seed=1):
    """Make two atoms on a spring."""
    topology, system = app.Topology(), openmm.System()
    residue = topology.addResidue("CHN", topology.addChain())
    for _ in range(2):
        topology.addAtom("C", app.element.carbon, residue)
        system.addParticle(12)
    bond = openmm.HarmonicBondForce()
    bond.addBond(0, 1, 0.15, 1000)
    system.addForce(bond)
    platform = openmm.Platform.getPlatformByName("Reference")
    made = app.Simulation(topology, system, openmm.VerletIntegrator(0.002), platform)
    made.context.setPositions([(0, 0, 0), (0.15, 0, 0)])
    made.context.setVelocitiesToTemperature(300, seed)
    return made


def crash(reporter):
    """End as a program does that dies of an error."""
    reporter.__exit__(RuntimeError, RuntimeError("crashed"), None)


def steps(handler, data_id):
    return handler.load_data(handler.key_for(data_id))["step"].tolist()


@pytest.fixture
def handler(tmp_path):
    return DataHandler(tmp_path / "cache")


@pytest.fixture
def manager(tmp_path):
    return CheckpointManager(tmp_path / "checkpoints")


def test_a_replica_does_not_go_on_with_the_checkpoint_of_another(handler, manager):
    for number in (0, 1):
        run = simulation(number + 1)
        frames = TrajectoryReporter(handler, f"replica{number}", 10)
        run.reporters += [frames, CheckpointReporter(manager, 50)]
        run.step(60)
        crash(frames)
    before = handler.unfinished()
    again = load_latest(manager)
    frames = TrajectoryReporter(handler, "replica0", 10)
    again.reporters.append(frames)
    with pytest.raises(
        ResumeError, match=r"'replica0'.* 5 stored .* step 50.* \['replica1'\] .*directory of"
    ):
        again.step(50)
    crash(frames)
    assert [row["n_frames"] for row in handler.unfinished()] == [6, 6]
    assert [row["last_written"] for row in handler.unfinished()] == [
        row["last_written"] for row in before
    ]
    again = load_latest(manager)
    with TrajectoryReporter(handler, "replica0", 10, overwrite=True) as frames:
        again.reporters.append(frames)
        again.step(20)
    assert steps(handler, "replica0") == [60, 70]


def test_a_replica_that_begins_with_the_checkpoint_of_another_is_warned(handler, manager, caplog):
    run = simulation()
    with TrajectoryReporter(handler, "replica0", 10) as frames:
        run.reporters += [frames, CheckpointReporter(manager, 50)]
        run.step(50)
    again = load_latest(manager)
    with TrajectoryReporter(handler, "replica1", 10) as frames:
        again.reporters.append(frames)
        again.step(20)
    assert "saved with ['replica0'] and not with this one: replicas need" in caplog.text


def test_checkpoints_of_other_names_do_not_replace_each_other(manager):
    for name in ("md", "replica0", "replica1"):
        run = simulation()
        run.reporters.append(CheckpointReporter(manager, 50, name=name))
        run.step(50)
    assert sorted(row["checkpoint_id"] for row in manager.list_checkpoints()) == [
        "replica0-step-000000050",
        "replica1-step-000000050",
        "step-000000050",
    ]
    assert load_latest(manager, name="replica0").currentStep == 50


def test_a_closed_reporter_is_an_error_before_the_simulation_moves(handler):
    run = simulation()
    with TrajectoryReporter(handler, "equilibration", 10) as frames:
        run.reporters.append(frames)
        run.step(20)
    with TrajectoryReporter(handler, "production", 10) as production:
        run.reporters.append(production)
        with pytest.raises(InvalidArgumentError, match=r"'equilibration'.* out of simulation\.rep"):
            run.step(20)
        assert run.currentStep == 20
        run.reporters.remove(frames)
        run.step(20)
    assert (steps(handler, "equilibration"), steps(handler, "production")) == ([10, 20], [30, 40])


def test_a_reporter_is_one_simulation_s(handler, manager):
    one, other = simulation(1), simulation(2)
    with TrajectoryReporter(handler, "md", 10) as frames:
        for run in (one, other):
            run.reporters.append(frames)
        one.reporters.append(CheckpointReporter(manager, 20))
        one.step(50)
        with pytest.raises(InvalidArgumentError, match=r"'md'.*data_id of its own"):
            other.step(50)
        assert (other.currentStep, frames.n_frames) == (0, 5)
        # One that was saved with it takes the other's place.
        again = load_latest(manager)
        again.reporters.append(frames)
        again.step(20)
        assert frames.n_frames == 6
        frames.resume_at(0)
        other.step(20)
        assert frames.n_frames == 2


@pytest.mark.parametrize(
    ("intervals", "saved_at", "first_of_last"), [((70, 100), 100, 200), ((10, 100, 50), 780, 800)]
)
def test_another_interval_is_no_missing_frame(handler, manager, intervals, saved_at, first_of_last):
    run = simulation()
    *earlier, last = intervals
    ends = [750, saved_at + 10] if len(earlier) == 2 else [saved_at + 10]
    for interval, end in zip(earlier, ends, strict=True):
        frames = TrajectoryReporter(handler, "md", interval)
        run.reporters = [frames, CheckpointReporter(manager, saved_at if end > saved_at else 250)]
        run.step(end - run.currentStep)
        crash(frames)
        run = load_latest(manager)
    assert run.currentStep == saved_at
    with TrajectoryReporter(handler, "md", last) as frames:
        run.reporters.append(frames)
        run.step(300)
    found = np.array(steps(handler, "md"))
    assert found[found > saved_at].tolist() == list(range(first_of_last, saved_at + 301, last))
