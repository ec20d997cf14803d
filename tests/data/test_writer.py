"""Trajectories that are written while they are computed."""

import errno
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from proteinflex_optimization import (
    CacheKeyError,
    DataHandler,
    InvalidArgumentError,
    WriterConflictError,
)


def frames(start, stop, n_atoms=20):
    """Frames that tell their number."""
    base = np.random.default_rng(5).normal(0, 10, (n_atoms, 3))
    return (base + np.arange(start, stop)[:, None, None] * 0.25).astype(np.float32)


@pytest.fixture
def handler(tmp_path):
    return DataHandler(tmp_path)


def test_frames_appear_when_the_writer_is_closed(handler):
    key = handler.key_for("md")
    with handler.trajectory_writer("md", {"timestep": 2.0}) as writer:
        writer.append(frames(0, 10), time=np.arange(10.0))
        writer.append(frames(10, 11)[0], time=10.0)
        writer.flush()
        assert writer.n_frames == 11
        assert key not in handler
        with pytest.raises(CacheKeyError, match=rf"unfinished: this process \({os.getpid()}\)"):
            handler.open(key)
    trajectory = handler.open(key)
    np.testing.assert_array_equal(trajectory[:], frames(0, 11))
    np.testing.assert_array_equal(trajectory.time, np.arange(11.0))
    assert trajectory.metadata == {"timestep": 2.0}
    assert list(handler.load_data(key)) == ["frames", "time"]


def test_an_error_leaves_the_trajectory_to_be_resumed(handler):
    with pytest.raises(ZeroDivisionError):
        append_and_fail(handler)
    assert handler.key_for("md") not in handler
    assert handler.cleanup()["unfinished"] == 0
    with handler.trajectory_writer("md", resume=True) as writer:
        assert writer.n_frames == 7
        writer.append(frames(7, 9))
    np.testing.assert_array_equal(handler.open(handler.key_for("md"))[:], frames(0, 9))


def append_and_fail(handler):
    with handler.trajectory_writer("md") as writer:
        writer.append(frames(0, 7))
        raise ZeroDivisionError


NEVER_CLOSED = """
import gc, multiprocessing, os, sys
sys.path.insert(0, sys.argv[2])
from test_writer import frames
from proteinflex_optimization import DataHandler

def write(directory):
    writer = DataHandler(directory).trajectory_writer("md")
    writer.append(frames(0, 30))
    return writer

how = sys.argv[3]
if how == "multiprocessing":
    job = multiprocessing.get_context("fork").Process(target=lambda: ends.append(write(sys.argv[1])))
    ends = []
    job.start()
    sys.exit(job.join())
writer = write(sys.argv[1])
if how == "cycle":
    kept = [writer]
    kept.append(kept)
    gc.disable()
if how == "error":
    raise ZeroDivisionError
if how == "sys.exit":
    sys.exit()
if how == "del":
    del writer
    os._exit(0)
if how == "fork" and os.fork() > 0:
    os.wait()
    os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize(
    ("how", "n_frames"),
    [
        ("end", 30),
        ("del", 30),
        ("cycle", 30),
        ("sys.exit", 30),
        ("error", 30),
        ("multiprocessing", 30),
        # The child ends in order, and its parent, whose writer it is, does not.
        ("fork", 0),
    ],
)
def test_a_writer_that_nobody_closes_keeps_its_frames(handler, tmp_path, how, n_frames):
    here = str(Path(__file__).parent)
    job = subprocess.run(
        [sys.executable, "-c", NEVER_CLOSED, str(tmp_path), here, how],
        capture_output=True,
        text=True,
    )
    assert "ZeroDivisionError" in job.stderr if how == "error" else job.stderr == ""
    assert "md" not in handler
    with handler.trajectory_writer("md", resume=True) as writer:
        assert writer.n_frames == n_frames
        writer.append(frames(n_frames, 40))
    np.testing.assert_array_equal(handler.open("md")[:], frames(0, 40))


def test_a_writer_that_is_collected_leaves_an_exception_on_its_way_alone(handler):
    def write():
        writer = handler.trajectory_writer("md")
        writer.append(frames(0, 3))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        write()
    caught.value.__traceback__ = None
    del caught
    assert handler.trajectory_writer("md", resume=True).n_frames == 3


@contextmanager
def limited(size):
    """Let files grow up to a size, as on a full disk; not the one that pytest reports to."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def noise(seed):
    return np.random.default_rng(seed).normal(size=(1, 2000, 3)).astype(np.float32)


def fill(writer):
    for number in range(100):
        writer.append(noise(number))
        writer.flush()


def test_the_first_error_of_a_full_disk_reaches_the_caller_and_is_repeated(handler, caplog):
    def fill_and_leave():
        with handler.trajectory_writer("md") as writer:
            fill(writer)

    with limited(100_000):
        with pytest.raises(OSError, match=r"\(cannot write\)") as caught:
            fill_and_leave()
        assert caught.value.errno == errno.EFBIG
        assert "its last frames may not be durable" in caplog.text
        writer = handler.trajectory_writer("md", resume=True)
        durable = writer.n_frames
        assert durable > 0
        with pytest.raises(OSError, match=r"\(cannot write\)"):
            fill(writer)
        for call in (writer.flush, lambda: fill(writer), writer.close):
            with pytest.raises(OSError, match="an earlier write failed; resume the file") as caught:
                call()
            assert caught.value.errno == errno.EFBIG
    with handler.trajectory_writer("md", resume=True) as writer:
        assert writer.n_frames == durable
        writer.append(noise(1))


def test_an_error_of_the_block_is_not_replaced_by_one_of_leaving_it(handler, caplog):
    def fail_to_leave():
        writer = handler.trajectory_writer("md")
        writer.append(noise(1))
        with limited(1000), writer:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_to_leave()
    assert "its last frames may not be durable: OSError" in caplog.text


def test_what_does_not_fit_the_earlier_frames_is_refused_whole(handler):
    with handler.trajectory_writer("md") as writer:
        writer.append(frames(0, 2), step=np.arange(2))
        for arguments, fields, name in [
            ((frames(2, 4, n_atoms=19),), {"step": np.arange(2)}, "frames"),
            ((frames(2, 4).astype(np.float64),), {"step": np.arange(2)}, "frames"),
            ((frames(2, 4),), {"step": np.arange(3)}, "step"),
            ((frames(2, 4),), {"step": np.arange(2.0)}, "step"),
            ((frames(2, 4),), {}, "step"),
            ((frames(2, 4),), {"step": np.arange(2), "energy": np.zeros(2)}, "energy"),
            ((np.zeros((2, 20, 2), np.float32),), {"step": np.arange(2)}, "frames"),
            ((frames(2, 4),), {"box": np.ones(3)}, r"box='?shape \[3\].*2 values, one per frame"),
        ]:
            with pytest.raises(InvalidArgumentError, match=name):
                writer.append(*arguments, **fields)
            assert writer.n_frames == 2
        writer.append(frames(2, 4), step=np.arange(2, 4))
    np.testing.assert_array_equal(handler.load_data(writer.key)["step"], np.arange(4))


@pytest.mark.parametrize(
    "values", [["a", "b"], [True, False], [1j, 2j], np.array([1, 2], "M8[ns]")]
)
@pytest.mark.parametrize("name", ["time", "step", "energy"])
def test_what_is_measured_of_each_frame_is_a_number(handler, name, values):
    with pytest.raises(InvalidArgumentError, match=f"{name}.*real numbers"):
        handler.store_trajectory({"frames": frames(0, 2), name: values}, "md")
    with handler.trajectory_writer("md") as writer:
        with pytest.raises(InvalidArgumentError, match=f"{name}.*real numbers"):
            writer.append(frames(0, 2), **{name: values})
        writer.append(frames(0, 2), **{name: [0, 1]})


def written(handler, stop, **options):
    """Write frames up to `stop`, going on with what is there, and close."""
    with handler.trajectory_writer("md", resume=True, **options) as writer:
        start = writer.n_frames
        if stop > start:
            writer.append(frames(start, stop), step=np.arange(start, stop))
    return writer.key


@pytest.mark.parametrize("compress", [True, False])
def test_a_finished_trajectory_is_continued(tmp_path, compress):
    handler = DataHandler(tmp_path, enable_compression=compress)
    key = written(handler, 100)
    handler.pin(key)
    before = handler.open(key)
    with handler.trajectory_writer("md", resume=True) as writer:
        assert writer.n_frames == 100
        assert writer.fields == ["frames", "step"]
        np.testing.assert_array_equal(writer.read("step"), np.arange(100))
        for name, bad in [("frames", frames(100, 101, 19)), ("step", frames(100, 101))]:
            with pytest.raises(InvalidArgumentError, match=name):
                writer.append(bad, step=np.arange(1.0))
        writer.append(frames(100, 107), step=np.arange(100, 107))
        writer.flush()
        # Until it is closed, readers get what was there.
        assert handler.open(key).content_id == before.content_id
    assert writer.key == key
    np.testing.assert_array_equal(handler.open(key)[:], frames(0, 107))
    np.testing.assert_array_equal(handler.load_data(key)["step"], np.arange(107))
    np.testing.assert_array_equal(before[:], frames(0, 100))
    assert handler.info(key)["pinned"]
    assert handler.verify()["ok"]


def test_a_rerun_that_adds_nothing_changes_nothing(tmp_path):
    handler = DataHandler(tmp_path, max_cache_size=2.2e-5)  # No space for it twice.
    key = written(handler, 260)
    file = handler.open(key)
    assert file.stored_bytes > 11_000
    written(handler, 260)
    assert handler.open(key).content_id == file.content_id
    # Removed while its writer is open, it is published again, as it was continued.
    with handler.trajectory_writer("md", resume=True):
        handler.clear()
    np.testing.assert_array_equal(handler.open(key)[:], frames(0, 260))


def test_rounded_frames_are_not_rounded_again(handler):
    written(handler, 70, precision=0.01)
    key = handler.key_for("md")
    first = handler.open(key)[:]
    for stop in (71, 72, 200):
        written(handler, stop)  # The precision stays.
    found = handler.open(key)[:]
    np.testing.assert_array_equal(found[:70], first)
    assert 0.001 < np.abs(found - frames(0, 200)).max() <= 0.005 + 1e-5


def test_a_resumed_trajectory_is_not_encoded_in_another_way_than_asked_for(handler, tmp_path):
    written(handler, 5, precision=0.01)
    for options, name in [({"precision": 0.001}, "precision"), ({"profile": "archive"}, "profile")]:
        with pytest.raises(InvalidArgumentError, match=rf"{name}=.*expected.*5 frames.*overwrite"):
            written(handler, 6, **options)
    with pytest.raises(InvalidArgumentError, match=r"precision=0\.001 .*expected 0\.01"):
        written(DataHandler(tmp_path, precision=0.001), 6)
    written(DataHandler(tmp_path, precision=0.1), 6)  # Finer than this has to be.
    assert handler.open(handler.key_for("md")).n_frames == 6


def test_metadata_that_a_resumed_trajectory_has_is_kept(handler, caplog):
    for metadata, warnings in [({"T": 300}, 0), ({"T": 300}, 0), (None, 0), ({"T": 310}, 1)]:
        caplog.clear()
        with handler.trajectory_writer("md", metadata, resume=True) as writer:
            writer.append(frames(0, 1))
        assert handler.open(writer.key).metadata == {"T": 300}
        assert len(caplog.records) == warnings


def test_what_else_was_stored_with_a_trajectory_is_kept(handler):
    beside = {"masses": np.arange(20.0), "note": ("a", None, 2**70), "text": "x" * 100_000}
    key = handler.store_trajectory({"frames": frames(0, 9), "step": np.arange(9), **beside}, "md")
    for stop in (10, 11):
        written(handler, stop)
        with handler.trajectory_writer("md", resume=True) as writer:
            writer.append(frames(99, 100), step=[99])
            writer.truncate(stop)
            writer.suspend()  # As a crash would leave it.
        written(handler, stop)
    found = handler.load_data(key)
    assert list(found) == ["frames", "step", "masses", "note", "text"]
    np.testing.assert_array_equal(found["frames"], frames(0, 11))
    np.testing.assert_array_equal(found["step"], np.arange(11))
    np.testing.assert_array_equal(found["masses"], beside["masses"])
    assert (found["note"], found["text"]) == (beside["note"], beside["text"])


@pytest.mark.parametrize("finished", [True, False])
def test_a_trajectory_that_is_there_is_only_replaced_on_purpose(handler, finished):
    with handler.trajectory_writer("md") as writer:
        writer.append(frames(0, 9))
        if not finished:
            writer.suspend()
    for _ in range(2):
        with pytest.raises(InvalidArgumentError, match=r"9 frames.*resume=True.*overwrite=True"):
            handler.trajectory_writer("md")
    with pytest.raises(InvalidArgumentError, match="overwrite"):
        handler.trajectory_writer("md", resume=True, overwrite=True)
    with handler.trajectory_writer("md", overwrite=True) as writer:
        assert writer.n_frames == 0
        assert (writer.key in handler) == finished
        writer.append(frames(3, 5))
    np.testing.assert_array_equal(handler.open(writer.key)[:], frames(3, 5))


def test_a_writer_without_frames_leaves_nothing(handler):
    handler.trajectory_writer("md").suspend()
    assert handler.get_cache_stats()["unfinished"] == 0
    with handler.trajectory_writer("md") as writer:
        writer.append(frames(0, 1))


def test_a_closed_writer_names_its_trajectory_and_how_to_go_on(handler):
    writer = handler.trajectory_writer("md")
    writer.append(frames(0, 3))
    key = writer.close()
    for use in (
        lambda: writer.append(frames(3, 4)),
        writer.flush,
        writer.read,
        lambda: writer.n_frames,
    ):
        with pytest.raises(InvalidArgumentError, match='"md": its writer is closed.*resume=True'):
            use()
    assert writer.close() == key


def test_a_forked_child_neither_closes_nor_cuts_the_trajectory_of_its_parent(handler):
    with handler.trajectory_writer("md") as writer:
        writer.append(frames(0, 3))
        child = os.fork()
        if child == 0:
            status = 1
            try:
                for call in (writer.close, writer.flush, lambda: writer.truncate(0)):
                    with pytest.raises(WriterConflictError, match="forked"):
                        call()
                with pytest.raises(ZeroDivisionError), writer:
                    raise ZeroDivisionError
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        assert writer.key not in handler
        writer.append(frames(3, 4))
    np.testing.assert_array_equal(handler.open(writer.key)[:], frames(0, 4))


def test_one_writer_at_a_time(handler, tmp_path):
    with handler.trajectory_writer("md") as writer:
        writer.append(frames(0, 1))
        for other in (handler, DataHandler(tmp_path)):
            with pytest.raises(InvalidArgumentError, match="no other writer has open"):
                other.trajectory_writer("md", resume=True)
        with handler.trajectory_writer("another") as other:
            other.append(frames(0, 1))


def test_a_forked_child_does_not_keep_the_trajectory_of_a_closed_writer(handler):
    writer = handler.trajectory_writer("md")
    writer.append(frames(0, 1))
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(300,))
    child.start()
    try:
        writer.close()
        with handler.trajectory_writer("md", overwrite=True) as writer:
            writer.append(frames(0, 2))
    finally:
        child.kill()
        child.join()
    assert handler.open(writer.key).n_frames == 2


def test_what_was_written_can_be_read_back_and_cut_short(handler):
    with handler.trajectory_writer("md") as writer:
        writer.append(frames(0, 100), step=np.arange(100) * 10)
        np.testing.assert_array_equal(writer.read("step"), np.arange(100) * 10)
        writer.truncate(40)
        assert writer.n_frames == 40
        writer.append(frames(40, 50), step=np.arange(40, 50) * 10)
        np.testing.assert_array_equal(writer.read("step"), np.arange(50) * 10)
        np.testing.assert_array_equal(writer.read("frames"), frames(0, 50))
        with pytest.raises(InvalidArgumentError, match="energy"):
            writer.read("energy")
    np.testing.assert_array_equal(handler.open(writer.key)[:], frames(0, 50))


WRITER = """
import sys
import numpy as np
sys.path.insert(0, sys.argv[2])
from test_writer import frames
from proteinflex_optimization import DataHandler

writer = DataHandler(sys.argv[1]).trajectory_writer("md", resume=True)
n = writer.n_frames
while True:
    writer.append(frames(n, n + 3), step=np.arange(n, n + 3))
    n += 3
    if n % 2:
        writer.flush()
        print(n, flush=True)
"""


def test_flushed_frames_survive_kill_9_of_the_writer(handler, tmp_path):
    random = np.random.default_rng(1)
    flushed = 0
    here = str(Path(__file__).parent)
    for _ in range(6):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), here], stdout=subprocess.PIPE, text=True
        ) as job:
            first = job.stdout.readline()
            time.sleep(random.uniform(0, 0.05))
            os.kill(job.pid, signal.SIGKILL)
            lines = job.stdout.read().split()
        # The last line may be cut short by the kill.
        flushed = max([flushed, int(first), *(int(line) for line in lines[:-1])])
        assert handler.get_cache_stats()["unfinished"] == 1
    with handler.trajectory_writer("md", resume=True) as writer:
        n_frames = writer.n_frames
        assert n_frames >= flushed > 0
    trajectory = handler.open(handler.key_for("md"))
    np.testing.assert_array_equal(trajectory[:], frames(0, n_frames))
    np.testing.assert_array_equal(trajectory.read(field="step"), np.arange(n_frames))


def test_asking_for_what_a_killed_job_left_tells_how_to_go_on(handler, tmp_path):
    script = (
        "import os, sys, numpy as np\n"
        "from proteinflex_optimization import DataHandler\n"
        "writer = DataHandler(sys.argv[1]).trajectory_writer('md')\n"
        "writer.append(np.zeros((50, 3, 3)))\n"
        "writer.flush()\n"
        "os.kill(os.getpid(), 9)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], env=environment, check=False)
    for name in ("md", handler.key_for("md")):
        for ask in (handler.open, handler.load_data, handler.info, handler.pin, handler.remove):
            with pytest.raises(CacheKeyError, match=r"50 durable frames wait.*resume=True"):
                ask(name)
    with handler.trajectory_writer("md", resume=True):
        pass
    assert len(handler.open("md")) == 50


def test_an_unfinished_trajectory_never_replaces_a_newer_one(tmp_path):
    handler = DataHandler(tmp_path / "cache", durable=False)
    frames = np.arange(60, dtype=np.float32).reshape(5, 4, 3)
    with handler.trajectory_writer("run") as writer:
        writer.append(frames)
    writer = handler.trajectory_writer("run", resume=True)
    writer.append(frames[:3])
    writer.suspend()
    handler.store_trajectory({"frames": -frames[:2]}, "run")
    for options in ({"resume": True}, {}):
        with pytest.raises(InvalidArgumentError, match="8 frames waits.*newer one of 2 frames"):
            handler.trajectory_writer("run", **options)
    np.testing.assert_array_equal(handler.open("run")[...], -frames[:2])
    assert handler.remove_unfinished("run")
    with handler.trajectory_writer("run", resume=True) as writer:
        writer.append(frames[:1])
    assert len(handler.open("run")) == 3


def test_files_of_others_in_folders_of_the_cache_s_names_stay(tmp_path):
    mine = tmp_path / "quarantine" / "plate7.csv"
    mine.parent.mkdir()
    mine.write_text("mine")
    handler = DataHandler(tmp_path, durable=False)
    assert not (tmp_path / "CACHEDIR.TAG").exists()
    assert handler.get_cache_stats()["quarantined"] == 0
    assert handler.cleanup()["quarantined"] == 0
    handler.clear()
    assert mine.read_text() == "mine"


@pytest.mark.parametrize(
    ("n_frames", "box"),
    [(3, np.diag([30.0, 40, 50])), (6, np.full(6, 90.0)), (1, np.full(3, 30.0)), (3, [1.0, 2, 3])],
)
def test_one_box_for_a_block_of_frames_is_refused_by_its_shape(handler, n_frames, box):
    with handler.trajectory_writer("md") as writer:
        with pytest.raises(InvalidArgumentError, match=r"box.*shape \[[36](, 3)?\].*\[\d, 3, 3\]"):
            writer.append(np.zeros((n_frames, 4, 3)), box=box)
        writer.append(np.zeros((4, 3)), box=box)  # Of one frame, it is the frame's.
