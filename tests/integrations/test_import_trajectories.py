"""What files of trajectories lack, and what MDAnalysis makes up or passes over, is never silent."""

import fcntl
import gzip
import logging
import os
import random
import struct
from pathlib import Path

import MDAnalysis
import numpy as np
import pytest
from MDAnalysis.lib.formats.libdcd import DCDFile
from MDAnalysis.lib.formats.libmdaxdr import TRRFile, XTCFile
from MDAnalysis.transformations import translate
from MDAnalysisTests import datafiles
from proteinflex_optimization import DataHandler, InvalidArgumentError, Topology
from proteinflex_optimization.errors import InvalidTypeError, ProteinFlexError
from proteinflex_optimization.integrations.mdanalysis import (
    TrajectoryReadError,
    export_trajectory,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore::UserWarning",
    # Files that readers of MDAnalysis leave open where they fail.
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)

N_ATOMS = 13
UNIT = np.eye(3, dtype=np.float32)


@pytest.fixture
def handler(tmp_path):
    return DataHandler(tmp_path / "cache", durable=False)


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.WARNING, "proteinflex_optimization")
    return lambda: "\n".join(record.getMessage() for record in caplog.records)


def coordinates(frame, n_atoms=4):
    return np.full((n_atoms, 3), frame, np.float32)


def write_trr(path, has_x, has_v, *, has_box=lambda i: True, n_frames=6):
    with TRRFile(str(path), "w") as file:
        for i in range(n_frames):
            x = coordinates(i) if has_x(i) else None
            v = coordinates(i) if has_v(i) else None
            file.write(x, v, None, UNIT * has_box(i), i, float(i), 0.0, 4)
    return path


def write_xtc(path, times, *, steps=None, n_atoms=4):
    with XTCFile(str(path), "w") as file:
        for i, time in enumerate(times):
            step = i if steps is None else steps[i]
            file.write(coordinates(time, n_atoms), UNIT, step, float(time), 1000)
    return path


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
    assert (
        said() == "run.pdb: left out: occupancy, tempfactor" or "number of the frame" not in said()
    )
    # Where a format has to have times, frames are counted, and that is said.
    export_trajectory(trajectory, tmp_path / "run.xtc")
    assert ".xtc: the trajectory has no step and no time" in said()
    with DCDFile(str(tmp_path / "run.dcd")) as file:
        assert file.header["delta"] == 0


def test_an_option_of_no_effect_is_refused(handler, tmp_path):
    path = write_xtc(tmp_path / "run.xtc", [0, 1])
    with pytest.raises(InvalidArgumentError, match=r"precison=0.1 .*XTCReader .*refresh_offsets"):
        handler.import_trajectory(None, path, "x", precison=0.1)
    for option, value in {"convert_units": False, "sub": np.arange(2)}.items():
        with pytest.raises(InvalidArgumentError, match=f"{option}="):
            handler.import_trajectory(None, path, "x", **{option: value})
    key = handler.import_trajectory(None, path, "x", refresh_offsets=True, dt=3.0)
    assert handler.open(key).time.tolist() == [0, 3]
    for topology in (None, MDAnalysis.Universe.empty(4)._topology):
        for moved in (translate([1, 2, 3]), [translate([1, 2, 3])]):
            key = handler.import_trajectory(topology, path, "x", transformations=moved)
            assert handler.open(key).read()[:, 0].tolist() == [[1, 2, 3], [11, 12, 13]]


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


@pytest.mark.parametrize("packed", [False, True])
def test_a_byte_order_mark_hides_no_atom_or_frame(handler, tmp_path, packed):
    atoms = [("CA", "ALA", "A"), ("CB", "ALA", "A")]
    texts = {
        "models.pdb": pdb_models(atoms, atoms, atoms),
        "one.pdb": "".join(pdb_models(atoms).splitlines(keepends=True)[1:-2]) + "END\n",
        "run.xyz": "2\n\nC 0 0 0\nC 1 0 0\n" * 3,
    }
    for name, text in texts.items():
        path = tmp_path / (f"{name}.gz" if packed else name)
        content = b"\xef\xbb\xbf" + text.encode()
        path.write_bytes(gzip.compress(content) if packed else content)
        topology = path if ".pdb" in name else None
        found = handler.open(handler.import_trajectory(topology, path, "x"))
        assert found.shape == (1 if name == "one.pdb" else 3, 2, 3)
        assert found.read()[-1, :, 0].tolist() == [0, 1]
        assert topology is None or found.topology.names.tolist() == ["CA", "CB"]


def dump(step, ids, low=0, columns="id type x y z"):
    atoms = "".join(f"{i} 1 {i} 0 0\n" if "id" in columns else "1 1 0 0\n" for i in ids)
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


# --- what lies beside a file ---


@pytest.mark.parametrize("suffix", ["xtc", "trr"])
def test_nothing_is_read_locked_or_written_beside_a_file(handler, tmp_path, suffix):
    folder = tmp_path / "data"
    folder.mkdir()
    path = folder / f"run.{suffix}"
    if suffix == "xtc":
        write_xtc(path, range(5), n_atoms=12)
    else:
        write_trr(path, lambda i: True, lambda i: False, n_frames=5)
    assert handler.open(handler.import_trajectory(None, path, "x")).n_frames == 5
    assert [found.name for found in folder.iterdir()] == [path.name]
    # What MDAnalysis has left there: a lock that is held, and offsets of a part of the frames.
    with (folder / f".{path.name}_offsets.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (folder / f".{path.name}_offsets.npz").write_bytes(b"PK")
        for topology in (None, MDAnalysis.Universe.empty(12 if suffix == "xtc" else 4)._topology):
            assert handler.open(handler.import_trajectory(topology, path, "x")).n_frames == 5


def test_what_is_no_file_is_refused_without_waiting_for_it(handler, tmp_path):
    (tmp_path / "one.xyz").write_text("1\n\nC 0 0 0\n")
    for name in ("run.xtc", "top.pdb", "top.gro"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(InvalidArgumentError, match=r"trajectory=.*run\.xtc.*a pipe"):
        handler.import_trajectory(None, tmp_path / "run.xtc", "x")
    for name in ("top.pdb", "top.gro"):
        with pytest.raises(InvalidArgumentError, match=rf"topology=.*{name}.*a pipe"):
            handler.import_trajectory(tmp_path / name, tmp_path / "one.xyz", "x")
        with pytest.raises(InvalidArgumentError, match=rf"{name}.*a pipe"):
            Topology.of(tmp_path / name)


# --- cut files, and others that are not what they seem ---


def exported(handler, folder):
    """Give files of all formats that are written, and some others, and what they need."""
    rng = np.random.default_rng(1)
    frames = rng.normal(0, 5, (4, N_ATOMS, 3)).astype(np.float32)
    data = {
        "frames": frames,
        "time": np.arange(4.0),
        "step": 10 * np.arange(4),
        "velocities": frames,
        "forces": frames,
        "box": np.tile([30.0, 30, 30, 90, 90, 90], (4, 1)),
    }
    trajectory = handler.open(handler.store_trajectory(data, "source"))
    for suffix in ("xtc", "trr", "dcd", "nc", "h5md", "xyz", "pdb"):
        path = folder / f"run.{suffix}"
        export_trajectory(trajectory, path)
        yield suffix, path, None
    path = folder / "run.mdcrd"
    with path.open("w") as file:
        file.write("title\n")
        for frame in frames:
            numbers = frame.ravel()
            for start in range(0, len(numbers), 10):
                file.write("".join(f"{n:8.3f}" for n in numbers[start : start + 10]) + "\n")
            file.write("  30.000  30.000  30.000\n")
    first = folder / "top.pdb"
    universe = MDAnalysis.Universe.empty(N_ATOMS, trajectory=True)
    universe.atoms.write(str(first))
    yield "mdcrd", path, first
    path = folder / "run.trc"
    path.write_bytes(gzip.decompress(Path(datafiles.TRC_TRAJ1_VAC).read_bytes()))
    yield "trc", path, None
    path = folder / "run.lammpstrj"
    path.write_bytes(Path(datafiles.LAMMPSDUMP_image_vf).read_bytes())
    yield "lammpstrj", path, None
    path = folder / "run.arc"
    path.write_bytes(Path(datafiles.ARC_PBC).read_bytes())
    yield "arc", path, None


FORMATS = ["xtc", "trr", "dcd", "nc", "h5md", "xyz", "pdb", "mdcrd", "trc", "lammpstrj", "arc"]


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_was_cut_anywhere_is_an_error_and_never_another_trajectory(
    handler, tmp_path, name
):
    """But exactly between two frames, where these formats can't tell."""
    path, topology = next(
        (path, topology) for found, path, topology in exported(handler, tmp_path) if found == name
    )
    whole = path.read_bytes()
    expected = handler.load_data(handler.import_trajectory(topology, path, "whole"))
    rng = random.Random(1)
    positions = {
        *(rng.randrange(1, len(whole)) for _ in range(12)),
        *(len(whole) - n for n in (2, 9)),
    }
    refused = []
    for number, length in enumerate(sorted(positions)):
        if is_between_frames(whole, length, name):
            continue
        cut = tmp_path / f"cut{number}.{name}"
        cut.write_bytes(whole[:length])
        try:
            found = handler.load_data(handler.import_trajectory(topology, cut, "cut"))
        except (ProteinFlexError, OSError) as error:
            refused.append((cut.name, str(error)))
            continue
        n_frames = len(found["frames"])
        assert n_frames == len(expected["frames"])
        for field, value in found.items():
            np.testing.assert_array_equal(value, expected[field])
    assert len(refused) >= 10
    assert all(name in message for name, message in refused)
    assert len(handler.keys()) <= 3


def is_between_frames(whole, length, name):
    if name in ("xtc", "trr"):
        return whole[length:].startswith(b"\x00\x00\x07")
    # Text: between two lines, of which some begin a frame.
    is_text = name in ("xyz", "pdb", "mdcrd", "trc", "lammpstrj", "arc")
    return is_text and whole[:length].rstrip(b" ").endswith(b"\n")


def test_the_whole_frames_of_a_cut_file_are_stored_where_that_is_asked_for(handler, tmp_path, said):
    path = write_xtc(tmp_path / "cut.xtc", range(5), n_atoms=20)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(TrajectoryReadError, match=r"cut\.xtc.*allow_truncated=True"):
        handler.import_trajectory(None, path, "cut")
    assert handler.keys() == []
    key = handler.import_trajectory(None, path, "cut", allow_truncated=True)
    assert handler.open(key).time.tolist() == [0, 1, 2, 3]
    assert "cut.xtc" in said()
    path = tmp_path / "cut.xyz"
    path.write_text("1\n\nC 1.00 2.00 3.00\n1\n\nC 1.00 2.00 3.0")
    key = handler.import_trajectory(None, path, "cut", allow_truncated=True)
    assert handler.open(key).n_frames == 1


@pytest.mark.parametrize("suffix", ["xtc", "trr"])
def test_the_first_frame_of_a_file_whose_second_is_cut_is_stored(handler, tmp_path, suffix, said):
    path = tmp_path / f"run.{suffix}"
    if suffix == "xtc":
        write_xtc(path, range(4), n_atoms=12)
    else:
        write_trr(path, lambda i: True, lambda i: False, n_frames=4)
    whole = path.read_bytes()
    one = len(whole) // 4
    damaged = whole[:one] + b"\0" * 4 + whole[one + 4 :]
    cases = {whole[: one + n]: "frame 1" for n in (4, 30, one - 8)}
    for content, message in {**cases, damaged: f"frame 1 is damaged .*byte {one}"}.items():
        path.write_bytes(content)
        with pytest.raises(TrajectoryReadError, match=rf"{path.name} is cut or damaged: {message}"):
            handler.import_trajectory(None, path, "cut")
        key = handler.import_trajectory(None, path, "cut", allow_truncated=True)
        assert handler.open(key).time.tolist() == [0]
        assert f"{path.name} is cut: frame 1" in said()
        handler.remove(key)
    for content, message in {whole[: one - 5]: "no frame of it is whole", b"": "is empty"}.items():
        path.write_bytes(content)
        with pytest.raises(ProteinFlexError, match=rf"{path.name}.* {message}"):
            handler.import_trajectory(None, path, "cut", allow_truncated=True)


@pytest.mark.parametrize("names", [["a.npy"], ["folder"], ["a.npz", "a.npz"]])
def test_what_is_no_trajectory_is_said_in_a_sentence(handler, tmp_path, names):
    (tmp_path / "folder").mkdir()
    np.savez(tmp_path / "a.npz", frames=np.zeros((2, 3, 3)))
    np.save(tmp_path / "a.npy", np.zeros((2, 3, 3)))
    with pytest.raises(InvalidArgumentError, match=names[0]) as raised:
        handler.import_trajectory(None, [tmp_path / name for name in names], "x")
    assert "dict_keys" not in str(raised.value)
    assert len(str(raised.value)) < 500


def test_more_frames_than_there_are_in_the_file_are_said(handler, tmp_path, said):
    handler.import_trajectory(datafiles.PSF, datafiles.DCD, "md")
    assert "its header announces 500 frames, it has 98" in said()


@pytest.mark.parametrize("name", ["run.xyz", "run.lammpstrj", "run.pdb", "run.xtc", "run.arc"])
def test_atoms_that_come_or_go_are_refused(handler, tmp_path, name):
    path = tmp_path / name
    with path.open("wb") as file:
        for n_atoms in (4, 5, 3):
            part = tmp_path / f"part{n_atoms}{path.suffix}"
            if path.suffix == ".xtc":
                write_xtc(part, [0], n_atoms=n_atoms)
            else:
                lines = {
                    ".xyz": [f"{n_atoms}", "", *["C 1.0 2.0 3.0"] * n_atoms],
                    ".arc": [f"{n_atoms} x", *["1 C 1.0 2.0 3.0 1"] * n_atoms],
                    ".lammpstrj": [
                        *("ITEM: TIMESTEP", "0", "ITEM: NUMBER OF ATOMS", f"{n_atoms}"),
                        *("ITEM: BOX BOUNDS pp pp pp", "0 9", "0 9", "0 9", "ITEM: ATOMS id x y z"),
                        *[f"{i} 1 2 3" for i in range(n_atoms)],
                    ],
                    ".pdb": [
                        f"MODEL        {n_atoms}",
                        *["ATOM      1  C   ALA A   1       1.000   2.000   3.000"] * n_atoms,
                        "ENDMDL",
                    ],
                }[path.suffix]
                part.write_text("\n".join([*lines, ""]))
            file.write(part.read_bytes())
    with pytest.raises(ProteinFlexError, match=name.replace(".", r"\.")):
        handler.import_trajectory(None, path, "x")
    assert handler.keys() == []


def pdb_models(*models):
    lines = []
    for number, atoms in enumerate(models, 1):
        lines += [f"MODEL     {number:4}"]
        for x, (name, residue, chain) in enumerate(atoms):
            lines.append(
                f"ATOM  {x:5}  {name:<3} {residue} {chain}   1    {x:8.3f}   0.000   0.000"
            )
        lines.append("ENDMDL")
    return "\n".join([*lines, "END", ""])


CA, CB = ("CA", "ALA", "A"), ("CB", "ALA", "A")
MIXED = {
    "names.xyz": ("2\n\nC 1 0 0\nN 2 0 0\n2\n\nN 4 0 0\nC 3 0 0\n", "atom 0 of frame 1 is 'N'"),
    "names.arc": (
        "2 x\n1 C 1 0 0 1\n2 N 2 0 0 1\n2 x\n1 N 4 0 0 1\n2 C 3 0 0 1\n",
        "frame 1 is 'N'",
    ),
    "names.pdb": (pdb_models([CA, CB], [CA, CB], [CB, CA]), "atom 0 of frame 2 is 'CB ALA A   1'"),
    "chains.pdb": (
        pdb_models([CA, ("CA", "ALA", "B")], [("CA", "ALA", "B"), CA]),
        "atom 0 of frame 1",
    ),
    "grow.pdb": (pdb_models([CA], [CA, CB]), "frame 1 has 2 atoms, expected 1"),
    "shrink.pdb": (pdb_models([CA, CB], [CA]), "frame 1 has 1 atoms, expected 2"),
    "blank.xyz": ("1\n\nC 1 0 0\n\n1\n\nC 2 0 0\n", "a blank line before frame 1"),
}


@pytest.mark.parametrize("name", MIXED)
def test_frames_of_other_atoms_than_the_first_are_refused(handler, tmp_path, name):
    path = tmp_path / name
    content, message = MIXED[name]
    path.write_text(content)
    with pytest.raises(InvalidArgumentError, match=rf"{path.name}.*{message}"):
        handler.import_trajectory(None, path, "x")
    assert handler.keys() == []


def test_models_of_the_same_atoms_are_frames(handler, tmp_path):
    path = tmp_path / "same.pdb"
    path.write_text(pdb_models([CA, CB], [CA, CB]))
    assert handler.open(handler.import_trajectory(None, path, "x")).n_frames == 2


def test_models_that_are_not_told_apart_are_refused(handler, tmp_path):
    atom = "ATOM      1  C   ALA A   1       1.000   2.000   3.000\n"
    path = tmp_path / "vmd.pdb"
    path.write_text(f"{atom}END\n{atom}END\n")
    with pytest.raises(InvalidArgumentError, match=r"vmd\.pdb.*atoms after END"):
        handler.import_trajectory(None, path, "x")


def test_what_readers_raise_is_an_error_that_names_the_file(handler, tmp_path, capfd):
    h5py = pytest.importorskip("h5py")
    h5py.File(tmp_path / "a.h5md", "w").create_group("h5md")
    (tmp_path / "tinker.xyz").write_text("2 water\n1 O 0.0 0.0 0.0 1 2\n2 H 1.0 0.0 0.0 2 1\n")
    (tmp_path / "short.nc").write_bytes(b"CDF\x02\0\0\0\0\0\0\0\x0a")
    for suffix in ("xtc", "trr", "dcd", "nc", "gro", "arc", "trz", "inpcrd", "mol2", "crd", "coor"):
        (tmp_path / f"junk.{suffix}").write_bytes(b"hello" * 40)
        (tmp_path / f"empty.{suffix}").write_bytes(b"")
    for path in sorted(tmp_path.glob("*.*")):
        with pytest.raises((InvalidArgumentError, OSError, TrajectoryReadError)) as raised:
            handler.import_trajectory(None, path, "x")
        assert path.name in str(raised.value)
    with pytest.raises(InvalidArgumentError, match=r"missing\.xtc.*no such file"):
        handler.import_trajectory(None, tmp_path / "missing.xtc", "x")
    with pytest.raises(FileNotFoundError, match=r"no\.pdb"):
        handler.import_trajectory(tmp_path / "no.pdb", datafiles.XTC_sub_sol, "x")
    for wrong in (None, 5, [5]):
        with pytest.raises(InvalidTypeError, match="trajectory="):
            handler.import_trajectory(None, wrong, "x")
    assert handler.keys() == []
    assert "Exception ignored" not in capfd.readouterr().err
