"""A box is that of the positions beside it, or there is none, which is said."""

import struct

import MDAnalysis
import numpy as np
import pytest
from MDAnalysis.lib.formats.libdcd import DCDFile
from MDAnalysis.lib.formats.libmdaxdr import XTCFile
from MDAnalysis.lib.mdamath import triclinic_box
from proteinflex_optimization import Topology

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

TURNED = np.array([[0, 10, 0], [20, 0, 0], [0, 0, 30.0]])
UPRIGHT = np.diag([20, 10, 30.0])


def write_h5md(path, boxes, unit="Angstrom", energy_unit=None):
    h5py = pytest.importorskip("h5py")
    n_frames = len(boxes)
    with h5py.File(path, "w") as file:
        particles = file.create_group("particles/trajectory")

        def add(place, values, unit):
            element = file.create_group(place)
            element["step"], element["value"] = np.arange(n_frames), values
            element["time"] = np.arange(n_frames, dtype=float)
            element["time"].attrs["unit"] = "ps"
            if unit is not None:
                element["value"].attrs["unit"] = unit

        add("particles/trajectory/position", np.zeros((n_frames, 4, 3), np.float32), "Angstrom")
        particles.create_group("box").attrs["dimension"] = 3
        add("particles/trajectory/box/edges", np.array(boxes), unit)
        add("observables/energy", np.arange(n_frames, dtype=float), energy_unit)
    return path


def write_xtc(path, boxes):
    with XTCFile(str(path), "w") as file:
        for i, box in enumerate(boxes):
            file.write(np.zeros((4, 3), np.float32), np.float32(box / 10), i, float(i), 1000)
    return path


def write_history(path, boxes):
    rows = ["title", f"{0:10d}{3:10d}{1:10d}"]
    for i, box in enumerate(boxes):
        rows.append(f"timestep {i:9d}{1:10d}{0:10d}{3:10d} 0.001 0.0")
        rows += ["".join(f"{x:20.8f}" for x in vector) for vector in box]
        rows += [f"{'C':<8}{1:10d} 12.0 0.0", f"{1:20.8f}{0:20.8f}{0:20.8f}"]
    path.write_text("\n".join(rows) + "\n")
    return path


def write_gro(path, boxes):
    x, y, z = boxes[0] / 10
    numbers = (x[0], y[1], z[2], x[1], x[2], y[0], y[2], z[0], z[1])
    box = "".join(f"{number:10.5f}" for number in numbers)
    path.write_text(f"x\n    1\n{1:5d}ALA     CA{1:5d}   0.100   0.200   0.300\n{box}\n")
    return path


@pytest.mark.parametrize("write", [write_h5md, write_xtc, write_history, write_gro])
def test_a_box_whose_vectors_are_turned_is_left_out_and_said(handler, tmp_path, said, write):
    suffix = write.__name__.removeprefix("write_")
    options = {"format": "HISTORY"} if suffix == "history" else {}
    path = write(tmp_path / f"run.{suffix}", [TURNED, UPRIGHT])
    found = handler.load_data(handler.import_trajectory(None, path, "turned", **options))
    assert f"run.{suffix}: left out: " in said()
    assert "box (its vectors are turned against the axes" in said()
    if suffix == "gro":  # Of one frame.
        assert "box" not in found
    else:
        assert np.isnan(found["box"][0]).all()
        np.testing.assert_allclose(found["box"][1], [20, 10, 30, 90, 90, 90], rtol=1e-6)
    path = write(tmp_path / f"run.{suffix}", [UPRIGHT])
    found = handler.load_data(handler.import_trajectory(None, path, "upright", **options))
    np.testing.assert_allclose(found["box"], [[20, 10, 30, 90, 90, 90]], rtol=1e-6)


def test_stored_vectors_that_are_turned_are_given_to_no_library_as_another_box(handler, said):
    pytest.importorskip("mdtraj")
    topology = Topology(["C"] * 2, ["C"] * 2, [0, 0], ["A"], [1], [0], ["A"])
    stored = {"frames": np.zeros((2, 2, 3), np.float32), "box": np.array([TURNED, UPRIGHT])}
    trajectory = handler.open(handler.store_trajectory(stored, "md", structure=topology))
    boxes = [ts.copy().dimensions for ts in trajectory.to_universe().trajectory]
    assert boxes[0] is None
    np.testing.assert_allclose(boxes[1], [20, 10, 30, 90, 90, 90])
    assert "frames have no box where its vectors are turned" in said()
    lengths = trajectory.to_mdtraj().unitcell_lengths
    np.testing.assert_allclose(lengths, [[np.nan] * 3, [2, 1, 3]], rtol=1e-6)
    assert "md: frames have no unit cell where its vectors are turned" in said()
    assert trajectory.to_mdtraj(stop=1).unitcell_lengths is None


def test_a_box_in_another_unit_than_the_positions_is_left_out_and_said(handler, tmp_path, said):
    path = write_h5md(tmp_path / "run.h5md", [np.eye(3) * 5] * 2, unit="nm")
    assert "box" not in handler.load_data(handler.import_trajectory(None, path, "nm"))
    assert "run.h5md: left out: box (its unit is nm, of positions Angstrom)" in said()
    for unit in ("A", None):
        write_h5md(path, [np.eye(3) * 5] * 2, unit=unit)
        found = handler.load_data(handler.import_trajectory(None, path, str(unit)))
        assert found["box"][0, 0] == 5


def test_energies_in_another_unit_than_that_of_the_field_are_left_out_and_said(
    handler, tmp_path, said
):
    path = tmp_path / "run.h5md"
    for unit in ("kcal mol-1", "kJ mol-1", None):
        write_h5md(path, [UPRIGHT] * 2, energy_unit=unit)
        found = handler.load_data(handler.import_trajectory(None, path, str(unit)))
        assert ("energy" in found) == (unit != "kcal mol-1")
    assert said().splitlines() == [
        f"{path}: left out: energy (in kcal mol-1, and not in kJ/mol)",
    ]


def test_tilts_of_any_frame_of_a_gsd_file_become_angles(handler, tmp_path, said):
    hoomd = pytest.importorskip("gsd.hoomd")
    path = tmp_path / "run.gsd"
    with hoomd.open(str(path), "w") as file:
        for step, xy in enumerate((0, 0.5, 1.5, 0)):
            frame = hoomd.Frame()
            frame.configuration.step, frame.configuration.box = step, [10, 11, 12, xy, 0, 0.2]
            frame.particles.N, frame.particles.position = 2, np.zeros((2, 3))
            frame.particles.velocity = np.full((2, 3), step)
            frame.log["md/energy"] = np.array([1.0])
            file.append(frame)
    found = handler.load_data(handler.import_trajectory(None, path, "run"))
    expected = [
        triclinic_box([10, 0, 0], [xy * 11, 11, 0], [0, 0.2 * 12, 12]) for xy in (0, 0.5, 1.5, 0)
    ]
    np.testing.assert_allclose(found["box"], expected, rtol=1e-6)
    assert said() == f"{path}: left out: log/md/energy, particles/velocity"


@pytest.mark.parametrize("has_negative", [False, True])
def test_the_shape_matrix_of_charmm_is_no_lengths_and_angles(handler, tmp_path, said, has_negative):
    path = tmp_path / "run.dcd"
    with DCDFile(str(path), "w") as file:
        file.write_header("", 2, 0, 1, 1.0, 1)
        file.write(np.zeros((2, 3), np.float32), [1, 1, 1, 90, 90, 90])
    content = bytearray(path.read_bytes())
    place = content.index(struct.pack("<i", 48), 270) + 4
    off = -12.94 if has_negative else 12.94
    content[place : place + 48] = struct.pack("<6d", 48.3, off, 48.3, 0, 0, 70)
    path.write_bytes(content)
    assert "box" not in handler.load_data(handler.import_trajectory(None, path, "run"))
    assert "run.dcd: left out: box (" in said()


def test_a_cell_before_the_first_model_is_that_of_all(handler, tmp_path):
    path = tmp_path / "run.pdb"
    atom = "ATOM      1  CA  ALA A   1       1.000   2.000   3.000  1.00  0.00           C\n"
    cell = f"CRYST1{20:9.3f}{10:9.3f}{30:9.3f}{90:7.2f}{80:7.2f}{90:7.2f} P 1           1\n"
    models = f"MODEL        1\n{atom}ENDMDL\nMODEL        2\n{atom}ENDMDL\nEND\n"
    path.write_text(cell + models)
    found = handler.load_data(handler.import_trajectory(None, path, "run"))
    assert found["box"].tolist() == [[20, 10, 30, 90, 80, 90]] * 2
    path.write_text(cell[:30] + "\n" + models)
    assert "box" not in handler.load_data(handler.import_trajectory(None, path, "short"))


def test_boxes_of_mdanalysis_itself_are_what_they_were(tmp_path):
    path = write_xtc(tmp_path / "run.xtc", [TURNED])
    universe = MDAnalysis.Universe.empty(4).load_new(str(path))
    np.testing.assert_allclose(universe.dimensions, [10, 20, 30, 90, 90, 90])
