"""Files that others change while they are open: right, or an error; never other data, never a signal."""

import errno
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from proteinflex_optimization import CorruptDataError, DataHandler

KINDS = {
    "lossless": {},
    "precision": {"precision": 0.001},
    "archive": {"profile": "archive"},
    "plain": {"enable_compression": False},
}


def molecules(n_frames, n_atoms, seed=0):
    """Frames that are coded by the shape of molecules: any of them is read alone."""
    random = np.random.default_rng(seed)
    frames = np.cumsum(random.normal(0, 0.05, (n_frames, n_atoms, 3)), axis=0)
    return (frames + np.arange(n_atoms)[:, None]).astype(np.float32)


def file_of(handler, key):
    (path,) = Path(handler.cache_dir).glob(f"entries/*/{key}.fxt")
    return path


def run(program, *arguments, **environment):
    """Runs a program with the functions of this file, and returns what it printed."""
    program = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n{program}"
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, (done.returncode, done.stderr)
    return done.stdout.strip()


FLIPS = """
import logging, shutil
import numpy as np
from test_changing_files import KINDS, CorruptDataError, DataHandler, file_of, molecules
logging.disable()
handler = DataHandler(sys.argv[1], **KINDS[sys.argv[2]])
frames = molecules(192, 600)
key = handler.store_trajectory({"frames": frames}, "md")
frames = handler.load_data(key)["frames"].copy()
path = file_of(handler, key)
whole = path.read_bytes()
right = refused = 0
for trial in range(6):
    trajectory = handler.open(key)
    for index in (0, 70, 150):
        assert np.array_equal(trajectory[index], frames[index])
    at = int(len(whole) * (0.05 + 0.15 * trial))
    with path.open("r+b") as file:
        file.seek(at)
        file.write(bytes([whole[at] ^ 0x40]))
    for index in [*range(1, 192, 5), *range(0, 192, 16)]:
        try:
            found = trajectory[index]
            subset = trajectory.read(index, index + 1, atoms=[3, 300, 599])
        except CorruptDataError:
            refused += 1
            continue
        assert np.array_equal(found, frames[index]), (at, index)
        assert np.array_equal(subset[0], frames[index][[3, 300, 599]]), (at, index)
        right += 1
    shutil.rmtree(path.parents[2] / "quarantine")
    (path.parents[2] / "quarantine").mkdir()
    path.unlink(missing_ok=True)
    path.write_bytes(whole)
print(right, refused)
"""


# With little memory, frames are read again and again; with much, chunks are kept.
@pytest.mark.parametrize("megabytes", [1, 128])
@pytest.mark.parametrize("kind", KINDS)
def test_after_a_flip_each_frame_is_right_or_refused(tmp_path, kind, megabytes):
    printed = run(FLIPS, tmp_path, kind, PROTEINFLEX_DECODED_MB=str(megabytes))
    right, refused = map(int, printed.split())
    # The one chunk of an archive is lost as a whole.
    assert right > 0 or kind == "archive"
    # What is kept in memory is right whatever becomes of the file.
    assert refused > 0 or megabytes == 128


CUTS = """
import logging, random, time
import numpy as np
from test_changing_files import DataHandler
from proteinflex_optimization import ProteinFlexError
logging.disable()
handler = DataHandler(sys.argv[1])
end, read, refused = time.time() + 2, 0, 0
while time.time() < end or not (read and refused):
    try:
        trajectory = handler.open("md")
        for _ in range(3):
            index = random.randrange(len(trajectory) - 8)
            trajectory[index]
            trajectory.read(index, index + 8, atoms=[1, 2, 700])
            trajectory[index::50]
            read += 1
    except (ProteinFlexError, OSError):
        refused += 1
print(read, refused)
"""


@pytest.mark.parametrize("kind", ["lossless", "plain"])
def test_a_file_that_is_cut_while_frames_are_read_is_an_error(tmp_path, kind):
    handler = DataHandler(tmp_path, **KINDS[kind])
    path = file_of(handler, handler.store_trajectory({"frames": molecules(300, 720)}, "md"))
    whole, kept = path.read_bytes(), tmp_path / "kept"
    os.link(path, kept)
    stop = threading.Event()

    def cut():
        random = np.random.default_rng(1)
        while not stop.wait(0.01 * random.random()):
            os.truncate(kept, int(random.choice([4096, len(whole) // 2])))
            stop.wait(0.002 * random.random())
            with kept.open("r+b") as file:
                file.write(whole)
            if not path.exists():
                os.link(kept, path)

    thread = threading.Thread(target=cut)
    thread.start()
    try:
        read, refused = map(int, run(CUTS, tmp_path, PROTEINFLEX_DECODED_MB="1").split())
    finally:
        stop.set()
        thread.join()
    assert read > 0
    assert refused > 0


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_read_is_not_mapped_and_what_is_lent_is(tmp_path, kind):
    handler = DataHandler(tmp_path, **KINDS[kind])
    frames = molecules(130, 800)
    trajectory = handler.open(handler.store_trajectory({"frames": frames}, "md"))
    trajectory[3], trajectory[::7], trajectory[:], list(trajectory.iter_chunks())
    trajectory.read(0, 100, atoms=[1, 2])

    def is_mapped():
        return ".fxt" in Path("/proc/self/maps").read_text()

    assert not is_mapped()
    view = np.asarray(trajectory)
    assert is_mapped() == (kind == "plain")
    np.testing.assert_allclose(view, frames, atol=0.0006)


@pytest.fixture
def few_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = len(os.listdir("/proc/self/fd"))
    limit = max(200, 2 * opened + 60)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    yield limit
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("kind", ["lossless", "plain"])
def test_thousands_of_open_trajectories_take_half_of_the_files(tmp_path, few_files, kind):
    handler = DataHandler(tmp_path, durable=False, **KINDS[kind])
    frames = molecules(70, 500)
    keys = [handler.store_trajectory({"frames": frames + n}, f"md{n}") for n in range(20)]
    before = len(os.listdir("/proc/self/fd"))
    handles = [handler.open(keys[n % 20]) for n in range(2000)]
    assert len(os.listdir("/proc/self/fd")) - before <= few_files / 2
    for n in [0, 19, 700, 1999, 1980]:
        np.testing.assert_array_equal(handles[n][33], frames[33] + np.float32(n % 20))
        np.testing.assert_array_equal(handles[n][5:60:2], (frames + np.float32(n % 20))[5:60:2])
    assert len(os.listdir("/proc/self/fd")) - before <= few_files / 2

    # One that is kept open stays readable; of the others, one that is gone says so.
    handler.store_trajectory({"frames": frames - 1}, "md0")
    handler.remove("md1")
    np.testing.assert_array_equal(handles[0][2:40], frames[2:40])
    for n in (1960, 1961):
        with pytest.raises(OSError, match="replaced or removed") as caught:
            handles[n][2:40]
        assert caught.value.errno == errno.ESTALE
    assert handler.get_cache_stats()["corrupt"] == 0


MEMORY = """
import resource
import numpy as np
from test_changing_files import DataHandler
handler = DataHandler(sys.argv[1])
assert handler.load_data("x")["array"].sum() == 12e6
size = int(open("/proc/self/statm").read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (size + (40 << 20),) * 2)
try:
    handler.load_data("x")
except MemoryError as error:
    print("MemoryError")
assert handler.get_cache_stats()["corrupt"] == 0
"""


def test_too_little_memory_is_a_memory_error_and_no_damage(tmp_path):
    DataHandler(tmp_path).store_structure({"array": np.ones(12_000_000)}, "x")
    assert run(MEMORY, tmp_path, PROTEINFLEX_NUM_THREADS="1") == "MemoryError"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["trajectory", "structure", "writer"])
def test_an_array_that_changes_while_it_is_stored_can_be_read(tmp_path, kind, way):
    handler = DataHandler(tmp_path, durable=False, **KINDS[kind])
    old, new = molecules(70, 500), molecules(70, 500, seed=1) * 1000
    array = old.copy()
    stop = threading.Event()

    def change():
        while not stop.is_set():
            np.copyto(array, new)
            np.copyto(array, old)

    def store():
        if way == "trajectory":
            return handler.store_trajectory({"frames": array}, "x")
        if way == "structure":
            return handler.store_structure({"array": array}, "x")
        with handler.trajectory_writer("x", overwrite=True) as writer:
            writer.append(array)
        return "x"

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(3):
            found = handler.load_data(store())
            found = found["array" if way == "structure" else "frames"]
            assert (np.isclose(found, old, 1e-6, 6e-4) | np.isclose(found, new, 1e-6, 6e-4)).all()
    finally:
        stop.set()
        thread.join()


def test_the_damage_of_a_changed_file_is_named(tmp_path):
    handler = DataHandler(tmp_path, enable_compression=False)
    key = handler.store_trajectory({"frames": molecules(300, 900)}, "md")
    trajectory = handler.open(key)
    trajectory[200]
    path = file_of(handler, key)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"other")
    with pytest.raises(CorruptDataError, match=path.name):
        trajectory[100:290]
