"""mdtraj gets from the cache what it gets from the file, to the last bit."""

import numpy as np
import pytest
from proteinflex_optimization import DataHandler, InvalidArgumentError

mdtraj = pytest.importorskip("mdtraj")

from MDAnalysisTests.datafiles import DCD, GRO, PSF, TRR, XTC  # noqa: E402
from proteinflex_optimization.integrations.mdanalysis import import_trajectory  # noqa: E402
from proteinflex_optimization.integrations.mdtraj import store_mdtraj  # noqa: E402

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
        {"frames": np.zeros((2, 3, 3), np.float32), "box": np.ones((2, 3))}, "md"
    )
    with pytest.raises(InvalidArgumentError, match="'box' has items of shape"):
        handler.open(key).to_mdtraj(topology(3))


def test_frames_that_mdtraj_counts_are_no_times(handler, caplog):
    theirs = mdtraj.load(DCD, top=PSF)
    trajectory = handler.open(store_mdtraj(handler, theirs, "md"))
    assert trajectory.fields == ["frames"]
    assert "md: left out: time" in caplog.text
    np.testing.assert_allclose(trajectory.to_mdtraj(PSF).xyz, theirs.xyz, rtol=3e-7)


def test_a_frame_without_a_box_has_no_unit_cell(handler):
    box = np.tile([30.0, 40, 50, 90, 90, 90], (3, 1))
    box[1] = np.nan
    data = {"frames": np.zeros((3, 4, 3), np.float32), "box": box}
    found = handler.open(handler.store_trajectory(data, "md")).to_mdtraj(topology(4))
    np.testing.assert_allclose(found.unitcell_lengths[[0, 2]], [[3, 4, 5]] * 2)
    assert np.isnan(found.unitcell_lengths[1]).all()
