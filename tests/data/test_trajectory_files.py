"""A trajectory as a file outside of any cache: opened wherever it lies, written whole or not at all."""

import contextlib
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from proteinflex_optimization import (
    CorruptDataError,
    DataHandler,
    InvalidArgumentError,
    InvalidTypeError,
    ProteinFlexError,
    Trajectory,
    UnsupportedFormatError,
    WriterConflictError,
    create_trajectory,
    open_trajectory,
)

FRAMES = np.cumsum(np.random.default_rng(0).normal(0, 0.1, (200, 70, 3)), axis=0, dtype=np.float32)
TIMES = np.arange(200) * 0.5


def write(path, **options):
    with create_trajectory(path, {"temperature": 300}, **options) as writer:
        for start in range(0, 200, 50):
            block = slice(start, start + 50)
            writer.append(FRAMES[block], time=TIMES[block])
    return Path(path)


def assert_whole(trajectory):
    np.testing.assert_array_equal(np.asarray(trajectory), FRAMES)
    np.testing.assert_array_equal(trajectory.time, TIMES)
    np.testing.assert_array_equal(trajectory.read(10, 90, 7, atoms=[3, 1]), FRAMES[10:90:7, [3, 1]])


@pytest.mark.parametrize("compress", [True, False])
def test_a_written_file_is_opened_wherever_it_is_moved(tmp_path, compress):
    path = write(tmp_path / "run.fxt", compress=compress)
    assert os.listdir(tmp_path) == ["run.fxt"]
    with open_trajectory(path) as trajectory:
        assert_whole(trajectory)
        assert trajectory.metadata == {"temperature": 300}
        assert trajectory.data_id == "run"
        assert trajectory.path == path
        assert trajectory.cache_dir is None
        os.remove(path)
        assert_whole(trajectory)  # It is open.


def test_a_file_is_the_entry_that_a_cache_stores(tmp_path):
    handler = DataHandler(tmp_path / "cache")
    with handler.trajectory_writer("run", {"temperature": 300}) as writer:
        writer.append(FRAMES, time=TIMES)
    entry = handler.open(writer.key)
    ours = open_trajectory(write(tmp_path / "run.fxt"))
    assert (ours.content_id, ours.key) == (entry.content_id, entry.key)


def test_an_entry_is_opened_and_nothing_is_written_beside_it(tmp_path):
    handler = DataHandler(tmp_path / "cache")
    key = handler.store_trajectory({"frames": FRAMES, "time": TIMES}, "md")
    entry = handler.open(key).path
    alone = tmp_path / "alone" / "copy.fxt"
    alone.parent.mkdir()
    shutil.copy(entry, alone)
    link = tmp_path / "link.fxt"
    link.symlink_to(alone)

    def state():
        # But for the time of last access, which the system may note.
        return {
            path: (path.lstat().st_mtime_ns, path.lstat().st_ctime_ns, path.lstat().st_size)
            for path in tmp_path.rglob("*")
        }

    before = state()
    alone.parent.chmod(0o500)
    alone.chmod(0o400)
    before.update(state())
    for path in (entry, alone, link, str(alone)):
        assert_whole(open_trajectory(path))
        assert_whole(pickle.loads(pickle.dumps(open_trajectory(path))))
    assert state() == before
    alone.parent.chmod(0o700)


def not_a_trajectory(tmp_path):
    handler = DataHandler(tmp_path / "cache")
    writer = handler.trajectory_writer("unfinished")
    writer.append(FRAMES)
    writer.flush()
    (unfinished,) = (tmp_path / "cache").rglob("*.writing")
    handler.store_structure({"positions": FRAMES[0]}, "villin")
    (structure,) = (tmp_path / "cache").rglob("s-*.fxt")
    os.mkfifo(tmp_path / "pipe")
    for name, content in {
        "empty": b"",
        "run.xtc": b"\x00\x00\x07\xcb" + bytes(100),
        "run.dcd": b"\x54\x00\x00\x00CORD" + bytes(100),
        "text": b"hello",
    }.items():
        (tmp_path / name).write_bytes(content)
    yield tmp_path / "missing", FileNotFoundError, "missing"
    yield tmp_path / "text" / "below", OSError, "below"
    yield tmp_path, UnsupportedFormatError, r"directory; DataHandler\(directory\).open"
    yield tmp_path / "pipe", UnsupportedFormatError, "named pipe"
    yield "/dev/zero", UnsupportedFormatError, "device"
    yield tmp_path / "empty", UnsupportedFormatError, "empty"
    yield tmp_path / "run.xtc", UnsupportedFormatError, "an XTC trajectory"
    yield tmp_path / "run.dcd", UnsupportedFormatError, "a DCD trajectory"
    yield tmp_path / "text", UnsupportedFormatError, "other bytes"
    yield structure, InvalidArgumentError, r"the structure .villin.: load_data\(data_id\)"
    yield unfinished, InvalidArgumentError, "resume=True"
    yield "ftp://host/run.fxt", InvalidArgumentError, "https://"
    yield "", InvalidArgumentError, "a path that a file can have"
    yield "a\0b", InvalidArgumentError, "a path that a file can have"
    yield 3, InvalidTypeError, "expected a str or path"
    writer.suspend()


def test_what_is_not_a_trajectory_is_refused_by_what_it_is(tmp_path):
    for path, error, match in not_a_trajectory(tmp_path):
        with pytest.raises(error, match=match):
            open_trajectory(path)
    with pytest.raises(InvalidTypeError, match="key"):
        Trajectory(DataHandler(tmp_path / "cache"))
    with pytest.raises(InvalidTypeError, match="a DataHandler"):
        Trajectory(tmp_path / "text", "key")


def test_damage_is_named_and_the_file_stays(tmp_path):
    path = write(tmp_path / "run.fxt")
    whole = path.read_bytes()
    for at, name in ((8, "its beginning"), (70, "header"), (len(whole) - 40, "its end")):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(CorruptDataError, match=name):
            open_trajectory(path)
    path.write_bytes(whole[:-100])
    with pytest.raises(CorruptDataError, match="cut short"):
        open_trajectory(path)
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    for _ in range(2):
        with pytest.raises(CorruptDataError, match=r"run\.fxt"):
            np.asarray(open_trajectory(path))
    assert os.listdir(tmp_path) == ["run.fxt"]


def test_a_file_that_is_cut_while_it_is_open_is_an_error(tmp_path):
    """An uncompressed one too: nothing of it is mapped."""
    path = tmp_path / "run.fxt"
    frames = np.random.default_rng(1).normal(0, 1, (200, 2000, 3)).astype(np.float32)
    with create_trajectory(path, compress=False) as writer:
        for block in np.split(frames, 4):
            writer.append(block)
    trajectory = open_trajectory(path)
    np.testing.assert_array_equal(trajectory[0], frames[0])
    os.truncate(path, 1000)
    with pytest.raises(CorruptDataError, match="shorter than when it was opened"):
        trajectory[199]
    with pytest.raises(CorruptDataError):
        np.asarray(trajectory)


def test_it_pickles_as_its_path_and_tells_when_the_file_was_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trajectory = open_trajectory(write("run.fxt"))
    pickled = pickle.dumps(trajectory)
    assert len(pickled) < 1000
    monkeypatch.chdir("/")
    assert_whole(pickle.loads(pickled))
    with create_trajectory(tmp_path / "run.fxt", overwrite=True) as writer:
        writer.append(FRAMES[:3])
    with pytest.raises(ProteinFlexError, match="was replaced"):
        pickle.loads(pickled)
    assert_whole(trajectory)
    os.remove(tmp_path / "run.fxt")
    with pytest.raises(FileNotFoundError):
        pickle.loads(pickled)


@pytest.mark.soak
def test_workers_of_a_data_loader_open_it_by_its_path(tmp_path):
    torch_data = pytest.importorskip("torch.utils.data")
    from proteinflex_optimization.integrations.torch import TrajectoryDataset

    dataset = TrajectoryDataset([open_trajectory(write(tmp_path / "run.fxt"))])
    loader = torch_data.DataLoader(
        dataset, batch_size=50, num_workers=2, multiprocessing_context="spawn"
    )
    np.testing.assert_array_equal(np.concatenate([batch.numpy() for batch in loader]), FRAMES)


def test_an_error_or_no_close_leaves_what_was_there(tmp_path):
    path = write(tmp_path / "run.fxt")
    before = path.read_bytes()
    with pytest.raises(InvalidArgumentError, match="there already"):
        create_trajectory(path)
    with (
        contextlib.suppress(ZeroDivisionError),
        create_trajectory(path, overwrite=True) as writer,
    ):
        writer.append(FRAMES)
        raise ZeroDivisionError
    writer = create_trajectory(path, overwrite=True)
    writer.append(FRAMES[:1])
    del writer
    with (
        pytest.raises(InvalidArgumentError, match="at least one frame"),
        create_trajectory(path, overwrite=True),
    ):
        pass
    for options in ({"precision": -1}, {"profile": "best"}, {"metadata": {"a": object()}}):
        with pytest.raises(ProteinFlexError):
            create_trajectory(path, overwrite=True, **options)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["run.fxt"]


@pytest.mark.parametrize("url", ["s3://bucket/run.fxt", "git+ssh://host/run.fxt"])
def test_nothing_is_written_to_a_url(tmp_path, monkeypatch, url):
    monkeypatch.chdir(tmp_path)
    (tmp_path / url).parent.mkdir(parents=True)
    with pytest.raises(InvalidArgumentError, match="this is a URL"):
        create_trajectory(url)


def test_what_was_discarded_takes_no_more_frames_and_is_not_said_to_be_there(tmp_path):
    writer = create_trajectory(tmp_path / "run.fxt")
    writer.append(FRAMES)
    writer.discard()
    for use in (lambda: writer.append(FRAMES), lambda: writer.n_frames, writer.close):
        with pytest.raises(InvalidArgumentError, match='"run": its writer is closed'):
            use()
    writer.discard()
    assert os.listdir(tmp_path) == []


def test_wrong_frames_are_refused_and_the_writer_goes_on(tmp_path):
    with create_trajectory(tmp_path / "run.fxt") as writer:
        writer.append(FRAMES[:10], time=TIMES[:10])
        for frames, fields in (
            (FRAMES[:, :5], {"time": TIMES}),
            (FRAMES.astype(np.float64), {"time": TIMES}),
            (FRAMES, {}),
            (FRAMES, {"time": TIMES[:3]}),
            (FRAMES, {"step": TIMES}),
        ):
            with pytest.raises(InvalidArgumentError):
                writer.append(frames, **fields)
        assert writer.n_frames == 10
        assert writer.fields == ["frames", "time"]
        writer.append(FRAMES[10:], time=TIMES[10:])
    assert writer.close() == tmp_path / "run.fxt"
    assert_whole(open_trajectory(tmp_path / "run.fxt"))


KILLED = """
import os, sys, numpy as np
from proteinflex_optimization import create_trajectory
writer = create_trajectory(sys.argv[1], overwrite=True)
for _ in range(10):
    writer.append(np.random.default_rng(0).normal(0, 1, (100, 500, 3)))
print("written", flush=True)
os.kill(os.getpid(), {signal})
sys.exit(0)
"""


def test_of_a_killed_writer_one_hidden_file_remains(tmp_path):
    path = write(tmp_path / "run.fxt")
    before = path.read_bytes()
    code = KILLED.format(signal=int(signal.SIGKILL))
    process = subprocess.run([sys.executable, "-c", code, path], capture_output=True, check=False)
    assert process.stdout == b"written\n"
    assert path.read_bytes() == before
    (left,) = set(os.listdir(tmp_path)) - {"run.fxt"}
    assert left.startswith(".run-")
    assert left.endswith(".fxt")
    with pytest.raises(CorruptDataError, match="not finished"):
        open_trajectory(tmp_path / left)


def test_of_a_writer_that_is_never_closed_nothing_remains(tmp_path):
    code = KILLED.format(signal=0)
    subprocess.run([sys.executable, "-c", code, tmp_path / "run.fxt"], check=True)
    assert os.listdir(tmp_path) == []


def write_and_never_close(path):
    global kept  # Nothing but the end of the process lets it go.
    kept = create_trajectory(path)
    kept.append(FRAMES)


def test_of_a_writer_that_a_child_never_closes_nothing_remains(tmp_path):
    context = multiprocessing.get_context("forkserver")
    child = context.Process(target=write_and_never_close, args=(tmp_path / "run.fxt",))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert os.listdir(tmp_path) == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_can_neither_write_nor_remove_it(tmp_path):
    with create_trajectory(tmp_path / "run.fxt") as writer:
        writer.append(FRAMES[:50], time=TIMES[:50])
        child = os.fork()
        if child == 0:
            try:
                writer.append(FRAMES[50:], time=TIMES[50:])
            except WriterConflictError:
                writer.__exit__(None, None, None)
                writer._finalizer()
                os._exit(0)
            os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        writer.append(FRAMES[50:], time=TIMES[50:])
    assert_whole(open_trajectory(tmp_path / "run.fxt"))


def test_threads_that_write_at_once_are_refused_or_write_whole_frames(tmp_path):
    def append(writer):
        with contextlib.suppress(WriterConflictError):  # It is in use.
            writer.append(FRAMES)
            return len(FRAMES)
        return 0

    with create_trajectory(tmp_path / "run.fxt") as writer, ThreadPoolExecutor(4) as pool:
        written = sum(pool.map(append, [writer] * 12))
    stored = open_trajectory(tmp_path / "run.fxt")
    assert stored.n_frames == written >= len(FRAMES)
    for start in range(0, written, len(FRAMES)):
        np.testing.assert_array_equal(stored[start : start + len(FRAMES)], FRAMES)


def test_a_name_that_is_no_utf_8_is_a_name(tmp_path):
    path = os.fsencode(tmp_path) + b"/caf\xe9.fxt"
    with create_trajectory(os.fsdecode(path)) as writer:
        writer.append(FRAMES)
    np.testing.assert_array_equal(open_trajectory(os.fsdecode(path))[5], FRAMES[5])
