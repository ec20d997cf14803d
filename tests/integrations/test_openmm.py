"""Trajectories of real OpenMM simulations, and what restarts make of them."""

import gc
import multiprocessing
import subprocess
import sys

import numpy as np
import openmm
import pytest
from openmm import app, unit
from proteinflex_optimization import DataHandler, InvalidArgumentError, ResumeError
from proteinflex_optimization.integrations.openmm import TrajectoryReporter

INTERVAL = 100


def simulation(periodic=False):
    """Give a small chain of charged particles on springs, the same each time."""
    topology = app.Topology()
    residue = topology.addResidue("CHN", topology.addChain())
    system = openmm.System()
    bonds = openmm.HarmonicBondForce()
    for index in range(12):
        topology.addAtom("C", app.element.carbon, residue)
        system.addParticle(12.0)
        if index:
            bonds.addBond(index - 1, index, 0.15, 1000.0)
    bonds.setUsesPeriodicBoundaryConditions(periodic)
    system.addForce(bonds)
    if periodic:
        system.setDefaultPeriodicBoxVectors((2, 0, 0), (0, 3, 0), (0, 0, 4))
    integrator = openmm.LangevinMiddleIntegrator(300, 1.0, 0.002)
    integrator.setRandomNumberSeed(1)
    made = app.Simulation(
        topology, system, integrator, openmm.Platform.getPlatformByName("Reference")
    )
    made.context.setPositions([(0.15 * index, 0, 0) for index in range(12)])
    made.context.setVelocitiesToTemperature(300, 1)
    return made


@pytest.fixture
def handler(tmp_path):
    return DataHandler(tmp_path)


def stored(handler):
    return handler.load_data(handler.key_for("md"))


def test_frames_carry_positions_steps_and_times(handler):
    run = simulation()
    expected = []
    with TrajectoryReporter(handler, "md", INTERVAL, precision=None, metadata={"n": 1}) as reporter:
        run.reporters.append(reporter)
        for _ in range(5):
            run.step(INTERVAL)
            state = run.context.getState(positions=True)
            expected.append(state.getPositions(asNumpy=True).value_in_unit(unit.angstrom))
    found = stored(handler)
    assert list(found) == ["frames", "step", "time"]
    assert found["frames"].dtype == np.float32
    np.testing.assert_array_equal(found["frames"], np.array(expected).astype(np.float32))
    assert found["step"].tolist() == [100, 200, 300, 400, 500]
    assert found["step"].dtype == np.int64
    np.testing.assert_allclose(found["time"], np.arange(1, 6) * 0.2)
    assert handler.open(handler.key_for("md")).metadata == {"n": 1}
    assert reporter.n_frames == 5


def test_precision_bounds_the_error_in_angstrom(handler):
    for data_id, precision in [("md", 0.001), ("exact", None)]:
        run = simulation()
        with TrajectoryReporter(handler, data_id, 10, precision=precision) as reporter:
            run.reporters.append(reporter)
            run.step(200)
    rounded, exact = (
        handler.load_data(handler.key_for(name))["frames"].astype(float) for name in ("md", "exact")
    )
    error = np.abs(rounded - exact).max()
    assert 0 < error <= 0.0005 + np.spacing(np.float32(np.abs(exact).max()))


def test_everything_that_can_be_asked_for_is_stored(handler):
    run = simulation(periodic=True)
    with TrajectoryReporter(
        handler, "md", 10, precision=None, velocities=True, forces=True, energies=True
    ) as reporter:
        run.reporters.append(reporter)
        run.step(10)
    state = run.context.getState(velocities=True, forces=True, energy=True)
    found = stored(handler)
    np.testing.assert_array_equal(found["box"], [np.diag([20.0, 30.0, 40.0])])
    velocities = state.getVelocities(asNumpy=True).value_in_unit(unit.angstrom / unit.picosecond)
    np.testing.assert_allclose(found["velocities"][0], velocities, rtol=1e-6)
    np.testing.assert_allclose(found["forces"][0], state.getForces(asNumpy=True)._value, rtol=1e-5)
    energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
    np.testing.assert_allclose(found["potential"], [energy])
    assert found["kinetic"][0] > 0


@pytest.mark.parametrize("ended", ["failed", "closed"])
def test_a_restart_from_a_checkpoint_gives_each_frame_once(handler, caplog, ended):
    """OpenMM's own reporters give 14 frames here, labelled up to step 1400."""
    run = simulation()
    reporter = TrajectoryReporter(handler, "md", INTERVAL)
    run.reporters.append(reporter)
    run.step(500)
    checkpoint = run.context.createCheckpoint()
    run.step(400)
    assert reporter.n_frames == 9
    if ended == "closed":
        reporter.close()
    else:
        reporter.__exit__(RuntimeError, RuntimeError("failed"), None)
    del run, reporter

    again = simulation()
    again.context.loadCheckpoint(checkpoint)
    again.currentStep = 500
    caplog.set_level("INFO", logger="proteinflex_optimization")
    with TrajectoryReporter(handler, "md", INTERVAL) as reporter:
        if ended == "closed":
            reporter.resume_at(500)
        again.reporters.append(reporter)
        again.step(500)
    found = stored(handler)
    assert found["step"].tolist() == list(range(100, 1001, 100))
    np.testing.assert_allclose(found["time"], found["step"] * 0.002)
    (record,) = [record for record in caplog.records if "md" in record.getMessage()]
    assert "dropped 4 frames after step 500" in record.getMessage()
    # What was asked for is no warning.
    assert record.levelname == ("INFO" if ended == "closed" else "WARNING")

    # The same as a run that was never interrupted, until the checkpoint.
    whole = simulation()
    with TrajectoryReporter(handler, "whole", INTERVAL) as reporter:
        whole.reporters.append(reporter)
        whole.step(500)
    np.testing.assert_array_equal(
        found["frames"][:5], handler.load_data(handler.key_for("whole"))["frames"]
    )


def test_two_restarts_from_the_same_checkpoint_and_resume_at(handler):
    run = simulation()
    with TrajectoryReporter(handler, "md", INTERVAL) as reporter:
        run.reporters.append(reporter)
        run.step(400)
    for _ in range(2):
        again = simulation()
        again.currentStep = 250
        with TrajectoryReporter(handler, "md", INTERVAL) as reporter:
            reporter.resume_at(again.currentStep)
            assert reporter.n_frames == 2
            again.reporters.append(reporter)
            again.step(350)
        assert stored(handler)["step"].tolist() == [100, 200, 300, 400, 500, 600]


def report(handler, start, stop, **options):
    """Simulate from step `start` as a script does that has restored a checkpoint of it."""
    run = simulation()
    run.currentStep = start
    with TrajectoryReporter(handler, "md", INTERVAL, **options) as reporter:
        reporter.resume_at(start)
        run.reporters.append(reporter)
        run.step(stop - start)
    return reporter


@pytest.mark.parametrize("lost", ["removed", "cleared", "another id", "never flushed", "cut"])
def test_frames_that_do_not_reach_the_checkpoint_are_an_error(handler, lost):
    report(handler, 0, 500)
    if lost == "removed":
        handler.remove(handler.key_for("md"))
    elif lost == "cleared":
        handler.clear()
    elif lost == "another id":
        report(handler, 500, 600)
        handler.remove(handler.key_for("md"))
        handler.store_trajectory({"frames": np.zeros((3, 12, 3), np.float32)}, "other")
    elif lost == "never flushed":
        handler.remove(handler.key_for("md"))
        report(handler, 0, 300)
    elif lost == "cut":
        with handler.trajectory_writer("md", resume=True) as writer:
            writer.truncate(4)
    before = handler.keys()
    with pytest.raises(ResumeError, match=r"'md'.*from step 500.*overwrite=True"):
        report(handler, 500, 700)
    assert handler.keys() == before
    assert handler.get_cache_stats()["unfinished"] == 0
    assert report(handler, 500, 700, overwrite=True).n_frames == 2
    assert stored(handler)["step"].tolist() == [600, 700]


def test_a_gap_is_an_error_also_where_nobody_asks(handler):
    report(handler, 0, 300)
    run = simulation()
    run.currentStep = 500
    with TrajectoryReporter(handler, "md", INTERVAL) as reporter:
        run.reporters.append(reporter)
        with pytest.raises(ResumeError, match="3 stored frames end at step 300"):
            run.step(100)
    assert stored(handler)["step"].tolist() == [100, 200, 300]


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize(("until", "step"), [(30, 60), (30, 40), (100, 160), (10, 60)])
def test_a_longer_interval_hides_no_missing_frames(handler, until, step, asked):
    run = simulation()
    with TrajectoryReporter(handler, "md", 10) as reporter:
        run.reporters.append(reporter)
        run.step(until)
    run = simulation()
    run.currentStep = step
    with TrajectoryReporter(handler, "md", INTERVAL) as reporter:
        run.reporters.append(reporter)
        with pytest.raises(ResumeError, match=f"frames end at step {until}"):
            reporter.resume_at(step) if asked else run.step(200)
    assert stored(handler)["step"].tolist() == list(range(10, until + 1, 10))


def test_the_interval_may_change_where_no_frame_is_missing(handler):
    runs = [(0, 35, 10), (35, 150, 100), (150, 190, 100), (190, 199, 1000), (199, 350, 100)]
    for start, stop, interval in [*runs, (350, 370, 10)]:
        run = simulation()
        run.currentStep = start
        with TrajectoryReporter(handler, "md", interval) as reporter:
            reporter.resume_at(start)
            run.reporters.append(reporter)
            run.step(stop - start)
    assert stored(handler)["step"].tolist() == [10, 20, 30, 100, 200, 300, 360, 370]


def test_a_run_is_extended_and_one_at_its_last_step_stays(handler):
    report(handler, 0, 500)
    first = handler.open(handler.key_for("md"))
    assert report(handler, 500, 500).n_frames == 5
    assert handler.open(first.key).content_id == first.content_id
    assert report(handler, 500, 800).n_frames == 8
    found = stored(handler)
    assert found["step"].tolist() == list(range(100, 801, 100))
    # What was rounded once is not rounded again.
    np.testing.assert_array_equal(found["frames"][:5], first[:])


def test_a_run_may_begin_to_report_after_an_equilibration(handler, caplog):
    run = simulation()
    run.step(250)
    with TrajectoryReporter(handler, "md", INTERVAL) as reporter:
        run.reporters.append(reporter)
        run.step(250)
    assert stored(handler)["step"].tolist() == [300, 400, 500]
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert "begins at step 250" in warnings[0].getMessage()
    report(handler, 400, 600)
    assert stored(handler)["step"].tolist() == [300, 400, 500, 600]


@pytest.mark.parametrize("start", [0, 200, 500])
def test_a_finished_trajectory_is_neither_cut_nor_continued_by_another_simulation(handler, start):
    """Nor by the same script again, without a checkpoint."""
    report(handler, 0, 500)
    before = handler.open("md")
    run = simulation()
    run.step(start)  # An equilibration.
    with TrajectoryReporter(handler, "md", INTERVAL) as reporter:
        run.reporters.append(reporter)
        with pytest.raises(
            ResumeError,
            match=f"is finished, with 5 frames up to step 500, .* at step {start}, .*overwrite=True",
        ):
            run.step(300)
    assert run.currentStep == start
    assert handler.open("md").content_id == before.content_id
    assert handler.get_cache_stats()["unfinished"] == 0
    run.reporters.clear()
    with TrajectoryReporter(handler, "md", INTERVAL, overwrite=True) as reporter:
        run.reporters.append(reporter)
        run.step(100)
    assert stored(handler)["step"].tolist() == [start + 100]


def test_a_simulation_goes_on_with_a_trajectory_that_it_has_finished_itself(handler):
    run = simulation()
    for _ in range(2):  # A cell of a notebook, say.
        with TrajectoryReporter(handler, "md", INTERVAL) as reporter:
            run.reporters = [reporter]
            run.step(300)
    assert stored(handler)["step"].tolist() == [100, 200, 300, 400, 500, 600]


@pytest.mark.parametrize("is_kept", [False, True])
def test_another_simulation_is_refused_also_where_the_first_one_is_gone(handler, is_kept):
    kept = []
    with TrajectoryReporter(handler, "md", INTERVAL) as reporter:
        for number in range(2):
            run = simulation()
            kept += [run] * is_kept
            run.reporters.append(reporter)
            if number == 0:
                run.step(300)
                del run
                gc.collect()
                continue
            with pytest.raises(InvalidArgumentError, match="another simulation's"):
                run.step(300)
    assert stored(handler)["step"].tolist() == [100, 200, 300]


def test_an_unfinished_trajectory_begins_again_with_the_simulation_and_a_warning(handler, caplog):
    """As that of a job that was killed before its first checkpoint."""
    run = simulation()
    reporter = TrajectoryReporter(handler, "md", INTERVAL)
    run.reporters.append(reporter)
    run.step(300)
    reporter.__exit__(RuntimeError, RuntimeError("failed"), None)
    run = simulation()
    with TrajectoryReporter(handler, "md", INTERVAL) as reporter:
        run.reporters.append(reporter)
        run.step(200)
    assert stored(handler)["step"].tolist() == [100, 200]
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert "dropped 3 frames after step 0" in warnings[0]


def test_without_resume_or_overwrite_a_trajectory_is_never_touched(handler):
    report(handler, 0, 200)
    with pytest.raises(InvalidArgumentError, match=r"resume=True.*overwrite=True"):
        TrajectoryReporter(handler, "md", INTERVAL, resume=False)
    with pytest.raises(InvalidArgumentError, match=r"precision=0.01 .*expected 0.001"):
        TrajectoryReporter(handler, "md", INTERVAL, precision=0.01)
    assert stored(handler)["step"].tolist() == [100, 200]


def test_a_simulation_set_back_meanwhile_writes_no_step_twice(handler):
    run = simulation()
    with TrajectoryReporter(handler, "md", INTERVAL) as reporter:
        run.reporters.append(reporter)
        run.step(300)
        checkpoint = run.context.createCheckpoint()
        run.step(300)
        run.context.loadCheckpoint(checkpoint)
        run.currentStep = 300
        run.step(200)
    assert stored(handler)["step"].tolist() == [100, 200, 300, 400, 500]


def test_overwrite_replaces_the_trajectory(handler):
    for steps in (300, 200):
        run = simulation()
        with TrajectoryReporter(handler, "md", INTERVAL, overwrite=True) as reporter:
            run.reporters.append(reporter)
            run.step(steps)
    assert stored(handler)["step"].tolist() == [100, 200]


def test_an_unstable_simulation_is_named_and_earlier_frames_are_kept(handler):
    run = simulation()
    reporter = TrajectoryReporter(handler, "md", INTERVAL)
    run.reporters.append(reporter)
    run.step(200)
    positions = run.context.getState(positions=True).getPositions(asNumpy=True)._value
    positions[7] = np.nan
    run.context.setPositions(positions)
    with pytest.raises(InvalidArgumentError, match=r"position of atom \d+ at step 300 is \[nan"):
        run.step(100)
    reporter.close()
    assert stored(handler)["step"].tolist() == [100, 200]


@pytest.mark.parametrize(
    ("what", "distance", "speed"),
    [("position of", 1e38, 0.0), ("velocity of", 1.0, 1e38), ("force on", 1e-4, 0.0)],
)
def test_a_number_beyond_float32_ends_the_run_instead_of_becoming_infinite(
    handler, what, distance, speed
):
    topology, system = app.Topology(), openmm.System()
    force = openmm.NonbondedForce()
    residue = topology.addResidue("AR", topology.addChain())
    for _ in range(2):
        topology.addAtom("AR", app.element.argon, residue)
        system.addParticle(40.0)
        force.addParticle(0.0, 0.34, 1.0)
    system.addForce(force)
    platform = openmm.Platform.getPlatformByName("Reference")
    run = app.Simulation(topology, system, openmm.VerletIntegrator(1e-30), platform)
    run.context.setPositions([(0, 0, 0), (distance, 0, 0)])
    run.context.setVelocities([(0, 0, 0), (speed, 0, 0)])
    with TrajectoryReporter(handler, "md", 1, velocities=True, forces=True) as reporter:
        run.reporters.append(reporter)
        with pytest.raises(InvalidArgumentError, match=rf"the {what} atom \d at step 1 is \["):
            run.step(1)
        assert reporter.n_frames == 0


def test_a_script_that_never_closes_its_reporter_leaves_a_trajectory(tmp_path):
    script = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from test_openmm import simulation\n"
        "from proteinflex_optimization import DataHandler\n"
        "from proteinflex_optimization.integrations.openmm import TrajectoryReporter\n"
        "run = simulation()\n"
        "run.reporters.append(TrajectoryReporter(DataHandler(sys.argv[1]), 'md', 100))\n"
        "run.step(300)\n"
    )
    here = str(__file__).rsplit("/", 1)[0]
    subprocess.run([sys.executable, "-c", script, str(tmp_path), here], check=True, timeout=120)
    handler = DataHandler(tmp_path)
    assert stored(handler)["step"].tolist() == [100, 200, 300]


def run_and_never_close(directory):
    global kept  # Nothing but the end of the process lets it go.
    kept = simulation()
    kept.reporters.append(TrajectoryReporter(DataHandler(directory), "md", 100))
    kept.step(300)


def test_a_child_that_never_closes_its_reporter_leaves_a_trajectory(tmp_path):
    context = multiprocessing.get_context("forkserver")
    child = context.Process(target=run_and_never_close, args=(tmp_path,))
    child.start()
    child.join(120)
    assert child.exitcode == 0
    assert stored(DataHandler(tmp_path))["step"].tolist() == [100, 200, 300]


@pytest.mark.parametrize("interval", [0, -1, 1.5, "10", True])
def test_an_interval_that_is_none_is_refused(handler, interval):
    with pytest.raises(InvalidArgumentError, match="interval"):
        TrajectoryReporter(handler, "md", interval)
    assert handler.get_cache_stats()["unfinished"] == 0


def test_a_trajectory_of_another_kind_is_not_mixed_with_the_simulation(handler):
    frames = np.zeros((3, 12, 3), np.float32)
    handler.store_trajectory({"frames": frames}, "md", precision=0.001)
    run = simulation()
    run.reporters.append(TrajectoryReporter(handler, "md", INTERVAL))
    with pytest.raises(InvalidArgumentError, match="overwrite=True"):
        run.step(100)
