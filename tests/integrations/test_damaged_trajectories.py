"""A trajectory file that is damaged, or changes while it is read, is an error: no crash, no other frames."""

import bz2
import errno
import gzip
import os
import struct
import subprocess
import sys
from pathlib import Path

import MDAnalysis
import numpy as np
import pytest
from MDAnalysis.lib.formats.libmdaxdr import TRRFile, XTCFile
from MDAnalysisTests import datafiles
from proteinflex_optimization import InvalidArgumentError, Topology
from proteinflex_optimization.integrations.mdanalysis import TrajectoryReadError
from proteinflex_optimization.integrations.mdanalysis.source import TrajectoryFile
from scipy.io import netcdf_file

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

UNIT = np.eye(3, dtype=np.float32)
XTC_HEADER = 92


def write_xtc(path, n_frames=3, n_atoms=100, value=0.0):
    rng = np.random.default_rng(1)
    # Neighbours are near each other, as in a molecule: then positions are stored as differences.
    chain = np.cumsum(rng.normal(size=(n_atoms, 3)) * 0.1, axis=0)
    with XTCFile(str(path), "w") as file:
        for i in range(n_frames):
            positions = chain + value + rng.normal(size=chain.shape) * 0.02
            file.write(positions.astype(np.float32), UNIT, i, float(i), 1000)
    return path


def write_trr(path, n_frames=3, n_atoms=12):
    x = np.ones((n_atoms, 3), np.float32)
    with TRRFile(str(path), "w") as file:
        for i in range(n_frames):
            file.write(x, x, None, UNIT, i, float(i), 0.0, n_atoms)
    return path


READ_ALL = """
import sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
from proteinflex_optimization.errors import ProteinFlexError
from proteinflex_optimization.integrations.mdanalysis.source import TrajectoryFile

good, refused = Path(sys.argv[1]).read_bytes(), 0
path = Path(sys.argv[1]).with_stem("damaged")
for place in map(int, sys.argv[2:]):
    for bit in (0, 6):
        damaged = bytearray(good)
        damaged[place] ^= 1 << bit
        path.write_bytes(damaged)
        try:
            file = TrajectoryFile(None, path)
            for _ in file.frames():
                pass
            file.close()
            refused += file.findings.cut is not None
        except ProteinFlexError:
            refused += 1
print(refused)
"""


def refused_of(path, places):
    """Return how often a file with one wrong bit is refused; two of each byte are tried."""
    arguments = [sys.executable, "-c", READ_ALL, str(path), *map(str, places)]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 0, f"ended by {done.returncode}: {done.stderr[-500:]}"
    return int(done.stdout)


@pytest.mark.parametrize("frame", [0, 2])
def test_a_wrong_bit_of_an_xtc_header_ends_no_process(tmp_path, frame):
    path = write_xtc(tmp_path / "run.xtc")
    begin = [place for place in range(0, path.stat().st_size, 4) if is_xtc(path, place)][frame]
    # Number of atoms, and all from where it comes again; not step, time and box.
    places = [*range(begin, begin + 8), *range(begin + 52, begin + XTC_HEADER, 2)]
    assert refused_of(path, places) > 20


def is_xtc(path, place):
    return path.read_bytes()[place : place + 8] == struct.pack(">2i", 1995, 100)


def test_a_wrong_bit_of_xtc_positions_ends_no_process(tmp_path):
    path = write_xtc(tmp_path / "run.xtc", n_frames=1)
    size = path.stat().st_size
    assert refused_of(path, range(XTC_HEADER, size, 7)) > 5


def test_a_wrong_bit_of_a_trr_header_ends_no_process(tmp_path):
    path = write_trr(tmp_path / "run.trr")
    # The name, the sizes and the number of atoms, each bit of which matters.
    places = [*range(12), *range(24, 68, 3)]
    assert refused_of(path, places) == 2 * len(places)
    begin = path.stat().st_size // 3
    assert refused_of(path, range(begin, begin + 12)) == 2 * 12


@pytest.mark.parametrize("name", ["XTC", "XTC_sub_sol", "XTC_multi_frame", "TRR", "TRR_sub_sol"])
def test_files_of_gromacs_are_read_whole(handler, name):
    path = getattr(datafiles, name)
    found = handler.open(handler.import_trajectory(None, path, "x"))
    kind = XTCFile if name.startswith("XTC") else TRRFile
    with kind(path) as file:
        assert found.n_frames == len(file)
        np.testing.assert_array_equal(found.read(0, 1)[0], file.read().x * np.float32(10))


def test_frames_before_a_damaged_one_are_stored_where_that_is_asked_for(handler, tmp_path):
    path = write_xtc(tmp_path / "run.xtc", n_frames=5)
    damaged = bytearray(path.read_bytes())
    begin = [place for place in range(0, len(damaged), 4) if is_xtc(path, place)][3]
    damaged[begin + XTC_HEADER + 40 :] = bytes(len(damaged) - begin - XTC_HEADER - 40)
    path.write_bytes(damaged)
    with pytest.raises(TrajectoryReadError, match=r"run\.xtc.* damaged"):
        handler.import_trajectory(None, path, "x")
    assert handler.keys() == []
    key = handler.import_trajectory(None, path, "x", allow_truncated=True)
    assert handler.open(key).n_frames == 3


@pytest.mark.parametrize("allow_truncated", [False, True])
@pytest.mark.parametrize("suffix", ["xtc", "dcd"])
@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.EIO, "Input/output error"),
        RuntimeError("can't start new thread"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_of_the_system_at_a_frame_is_no_damage(
    handler, tmp_path, monkeypatch, error, suffix, allow_truncated
):
    path = write_xtc(tmp_path / "run.xtc", n_frames=5)
    if suffix == "dcd":
        xtc, path = path, tmp_path / "run.dcd"
        universe = MDAnalysis.Universe(str(xtc), to_guess=())
        universe.atoms.write(path, frames="all")
    fail_at(monkeypatch, 3, type(error)(*error.args))
    with pytest.raises(type(error)) as caught:
        handler.import_trajectory(None, path, "x", allow_truncated=allow_truncated)
    assert not isinstance(caught.value, TrajectoryReadError)
    assert getattr(caught.value, "filename", str(path)) == str(path)
    assert handler.keys() == []


@pytest.mark.parametrize("number", [None, -51, errno.EINVAL])
def test_an_error_of_a_library_without_a_number_of_the_system_is_damage(
    handler, tmp_path, monkeypatch, number
):
    path = write_xtc(tmp_path / "run.xtc", n_frames=5)
    error = OSError("read failed") if number is None else OSError(number, "read failed")
    fail_at(monkeypatch, 3, error)
    with pytest.raises(TrajectoryReadError, match=r"3 of its 5 frames.* damaged .*read failed"):
        handler.import_trajectory(None, path, "x")
    key = handler.import_trajectory(None, path, "x", allow_truncated=True)
    assert handler.open(key).n_frames == 3


def fail_at(monkeypatch, number, error):
    """Let a frame of any trajectory file fail to be read."""

    def failing(self, asked, file):
        if asked == number:
            raise error
        return read(self, asked, file)

    read = TrajectoryFile._next
    monkeypatch.setattr(TrajectoryFile, "_next", failing)


def test_a_file_that_changes_during_its_import_is_an_error(handler, tmp_path):
    path = write_xtc(tmp_path / "run.xtc", n_frames=100)
    other = write_xtc(tmp_path / "other.xtc", n_frames=100, value=9.0)

    def import_while(change, **options):
        def at_fifty(done, _):
            if done == 50:
                change()

        return handler.import_trajectory(None, path, "x", progress=at_fifty, **options)

    def overwrite():
        path.write_bytes(other.read_bytes())

    def replace():
        os.replace(other, path)

    def append():
        with path.open("ab") as file:
            file.write(path.read_bytes())

    for change in (overwrite, replace, append):
        with pytest.raises(TrajectoryReadError, match=r"run\.xtc"):
            import_while(change)
    assert handler.keys() == []
    # A run that goes on is read as far as it was.
    assert handler.open(import_while(append, allow_truncated=True)).n_frames == 200


CUT_WHILE_IMPORTED = """
import os, sys
import numpy as np
from proteinflex_optimization import DataHandler
from proteinflex_optimization.integrations.mdanalysis import TrajectoryReadError, export_trajectory

directory, left = sys.argv[1], float(sys.argv[2])
handler, path = DataHandler(directory, durable=False), os.path.join(directory, "run.nc")
key = handler.store_trajectory({"frames": np.zeros((50, 2000, 3), "f4"), "time": np.arange(50.0)}, "md")
export_trajectory(handler.open(key), path)

def cut(done, total):
    if done == 5:
        os.truncate(path, int(left * os.path.getsize(path)))

try:
    handler.import_trajectory(None, path, "x", progress=cut)
except TrajectoryReadError as error:
    print(error)
"""


@pytest.mark.parametrize("left", ["0", "0.5"])
def test_a_netcdf_file_that_is_cut_during_its_import_ends_no_process(tmp_path, left):
    command = [sys.executable, "-W", "ignore", "-c", CUT_WHILE_IMPORTED, tmp_path, left]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert "run.nc: only" in done.stdout


@pytest.mark.parametrize("mmap", [None, False])
def test_netcdf_records_are_what_mdanalysis_reads(handler, tmp_path, mmap):
    path = tmp_path / "run.nc"
    with netcdf_file(str(path), "w", version=2) as file:
        file.Conventions, file.ConventionVersion = b"AMBER", b"1.0"
        file.program = file.programVersion = b"1"
        for name, size in (("frame", None), ("spatial", 3), ("atom", 5), ("cell_spatial", 3)):
            file.createDimension(name, size)
        for name, unit, dimensions in (
            ("coordinates", b"angstrom", ("frame", "atom", "spatial")),
            ("time", b"picosecond", ("frame",)),
            ("cell_lengths", b"angstrom", ("frame", "cell_spatial")),
            ("cell_angles", b"degree", ("frame", "cell_spatial")),
            ("velocities", b"angstrom/picosecond", ("frame", "atom", "spatial")),
        ):
            variable = file.createVariable(name, "f4", dimensions)
            variable.units, variable.scale_factor = unit, np.float32(2.5)
            shape = [file.dimensions[one] or 4 for one in dimensions]
            variable[:] = np.arange(1, 1 + np.prod(shape), dtype="f4").reshape(shape)
    expected = MDAnalysis.coordinates.TRJ.NCDFReader(str(path), mmap=False)
    stored = handler.load_data(handler.import_trajectory(None, path, "x", mmap=mmap))
    assert len(stored["frames"]) == expected.n_frames == 4
    for number, ts in enumerate(expected):
        assert stored["time"][number] == ts.time
        np.testing.assert_array_equal(stored["frames"][number], ts.positions)
        np.testing.assert_array_equal(stored["velocities"][number], ts.velocities)
        np.testing.assert_array_equal(stored["box"][number], ts.dimensions)


def test_a_pdb_atom_that_ends_within_its_coordinates_is_refused(handler, tmp_path):
    atom = "ATOM      {0}  CA  GLY A   {0}       1.000   2.000   3.000"
    models = [atom.format(1), atom.format(2)[:-3], atom.format(3)]
    path = tmp_path / "run.pdb"
    path.write_text("MODEL        1\n" + "\n".join([*models, "ENDMDL", "END", ""]))
    with pytest.raises(InvalidArgumentError, match=r"run\.pdb.*line 3 is cut short"):
        handler.import_trajectory(None, path, "x")
    path.write_text(path.read_text().replace("3.\n", "3.000\n"))
    assert handler.open(handler.import_trajectory(None, path, "x")).n_atoms == 3


def test_a_step_that_no_integer_holds_is_an_error(handler, tmp_path):
    path = tmp_path / "run.lammpstrj"
    path.write_text(
        f"ITEM: TIMESTEP\n{2**64}\nITEM: NUMBER OF ATOMS\n1\nITEM: BOX BOUNDS pp pp pp\n0 9\n0 9\n0 9\n"
        "ITEM: ATOMS id x y z\n1 0 0 0\n"
    )
    with pytest.raises(TrajectoryReadError, match=r"run\.lammpstrj"):
        handler.import_trajectory(None, path, "x")


def frames_of(suffix, n_frames):
    """Return frames of two atoms of a format, whose coordinates don't compress to nothing."""
    rng = np.random.default_rng(1)
    for frame in range(n_frames):
        (a, b, c), (d, e, f) = ([f"{x:8.3f}" for x in row] for row in rng.normal(size=(2, 3)))
        yield {
            "xyz": f"2\n\nC {a} {b} {c}\nO {d} {e} {f}\n",
            "lammpstrj": f"ITEM: TIMESTEP\n{frame}\nITEM: NUMBER OF ATOMS\n2\n"
            f"ITEM: BOX BOUNDS pp pp pp\n0 9\n0 9\n0 9\nITEM: ATOMS id x y z\n1 {a} {b} {c}\n2 {d} {e} {f}\n",
            "pdb": f"MODEL     {frame + 1:4}\nATOM      1  CA  ALA A   1    {a}{b}{c}\n"
            f"ATOM      2  CB  ALA A   1    {d}{e}{f}\nENDMDL\n",
        }[suffix]


@pytest.mark.parametrize("suffix", ["xyz", "lammpstrj", "pdb"])
@pytest.mark.parametrize("packed", [gzip, bz2], ids=["gz", "bz2"])
def test_damage_in_a_later_compressed_stream_of_a_trajectory_is_an_error(
    handler, tmp_path, suffix, packed
):
    """Not the frames before it, as Python's and so MDAnalysis's readers of bzip2 give."""
    path = tmp_path / f"run.{suffix}.{packed.__name__.replace('gzip', 'gz')}"
    frames = list(frames_of(suffix, 200))
    first, second = (packed.compress("".join(part).encode()) for part in (frames[:99], frames[99:]))
    one = tmp_path / "one.xyz"
    one.write_text(next(frames_of("xyz", 1)))
    for padding in (b"", bytes(512)):
        path.write_bytes(first + second + padding)
        assert handler.open(handler.import_trajectory(None, path, "whole")).n_frames == 200
    n_keys = len(handler.keys())
    for place in (0, len(second) // 2, len(second) - 7):
        damaged = bytearray(second)
        damaged[place] ^= 1
        for end in (len(damaged), place + 1):
            path.write_bytes(first + damaged[:end])
            for read in (
                lambda: handler.import_trajectory(None, path, "damaged"),
                lambda: handler.import_trajectory(path, one, "damaged"),
                *([] if suffix == "lammpstrj" else [lambda: Topology.of(path)]),
            ):
                with pytest.raises(InvalidArgumentError, match=rf"{path.name}.*cut short or dam"):
                    read()
    path.write_bytes(first + second + b"what a download added")
    with pytest.raises(InvalidArgumentError, match=rf"{path.name}.*cut short or damaged"):
        handler.import_trajectory(None, path, "damaged")
    assert len(handler.keys()) == n_keys


def test_a_damaged_tng_file_is_refused_before_its_library_passes_over_it(handler, tmp_path):
    path = tmp_path / "run.tng"
    whole = Path(datafiles.COORDINATES_TNG).read_bytes()
    flipped = [
        whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :]
        for place in (99, len(whole) - 1)
    ]
    for damaged in (*flipped, whole[:-1], whole[:9], whole + b"x"):
        path.write_bytes(damaged)
        with pytest.raises(TrajectoryReadError, match=r"run\.tng is cut or damaged: its block at"):
            handler.import_trajectory(None, path, "x", allow_truncated=True)
