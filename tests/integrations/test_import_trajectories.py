"""What files of trajectories lack, and what MDAnalysis makes up or passes over, is never silent."""

import gzip
import logging
import random
from pathlib import Path

import MDAnalysis
import numpy as np
import pytest
from MDAnalysis.lib.formats.libdcd import DCDFile
from MDAnalysis.lib.formats.libmdaxdr import TRRFile, XTCFile
from MDAnalysisTests import datafiles
from proteinflex_optimization import DataHandler, InvalidArgumentError
from proteinflex_optimization.errors import ProteinFlexError
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
    with pytest.raises(InvalidArgumentError, match="convert_units=False"):
        handler.import_trajectory(None, path, "x", convert_units=False)
    key = handler.import_trajectory(None, path, "x", refresh_offsets=True, dt=3.0)
    assert handler.open(key).time.tolist() == [0, 3]


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
    path.write_text(text.format("species:S:1:forces:R:3:pos:R:3"))
    with pytest.raises(InvalidArgumentError, match=r"run\.xyz.*species:S:1:forces:R:3:pos:R:3"):
        handler.import_trajectory(None, path, "x")


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
    assert handler.keys() == []
    assert "Exception ignored" not in capfd.readouterr().err


# --- runs in parts ---


def test_parts_of_a_run_are_one_trajectory_without_what_the_next_part_has_too(
    handler, tmp_path, said
):
    parts = [
        write_xtc(tmp_path / "part1.xtc", [0, 10, 20, 30, 40]),
        # Continued from a checkpoint at 20 ps.
        write_xtc(tmp_path / "part2.xtc", [20, 30, 40, 50]),
        write_xtc(tmp_path / "part3.xtc", [60, 70]),
    ]
    calls = []
    key = handler.import_trajectory(
        None, [str(path) for path in parts], "run", progress=lambda *call: calls.append(call)
    )
    data = handler.load_data(key)
    assert data["time"].tolist() == [0, 10, 20, 30, 40, 50, 60, 70]
    assert (
        "part1.xtc: 3 of 5 frames are left out, for the next part has them from time 20 on"
        in said()
    )
    assert calls == [(n, 11) for n in range(1, 12)]
    key = handler.import_trajectory(None, parts, "all", overlap="keep")
    assert handler.open(key).n_frames == 11
    with pytest.raises(
        InvalidArgumentError, match=r"part2\.xtc begins at time 20, and .*part3\.xtc"
    ):
        handler.import_trajectory(None, [parts[0], parts[2], parts[1]], "x")
    with pytest.raises(InvalidArgumentError, match="overlap='drop'"):
        handler.import_trajectory(None, parts, "x", overlap="drop")
    with pytest.raises(InvalidArgumentError, match="at least one file"):
        handler.import_trajectory(None, [], "x")


def test_times_of_single_precision_overlap_as_what_they_mean(handler, tmp_path):
    times = 16_777_216 + np.arange(0, 8, 2)
    parts = [write_xtc(tmp_path / "1.xtc", times[:3]), write_xtc(tmp_path / "2.xtc", times[2:])]
    found = handler.open(handler.import_trajectory(None, parts, "run"))
    assert found.time.tolist() == times.tolist()


def test_parts_without_times_overlap_by_step(handler, tmp_path):
    dump = (
        "ITEM: TIMESTEP\n{}\nITEM: NUMBER OF ATOMS\n1\nITEM: BOX BOUNDS pp pp pp\n0 9\n0 9\n0 9\n"
        "ITEM: ATOMS id x y z\n1 0 0 0\n"
    )
    for name, steps in (("1", (0, 5, 10, 15)), ("2", (10, 15, 20))):
        (tmp_path / f"{name}.lammpstrj").write_text("".join(dump.format(step) for step in steps))
    parts = [tmp_path / "1.lammpstrj", tmp_path / "2.lammpstrj"]
    data = handler.load_data(handler.import_trajectory(None, parts, "run"))
    assert data["step"].tolist() == [0, 5, 10, 15, 20]


def test_parts_that_each_count_from_the_beginning_are_refused_unless_all_is_kept(handler, tmp_path):
    parts = [write_xtc(tmp_path / f"{n}.xtc", [0, 1, 2]) for n in (1, 2)]
    with pytest.raises(InvalidArgumentError, match=r"2\.xtc begins at time 0.*overlap='keep'"):
        handler.import_trajectory(None, parts, "run")
    found = handler.open(handler.import_trajectory(None, parts, "run", overlap="keep"))
    assert found.time.tolist() == [0, 1, 2, 0, 1, 2]


def test_parts_with_neither_times_nor_steps_are_joined_as_they_are_and_that_is_said(
    handler, tmp_path, said
):
    for n in (1, 2):
        (tmp_path / f"{n}.xyz").write_text("1\n\nC 1.0 2.0 3.0\n" * 2)
    found = handler.import_trajectory(None, [tmp_path / "1.xyz", tmp_path / "2.xyz"], "run", dt=0.5)
    assert handler.open(found).time.tolist() == [0, 0.5, 1, 1.5]
    assert "without times or steps" in said()


def test_parts_of_other_atoms_are_refused(handler, tmp_path):
    parts = [write_xtc(tmp_path / "1.xtc", [0]), write_xtc(tmp_path / "2.xtc", [1], n_atoms=5)]
    with pytest.raises(InvalidArgumentError, match=r"2\.xtc' has 5 atoms, expected 4"):
        handler.import_trajectory(None, parts, "run")
    top = tmp_path / "top.pdb"
    universe = MDAnalysis.Universe.empty(4, trajectory=True)
    universe.atoms.write(str(top))
    with pytest.raises(InvalidArgumentError, match=r"2\.xtc"):
        handler.import_trajectory(top, parts, "run")
