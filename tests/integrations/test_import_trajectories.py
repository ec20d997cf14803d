"""What files of trajectories lack, and what MDAnalysis makes up or passes over, is never silent."""

import struct
from pathlib import Path

import MDAnalysis
import numpy as np
import pytest
from MDAnalysis.lib.formats.libdcd import DCDFile
from MDAnalysis.lib.formats.libmdaxdr import TRRFile
from MDAnalysis.transformations import translate
from MDAnalysisTests import datafiles
from proteinflex_optimization import InvalidArgumentError
from proteinflex_optimization.integrations.mdanalysis import (
    export_trajectory,
)
from trajectory_data import coordinates, write_trr, write_xtc

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore::UserWarning",
    # Files that readers of MDAnalysis leave open where they fail.
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)

N_ATOMS = 13


# --- fields in some frames ---


@pytest.mark.parametrize(
    "has_v", [lambda i: i % 2 == 0, lambda i: i % 3 == 2], ids=["first", "late"]
)
def test_velocities_in_some_frames_are_kept_and_nan_in_the_others(handler, tmp_path, said, has_v):
    path = write_trr(tmp_path / "v.trr", lambda i: True, has_v)
    trajectory = handler.open(handler.import_trajectory(None, path, "v"))
    assert trajectory.n_frames == 6
    velocities = trajectory.read(field="velocities")
    for i in range(6):
        expected = 10 * coordinates(i) if has_v(i) else np.full((4, 3), np.nan)
        np.testing.assert_allclose(velocities[i], expected, rtol=1e-6)
    assert "have no velocities" in said()
    universe = trajectory.to_universe(MDAnalysis.Universe.empty(4)._topology)
    assert [ts.has_velocities for ts in universe.trajectory] == [has_v(i) for i in range(6)]
    # And out again, as GROMACS wrote it.
    assert export_trajectory(trajectory, tmp_path / "again.trr") == []
    with TRRFile(str(tmp_path / "again.trr")) as file:
        assert [frame.hasv for frame in file] == [has_v(i) for i in range(6)]
    # NetCDF and H5MD have velocities of all frames, or of none.
    assert export_trajectory(trajectory, tmp_path / "again.nc") == ["step"]
    again = handler.open(handler.import_trajectory(None, tmp_path / "again.nc", "again"))
    np.testing.assert_allclose(again.read(field="velocities"), velocities, rtol=1e-6)


def test_frames_without_positions_are_left_out_and_said(handler, tmp_path, said):
    path = write_trr(tmp_path / "x.trr", lambda i: i % 2 == 1, lambda i: True)
    data = handler.load_data(handler.import_trajectory(None, path, "x"))
    np.testing.assert_array_equal(data["time"], [1, 3, 5])
    np.testing.assert_array_equal(data["step"], [1, 3, 5])
    np.testing.assert_allclose(data["frames"][:, 0, 0], [10, 30, 50], rtol=1e-6)
    assert "x.trr: 3 of 6 frames have no positions" in said()
    path = write_trr(tmp_path / "none.trr", lambda i: False, lambda i: True)
    with pytest.raises(
        InvalidArgumentError, match=r"none\.trr.*none of its 6 frames has positions"
    ):
        handler.import_trajectory(None, path, "none")


def test_a_box_in_some_frames_is_kept_and_nan_in_the_others(handler, tmp_path, said):
    path = write_trr(tmp_path / "b.trr", lambda i: True, lambda i: False, has_box=lambda i: i > 3)
    trajectory = handler.open(handler.import_trajectory(None, path, "b"))
    assert np.isnan(trajectory.read(field="box")[:, 0]).tolist() == [True] * 4 + [False] * 2
    assert "4 of 6 frames have no box" in said()
    universe = trajectory.to_universe(MDAnalysis.Universe.empty(4)._topology)
    assert [ts.dimensions is None for ts in universe.trajectory] == [True] * 4 + [False] * 2
    for suffix, lost in (
        ("trr", []),
        ("dcd", ["step"]),
        ("h5md", ["box"]),
        ("nc", ["step", "box"]),
    ):
        assert set(export_trajectory(trajectory, tmp_path / f"again.{suffix}")) == set(lost)
    again = handler.open(handler.import_trajectory(None, tmp_path / "again.dcd", "again"))
    assert np.isnan(again.read(field="box")[:, 0]).tolist() == [True] * 4 + [False] * 2


def test_velocities_of_other_steps_than_the_positions_are_refused(handler, tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "run.h5md"
    path.write_bytes(Path(datafiles.H5MD_xvf).read_bytes())
    with h5py.File(path, "r+") as file:
        group = file["particles/trajectory/velocity"]
        steps = group["step"][:] * 2
        del group["step"]
        group["step"] = steps
    with pytest.raises(InvalidArgumentError, match=r"run\.h5md.*velocities are of other steps"):
        handler.import_trajectory(None, path, "run")


def test_observables_of_other_steps_than_the_positions_are_left_out_and_said(
    handler, tmp_path, said
):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "run.h5md"
    path.write_bytes(Path(datafiles.H5MD_xvf).read_bytes())
    with h5py.File(path, "r+") as file:
        steps = file["particles/trajectory/position/step"][:]
        for name, factor in (("energy", 2), ("volume", 1)):
            group = file.require_group(f"observables/{name}")
            group["value"] = np.arange(3.0 * len(steps))[: len(steps) * factor]
            group["step"] = np.arange(len(steps) * factor) if factor > 1 else steps
    data = handler.load_data(handler.import_trajectory(None, path, "run"))
    assert "volume" in data
    assert "energy" not in data
    assert "run.h5md: left out: energy (of other steps)" in said()


@pytest.mark.parametrize("name", ["time_offset", "dt", "time", "step"])
def test_observables_that_have_a_name_of_mdanalysis_change_no_time(handler, tmp_path, said, name):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "run.h5md"
    path.write_bytes(Path(datafiles.H5MD_xvf).read_bytes())
    key = handler.import_trajectory(None, path, "before")
    before = handler.load_data(key)
    with h5py.File(path, "r+") as file:
        position = file["particles/trajectory/position"]
        group = file.require_group(f"observables/{name}")
        group["value"] = 100 + np.arange(len(before["time"]))
        group["step"] = position["step"]
        position["time"].attrs["unit"] = "fs"
    found = handler.load_data(handler.import_trajectory(None, path, "run"))
    assert sorted(found) == sorted(before)
    np.testing.assert_allclose(found["time"], before["time"] / 1000)
    np.testing.assert_array_equal(found["step"], before["step"])
    assert f"run.h5md: left out: observables/{name}" in said()
    found = handler.load_data(handler.import_trajectory(None, path, "later", time_offset=7.0))
    np.testing.assert_allclose(found["time"], before["time"] / 1000 + 7)


# --- what is made up ---


def test_times_and_steps_are_never_made_up(handler, tmp_path, said):
    frames = np.zeros((3, N_ATOMS, 3), np.float32)
    trajectory = handler.open(handler.store_trajectory({"frames": frames}, "plain"))
    for suffix in ("xyz", "pdb", "dcd"):
        path = tmp_path / f"run.{suffix}"
        assert export_trajectory(trajectory, path) == []
        found = handler.open(handler.import_trajectory(None, path, suffix))
        assert found.fields == ["frames"], suffix
        found = handler.open(handler.import_trajectory(None, path, suffix, dt=2.5))
        np.testing.assert_array_equal(found.time, [0, 2.5, 5])
    left_out = f"{tmp_path / 'run.pdb'}: left out: occupancy, tempfactor"
    assert said().splitlines() == [left_out] * 2
    # Where a format has to have times, frames are counted, and that is said.
    export_trajectory(trajectory, tmp_path / "run.xtc")
    assert ".xtc: the trajectory has no step and no time" in said()
    with DCDFile(str(tmp_path / "run.dcd")) as file:
        assert file.header["delta"] == 0


def test_the_time_step_that_mdtraj_writes_into_a_dcd_is_none(handler, tmp_path, said):
    path = tmp_path / "run.dcd"
    with DCDFile(str(path), "w") as file:
        file.write_header("", N_ATOMS, istart=0, nsavc=1, delta=1, is_periodic=0)
        for _ in range(3):
            file.write(np.zeros((N_ATOMS, 3), np.float32), np.zeros(6))
    assert handler.open(handler.import_trajectory(None, path, "x")).fields == ["frames"]
    assert "run.dcd: its time step is 1, which stands for none: its times are from dt=" in said()
    key = handler.import_trajectory(None, path, "x", dt=2.5)
    assert handler.open(key).time.tolist() == [0, 2.5, 5]
    # Of LAMMPS it is one: 1 fs.
    found = handler.open(handler.import_trajectory(None, path, "x", format="LAMMPS"))
    np.testing.assert_allclose(found.time, [0, 0.001, 0.002])


def test_an_option_that_is_none_is_as_if_it_was_not_given(handler, tmp_path):
    path = write_xtc(tmp_path / "run.xtc", [5, 7])
    options = dict.fromkeys(("dt", "time_offset", "n_atoms", "transformations", "refresh_offsets"))
    key = handler.import_trajectory(None, path, "x", **options)
    assert handler.open(key).time.tolist() == [5, 7]
    with pytest.raises(InvalidArgumentError, match="precison=None"):
        handler.import_trajectory(None, path, "x", precison=None)


def test_an_option_of_no_effect_is_refused(handler, tmp_path):
    path = write_xtc(tmp_path / "run.xtc", [0, 1])
    with pytest.raises(InvalidArgumentError, match=r"precison=0.1 .*XTCReader .*refresh_offsets"):
        handler.import_trajectory(None, path, "x", precison=0.1)
    for option, value in {"convert_units": False, "sub": np.arange(2)}.items():
        with pytest.raises(InvalidArgumentError, match=f"{option}="):
            handler.import_trajectory(None, path, "x", **{option: value})
    key = handler.import_trajectory(None, path, "x", refresh_offsets=True, time_offset=3.0)
    assert handler.open(key).time.tolist() == [3, 4]
    for topology in (None, MDAnalysis.Universe.empty(4)._topology):
        for moved in (translate([1, 2, 3]), [translate([1, 2, 3])]):
            key = handler.import_trajectory(topology, path, "x", transformations=moved)
            assert handler.open(key).read()[:, 0].tolist() == [[1, 2, 3], [11, 12, 13]]


@pytest.mark.parametrize("name", ["XTC", "TRR", "NCDF", "DCD"])
def test_times_that_a_file_has_are_not_replaced_by_dt(handler, said, name):
    path = getattr(datafiles, name)
    expected = handler.load_data(handler.import_trajectory(None, path, "plain"))
    found = handler.load_data(handler.import_trajectory(None, path, "dt", dt=2.0))
    assert found.keys() == expected.keys()
    for field in {"time", "step"} & found.keys():
        np.testing.assert_array_equal(found[field], expected[field])
    begin = expected["time"][0]
    assert (
        f"{path}: dt (2 ps) is not used, for the file has times, {begin:g} ps in its first"
        in said()
    )


def test_a_part_with_times_keeps_dt_from_making_others(handler, tmp_path, said):
    (tmp_path / "1.xyz").write_text("4\n\n" + "C 1.0 2.0 3.0\n" * 4)
    parts = [tmp_path / "1.xyz", write_xtc(tmp_path / "2.xtc", [5, 6])]
    found = handler.open(handler.import_trajectory(None, parts, "run", dt=2.0))
    np.testing.assert_array_equal(found.time, [np.nan, 5, 6])
    assert "2.xtc: dt (2 ps) is not used" in said()


def test_times_by_dt_begin_at_the_time_offset(handler, tmp_path):
    (tmp_path / "run.xyz").write_text("1\n\nC 1.0 2.0 3.0\n" * 2)
    key = handler.import_trajectory(None, tmp_path / "run.xyz", "x", dt=0.5, time_offset=100)
    assert handler.open(key).time.tolist() == [100, 100.5]


def test_times_of_a_file_can_be_replaced_by_a_transformation(handler, tmp_path):
    def in_steps_of_2(ts):
        ts.time = 2.0 * ts.frame
        return ts

    path = write_xtc(tmp_path / "run.xtc", [0, 0, 0])
    key = handler.import_trajectory(None, path, "x", transformations=in_steps_of_2)
    assert handler.open(key).time.tolist() == [0, 2, 4]


def test_a_lammps_dump_is_known_by_its_suffix_or_its_format(handler, tmp_path, said):
    text = "".join(
        f"ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n2\nITEM: BOX BOUNDS pp pp pp\n0 9\n0 9\n0 9\n"
        "ITEM: ATOMS id type x y z vx vy vz q\n1 1 0 0 0 1 1 1 0.5\n2 1 1 1 1 1 1 1 0.5\n"
        for step in (0, 2**33)
    )
    for name, options in (
        ("run.lammpstrj", {}),
        ("run.dump", {"format": "LAMMPSDUMP", "topology_format": "lammpsdump"}),
    ):
        path = tmp_path / name
        path.write_text(text)
        for topology in (None, path):
            data = handler.load_data(handler.import_trajectory(topology, path, name, **options))
            assert data["step"].tolist() == [0, 2**33]
            # Times and units of velocities depend on settings that are not in the file.
            assert sorted(data) == ["box", "frames", "step"]
        assert f"{name}: left out: columns type q" in said()
        assert "velocities (MDAnalysis does not know their unit)" in said()
    with pytest.raises(InvalidArgumentError, match=r"run\.dump.*format= and topology_format="):
        handler.import_trajectory(None, tmp_path / "run.dump", "x")


def test_columns_of_extended_xyz_are_said_or_refused(handler, tmp_path, said):
    path = tmp_path / "run.xyz"
    text = '1\nLattice="9 0 0 0 9 0 0 0 9" Properties={}\nC 1.0 2.0 3.0 0.1 0.2 0.3\n'
    path.write_text(text.format("species:S:1:pos:R:3:forces:R:3"))
    handler.import_trajectory(None, path, "x")
    assert "run.xyz: left out: Lattice, columns after x, y and z" in said()
    usual, other = "species:S:1:pos:R:3", "species:S:1:forces:R:3:pos:R:3"
    for frame, columns in enumerate(([other], [usual, other])):
        path.write_text("".join(text.format(found) for found in columns))
        with pytest.raises(InvalidArgumentError, match=rf"run\.xyz.*frame {frame} are {other}"):
            handler.import_trajectory(None, path, "x")


def dump(step, ids, low=0, columns="id type x y z", atoms=None):
    atoms = atoms or "".join(f"{i} 1 {i} 0 0\n" if "id" in columns else "1 1 0 0\n" for i in ids)
    box = f"{low} 99\n" * 3
    return (
        f"ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n{len(ids)}\n"
        f"ITEM: BOX BOUNDS pp pp pp\n{box}ITEM: ATOMS {columns}\n{atoms}"
    )


def test_atoms_of_a_lammps_dump_are_told_by_their_ids(handler, tmp_path, said):
    path = tmp_path / "run.lammpstrj"
    path.write_text(dump(0, (1, 2, 3)) + dump(10, (3, 1, 2)))
    found = handler.open(handler.import_trajectory(None, path, "x"))
    assert found.read()[:, :, 0].tolist() == [[1, 2, 3], [1, 2, 3]]
    for frames in ((1, 2, 3), (7, 8, 9)), ((1, 2, 3), (1, 2, 2)), ((1, 1, 2), (1, 1, 2)):
        path.write_text("".join(dump(step, ids) for step, ids in enumerate(frames)))
        with pytest.raises(InvalidArgumentError, match=r"run\.lammpstrj.*frame \d has an .*id"):
            handler.import_trajectory(None, path, "x")
    assert "no ids" not in said()
    path.write_text(dump(0, (1, 2), columns="type x y z"))
    handler.import_trajectory(None, path, "x")
    assert "run.lammpstrj: its atoms have no ids" in said()


def test_a_frame_without_a_column_has_not_that_of_the_frame_before(handler, tmp_path, said):
    path = tmp_path / "run.lammpstrj"
    first = dump(0, (1, 2), columns="id x y z q", atoms="1 0 0 0 0.5\n2 0 0 0 -0.5\n")
    path.write_text(first + dump(1, (1, 2), columns="id x y z", atoms="1 0 0 0\n2 0 0 0\n"))
    key = handler.import_trajectory(None, path, "x", additional_columns=["q"])
    np.testing.assert_array_equal(handler.load_data(key)["q"], [[0.5, -0.5], [np.nan] * 2])
    assert "1 of 2 frames have no q" in said()


@pytest.mark.parametrize("title", ["units = real", "units = metal", "of LAMMPS"])
def test_velocities_of_a_lammps_data_file_are_stored_where_their_unit_is_known(
    handler, tmp_path, said, title
):
    path = tmp_path / "run.data"
    path.write_text(
        f"LAMMPS data file {title}\n\n1 atoms\n1 atom types\n\n0 9 xlo xhi\n0 9 ylo yhi\n0 9 zlo zhi\n"
        "\nMasses\n\n1 12.0\n\nAtoms # atomic\n\n1 1 1.0 2.0 3.0 0 1 0\n\nVelocities\n\n1 0.1 0.1 0.1\n"
    )
    key = handler.import_trajectory(None, path, "x", atom_style="id type x y z")
    found = handler.load_data(key)
    assert ("velocities" in found) == ("real" in title)
    assert ("velocities (in units of LAMMPS that may be any)" in said()) == ("real" not in title)
    assert "image flags" in said()


def test_velocities_of_0_of_a_gro_file_are_said_to_be_left_out(handler, tmp_path, said):
    path = tmp_path / "run.gro"
    line = f"{1:5d}ALA     CA{1:5d}" + "   0.100" * 3
    for speed in ("", "  0.0000" * 3):
        path.write_text(f"x\n    1\n{line}{speed}\n   1.0   1.0   1.0\n")
        handler.import_trajectory(None, path, "x")
    assert said() == f"{path}: left out: velocities (all are 0)"


def test_positions_of_a_lammps_dump_are_those_of_the_file(handler, tmp_path):
    path = tmp_path / "run.lammpstrj"
    path.write_text(dump(0, (1, 2), low=-3) + dump(1, (1, 2), low=-4))
    found = handler.open(handler.import_trajectory(None, path, "x"))
    assert found.read()[:, :, 0].tolist() == [[1, 2], [1, 2]]
    assert found.read(field="box")[:, 0].tolist() == [102, 103]
    tilted = dump(0, (1, 2), low=-3).replace("BOX BOUNDS", "BOX BOUNDS xy xz yz")
    path.write_text(tilted.replace("-3 99", "-3 99 -1"))
    found = handler.open(handler.import_trajectory(None, path, "x"))
    assert found.read()[:, :, 0].tolist() == [[1, 2]]


@pytest.mark.parametrize("columns", ["id xs ys zs", "id xsu ysu zsu"])
def test_scaled_positions_of_a_lammps_dump_begin_at_the_corner_of_its_box(
    handler, tmp_path, columns
):
    path = tmp_path / "run.lammpstrj"
    atoms = "1 0.25 0.5 0\n"
    path.write_text(dump(0, (1,), low=-5, columns=columns, atoms=atoms))
    found = handler.open(handler.import_trajectory(None, path, "x"))
    assert found.read()[0, 0].tolist() == [-5 + 104 / 4, -5 + 104 / 2, -5]
    tilted = dump(0, (1,), low=-5, columns=columns, atoms=atoms)
    tilted = tilted.replace("BOX BOUNDS", "BOX BOUNDS xy xz yz").replace("-5 99", "-5 99 0")
    # From -5 to 95 in x, and 4 more in y.
    path.write_text(tilted.replace("-5 99 0", "-5 99 4", 1))
    found = handler.open(handler.import_trajectory(None, path, "x"))
    assert found.read()[0, 0].tolist() == pytest.approx([-5 + 100 / 4 + 4 / 2, 47, -5], abs=1e-4)


@pytest.mark.parametrize("is_scaled", [True, False])
def test_images_that_mdanalysis_unwraps_wrongly_are_refused(handler, tmp_path, is_scaled):
    path = tmp_path / "run.lammpstrj"
    columns = "id xs ys zs ix iy iz" if is_scaled else "id x y z ix iy iz"
    content = dump(0, (1,), columns=columns, atoms="1 0.5 0 0 2 0 0\n")
    if not is_scaled:
        path.write_text(content)
        found = handler.open(handler.import_trajectory(None, path, "x", unwrap_images=True))
        assert found.read()[0, 0].tolist() == [0.5 + 2 * 99, 0, 0]
        content = content.replace("BOUNDS", "BOUNDS xy xz yz").replace("0 99", "0 99 1")
    path.write_text(content)
    with pytest.raises(InvalidArgumentError, match=r"unwrap_images=True .*run\.lammpstrj"):
        handler.import_trajectory(None, path, "x", unwrap_images=True)


def test_times_of_a_big_endian_dcd_are_those_of_a_little_endian_one(handler, tmp_path):
    def record(order, content):
        length = struct.pack(f"{order}i", len(content))
        return length + content + length

    def write(order, is_charmm):
        step = (0.005 / 0.04888821,)
        control = [3, 100, 100, 300, *[0] * 5], [int(is_charmm), *[0] * 8, 24 * is_charmm]
        delta = struct.pack(f"{order}f", *step) if is_charmm else struct.pack(f"{order}d", *step)
        last = control[1] if is_charmm else [0] * 9
        packed = [struct.pack(f"{order}{len(part)}i", *part) for part in (control[0], last)]
        content = record(order, b"CORD" + packed[0] + delta + packed[1])
        content += record(order, struct.pack(f"{order}i", 1) + b" " * 80)
        content += record(order, struct.pack(f"{order}i", 2))
        for frame in range(3):
            cell = struct.pack(f"{order}6d", 10, 90, 10, 90, 90, 10)
            content += record(order, cell) if is_charmm else b""
            content += 3 * record(order, struct.pack(f"{order}2f", frame, 2))
        path = tmp_path / "run.dcd"
        path.write_bytes(content)
        return handler.open(handler.import_trajectory(None, path, "x")).time

    for is_charmm in (True, False):
        np.testing.assert_allclose(write("<", is_charmm), [0.5, 1, 1.5], rtol=1e-6)
        np.testing.assert_array_equal(write(">", is_charmm), write("<", is_charmm))


@pytest.mark.parametrize("suffix", ["lammpstrj", "nc"])
@pytest.mark.filterwarnings("error::UserWarning")
def test_a_time_step_that_is_made_up_and_not_stored_is_no_warning(handler, tmp_path, suffix):
    path = tmp_path / f"run.{suffix}"
    if suffix == "lammpstrj":
        path.write_text(dump(0, (1, 2)) + dump(10, (1, 2)))
    else:
        data = {"frames": np.zeros((1, 3, 3), np.float32), "time": np.array([5.0])}
        export_trajectory(handler.open(handler.store_trajectory(data, "one")), path)
    found = handler.load_data(handler.import_trajectory(None, path, "x"))
    assert found.get("time") == (None if suffix == "lammpstrj" else [5.0])
    found = handler.load_data(handler.import_trajectory(None, path, "y", dt=2.0))
    assert found["time"].tolist() == ([0, 2] if suffix == "lammpstrj" else [5])
