"""Of a file that is cut, is no trajectory or can't be read on, no other trajectory is made."""

import bz2
import fcntl
import gc
import gzip
import importlib
import itertools
import lzma
import os
import random
import struct
from pathlib import Path

import MDAnalysis
import numpy as np
import pytest
from MDAnalysisTests import datafiles
from MDAnalysisTests.datafiles import DCD, PSF, TPR, TRR, XTC
from proteinflex_optimization import InvalidArgumentError, Topology
from proteinflex_optimization.errors import InvalidTypeError, ProteinFlexError
from proteinflex_optimization.integrations.mdanalysis import (
    TrajectoryReadError,
    export_trajectory,
    whole,
)
from proteinflex_optimization.integrations.mdanalysis.reader_classes import name_of
from trajectory_data import write_trr, write_xtc

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore::UserWarning",
    # Files that readers of MDAnalysis leave open where they fail.
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)

N_ATOMS = 13


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


# --- cut files ---


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


def test_more_frames_than_there_are_in_the_file_are_said(handler, tmp_path, said):
    handler.import_trajectory(datafiles.PSF, datafiles.DCD, "md")
    assert "its header announces 500 frames, it has 98" in said()


@pytest.mark.parametrize("sources", [(PSF, DCD), (TPR, XTC), (TPR, TRR)], ids=["DCD", "XTC", "TRR"])
def test_an_import_tells_how_far_it_is(handler, sources):
    calls = []
    key = handler.import_trajectory(*sources, "md", progress=lambda *call: calls.append(call))
    total = handler.open(key).n_frames
    assert calls[-1] == (total, total)
    assert all(one[0] < other[0] for one, other in itertools.pairwise(calls))


@pytest.mark.parametrize(("topology", "path"), [(PSF, DCD), (TPR, XTC), (TPR, TRR)])
def test_a_cut_file_is_an_error_and_never_a_shorter_trajectory(handler, tmp_path, topology, path):
    """What MDAnalysis can't read on, it takes for the end."""
    whole = Path(path).read_bytes()
    cut = tmp_path / f"cut{Path(path).suffix}"
    cut.write_bytes(whole)
    universe = MDAnalysis.Universe(topology, str(cut))  # Which notes where each frame is.
    n_frames = len(universe.trajectory)
    universe.trajectory.close()
    times = os.stat(cut).st_mtime_ns
    cut.write_bytes(whole[: len(whole) * 2 // 3])
    os.utime(cut, ns=(times, times))
    try:
        key = handler.import_trajectory(topology, cut, "md")
    except (TrajectoryReadError, InvalidArgumentError, OSError):
        assert handler.keys() == []
    else:
        # It counted the frames again: those that are whole are all there are.
        assert 0 < handler.open(key).n_frames < n_frames


def test_a_reader_that_stops_early_is_noticed(handler, monkeypatch):
    from MDAnalysis.coordinates.DCD import DCDReader

    read = DCDReader._read_next_timestep

    def failing(self, ts=None):
        if self.ts.frame == 40:
            raise OSError("the disk is gone")
        return read(self, ts)

    monkeypatch.setattr(DCDReader, "_read_next_timestep", failing)
    with pytest.raises(TrajectoryReadError, match="only 41 of its 98 frames"):
        handler.import_trajectory(PSF, DCD, "md")
    assert handler.keys() == []
    assert handler.get_cache_stats()["used_bytes"] < 10_000


# --- others that are not what they seem ---


@pytest.mark.parametrize("names", [["a.npy"], ["folder"], ["a.npz", "a.npz"]])
def test_what_is_no_trajectory_is_said_in_a_sentence(handler, tmp_path, names):
    (tmp_path / "folder").mkdir()
    np.savez(tmp_path / "a.npz", frames=np.zeros((2, 3, 3)))
    np.save(tmp_path / "a.npy", np.zeros((2, 3, 3)))
    with pytest.raises(InvalidArgumentError, match=names[0]) as raised:
        handler.import_trajectory(None, [tmp_path / name for name in names], "x")
    assert "dict_keys" not in str(raised.value)
    assert len(str(raised.value)) < 500


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


@pytest.mark.parametrize("kind", ["npz", "fxt", "zarr"])
@pytest.mark.parametrize("content", [None, b"junk"])
def test_a_file_that_cannot_be_read_is_named_as_the_argument_that_gave_it(
    kind, content, tmp_path, handler
):
    if kind == "zarr":
        pytest.importorskip("zarr")
    path = tmp_path / f"run.{kind}"
    if content is not None:
        path.write_bytes(content)
    module = importlib.import_module(f"proteinflex_optimization.integrations.{kind}")
    for argument, read in (
        ("path", getattr(module, f"import_{kind}")),
        ("trajectory", lambda handler, *given: handler.import_trajectory(None, *given)),
    ):
        with pytest.raises((ProteinFlexError, OSError)) as raised:
            read(handler, path, "md")
        if isinstance(raised.value, InvalidArgumentError):
            assert str(raised.value).startswith(f"{argument}=")
        else:
            assert kind == "fxt", "what opens it names the file"


def test_what_mdanalysis_cannot_read_is_refused(handler, tmp_path):
    path = tmp_path / "run.unknown"
    path.write_bytes(b"nothing")
    with pytest.raises(InvalidArgumentError, match="can read together"):
        handler.import_trajectory(PSF, path, "md")
    with pytest.raises(InvalidArgumentError, match="can read together"):
        handler.import_trajectory(PSF, XTC, "md")
    assert handler.keys() == []


@pytest.mark.parametrize("suffix", ["xtc", "trr", "dcd", "nc"])
def test_a_file_whose_name_is_no_text_is_written_and_read(handler, tmp_path, suffix):
    frames = np.random.default_rng(3).normal(0, 10, (4, 5, 3)).astype(np.float32)
    handler.store_trajectory({"frames": frames, "time": np.arange(4.0)}, "md")
    place = tmp_path / os.fsdecode(b"r\xe9sultats")
    place.mkdir()
    path = place / (os.fsdecode(b"\xff.") + suffix)
    export_trajectory(handler.open("md"), path)
    assert os.listdir(place) == [path.name]
    for given in (path, os.fsencode(path), [os.fsencode(path)]):
        found = handler.open(handler.import_trajectory(None, given, "again"))
        np.testing.assert_allclose(found[:], frames, atol=0.006)
    assert os.listdir(place) == [path.name]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"dt": np.nan}, "dt=nan is not valid: expected a finite number of ps above 0"),
        ({"dt": np.inf}, "dt=inf"),
        ({"dt": 0}, "dt=0"),
        ({"dt": -1.0}, "dt=-1.0"),
        ({"dt": "2"}, "dt='2' is of type str"),
        ({"time_offset": np.nan}, "time_offset=nan is not valid: expected a finite number of ps$"),
        ({"time_offset": "2"}, "time_offset='2' is of type str"),
    ],
)
def test_what_makes_no_times_is_refused(handler, option, message):
    with pytest.raises(InvalidArgumentError, match=message):
        handler.import_trajectory(PSF, DCD, "md", **option)
    assert len(handler) == 0


def test_an_open_file_is_no_list_of_files(handler):
    for mode in ("rb", "r"):
        with open(DCD, mode) as file, pytest.raises(InvalidTypeError, match="trajectory=<_io"):
            handler.import_trajectory(PSF, file, "md")
    with pytest.raises(InvalidTypeError, match="trajectory=bytearray"):
        handler.import_trajectory(PSF, bytearray(b"run.dcd"), "md")


# --- text ---


LATIN = {
    "run.pdb": "TITLE     café\nMODEL\n"
    "ATOM      1  CA  ALA A   1       1.000   2.000   3.000  1.00  0.00           C\nENDMDL\nEND\n",
    "one.gro": "café\n1\n    1ALA     CA    1   0.100   0.200   0.300\n 1 1 1\n",
    "run.xyz": "1\ncafé\nC 1 2 3\n",
    "one.crd": "* café\n*\n    1\n"
    "    1    1 ALA  CA     1.00000   2.00000   3.00000 A    1      0.00000\n",
    "run.mdcrd": "café\n   1.000   2.000   3.000\n",
    "one.inpcrd": "café\n    1\n   1.0000000   2.0000000   3.0000000\n",
    "one.pqr": "REMARK café\nATOM      1  CA  ALA     1       1.000   2.000   3.000  0.1000 1.8000\n",
    "run.xyz.gz": "1\ncafé\nC 1 2 3\n",
}


@pytest.mark.parametrize("name", LATIN)
def test_a_title_in_latin_1_hides_no_frame(handler, tmp_path, capfd, name):
    path = tmp_path / name
    content = LATIN[name].encode("latin-1")
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    topology = Topology(["CA"], ["C"], [0], ["ALA"], [1], [0], ["A"])
    found = handler.open(handler.import_trajectory(topology, path, "x"))
    np.testing.assert_array_equal(found.read(), [[[1, 2, 3]]])
    assert capfd.readouterr().err == ""


def test_readers_that_could_not_be_made_say_nothing_on_stderr(handler, tmp_path, capfd):
    """Also those of the first attempt, of whose topology a copy was tried."""
    top, path = tmp_path / "top.gro", tmp_path / "run.dcd"
    top.write_bytes(LATIN["one.gro"].encode("latin-1"))
    path.write_bytes(b"no codec can't decode this")
    with pytest.raises(InvalidArgumentError, match=r"run\.dcd"):
        handler.import_trajectory(top, path, "x")
    gc.collect()
    assert "Exception ignored" not in capfd.readouterr().err


def test_whatever_is_known_of_a_format_is_known_by_the_name_of_its_reader():
    names = {name_of(reader) for reader in MDAnalysis._READERS.values()}
    assert names >= {*whole.EXAMINERS, *whole.BEFORE_OPENING, *whole.TEXTS}


def test_a_file_with_more_than_its_coordinates_is_refused_by_any_name_of_its_format(
    handler, tmp_path
):
    path = tmp_path / "one.coor"
    path.write_bytes(Path(datafiles.NAMDBIN).read_bytes() + b"more")
    with pytest.raises(TrajectoryReadError, match=r"one\.coor is cut or damaged"):
        handler.import_trajectory(None, path, "x")


ZSTD = b"\x28\xb5\x2f\xfd"
"""How a file of zstd begins."""


@pytest.mark.parametrize(
    ("packer", "suffix", "pack"),
    [
        ("gzip", ".gz", gzip.compress),
        ("bzip2", ".bz2", bz2.compress),
        ("xz", ".xz", lzma.compress),
        ("zstd", ".zst", lambda content: ZSTD + content),
    ],
)
def test_a_compressed_file_that_cannot_be_read_so_is_called_compressed_and_not_damaged(
    handler, tmp_path, packer, suffix, pack
):
    for name in ("XTC", "TRR", "DCD", "NCDF", "TRZ", "INPCRD", "XYZ"):
        file = Path(getattr(datafiles, name))
        content = file.read_bytes()
        content = bz2.decompress(content) if content.startswith(b"BZh") else content
        # Also by the name of what is in it.
        for end in (suffix, ""):
            if name == "XYZ" and packer in ("gzip", "bzip2"):
                continue  # Which can.
            path = tmp_path / f"packed{file.suffix}{end}"
            path.write_bytes(pack(content))
            with pytest.raises(
                InvalidArgumentError, match=f"it is compressed with {packer}, .* first"
            ):
                handler.import_trajectory(None, path, "run")


def test_what_a_reader_can_not_make_of_a_valid_file_is_said(handler, tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "run.h5md"
    with h5py.File(path, "w") as file:
        file.create_group("particles/x/box").attrs["dimension"] = 3
        position = file.create_group("particles/x/position")
        position["value"], position["step"], position["time"] = np.zeros((2, 4, 3)), 10, 0.5
        position["value"].attrs["unit"], position["time"].attrs["unit"] = "nm", "ps"
    with pytest.raises(InvalidArgumentError, match=r"run\.h5md.*It says: OSError: .*scalar"):
        handler.import_trajectory(None, path, "x")

    def record(content):
        return struct.pack(">i", len(content)) + content + struct.pack(">i", len(content))

    control = struct.pack(">9if10i", 3, *[0, 1], *[0] * 6, 0.5, 0, 1, *[0] * 7, 41)
    titles = record(struct.pack(">i", 1) + b"x" * 80) + record(struct.pack(">i", 7))
    path = tmp_path / "four.dcd"
    path.write_bytes(record(b"CORD" + control) + titles + record(bytes(28)) * 12)
    with pytest.raises(InvalidArgumentError, match=r"four\.dcd.*fourth dimension"):
        handler.import_trajectory(None, path, "x")
