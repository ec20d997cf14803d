"""A number that float32 can't hold is an error wherever it would become infinite."""

import struct

import MDAnalysis
import numpy as np
import pytest
from MDAnalysis.lib.formats.libmdaxdr import TRRFile
from proteinflex_optimization import InvalidArgumentError
from proteinflex_optimization.integrations.mdanalysis import export_trajectory

mdtraj = pytest.importorskip("mdtraj")
from proteinflex_optimization.integrations.mdtraj import (  # noqa: E402
    save_mdtraj,
    store_mdtraj,
)

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning",
        "ignore::UserWarning",
        # Files that readers of MDAnalysis leave open where they fail.
        "ignore::ResourceWarning",
        "ignore::pytest.PytestUnraisableExceptionWarning",
    ),
    pytest.mark.skipif(
        np.lib.NumpyVersion(np.__version__) < "1.24.0", reason="its casts do not tell"
    ),
]

PDB = "ATOM      1  CA  ALA A   1    {:<8}   2.000   3.000  1.00  0.00           C\n"
DUMP = (
    "ITEM: TIMESTEP\n{}\nITEM: NUMBER OF ATOMS\n1\nITEM: BOX BOUNDS pp pp pp\n0 9\n0 9\n0 9\n"
    "ITEM: ATOMS id x y z\n1 {} 0 0\n"
)
TEXTS = {
    "run.xyz": "".join(f"1\n\nC {x} 0 0\n" for x in (1, "LARGE")),
    "run.pdb": "".join(f"MODEL\n{PDB.format(x)}ENDMDL\n" for x in (1, "LARGE")) + "END\n",
    "run.lammpstrj": DUMP.format(0, 1) + DUMP.format(1, "LARGE"),
    "one.gro": "t\n1\n    1ALA     CA    1   LARGE   0.200   0.300\n 1 1 1\n",
    "one.inpcrd": "t\n    1\n       LARGE   1.0000000   1.0000000\n",
}


def system(n_frames=2, n_atoms=12):
    topology = mdtraj.Topology()
    residue = topology.add_residue("ALA", topology.add_chain())
    for _ in range(n_atoms):
        topology.add_atom("C", mdtraj.element.carbon, residue)
    frames = np.zeros((n_frames, n_atoms, 3), np.float32)
    return mdtraj.Trajectory(frames, topology, time=np.arange(float(n_frames)))


@pytest.mark.parametrize("name", TEXTS)
def test_a_number_of_a_text_that_float32_cannot_hold_is_refused(handler, tmp_path, name):
    path = tmp_path / name
    path.write_text(TEXTS[name].replace("LARGE", "1.e39"))
    with pytest.raises(InvalidArgumentError, match=rf"{name}.*frames\[\d, 0, 0\] is too large"):
        handler.import_trajectory(None, path, "x")
    assert handler.keys() == []


@pytest.mark.parametrize("large", [np.inf, -np.inf])
def test_an_infinite_number_of_a_file_is_stored_as_it_is(handler, tmp_path, large):
    path = tmp_path / "run.xyz"
    path.write_text(TEXTS["run.xyz"].replace("LARGE", str(large)))
    found = handler.open(handler.import_trajectory(None, path, "x")).read()
    assert found[:, 0, 0].tolist() == [1, large]


@pytest.mark.parametrize("field", ["frames", "velocities"])
def test_a_number_of_a_trr_that_is_too_large_in_angstrom_is_refused(handler, tmp_path, field):
    path = tmp_path / "run.trr"
    blocks = {name: np.ones((3, 12, 3), np.float32) for name in ("frames", "velocities")}
    blocks[field][2, 5, 1] = 2e38
    with TRRFile(str(path), "w") as file:
        for step, (x, v) in enumerate(zip(*blocks.values(), strict=True)):
            file.write(x, v, None, np.zeros((3, 3), np.float32), step, step, 0.0, 12)
    with pytest.raises(InvalidArgumentError, match=rf"run\.trr.*{field}\[2, 5, 1\] is too large"):
        handler.import_trajectory(None, path, "x", allow_truncated=True)


def test_a_double_of_a_trr_that_float32_cannot_hold_is_refused(handler, tmp_path):
    """The library that reads it makes it infinite, and says nothing."""
    path = tmp_path / "run.trr"
    sizes = (0, 0, 0, 0, 0, 0, 0, 8 * 3 * 12, 0, 0)
    for large in (1.0, 1e39):
        frame = np.ones((12, 3), ">f8")
        frame[5, 1] = large
        header = struct.pack(">3i12s13i", 1993, 13, 12, b"GMX_trn_file", *sizes, 12, 0, 0)
        path.write_bytes(header + bytes(2 * 8) + frame.tobytes())
        if large == 1:
            key = handler.import_trajectory(None, path, "x")
            assert handler.open(key).read().tolist() == [[[10, 10, 10]] * 12]
    with pytest.raises(InvalidArgumentError, match=r"run\.trr.*frames\[0, 5, 1\] is too large"):
        handler.import_trajectory(None, path, "x")


@pytest.mark.parametrize("field", ["frames", "velocities", "forces"])
def test_a_float64_of_h5md_that_float32_cannot_hold_is_refused(handler, tmp_path, field):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "run.h5md"
    data = {name: np.ones((3, 12, 3), np.float32) for name in ("frames", "velocities", "forces")}
    export_trajectory(handler.open(handler.store_trajectory(data, "good")), path)
    with h5py.File(path, "r+") as file:
        name = {"frames": "position", "velocities": "velocity", "forces": "force"}[field]
        element = file[f"particles/trajectory/{name}"]
        values, unit = element["value"][:].astype(np.float64), element["value"].attrs["unit"]
        values[2, 5, 1] = 1e39
        del element["value"]
        element["value"] = values
        element["value"].attrs["unit"] = unit
    with pytest.raises(InvalidArgumentError, match=rf"run\.h5md.*{field}\[2, 5, 1\] is too large"):
        handler.import_trajectory(None, path, "x", allow_truncated=True)


def test_frames_and_boxes_of_mdtraj_that_are_too_large_in_angstrom_are_refused(handler, tmp_path):
    trajectory = system(n_frames=70)
    trajectory.xyz[66, 3, 2] = 2e38
    for save in (
        lambda: store_mdtraj(handler, [trajectory[:65], trajectory[65:]], "x"),
        lambda: save_mdtraj(tmp_path / "x.fxt", trajectory),
    ):
        with pytest.raises(InvalidArgumentError, match=r"frames\[66, 3, 2\] is too large"):
            save()
    boxed = system()
    boxed.unitcell_lengths = np.full((2, 3), 2e38, np.float32)
    boxed.unitcell_angles = np.full((2, 3), 90.0)
    with pytest.raises(InvalidArgumentError, match=r"box\[0, 0\] is too large"):
        store_mdtraj(handler, boxed, "x")
    assert handler.keys() == []


def test_forces_that_are_too_large_per_nm_are_refused_by_the_writer(tmp_path):
    frames = np.ones((2, 3, 3), np.float32)
    forces = frames.copy()
    forces[1, 2, 0] = 2e38
    universe = MDAnalysis.Universe.empty(3)
    universe.load_new(frames, forces=forces)
    with pytest.raises(InvalidArgumentError, match=r"forces\[1, 2, 0\] is too large"):
        universe.atoms.write(str(tmp_path / "x.fxt"), frames="all")
    assert list(tmp_path.iterdir()) == []


def test_frames_that_mdtraj_has_no_numbers_for_are_refused(handler):
    frames = np.zeros((2, 12, 3))
    frames[1, 3, 2] = 1e39
    found = handler.open(handler.store_trajectory({"frames": frames}, "x"))
    with pytest.raises(InvalidArgumentError, match=r"frames\[1, 3, 2\] is too large for float32"):
        found.to_mdtraj(system().topology)
