"""A file of another format is there whole or not at all, whatever ends its export."""

import errno
import os
import resource
import signal
import socket
import stat
import subprocess
import sys

import numpy as np
import pytest
from proteinflex_optimization import (
    CorruptDataError,
    DataHandler,
    InvalidArgumentError,
    create_trajectory,
)
from proteinflex_optimization._publish import published
from proteinflex_optimization.integrations.mdanalysis import (
    export_trajectory,
)
from proteinflex_optimization.integrations.npz import export_npz
from trajectory_data import N_ATOMS, N_FRAMES, data

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


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


def make_device(path):
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices")


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)  # For whole paths may be too long.


def replace(trajectory, path):
    """Write a trajectory over what is at a path, by the function for its name."""
    if path.stem.endswith("created"):
        with create_trajectory(path, overwrite=True) as writer:
            writer.append(trajectory[:])
    elif path.suffix == ".zarr":
        pytest.importorskip("zarr")
        from proteinflex_optimization.integrations.zarr import export_zarr

        export_zarr(trajectory, path, overwrite=True)
    elif path.suffix == ".npz":
        export_npz({"frames": trajectory[:]}, path, overwrite=True)
    else:
        export_trajectory(trajectory, path, overwrite=True)


@pytest.mark.parametrize("name", ["run.dcd", "run.npz", "run.zarr", "run.fxt", "created.fxt"])
@pytest.mark.parametrize("make", [os.mkfifo, make_socket, make_device])
def test_a_pipe_a_socket_or_a_device_is_never_replaced(
    trajectory, tmp_path, monkeypatch, make, name
):
    monkeypatch.chdir(tmp_path)
    path, link = tmp_path / name, tmp_path / f"link-{name}"
    make(path)
    link.symlink_to(path)
    before = path.stat()
    for place in (path, link):
        with pytest.raises(InvalidArgumentError, match="there is a device, a pipe or a socket"):
            replace(trajectory, place)
    assert link.is_symlink()
    assert (path.stat().st_ino, path.stat().st_mode) == (before.st_ino, before.st_mode)
    assert sorted(os.listdir(tmp_path)) == sorted(["cache", name, link.name])


def test_a_file_that_is_replaced_leaves_its_permissions_and_its_links(trajectory, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "data", tmp_path / "run.dcd"
    link.symlink_to(target)
    for old in (None, 0o600, 0o640, 0o444):
        if old is not None:
            target.write_bytes(b"old")
            target.chmod(old)
        replace(trajectory, link)
        assert link.is_symlink()
        assert target.stat().st_size > N_FRAMES * N_ATOMS * 12
        assert old in (None, stat.S_IMODE(target.stat().st_mode))
        assert os.listdir(target.parent) == ["data"]
        target.unlink()
    group = tmp_path / "run.zarr"
    replace(trajectory, group)
    group.chmod(0o700)
    replace(trajectory, group)
    assert stat.S_IMODE(group.stat().st_mode) == 0o700


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
            time.sleep(300)
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
    # The library of netCDF4 prints errors, where it is installed.
    assert (done.returncode, done.stdout[-8:]) == (0, "went on\n"), done.stderr


INTERRUPTED = """if True:
    import os, signal, sys, threading, time, warnings
    from pathlib import Path
    from proteinflex_optimization import open_trajectory
    from proteinflex_optimization.integrations.mdanalysis import export_trajectory

    warnings.simplefilter("ignore")
    directory = Path(sys.argv[1])
    trajectory = open_trajectory(directory / "md.fxt")
    interrupted = 0
    for number in range(20):
        ctrl_c = threading.Timer(number % 10 * 0.005, os.kill, (os.getpid(), signal.SIGINT))

        def progress(done, total):
            if done == 1 and number >= 10:
                ctrl_c.start()  # While frames are written, however long it took to come here.
            if done == total:
                time.sleep(100)

        try:
            if number < 10:
                ctrl_c.start()
            export_trajectory(trajectory, directory / "out" / "run.h5md", progress=progress)
        except KeyboardInterrupt:
            interrupted += 1
        assert not os.listdir(directory / "out"), number
    print(interrupted)
"""


def test_ctrl_c_during_an_export_leaves_no_file_and_ends_no_process(tmp_path):
    """Where it is met by HDF5, it would."""
    pytest.importorskip("h5py")
    (tmp_path / "out").mkdir()
    with create_trajectory(tmp_path / "md.fxt") as writer:
        frames = np.random.default_rng(1).normal(size=(3000, 20, 3)).astype(np.float32)
        writer.append(frames, time=np.arange(3000.0), step=np.arange(3000))
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert (done.returncode, done.stdout) == (0, "20\n"), done.stderr


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


def test_too_few_descriptors_to_count_the_frames_are_said(tmp_path):
    """Of XTC a second one is opened."""
    from proteinflex_optimization.integrations.mdanalysis.whole_writer import WholeWriter

    writer = WholeWriter(tmp_path / "hidden.xtc", tmp_path / "run.xtc", lambda name: None)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    last = os.open(tmp_path, os.O_RDONLY)  # The lowest number that is free.
    os.close(last)
    resource.setrlimit(resource.RLIMIT_NOFILE, (last + 1, limit[1]))
    try:
        with pytest.raises(OSError, match=r"run\.xtc") as caught, writer._explained():
            raise OSError("XTC couldn't calculate offsets. XDR error = notfound")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    assert caught.value.errno == errno.EMFILE


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


@pytest.mark.parametrize("suffix", ["fxt", "npz", "zarr", "xtc"])
def test_an_error_of_the_system_names_the_file_that_was_asked_for(handler, tmp_path, suffix):
    """Not the hidden one beside it, which is gone."""
    trajectory = handler.open(handler.store_trajectory(data(), "md"))
    path = tmp_path / f"{'x' * 300}.{suffix}"
    with pytest.raises(OSError, match="File name too long") as caught:
        export_trajectory(trajectory, path)
    assert str(path) in (caught.value.filename, caught.value.filename2)
    assert f".{'x' * 300}-" not in str(caught.value)
    with pytest.raises(OSError, match="File name too long") as caught:
        create_trajectory(path)
    assert caught.value.filename == str(path)
