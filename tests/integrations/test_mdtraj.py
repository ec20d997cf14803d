"""mdtraj gets from the cache what it gets from the file, to the last bit."""

import gzip
import os

import numpy as np
import pytest
from proteinflex_optimization import (
    DataHandler,
    InvalidArgumentError,
    create_trajectory,
    open_trajectory,
)

mdtraj = pytest.importorskip("mdtraj")

from MDAnalysisTests.datafiles import DCD, GRO, PSF, TRR, XTC  # noqa: E402
from proteinflex_optimization.integrations.mdanalysis import import_trajectory  # noqa: E402
from proteinflex_optimization.integrations.mdtraj import (  # noqa: E402
    load_fxt,
    save_mdtraj,
    store_mdtraj,
)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


@pytest.fixture
def handler(tmp_path):
    return DataHandler(tmp_path / "cache")


def topology(n_atoms):
    found = mdtraj.Topology()
    residue = found.add_residue("UNK", found.add_chain())
    for number in range(n_atoms):
        found.add_atom(f"X{number}", mdtraj.element.carbon, residue)
    return found


def test_a_dcd_imported_by_mdanalysis_is_the_dcd_that_mdtraj_reads(handler):
    trajectory = handler.open(import_trajectory(handler, PSF, DCD, "md"))
    ours = trajectory.to_mdtraj(PSF)
    theirs = mdtraj.load(DCD, top=PSF)
    assert ours.xyz.dtype == np.float32
    np.testing.assert_array_equal(ours.xyz, theirs.xyz)
    assert ours.unitcell_vectors is None
    np.testing.assert_allclose(ours.time, trajectory.time)
    ours.superpose(ours)  # It is writable.


@pytest.mark.parametrize("path", [XTC, TRR], ids=["XTC", "TRR"])
def test_times_and_unit_cells_are_those_of_the_file(handler, path):
    theirs = mdtraj.load(path, top=GRO)
    ours = handler.open(import_trajectory(handler, GRO, path, "md")).to_mdtraj(theirs.topology)
    # MDAnalysis and mdtraj differ by a rounding where they turn nm into Å and back.
    np.testing.assert_allclose(ours.xyz, theirs.xyz, rtol=3e-7)
    np.testing.assert_allclose(ours.time, theirs.time)
    np.testing.assert_allclose(ours.unitcell_lengths, theirs.unitcell_lengths, rtol=1e-6)
    np.testing.assert_allclose(ours.unitcell_angles, theirs.unitcell_angles, rtol=1e-5)


def test_what_mdtraj_stores_comes_back(handler):
    rng = np.random.default_rng(1)
    stored = mdtraj.Trajectory(
        rng.normal(0, 2, (150, 20, 3)),
        topology(20),
        time=np.arange(150) * 0.5,
        unitcell_lengths=rng.uniform(3, 4, (150, 3)),
        unitcell_angles=rng.uniform(60, 90, (150, 3)),
    )
    trajectory = handler.open(store_mdtraj(handler, stored, "md"))
    assert trajectory.dtype == np.float32
    found = trajectory.to_mdtraj(stored.topology)
    np.testing.assert_allclose(found.xyz, stored.xyz, rtol=3e-7)
    np.testing.assert_array_equal(found.time, stored.time)
    np.testing.assert_allclose(found.unitcell_lengths, stored.unitcell_lengths, rtol=3e-7)
    np.testing.assert_array_equal(found.unitcell_angles, stored.unitcell_angles)


@pytest.mark.parametrize("atoms", [[5, 2, 3], slice(2, 15, 4), np.arange(20) % 3 == 0])
def test_frames_and_atoms_select(handler, atoms):
    frames = np.random.default_rng(1).normal(0, 10, (50, 20, 3)).astype(np.float32)
    vectors = np.tile(np.diag([30.0, 40.0, 50.0]), (50, 1, 1))
    data = {"frames": frames, "box": vectors, "time": np.arange(50) * 2.0}
    trajectory = handler.open(handler.store_trajectory(data, "md"))
    found = trajectory.to_mdtraj(topology(20), start=40, stop=2, step=-3, atoms=atoms)
    chosen = np.unique(np.arange(20)[atoms])
    np.testing.assert_array_equal(found.xyz, frames[40:2:-3][:, chosen] * np.float32(0.1))
    assert [atom.name for atom in found.topology.atoms] == [f"X{number}" for number in chosen]
    np.testing.assert_array_equal(found.time, np.arange(50)[40:2:-3] * 2.0)
    np.testing.assert_allclose(found.unitcell_vectors[0], np.diag([3, 4, 5]), atol=1e-6)


def test_a_topology_of_other_atoms_is_refused(handler):
    key = handler.store_trajectory({"frames": np.zeros((2, 3, 3), np.float32)}, "md")
    with pytest.raises(InvalidArgumentError, match="topology has 4 atoms: expected 3"):
        handler.open(key).to_mdtraj(topology(4))
    with pytest.raises(InvalidArgumentError, match="atoms"):
        handler.open(key).to_mdtraj(topology(3), atoms=[3])
    key = handler.store_trajectory(
        {"frames": np.zeros((2, 3, 3), np.float32), "box": np.ones((2, 9))}, "md"
    )
    with pytest.raises(InvalidArgumentError, match="'box' has items of shape"):
        handler.open(key).to_mdtraj(topology(3))


@pytest.mark.parametrize("box", [[30, 40, 50], [30, 40, 50, 90, 90, 90], np.diag([30.0, 40, 50])])
def test_one_box_for_all_frames_is_the_unit_cell_of_each(handler, box):
    data = {"frames": np.zeros((3, 4, 3), np.float32), "box": box}
    trajectory = handler.open(handler.store_trajectory(data, "md"))
    found = trajectory.to_mdtraj(topology(4), start=1)
    np.testing.assert_allclose(found.unitcell_lengths, [[3, 4, 5]] * 2, rtol=1e-6)
    np.testing.assert_allclose(found.unitcell_angles, [[90] * 3] * 2, rtol=1e-6)


def test_three_lengths_per_frame_are_the_unit_cell_of_each(handler):
    box = np.array([[30.0, 40, 50], [np.nan] * 3, [31, 41, 51]])
    data = {"frames": np.zeros((3, 4, 3), np.float32), "box": box}
    found = handler.open(handler.store_trajectory(data, "md")).to_mdtraj(topology(4), step=2)
    np.testing.assert_allclose(found.unitcell_lengths, box[::2] / 10, rtol=1e-6)
    np.testing.assert_allclose(found.unitcell_angles, [[90] * 3] * 2, rtol=1e-6)


def test_frames_that_mdtraj_counts_are_no_times(handler, caplog):
    theirs = mdtraj.load(DCD, top=PSF)
    trajectory = handler.open(store_mdtraj(handler, theirs, "md"))
    assert trajectory.fields == ["frames"]
    assert "md: left out: time" in caplog.text
    np.testing.assert_allclose(trajectory.to_mdtraj(PSF).xyz, theirs.xyz, rtol=3e-7)


def test_a_pipe_as_topology_is_refused_and_not_waited_for(handler, tmp_path):
    os.mkfifo(tmp_path / "pipe.gro")
    handler.store_trajectory({"frames": np.zeros((2, 3, 3), np.float32)}, "x")
    with pytest.raises(InvalidArgumentError, match="topology=.*it is a pipe"):
        handler.open("x").to_mdtraj(tmp_path / "pipe.gro")


def test_a_frame_without_a_box_has_no_unit_cell(handler):
    box = np.tile([30.0, 40, 50, 90, 90, 90], (3, 1))
    box[1] = np.nan
    data = {"frames": np.zeros((3, 4, 3), np.float32), "box": box}
    found = handler.open(handler.store_trajectory(data, "md")).to_mdtraj(topology(4))
    np.testing.assert_allclose(found.unitcell_lengths[[0, 2]], [[3, 4, 5]] * 2)
    assert np.isnan(found.unitcell_lengths[1]).all()


@pytest.fixture
def file(tmp_path):
    """Give a file outside of any cache, and the trajectory of mdtraj's that it was made of."""
    frames = np.random.default_rng(0).normal(0, 1, (25, 30, 3)).astype(np.float32)
    theirs = mdtraj.Trajectory(frames, topology(30), time=np.arange(25) * 0.5)
    theirs.unitcell_lengths = np.full((theirs.n_frames, 3), 9.0)
    theirs.unitcell_angles = np.full((theirs.n_frames, 3), 90.0)
    save_mdtraj(tmp_path / "run.fxt", theirs)
    return tmp_path / "run.fxt", theirs


@pytest.mark.parametrize(
    ("option", "has_effect"),
    [
        ({"metadata": {"run": 7}}, lambda found: found.metadata == {"run": 7}),
        ({"precision": 0.01}, lambda found: found._info()["precision"] == {"frames": 0.01}),
        ({"profile": "archive"}, lambda found: found._info()["stored_bytes"] < 10_000),
    ],
)
def test_options_of_what_is_made_of_mdtrajs_trajectories_have_their_effect(
    file, handler, option, has_effect
):
    path, theirs = file
    parts = [theirs] * 12
    for options in ({}, option):
        # What a profile is for.
        given = {"precision": 0.01} | options if "profile" in option else options
        save_mdtraj(path, parts, overwrite=True, **given)
        key = store_mdtraj(handler, parts, "md", **given)
        for found in (open_trajectory(path), handler.open(key)):
            assert has_effect(found) == bool(options)


def test_a_file_of_mdtrajs_trajectory_is_replaced_where_that_is_asked_for(file):
    path, theirs = file
    with pytest.raises(InvalidArgumentError, match="there already"):
        save_mdtraj(path, theirs[:3])
    assert len(open_trajectory(path)) == len(theirs)
    save_mdtraj(path, theirs[:3], overwrite=True)
    assert len(open_trajectory(path)) == 3


def assert_same(ours, theirs):
    assert ours.n_frames == theirs.n_frames
    # From nm to Å and back, each rounded to single precision.
    np.testing.assert_allclose(ours.xyz, theirs.xyz, rtol=3e-7)
    np.testing.assert_array_equal(ours.time, theirs.time)
    np.testing.assert_allclose(ours.unitcell_lengths, theirs.unitcell_lengths, rtol=1e-6)
    assert ours.topology == theirs.topology


def test_mdtraj_loads_a_file_as_one_of_its_own(file):
    path, theirs = file
    assert_same(mdtraj.load(path, top=theirs), theirs)
    assert_same(mdtraj.load(str(path), top=theirs, stride=3), theirs[::3])
    assert_same(mdtraj.load_frame(path, 7, top=theirs.topology), theirs[7])
    picked = mdtraj.load(path, top=theirs.topology, atom_indices=[2, 5, 9])
    assert_same(picked, theirs.atom_slice([2, 5, 9]))
    assert_same(
        mdtraj.load([str(path), str(path)], top=theirs.topology), mdtraj.join([theirs, theirs])
    )
    for chunk, stride, skip in ((7, 1, 0), (4, 2, 0), (100, 1, 3), (25, 1, 0)):
        chunks = list(
            mdtraj.iterload(path, chunk=chunk, stride=stride, skip=skip, top=theirs.topology)
        )
        assert all(part.n_frames == chunk for part in chunks[:-1])
        assert_same(mdtraj.join(chunks), theirs[skip::stride])
    with mdtraj.open(str(path)) as opened:
        opened.seek(-2, 2)
        assert (len(opened), opened.tell()) == (theirs.n_frames, theirs.n_frames - 2)
        with pytest.raises(InvalidArgumentError, match="offset"):
            opened.seek(1000)
    with pytest.raises(InvalidArgumentError, match="save_mdtraj"):
        mdtraj.open(str(path), "w")


def test_mdtraj_finds_the_topology_that_is_in_the_file(file):
    path, theirs = file
    assert_same(mdtraj.load(path), theirs)
    assert_same(mdtraj.load(str(path), stride=3), theirs[::3])
    assert_same(mdtraj.load_frame(path, 7), theirs[7])
    assert_same(mdtraj.load([str(path)] * 2), mdtraj.join([theirs, theirs]))
    assert_same(mdtraj.load(path, atom_indices=[2, 5, 9]), theirs.atom_slice([2, 5, 9]))
    assert_same(mdtraj.join(list(mdtraj.iterload(path, chunk=7, top=path))), theirs)
    assert mdtraj.load_topology(str(path)) == theirs.topology


def test_mdtraj_says_of_a_file_without_a_topology_that_top_is_missing(tmp_path):
    path = tmp_path / "run.fxt"
    with create_trajectory(path) as writer:
        writer.append(np.zeros((4, 2, 3), np.float32))
    for load in (
        lambda: mdtraj.load(path),
        lambda: mdtraj.load_frame(path, 1),
        lambda: mdtraj.load(DCD, top=path),
        lambda: load_fxt(path),
    ):
        with pytest.raises(InvalidArgumentError, match=r"^top=.*topology"):
            load()
    assert mdtraj.load(path, top=topology(2)).n_frames == 4
    assert mdtraj.load(DCD, top=PSF).n_frames == 98


def test_frames_come_in_chunks_that_join_to_the_whole(file):
    path, theirs = file
    trajectory = open_trajectory(path)
    for options in ({}, {"chunk": 7}, {"chunk": 3, "stride": 4}, {"chunk": 1000}):
        chunks = list(trajectory.iter_mdtraj(theirs.topology, **options))
        assert all(part.n_frames == chunks[0].n_frames for part in chunks[:-1])
        assert_same(mdtraj.join(chunks), theirs[:: options.get("stride", 1)])
    assert_same(mdtraj.join(trajectory.iter_mdtraj(chunk=7)), theirs)  # The topology is inside.
    (picked,) = trajectory.iter_mdtraj(theirs.topology, chunk=1000, atoms=[5, 2])
    assert_same(picked, theirs.atom_slice([2, 5]))
    for options in ({"chunk": 0}, {"stride": -1}):
        with pytest.raises(InvalidArgumentError, match="1 or more"):
            trajectory.iter_mdtraj(theirs.topology, **options)


def test_chunks_that_mdtraj_gives_are_stored_one_after_the_other(handler, file):
    path, theirs = file
    key = store_mdtraj(handler, mdtraj.iterload(path, chunk=7, top=theirs.topology), "md")
    assert_same(handler.open(key).to_mdtraj(theirs.topology), theirs)
    other = theirs.atom_slice(range(10))
    other.unitcell_vectors = None
    for wrong in ([theirs, other], [theirs[:3], theirs.atom_slice(range(9, -1, -1))], []):
        with pytest.raises(InvalidArgumentError):
            store_mdtraj(handler, wrong, "wrong")
        assert not handler.unfinished()
        assert "wrong" not in handler
        with pytest.raises(InvalidArgumentError):
            save_mdtraj(path.parent / "wrong.fxt", wrong)
        assert not (path.parent / "wrong.fxt").exists()


def test_a_file_without_times_counts_frames(tmp_path):
    with create_trajectory(tmp_path / "run.fxt") as writer:
        writer.append(np.zeros((4, 2, 3), np.float32))
    assert list(mdtraj.load(tmp_path / "run.fxt", top=topology(2)).time) == [0, 1, 2, 3]


def test_a_topology_whose_compressed_data_is_damaged_is_an_error_that_names_it(handler, tmp_path):
    key = handler.store_trajectory({"frames": np.zeros((2, 3, 3), np.float32)}, "md")
    atom = "ATOM      1  CA  ALA A   1       1.000   2.000   3.000  1.00  0.00           C\n"
    path = tmp_path / "top.pdb.gz"
    path.write_bytes(gzip.compress(3 * atom.encode()) + gzip.compress(b"END\n")[:-5])
    with pytest.raises(
        InvalidArgumentError, match=r"topology=.*top\.pdb\.gz.*cut short or damaged"
    ):
        handler.open(key).to_mdtraj(path)
