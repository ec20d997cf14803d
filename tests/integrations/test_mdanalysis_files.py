"""A `.fxt` file in MDAnalysis, as a file of any of its own formats."""

import contextlib
import gc
import os
import pickle
import subprocess
import sys

import MDAnalysis
import numpy as np
import pytest
from MDAnalysis.analysis.rms import RMSD
from MDAnalysis.transformations import center_in_box
from MDAnalysisTests.datafiles import COORDINATES_TOPOLOGY, COORDINATES_TRR, DCD, PSF
from proteinflex_optimization import InvalidArgumentError, create_trajectory, open_trajectory
from proteinflex_optimization.integrations import mdanalysis

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

IN_A_FRESH_PROCESS = """
import sys
import MDAnalysis
import proteinflex_optimization.integrations.mdanalysis

universe = MDAnalysis.Universe(sys.argv[1], sys.argv[2])
universe.atoms[:3].write("copy.fxt", frames="all")
with MDAnalysis.Writer("second.fxt", 3, precision=0.001) as writer:
    for ts in universe.trajectory[::2]:
        writer.write(universe.atoms[:3])
"""


@pytest.fixture(scope="module")
def original():
    return MDAnalysis.Universe(COORDINATES_TOPOLOGY, COORDINATES_TRR)


@pytest.fixture(scope="module")
def path(original, tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / "run.fxt"
    original.atoms.write(path, frames="all")
    return path


def assert_same_frames(ours, theirs):
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one.time == other.time
        np.testing.assert_array_equal(one.positions, other.positions)
        np.testing.assert_array_equal(one.dimensions, other.dimensions)
        assert other.has_velocities
        np.testing.assert_array_equal(one.velocities, other.velocities)
        assert other.has_forces
        np.testing.assert_array_equal(one.forces, other.forces)
        assert one.data["step"] == other.data["step"]


def test_a_written_file_has_all_that_the_frames_had(original, path):
    written = MDAnalysis.Universe(COORDINATES_TOPOLOGY, path)
    assert_same_frames(written.trajectory, original.trajectory)
    assert written.trajectory.dt == pytest.approx(original.trajectory.dt)
    assert open_trajectory(path).dtype == np.float32
    assert os.listdir(path.parent) == [path.name]


def test_the_topology_travels_with_what_is_written(original, path, tmp_path):
    alone = MDAnalysis.Universe(path)
    np.testing.assert_array_equal(alone.atoms.names, original.atoms.names)
    np.testing.assert_array_equal(alone.atoms.resids, original.atoms.resids)
    alone.atoms[[3, 1]].write(tmp_path / "two.fxt", frames="all")
    two = MDAnalysis.Universe(tmp_path / "two.fxt")
    np.testing.assert_array_equal(two.atoms.names, original.atoms.names[[3, 1]])
    np.testing.assert_array_equal(two.atoms.positions, original.atoms.positions[[3, 1]])
    assert open_trajectory(tmp_path / "two.fxt").topology.names.tolist() == list(two.atoms.names)


def test_forces_are_stored_in_the_unit_of_the_package(tmp_path):
    universe = MDAnalysis.Universe.empty(2, trajectory=True, forces=True, velocities=True)
    universe.atoms.forces = [[1, 2, 3], [4, 5, 6]]
    universe.atoms.write(tmp_path / "run.fxt")
    stored = open_trajectory(tmp_path / "run.fxt")
    np.testing.assert_allclose(stored.read(field="forces")[0], 10 * universe.atoms.forces)
    again = MDAnalysis.Universe(tmp_path / "run.fxt", to_guess=())
    np.testing.assert_array_equal(again.atoms.forces, universe.atoms.forces)


def test_the_documented_import_is_all_that_a_fresh_process_needs(path, tmp_path):
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", IN_A_FRESH_PROCESS, COORDINATES_TOPOLOGY, path],
        cwd=tmp_path,
        check=True,
    )
    frames = open_trajectory(path)[:, :3]
    np.testing.assert_array_equal(np.asarray(open_trajectory(tmp_path / "copy.fxt")), frames)
    second = np.asarray(open_trajectory(tmp_path / "second.fxt"))
    np.testing.assert_array_equal(second, frames[::2])


def test_the_writer_rounds_where_it_is_told_to(tmp_path):
    universe = MDAnalysis.Universe.empty(300, trajectory=True)
    frames = np.random.default_rng(0).normal(0, 10, (64, 300, 3)).astype(np.float32)
    with MDAnalysis.Writer(tmp_path / "run.fxt", 300, precision=0.01) as writer:
        for frame in frames:
            universe.atoms.positions = frame
            writer.write(universe)
    stored = open_trajectory(tmp_path / "run.fxt")
    assert 0.004 < np.abs(np.asarray(stored) - frames).max() <= 0.005001


def test_readers_go_where_readers_of_mdanalysis_go(original, path):
    universe = MDAnalysis.Universe(COORDINATES_TOPOLOGY, path)
    universe.trajectory[-2]
    again = pickle.loads(pickle.dumps(universe))
    assert again.trajectory.frame == len(original.trajectory) - 2
    copied = universe.copy()
    copied.trajectory[0]
    assert universe.trajectory.frame == len(original.trajectory) - 2
    assert_same_frames(universe.trajectory[4:0:-2], original.trajectory[4:0:-2])
    universe.transfer_to_memory(step=3)
    np.testing.assert_array_equal(
        universe.trajectory.timeseries(order="fac"),
        original.trajectory.timeseries(step=3, order="fac"),
    )


def test_transformations_apply_to_a_file(original, path):
    moved = [
        MDAnalysis.Universe(
            COORDINATES_TOPOLOGY, file, transformations=center_in_box(original.atoms[:4])
        )
        for file in (path, COORDINATES_TRR)
    ]
    np.testing.assert_array_equal(*(u.trajectory[3].positions for u in moved))


@pytest.mark.parametrize(
    "backend", ["multiprocessing", pytest.param("dask", marks=pytest.mark.soak)]
)
def test_an_analysis_runs_in_many_processes(original, path, backend):
    universe = MDAnalysis.Universe(COORDINATES_TOPOLOGY, path)
    alone = RMSD(universe.atoms).run().results.rmsd
    parallel = RMSD(universe.atoms).run(backend=backend, n_workers=2)
    np.testing.assert_allclose(parallel.results.rmsd, alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("changed", ["frames", "metadata"])
def test_a_universe_knows_when_its_file_was_replaced(original, tmp_path, changed):
    own = tmp_path / "own.fxt"
    frames = np.array([ts.positions for ts in original.trajectory])

    def write(frames, metadata):
        with create_trajectory(own, metadata=metadata, overwrite=True) as writer:
            writer.append(frames)

    write(frames, {"dt": 1.0})
    pickled = pickle.dumps(MDAnalysis.Universe(COORDINATES_TOPOLOGY, own))
    universe = MDAnalysis.Universe(COORDINATES_TOPOLOGY, own)
    write(*((frames[:2], {"dt": 1.0}) if changed == "frames" else (frames, {"dt": 2.0})))
    for again in (lambda: pickle.loads(pickled), universe.copy):
        with pytest.raises(Exception, match="was replaced"):
            again()


def test_a_writer_that_fails_leaves_what_was_there(original, tmp_path):
    target = tmp_path / "run.fxt"
    original.atoms.write(target)
    before = target.read_bytes()
    with MDAnalysis.Writer(target, 5) as writer, pytest.raises(ValueError, match="4 atoms"):
        writer.write(original.atoms[:4])
    with contextlib.suppress(ZeroDivisionError), MDAnalysis.Writer(target, 5) as writer:
        writer.write(original.atoms)
        raise ZeroDivisionError
    assert target.read_bytes() == before
    with MDAnalysis.Writer(target, 5):
        pass
    assert target.read_bytes() == before
    assert os.listdir(tmp_path) == ["run.fxt"]
    with pytest.raises(InvalidArgumentError, match="there already"):
        MDAnalysis.Writer(target, 5, overwrite=False)
    with pytest.raises(TypeError, match="precison"):
        MDAnalysis.Writer(target, 5, precison=0.1)


@pytest.mark.parametrize("options", [{"precision": -1}, {"no_such": 1}])
def test_a_writer_that_is_refused_says_so_and_no_more(tmp_path, options, monkeypatch):
    unraisable = []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: unraisable.append(found.exc_value))
    with pytest.raises(TypeError if "no_such" in options else InvalidArgumentError):
        MDAnalysis.Writer(str(tmp_path / "run.fxt"), 10, **options)
    gc.collect()
    assert unraisable == []
    assert list(tmp_path.iterdir()) == []


def test_a_closed_writer_names_its_file(original, tmp_path):
    with MDAnalysis.Writer(str(tmp_path / "run.fxt"), original.atoms.n_atoms) as writer:
        writer.write(original)
    with pytest.raises(InvalidArgumentError, match=r"run\.fxt: its writer is closed"):
        writer.write(original)


def test_a_later_frame_may_lack_a_field_and_has_no_other(tmp_path):
    universe = MDAnalysis.Universe.empty(3, trajectory=True, velocities=True)
    ts = universe.trajectory.ts
    with MDAnalysis.Writer(tmp_path / "run.fxt", 3) as writer:
        writer.write(universe)
        ts.has_velocities = False
        writer.write(universe)
    again = MDAnalysis.Universe(tmp_path / "run.fxt", to_guess=())
    assert [ts.has_velocities for ts in again.trajectory] == [True, False]
    with MDAnalysis.Writer(tmp_path / "other.fxt", 3) as writer:
        writer.write(universe)
        ts.dimensions = [10, 10, 10, 90, 90, 90]
        with pytest.raises(InvalidArgumentError, match="pass box=True"):
            writer.write(universe)
    assert open_trajectory(tmp_path / "other.fxt").n_frames == 1


def test_other_atoms_than_those_of_the_first_frame_are_refused(tmp_path):
    """As many of them would get the names of the first."""
    universe = MDAnalysis.Universe(PSF, DCD)
    with MDAnalysis.Writer(str(tmp_path / "some.fxt"), 5) as writer:
        writer.write(universe.atoms[:5])
        with pytest.raises(ValueError, match="those of the first frame"):
            writer.write(universe.atoms[5:10])
        writer.write(MDAnalysis.Universe(PSF, DCD).atoms[:5])
    assert len(open_trajectory(tmp_path / "some.fxt")) == 2


def test_a_trajectory_without_a_cache_has_a_universe(path):
    universe = open_trajectory(path).to_universe(COORDINATES_TOPOLOGY)
    assert isinstance(universe.trajectory, mdanalysis.FXTReader)


def test_an_offset_of_times_is_written_once(tmp_path):
    universe = MDAnalysis.Universe(COORDINATES_TOPOLOGY, COORDINATES_TRR, time_offset=100.0)
    universe.atoms.write(tmp_path / "run.fxt", frames="all")
    written = MDAnalysis.Universe(COORDINATES_TOPOLOGY, tmp_path / "run.fxt")
    assert_same_frames(written.trajectory, universe.trajectory)


def test_a_file_of_no_time_is_read(tmp_path):
    with create_trajectory(tmp_path / "run.fxt") as writer:
        writer.append(np.zeros((4, 2, 3), np.float32))
    universe = MDAnalysis.Universe(tmp_path / "run.fxt", dt=2.0, to_guess=())
    assert [ts.time for ts in universe.trajectory] == [0, 2, 4, 6]
