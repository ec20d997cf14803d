"""Files of other formats: whole or not at all, and what they can't hold is said."""

import errno
import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import MDAnalysis
import numpy as np
import pytest
from MDAnalysisTests.datafiles import DCD, PSF, TPR, TRR, XTC
from proteinflex_optimization import (
    CorruptDataError,
    DataHandler,
    InvalidArgumentError,
    create_trajectory,
)
from proteinflex_optimization._publish import published
from proteinflex_optimization.integrations.mdanalysis import (
    TrajectoryReadError,
    export_trajectory,
)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

N_FRAMES, N_ATOMS = 30, 25


def data():
    rng = np.random.default_rng(1)
    return {
        "frames": rng.normal(0, 10, (N_FRAMES, N_ATOMS, 3)).astype(np.float32),
        "velocities": rng.normal(0, 1, (N_FRAMES, N_ATOMS, 3)).astype(np.float32),
        "forces": rng.normal(0, 100, (N_FRAMES, N_ATOMS, 3)).astype(np.float32),
        "box": np.tile(np.diag([30.0, 40.0, 50.0]), (N_FRAMES, 1, 1)),
        "time": 6.0 + 2.0 * np.arange(N_FRAMES),
        "step": 3000 + 1000 * np.arange(N_FRAMES),
        "potential": rng.normal(-1e5, 10, N_FRAMES),
        "labels": rng.normal(0, 1, (N_FRAMES, 4)),
    }


@pytest.fixture
def handler(tmp_path):
    return DataHandler(tmp_path / "cache")


@pytest.fixture
def trajectory(handler):
    metadata = {"solvent": "water", "key": b"0"}
    return handler.open(handler.store_trajectory(data(), "md", metadata))


@pytest.mark.parametrize(
    ("suffix", "tolerance", "left_out"),
    [
        ("dcd", 0, {"velocities", "forces", "step", "potential", "labels"}),
        ("xtc", 0.0051, {"velocities", "forces", "potential", "labels"}),
        ("trr", 1e-5, {"potential", "labels"}),
        ("nc", 0, {"step", "potential", "labels"}),
        ("ncdf", 0, {"step", "potential", "labels"}),
        ("h5md", 0, {"labels"}),
    ],
)
def test_exported_files_are_the_trajectory_as_far_as_their_format_goes(
    trajectory, tmp_path, suffix, tolerance, left_out
):
    if suffix == "h5md":
        pytest.importorskip("h5py")
    calls = []
    path = tmp_path / f"run.{suffix}"
    found = export_trajectory(trajectory, path, progress=lambda *call: calls.append(call))
    assert set(found) == left_out
    assert calls == [(done, N_FRAMES) for done in range(1, N_FRAMES + 1)]
    assert sorted(os.listdir(tmp_path)) == ["cache", path.name]

    stored = data()
    universe = MDAnalysis.Universe.empty(N_ATOMS, trajectory=False)
    universe.load_new(str(path))
    assert len(universe.trajectory) == N_FRAMES
    for ts, number in zip(universe.trajectory, range(N_FRAMES), strict=True):
        np.testing.assert_allclose(ts.positions, stored["frames"][number], rtol=0, atol=tolerance)
        assert ts.time == pytest.approx(stored["time"][number], rel=1e-5)
        np.testing.assert_allclose(ts.dimensions, [30, 40, 50, 90, 90, 90], rtol=1e-5)
        if suffix in ("trr", "h5md", "nc", "ncdf"):
            np.testing.assert_allclose(ts.velocities, stored["velocities"][number], rtol=1e-5)
            forces = stored["forces"][number] / 10  # per Å
            np.testing.assert_allclose(ts.forces, forces, rtol=1e-5)
        if suffix in ("h5md", "trr", "xtc"):
            assert ts.data["step"] == stored["step"][number]
        if suffix == "h5md":
            assert ts.data["step"] == stored["step"][number]
            assert ts.data["potential"] == stored["potential"][number]


@pytest.mark.parametrize("suffix", ["xtc", "trr", "dcd", "nc", "h5md", "xyz", "pdb"])
def test_what_belongs_to_no_frame_is_named(handler, tmp_path, suffix):
    stored = {"frames": np.zeros((3, 12, 3), np.float32), "masses": np.ones(12), "k": 3}
    trajectory = handler.open(handler.store_trajectory(stored, "md"))
    assert export_trajectory(trajectory, tmp_path / f"run.{suffix}") == ["masses", "k"]


@pytest.mark.parametrize("box", [[30, 40, 50], [30, 40, 50, 90, 90, 90], np.diag([30.0, 40, 50])])
def test_one_box_for_all_frames_is_the_box_of_each(handler, tmp_path, box):
    stored = {"frames": np.ones((3, 12, 3), np.float32), "box": box}
    trajectory = handler.open(handler.store_trajectory(stored, "md"))
    universe = trajectory.to_universe(MDAnalysis.Universe.empty(12)._topology)
    assert export_trajectory(trajectory, tmp_path / "run.xtc") == []
    for reader in (universe.trajectory, MDAnalysis.coordinates.XTC.XTCReader(tmp_path / "run.xtc")):
        boxes = [ts.dimensions for ts in reader]
        np.testing.assert_allclose(boxes, [[30, 40, 50, 90, 90, 90]] * 3, rtol=1e-6)


def test_a_dcd_says_that_it_has_no_place_for_uneven_times(handler, tmp_path):
    stored = data()
    stored["time"][7] += 1
    trajectory = handler.open(handler.store_trajectory(stored, "uneven"))
    assert "time" in export_trajectory(trajectory, tmp_path / "run.dcd")


@pytest.mark.parametrize("start", [0, 7e3, 1e6, 1e7, 1e9, -40])
@pytest.mark.parametrize("step", [2.0, 0.1, 0.002, 0.7])
def test_times_of_a_dcd_are_right_or_said_to_be_left_out(handler, tmp_path, start, step):
    times = start + step * np.arange(5)
    stored = {"frames": np.zeros((5, 3, 3), np.float32), "time": times}
    trajectory = handler.open(handler.store_trajectory(stored, "md"))
    left_out = export_trajectory(trajectory, tmp_path / "run.dcd")
    again = handler.open(handler.import_trajectory(None, tmp_path / "run.dcd", "again"))
    assert left_out == ([] if "time" in again.fields else ["time"])
    if start / step < 1e6:
        assert left_out == [] or start % step > 1e-3 * step, "it has a place for these"
    if not left_out:
        np.testing.assert_allclose(again.time, times, rtol=0, atol=1.01e-3 * step)


def test_steps_that_h5md_files_cannot_count_are_left_out_and_said(handler, tmp_path):
    h5py = pytest.importorskip("h5py")
    stored = data()
    stored["step"] += 2**31
    trajectory = handler.open(handler.store_trajectory(stored, "long"))
    path = tmp_path / "run.h5md"
    assert set(export_trajectory(trajectory, path)) == {"labels", "step"}
    with h5py.File(path) as file:
        steps = file["particles/trajectory/position/step"][:]
    np.testing.assert_array_equal(steps, np.arange(N_FRAMES))


def test_what_a_format_refuses_is_an_error_that_names_the_frame(handler, tmp_path):
    pytest.importorskip("h5py")
    stored = data()
    stored["step"][7] = 0
    trajectory = handler.open(handler.store_trajectory(stored, "back"))
    with pytest.raises(InvalidArgumentError, match=r"frame 7 can't be written as \.h5md"):
        export_trajectory(trajectory, tmp_path / "run.h5md")
    assert os.listdir(tmp_path) == ["cache"]


def test_a_file_that_is_there_stays_unless_it_may_be_replaced(trajectory, tmp_path):
    path = tmp_path / "run.dcd"
    path.write_bytes(b"precious")
    with pytest.raises(InvalidArgumentError, match=r"run\.dcd.*there already"):
        export_trajectory(trajectory, path)
    assert path.read_bytes() == b"precious"
    export_trajectory(trajectory, path, overwrite=True)
    assert path.stat().st_size > N_FRAMES * N_ATOMS * 12


@pytest.mark.parametrize("path", [".", "..", "/", "md.dcd"])
def test_a_directory_is_never_the_file_to_write(trajectory, tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "md.dcd").mkdir()
    with pytest.raises(InvalidArgumentError, match="path=.*expected a"):
        export_trajectory(trajectory, path, overwrite=True)
    assert sorted(os.listdir(tmp_path)) == ["cache", "md.dcd"]


@pytest.mark.parametrize("is_directory", [False, True])
def test_what_appears_meanwhile_is_not_replaced(tmp_path, is_directory):
    path = tmp_path / "run"

    def make(place, content):
        if is_directory:
            place.mkdir()
            place = place / "content"
        place.write_bytes(content)

    def write():
        with published(path, overwrite=False) as hidden:
            make(hidden, b"ours")
            make(path, b"theirs")

    with pytest.raises(InvalidArgumentError, match="there already"):
        write()
    assert os.listdir(tmp_path) == ["run"]
    assert (path / "content" if is_directory else path).read_bytes() == b"theirs"


@pytest.mark.parametrize("name", ["run.dcd", "run.zarr"])
def test_a_killed_export_leaves_what_was_there(tmp_path, name):
    if name == "run.zarr":
        pytest.importorskip("zarr", minversion="3")
    handler = DataHandler(tmp_path / "cache", enable_compression=False)
    frames = np.zeros((5000, 300, 3), np.float32)
    handler.store_trajectory({"frames": frames}, "md")
    target = tmp_path / "out" / name
    target.parent.mkdir()
    code = """if True:
        import sys, time, warnings
        warnings.simplefilter("ignore")
        from proteinflex_optimization import DataHandler
        if sys.argv[2].endswith("zarr"):
            from proteinflex_optimization.integrations.zarr import export_zarr as write
        else:
            from proteinflex_optimization.integrations.mdanalysis import export_trajectory as write
        handler = DataHandler(sys.argv[1])
        def progress(done, total):
            print(done, flush=True)
            time.sleep(0.001)
        write(handler.open(handler.key_for("md")), sys.argv[2], overwrite=True, progress=progress)
    """
    target.write_bytes(b"precious")
    arguments = [sys.executable, "-c", code, str(handler.cache_dir), str(target)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert target.read_bytes() == b"precious"
    others = [path for path in target.parent.iterdir() if path != target]
    assert all(path.name.startswith(".run-") for path in others)


def test_damage_met_by_an_export_leaves_no_file(handler, tmp_path):
    trajectory = handler.open(handler.store_trajectory(data(), "md"))
    path = trajectory.path
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 3)
        file.write(b"\xff" * 8)
    with pytest.raises(CorruptDataError):
        export_trajectory(trajectory, tmp_path / "run.dcd")
    assert os.listdir(tmp_path) == ["cache"]


NO_SPACE = """if True:
    import errno, os, resource, subprocess, sys, warnings
    from pathlib import Path
    import numpy as np
    from proteinflex_optimization import open_trajectory
    from proteinflex_optimization.integrations.mdanalysis import export_trajectory

    warnings.simplefilter("ignore")
    directory, is_disk = Path(sys.argv[1]), sys.argv[2] == "disk"
    trajectory = open_trajectory(directory / "md.fxt")
    small = directory / "small"
    for suffix in ("dcd", "xtc", "trr", "nc", "h5md", "trz", "xyz", "pdb"):
        whole = directory / f"whole.{suffix}"
        export_trajectory(trajectory, whole)
        pages = (whole.stat().st_size - 1) // 4096
        for n_pages in {1, pages // 2, *range(max(1, pages - 2), pages + 1)}:
            if is_disk:
                mount = ("mount", "-t", "tmpfs", "-o", f"size={n_pages * 4}k", "none", small)
                subprocess.run(mount, check=True)
            else:
                no_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
                resource.setrlimit(resource.RLIMIT_FSIZE, (n_pages * 4096, no_limit[1]))
            try:
                export_trajectory(trajectory, small / f"run.{suffix}")
                raise AssertionError(f"a {suffix} was written")
            except OSError as error:
                expected = errno.ENOSPC if is_disk else errno.EFBIG
                assert error.errno == expected, (suffix, error)
                assert error.filename == str(small / f"run.{suffix}")
            finally:
                assert not os.listdir(small), (suffix, os.listdir(small))
                if is_disk:
                    subprocess.run(["umount", "-l", small], check=True)
                else:
                    resource.setrlimit(resource.RLIMIT_FSIZE, no_limit)
    print("went on")
"""


@pytest.mark.parametrize("kind", ["disk", "limit"])
def test_a_full_disk_is_an_error_wherever_it_is_met_and_leaves_no_file(tmp_path, kind):
    """C libraries tell of few errors, and HDF5 would end the process."""
    pytest.importorskip("h5py")
    command = [sys.executable, "-c", NO_SPACE, str(tmp_path), kind]
    if kind == "disk":
        if subprocess.run(["unshare", "-Urm", "true"], capture_output=True).returncode != 0:
            pytest.skip("no file system can be mounted here")
        command = ["unshare", "-Urm", *command]
    (tmp_path / "small").mkdir()
    with create_trajectory(tmp_path / "md.fxt") as writer:
        for number in range(40):
            frame = np.random.default_rng(number).normal(size=(100, 3)).astype(np.float32)
            writer.append(frame, time=float(number), box=np.array([9, 9, 9, 90, 90, 90.0]))
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, "went on\n"), done.stderr


@pytest.mark.parametrize("suffix", ["dcd", "xtc", "trr"])
def test_a_file_that_the_writer_left_cut_is_never_published(
    trajectory, tmp_path, monkeypatch, suffix
):
    """As where there is space again when the reason is looked for."""
    from proteinflex_optimization.integrations.mdanalysis import whole_writer

    def cut(self):
        close(self)
        os.truncate(self._hidden, self._hidden.stat().st_size - n_bytes)

    close = whole_writer.WholeWriter.close
    monkeypatch.setattr(whole_writer.WholeWriter, "close", cut)
    for n_bytes in (1, 200, 2000):  # noqa: B007, `cut` reads it
        with pytest.raises(OSError, match=rf"run\.{suffix}") as caught:
            export_trajectory(trajectory, tmp_path / f"run.{suffix}")
        assert caught.value.errno == errno.EIO
        assert os.listdir(tmp_path) == ["cache"]


@pytest.mark.parametrize("suffix", ["dcd", "xtc", "h5md", "nc", "xyz"])
def test_an_error_of_the_callback_stays_what_it_is(trajectory, tmp_path, suffix):
    def stop(done, total):
        raise TimeoutError("no time left")

    with pytest.raises(TimeoutError, match=r"^no time left$"):
        export_trajectory(trajectory, tmp_path / f"run.{suffix}", progress=stop)
    assert os.listdir(tmp_path) == ["cache"]


def test_a_trajectory_without_atoms_is_refused(handler, tmp_path):
    trajectory = handler.open(handler.store_trajectory({"frames": np.zeros((2, 0, 3))}, "none"))
    for suffix in ("xtc", "dcd", "h5md", "pdb"):
        with pytest.raises(InvalidArgumentError, match="no atoms to export"):
            export_trajectory(trajectory, tmp_path / f"run.{suffix}")
    assert export_trajectory(trajectory, tmp_path / "run.fxt") == []


def test_suffixes_and_directories_that_are_not_there_are_refused(trajectory, tmp_path):
    with pytest.raises(InvalidArgumentError, match="suffix"):
        export_trajectory(trajectory, tmp_path / "run.unknown")
    with pytest.raises(FileNotFoundError, match="missing"):
        export_trajectory(trajectory, tmp_path / "missing" / "run.dcd")


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


def test_what_mdanalysis_cannot_read_is_refused(handler, tmp_path):
    path = tmp_path / "run.unknown"
    path.write_bytes(b"nothing")
    with pytest.raises(InvalidArgumentError, match="can read together"):
        handler.import_trajectory(PSF, path, "md")
    with pytest.raises(InvalidArgumentError, match="can read together"):
        handler.import_trajectory(PSF, XTC, "md")
    assert handler.keys() == []


@pytest.mark.parametrize("suffix", ["xtc", "trr", "dcd", "nc", "h5md", "xyz", "pdb"])
def test_what_is_exported_and_imported_is_what_it_was(trajectory, handler, tmp_path, suffix):
    path = tmp_path / f"run.{suffix}"
    left_out = export_trajectory(trajectory, path)
    found = handler.load_data(handler.import_trajectory(None, path, "again"))
    stored = data()
    stored["box"] = np.tile([30.0, 40, 50, 90, 90, 90], (N_FRAMES, 1))
    assert set(found) == set(stored) - set(left_out)
    tolerance = {"xtc": 0.0051, "trr": 1e-5, "xyz": 1e-5, "pdb": 0.00051}.get(suffix, 0)
    np.testing.assert_allclose(found["frames"], stored["frames"], rtol=0, atol=tolerance)
    for name in set(found) - {"frames"}:
        # The units of each format are others: nm, kcal, AKMA.
        np.testing.assert_allclose(found[name], stored[name], rtol=2e-6, err_msg=name)


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e7])
def test_a_value_that_xtc_cannot_hold_names_its_frame_and_atom(handler, tmp_path, value):
    """libxdrfile ends the process."""
    stored = {"frames": np.zeros((5, 12, 3), np.float32)}
    stored["frames"][3, 7, 1] = value
    trajectory = handler.open(handler.store_trajectory(stored, "md"))
    with pytest.raises(InvalidArgumentError, match=r"frame 3 .*\.xtc: atom 7 has y="):
        export_trajectory(trajectory, tmp_path / "run.xtc")
    assert os.listdir(tmp_path) == ["cache"]
    # Others hold the same bits.
    for suffix in ("dcd", "nc", "h5md"):
        assert export_trajectory(trajectory, tmp_path / f"run.{suffix}") == []
        again = handler.import_trajectory(None, tmp_path / f"run.{suffix}", "again")
        np.testing.assert_array_equal(handler.open(again).read(), stored["frames"])


def test_a_range_that_xtc_cannot_compress_is_refused(handler, tmp_path):
    stored = {"frames": np.zeros((2, 12, 3), np.float32)}
    stored["frames"][1, :2, 2] = [-1.5e7, 1.5e7]
    trajectory = handler.open(handler.store_trajectory(stored, "md"))
    with pytest.raises(InvalidArgumentError, match=r"frame 1 .*atom 1 has z=1.5e\+07"):
        export_trajectory(trajectory, tmp_path / "run.xtc")


def test_the_largest_coordinates_of_xtc_are_written(handler, tmp_path):
    stored = {"frames": np.zeros((2, 12, 3), np.float32)}
    stored["frames"][1, :2, 2] = [-1.0e7, 1.0e7]
    trajectory = handler.open(handler.store_trajectory(stored, "md"))
    export_trajectory(trajectory, tmp_path / "run.xtc")
    again = handler.open(handler.import_trajectory(None, tmp_path / "run.xtc", "again"))
    np.testing.assert_allclose(again.read(), stored["frames"], atol=2)


@pytest.mark.parametrize("suffix", ["dcd", "trr", "nc", "h5md", "xyz", "pdb"])
def test_a_number_beyond_float32_is_refused_before_it_becomes_infinite(handler, tmp_path, suffix):
    stored = {"frames": np.zeros((3, 4, 3), np.float64)}
    stored["frames"][2, 1, 0] = 1e200
    trajectory = handler.open(handler.store_trajectory(stored, "md"))
    with pytest.raises(InvalidArgumentError, match=r"frame 2 .*atom 1 has x=1e\+200"):
        export_trajectory(trajectory, tmp_path / f"run.{suffix}")
    assert os.listdir(tmp_path) == ["cache"]


def test_a_coordinate_that_a_pdb_has_no_columns_for_is_refused(handler, tmp_path):
    stored = {"frames": np.zeros((3, 4, 3), np.float32)}
    stored["frames"][1] = 123_456.0
    trajectory = handler.open(handler.store_trajectory(stored, "md"))
    with pytest.raises(InvalidArgumentError, match=r"frame 1 can't be written as \.pdb"):
        export_trajectory(trajectory, tmp_path / "run.pdb")
    assert os.listdir(tmp_path) == ["cache"]


@pytest.mark.parametrize("suffix", ["xtc", "trr", "h5md"])
@pytest.mark.parametrize("step", [2**31, -(2**31) - 9, -(2**63)])
def test_steps_beyond_32_bits_are_left_out_and_said(handler, tmp_path, suffix, step):
    stored = {"frames": np.zeros((3, 12, 3), np.float32), "time": np.arange(3.0)}
    trajectory = handler.open(
        handler.store_trajectory({**stored, "step": step + np.arange(3)}, "md")
    )
    assert export_trajectory(trajectory, tmp_path / f"run.{suffix}") == ["step"]


def test_times_that_float32_cannot_tell_apart_are_said(handler, tmp_path):
    stored = {"frames": np.zeros((3, 12, 3), np.float32), "time": 1e8 + np.arange(3.0)}
    trajectory = handler.open(handler.store_trajectory(stored, "md"))
    assert export_trajectory(trajectory, tmp_path / "run.xtc") == ["time"]
    assert export_trajectory(trajectory, tmp_path / "run.dcd") == ["time"]


@pytest.mark.parametrize(
    "box",
    [
        np.ones((3, 3)),  # Three lengths.
        np.tile(np.array([[0, 30, 0], [30, 0, 0], [0, 0, 30.0]]), (3, 1, 1)),  # Turned.
    ],
    ids=["lengths", "turned"],
)
def test_a_box_that_lengths_and_angles_do_not_say_is_left_out_and_said(handler, tmp_path, box):
    stored = {"frames": np.zeros((3, 12, 3), np.float32), "box": box}
    trajectory = handler.open(handler.store_trajectory(stored, "md"))
    for suffix in ("xtc", "dcd", "h5md"):
        assert export_trajectory(trajectory, tmp_path / f"run.{suffix}") == ["box"]


@pytest.mark.parametrize(
    "box",
    [
        [10, 11, 12, 0, 0, 0],
        [10, 11, 0, 90, 90, 90],
        [10, 11, 12, 180, 90, 90],
        [10, 10, 10, 150, 150, 150],
    ],
)
def test_a_box_that_makes_no_cell_has_a_place_only_as_lengths_and_angles(handler, tmp_path, box):
    stored = {"frames": np.zeros((2, 12, 3), np.float32), "time": np.arange(2.0)}
    stored["box"] = np.array([[10, 11, 12, 90, 90, 90], box], np.float32)
    trajectory = handler.open(handler.store_trajectory(stored, "md"))
    for suffix in ("xtc", "trr", "h5md"):
        assert export_trajectory(trajectory, tmp_path / f"run.{suffix}") == ["box"]
        again = handler.open(handler.import_trajectory(None, tmp_path / f"run.{suffix}", "again"))
        assert "box" not in again.fields
    for suffix in ("dcd", "nc"):
        assert export_trajectory(trajectory, tmp_path / f"run.{suffix}") == []
        again = handler.open(handler.import_trajectory(None, tmp_path / f"run.{suffix}", "again"))
        np.testing.assert_allclose(again.read(field="box"), stored["box"], rtol=1e-6)


@pytest.mark.parametrize(
    "box",
    [
        [10, 11, 12, 90, 90, np.nan],
        [np.nan, 11, 12, 90, 90, 90],
        [-10, 11, 12, 90, 90, 90],
        [10, 11, 12, -60, 90, 90],
        [1e39, 11, 12, 90, 90, 90],
        np.diag([10, 11, np.nan]),
        np.diag([10, 11, 1e39]),
        np.diag([1e-46, 11, 12]),
    ],
)
def test_a_box_of_numbers_that_are_none_is_left_out_and_said(handler, tmp_path, box):
    stored = {"frames": np.zeros((2, 12, 3), np.float32), "time": np.arange(2.0)}
    stored["box"] = np.array([box, box], float)
    trajectory = handler.open(handler.store_trajectory(stored, "md"))
    for suffix in ("xtc", "trr", "h5md", "dcd", "nc"):
        assert export_trajectory(trajectory, tmp_path / f"run.{suffix}") == ["box"]


@pytest.mark.parametrize("suffix", ["xtc", "trr", "h5md", "dcd", "nc"])
@pytest.mark.parametrize("name", ["time_offset", "dt"])
def test_a_field_that_mdanalysis_takes_for_its_own_changes_no_time(handler, tmp_path, suffix, name):
    stored = {"frames": np.zeros((3, 12, 3), np.float32), "time": np.arange(3.0)}
    stored["step"] = np.arange(3)
    stored[name] = np.array([5.0, 6, 7])
    trajectory = handler.open(handler.store_trajectory(stored, "md"))
    universe = trajectory.to_universe(MDAnalysis.Universe.empty(12)._topology)
    assert [ts.time for ts in universe.trajectory] == [0, 1, 2]
    assert name in export_trajectory(trajectory, tmp_path / f"run.{suffix}")
    again = handler.open(handler.import_trajectory(None, tmp_path / f"run.{suffix}", "again"))
    np.testing.assert_allclose(again.time, stored["time"], rtol=1e-6)


@pytest.mark.parametrize("suffix", ["xtc", "trr", "h5md"])
@pytest.mark.parametrize("steps", [[0.5, 1.5, 2.5], [1, np.nan, 3]])
def test_steps_that_are_no_whole_numbers_are_left_out_and_said(handler, tmp_path, suffix, steps):
    stored = {"frames": np.zeros((3, 12, 3), np.float32), "time": np.arange(3.0)}
    trajectory = handler.open(handler.store_trajectory({**stored, "step": np.array(steps)}, "md"))
    assert export_trajectory(trajectory, tmp_path / f"run.{suffix}") == ["step"]


def test_times_beyond_float32_are_said(handler, tmp_path):
    stored = {"frames": np.zeros((2, 12, 3), np.float32), "time": np.array([0, 1e300])}
    trajectory = handler.open(handler.store_trajectory(stored, "md"))
    for suffix in ("xtc", "trr", "nc"):
        assert export_trajectory(trajectory, tmp_path / f"run.{suffix}") == ["time"]


def test_observables_of_h5md_are_found_again_or_said_to_be_left_out(handler, tmp_path):
    pytest.importorskip("h5py")
    numbers = np.arange(3.0)
    stored = {"frames": np.zeros((3, 12, 3), np.float32), "time": numbers, "step": np.arange(3)}
    lost = dict.fromkeys(("", "/a", "a/value", "a/b/c", "x/y", ".", "n\0n"), numbers)
    lost["label"] = np.array(["bound", "free", "bound"])
    lost["date"] = np.zeros(3, "M8[s]")
    lost["bytes"], lost["complex"] = np.array([b"a", b"b", b"c"]), numbers + 1j
    found = {"x": numbers, "group/energy": numbers, "frame": numbers + 5, "value": numbers}
    found |= {"is_bound": np.array([True, False, True]), "count": np.array([1, 2, 2**64 - 1], "u8")}
    key = handler.store_trajectory({**stored, **found, **lost}, "md")
    left_out = export_trajectory(handler.open(key), tmp_path / "run.h5md")
    assert sorted(left_out) == sorted(lost)
    again = handler.load_data(handler.import_trajectory(None, tmp_path / "run.h5md", "again"))
    assert sorted(again) == sorted({**stored, **found})
    for name, values in found.items():
        assert again[name].dtype == values.dtype
        np.testing.assert_array_equal(again[name], values)


def test_fields_of_other_shapes_than_their_name_says_are_left_out_and_said(handler, tmp_path):
    stored = {
        "frames": np.zeros((3, 12, 3), np.float32),
        "step": np.ones((3, 2), np.int64),
        "time": np.arange(6.0).reshape(3, 2),
    }
    trajectory = handler.open(handler.store_trajectory(stored, "md"))
    for suffix in ("xtc", "dcd", "h5md", "nc"):
        left_out = export_trajectory(trajectory, tmp_path / f"run.{suffix}")
        assert set(left_out) == {"step", "time"}


def test_a_file_of_no_atoms_that_fit_leaves_no_trace(handler, tmp_path):
    """A format for molecules needs more than coordinates."""
    trajectory = handler.open(handler.store_trajectory(data(), "md"))
    with pytest.raises(InvalidArgumentError, match=r"frame 0 can't be written as \.mol2"):
        export_trajectory(trajectory, tmp_path / "run.mol2")
    assert os.listdir(tmp_path) == ["cache"]
