"""Computed once, however many ask; errors are not cached; the value is never lost."""

import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from proteinflex_optimization import CacheFullError, DataHandler, InvalidArgumentError


def test_computed_once_and_then_loaded(tmp_path):
    handler = DataHandler(tmp_path)
    calls = []

    def compute():
        calls.append(1)
        return {"x": np.arange(10), "pair": (1, 2)}

    for _ in range(3):
        found = handler.get_or_compute("x", compute)
        np.testing.assert_array_equal(found["x"], np.arange(10))
        assert found["pair"] == (1, 2)
    assert len(calls) == 1
    counted = handler.get_cache_stats()
    assert (counted["misses"], counted["hits"]) == (1, 2)


def test_an_error_is_raised_and_not_cached(tmp_path):
    handler = DataHandler(tmp_path)
    with pytest.raises(ZeroDivisionError):
        handler.get_or_compute("x", lambda: 1 / 0)
    assert handler.get_or_compute("x", lambda: {"a": 1}) == {"a": 1}
    with pytest.raises(InvalidArgumentError, match="function"):
        handler.get_or_compute("y", {"a": 1})
    with pytest.raises(InvalidArgumentError, match="kind"):
        handler.get_or_compute("y", dict, kind="other")


def test_trajectories_can_be_computed_too(tmp_path):
    handler = DataHandler(tmp_path)
    frames = np.zeros((3, 4, 3), np.float32)
    handler.get_or_compute("md", lambda: {"frames": frames}, kind="trajectory")
    assert handler.open(handler.key_for("md")).shape == (3, 4, 3)


def test_processes_that_ask_at_once_compute_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(4)
    askers = [context.Process(target=ask, args=(str(tmp_path), barrier)) for _ in range(4)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
        assert asker.exitcode == 0
    assert len(list(tmp_path.glob("computed-*"))) == 1


def ask(directory, barrier):
    handler = DataHandler(Path(directory) / "cache")

    def compute():
        (Path(directory) / f"computed-{os.getpid()}").touch(exist_ok=False)
        time.sleep(0.3)
        return {"x": np.full(1000, 7)}

    barrier.wait()
    assert (handler.get_or_compute("x", compute)["x"] == 7).all()


def test_waiting_is_bounded(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    holder = context.Process(target=hold, args=(str(tmp_path), ready))
    holder.start()
    try:
        assert ready.wait(60)
        with pytest.raises(TimeoutError, match=rf"process {holder.pid} has been computing"):
            DataHandler(tmp_path).get_or_compute("x", dict, timeout=0.2)
    finally:
        holder.kill()
        holder.join()
    # The kernel has given its claim back.
    assert DataHandler(tmp_path).get_or_compute("x", lambda: {"a": 1}) == {"a": 1}


def hold(directory, ready):
    def compute():
        ready.set()
        time.sleep(300)

    DataHandler(directory).get_or_compute("x", compute)


POOL = """
import concurrent.futures, multiprocessing, os, sys, time
from proteinflex_optimization import DataHandler

def compute():
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        time.sleep(300)

DataHandler(sys.argv[1]).get_or_compute("x", compute)
"""


def test_the_workers_of_a_killed_process_hold_nothing_of_what_it_computed(tmp_path):
    arguments = [sys.executable, "-c", POOL, str(tmp_path)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        worker = int(process.stdout.readline())
        try:
            handler = DataHandler(tmp_path)
            # The worker has let go of it, and its parent has not.
            with pytest.raises(TimeoutError, match=f"process {process.pid} "):
                handler.get_or_compute("x", dict, timeout=0.2)
            process.kill()
            process.wait()
            os.kill(worker, 0)
            assert handler.get_or_compute("x", lambda: {"a": 1}, timeout=60) == {"a": 1}
        finally:
            process.kill()
            os.kill(worker, signal.SIGKILL)


@pytest.mark.parametrize("timeout", [float("nan"), -1])
def test_a_wait_of_no_number_of_seconds_is_refused(tmp_path, timeout):
    with pytest.raises(InvalidArgumentError, match=f"timeout={timeout}"):
        DataHandler(tmp_path).get_or_compute("x", dict, timeout=timeout)


def shape_of(value):
    """Describe a value with all that a caller can tell it by."""
    if isinstance(value, np.ndarray):
        flags = (value.flags.writeable, value.flags.c_contiguous)
        return (type(value), value.dtype, value.shape, flags, value.tobytes())
    if isinstance(value, dict):
        return [(key, shape_of(item)) for key, item in value.items()]
    if isinstance(value, (list, tuple)):
        return (type(value), [shape_of(item) for item in value])
    return (type(value), repr(value))


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("kind", ["structure", "trajectory"])
def test_the_first_call_returns_what_every_later_one_does(tmp_path, compress, kind):
    handler = DataHandler(tmp_path, enable_compression=compress, precision=0.01)
    random = np.random.default_rng(2)
    frames = random.normal(0, 10, (3000, 7, 3)).astype(np.float32)
    beside = {
        "masses": np.asfortranarray(random.normal(0, 1, (70, 90))),
        "one": np.float32(0.1),
        "pair": (1, [True, None, 1.5, "é"]),
        "long": b"x" * 70_000,
    }
    if kind == "trajectory":
        # Blocks that can be iterated over only once.
        functions = [
            lambda: {"frames": (frames[i : i + 500] for i in range(0, 3000, 500)), **beside},
            lambda: {"frames": frames, "velocities": frames / 3, **beside},
        ]
    else:
        functions = [lambda: {"frames": frames, **beside}]
    for number, function in enumerate(functions):
        first = handler.get_or_compute(f"{number}", function, kind=kind)
        later = handler.get_or_compute(f"{number}", dict, kind=kind)
        again = DataHandler(tmp_path).load_data(handler.key_for(f"{number}", kind))
        assert shape_of(first) == shape_of(later) == shape_of(again)
        assert first["frames"].shape == frames.shape


@pytest.mark.soak  # Importing torch takes long.
def test_tensors_come_back_the_same_from_the_first_call_and_later(tmp_path):
    torch = pytest.importorskip("torch")
    handler = DataHandler(tmp_path)
    found = [
        handler.get_or_compute("x", lambda: {"t": torch.arange(6).reshape(2, 3).T, "s": [1]})
        for _ in range(2)
    ]
    assert shape_of(found[0]) == shape_of(found[1])


def ask_while_others_clear(directory, seed, seconds):
    handler, random = DataHandler(directory), np.random.default_rng(seed)
    stop = time.monotonic() + seconds
    while time.monotonic() < stop:
        number = int(random.integers(8))
        found = handler.get_or_compute(
            f"{number}", lambda number=number: {"x": np.full(5000 + number, number)}
        )
        assert (found["x"] == number).all()
        assert len(found["x"]) == 5000 + number


def test_the_value_is_returned_whatever_others_remove_meanwhile(tmp_path):
    # Too small for all of them, so they also evict each other.
    handler = DataHandler(tmp_path, max_cache_size=3e-6)
    context = multiprocessing.get_context("spawn")
    askers = [
        context.Process(target=ask_while_others_clear, args=(str(tmp_path), seed, 2.5))
        for seed in range(3)
    ]
    for asker in askers:
        asker.start()
    while any(asker.is_alive() for asker in askers):
        handler.clear()
        for key in list(handler.keys()):
            path = next(tmp_path.glob(f"entries/*/{key}.fxt"), os.devnull)
            # The others may have evicted it by now.
            with contextlib.suppress(FileNotFoundError), open(path, "r+b") as file:
                file.seek(40)
                file.write(b"damage")
        time.sleep(0.01)
    assert [asker.exitcode for asker in askers] == [0, 0, 0]


@pytest.mark.parametrize("kind", ["structure", "trajectory"])
@pytest.mark.parametrize("full_of", ["nothing", "pins"])
def test_a_value_for_which_the_cache_has_no_space_is_returned(tmp_path, caplog, kind, full_of):
    limit = 400_000
    handler = DataHandler(tmp_path, max_cache_size=limit / 1e9, enable_compression=False)
    size = 600_000 if full_of == "nothing" else 300_000
    pinned = None
    if full_of == "pins":
        pinned = handler.store_structure({"x": np.zeros(200_000, np.uint8)}, "pinned")
        handler.pin(pinned)
    frames = np.random.default_rng(1).normal(0, 1, (size // 120, 10, 3)).astype(np.float32)
    values = [lambda: {"frames": frames}]
    if kind == "trajectory":
        values.append(lambda: {"frames": iter(frames), "name": ("a", 1)})
    for number, value in enumerate(values):
        for _ in range(2):
            caplog.clear()
            found = handler.get_or_compute(f"{number}", value, kind=kind)
            np.testing.assert_array_equal(found["frames"], frames)
            (record,) = caplog.records
            assert record.levelname == "WARNING"
            assert f'"{number}"' in record.getMessage()
            assert "max_cache_size" in record.getMessage()
    assert handler.keys() == ([pinned] if pinned else [])
    assert not list(tmp_path.glob("entries/*/.*"))
    with pytest.raises(CacheFullError):  # A store says so.
        handler.store_trajectory({"frames": frames}, "x")


FULL_DISK = """
import subprocess, sys
import numpy as np
from proteinflex_optimization import DataHandler

directory, kind, size = sys.argv[1:]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", directory], check=True)
handler = DataHandler(directory, enable_compression=False)
frames = np.random.default_rng(1).normal(0, 1, (int(size) // 120, 10, 3)).astype(np.float32)
for value in (lambda: {"frames": frames, "n": (1,)}, lambda: {"frames": iter(frames), "n": (1,)}):
    for _ in range(2):
        found = handler.get_or_compute("x", value, kind=kind)
        assert found["frames"].tobytes() == frames.tobytes() and found["n"] == (1,)
    if kind == "structure":
        break
assert not handler.keys()
subprocess.run(["mount", "-o", "remount,ro", directory], check=True)
assert handler.get_or_compute("y", lambda: {"x": 1}) == {"x": 1}
subprocess.run(["umount", "-l", directory], check=True)
"""


@pytest.mark.parametrize("kind", ["structure", "trajectory"])
def test_a_value_for_which_the_disk_has_no_space_is_returned(tmp_path, kind):
    if subprocess.run(["unshare", "-Urm", "true"], capture_output=True).returncode != 0:
        pytest.skip("no file system can be mounted here")
    command = ["unshare", "-Urm", sys.executable, "-c", FULL_DISK, str(tmp_path), kind, "2000000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "No space left on device" in done.stderr
    assert "Read-only file system" in done.stderr


def test_a_call_for_what_the_function_itself_computes_is_an_error_at_once(tmp_path):
    handler = DataHandler(tmp_path / "cache")
    (tmp_path / "link").symlink_to(tmp_path / "cache")
    for other in (handler, DataHandler(tmp_path / "cache"), DataHandler(tmp_path / "link")):
        with pytest.raises(InvalidArgumentError, match="data_id='x'.*function"):
            handler.get_or_compute("x", lambda other=other: other.get_or_compute("x", dict))
    # The same name of another kind, and another name, are other entries.
    inner = {"frames": np.zeros((1, 1, 3), np.float32)}

    def compute():
        handler.get_or_compute("x", lambda: inner, kind="trajectory")
        return handler.get_or_compute("y", lambda: {"a": 1})

    assert handler.get_or_compute("x", compute) == {"a": 1}


def test_frames_that_ask_for_the_trajectory_that_they_make_are_an_error(tmp_path):
    handler = DataHandler(tmp_path)

    def frames():
        yield np.zeros((4, 3), np.float32)
        handler.get_or_compute("x", dict, kind="trajectory")

    with pytest.raises(InvalidArgumentError, match="data_id='x'"):
        handler.get_or_compute("x", lambda: {"frames": frames()}, kind="trajectory")
    assert not list(tmp_path.glob("entries/*/*"))


def test_a_forked_child_that_asks_for_what_its_parent_computes_is_told_at_once(tmp_path):
    handler = DataHandler(tmp_path)

    def compute():
        child = os.fork()
        if child == 0:
            status = 1
            try:
                with pytest.raises(InvalidArgumentError, match="data_id='x'"):
                    handler.get_or_compute("x", dict)
                status = 0
            finally:
                os._exit(status)
        return {"status": os.waitpid(child, 0)[1]}

    assert handler.get_or_compute("x", compute) == {"status": 0}


def test_a_wait_for_oneself_through_a_thread_is_bounded_and_names_this_process(tmp_path):
    handler = DataHandler(tmp_path)

    def compute():
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            return pool.submit(handler.get_or_compute, "x", dict, timeout=0.2).result()

    message = rf"another thread of this process \({os.getpid()}\) has been computing"
    with pytest.raises(TimeoutError, match=message):
        handler.get_or_compute("x", compute)
    assert handler.get_or_compute("x", lambda: {"a": 1}) == {"a": 1}


def test_waiting_ends_with_ctrl_c(tmp_path):
    computing, release = threading.Event(), threading.Event()

    def compute():
        computing.set()
        release.wait(200)
        return {"a": 1}

    handler = DataHandler(tmp_path)
    thread = threading.Thread(target=handler.get_or_compute, args=("x", compute))
    thread.start()
    # A job in the background of a shell ignores it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert computing.wait(60)
        timer = threading.Timer(0.2, signal.raise_signal, [signal.SIGINT])

        def wait():
            timer.start()
            handler.get_or_compute("x", dict)

        with pytest.raises(KeyboardInterrupt):
            wait()
    finally:
        signal.signal(signal.SIGINT, before)
        release.set()
        thread.join()
    assert handler.get_or_compute("x", dict) == {"a": 1}


def test_what_the_function_raises_is_raised_and_leaves_nothing(tmp_path):
    handler = DataHandler(tmp_path)

    class Odd(BaseException):
        pass

    def frames(error):
        yield np.zeros((100_000, 3), np.float32)
        raise error

    for error in (ValueError("x"), KeyError("y"), SystemExit(3), KeyboardInterrupt(), Odd()):
        with pytest.raises(type(error)) as raised:
            handler.get_or_compute(
                "x", lambda error=error: {"frames": frames(error)}, kind="trajectory"
            )
        assert raised.value is error
        assert not list(tmp_path.glob("entries/*/*"))
    with pytest.raises(InvalidArgumentError, match="structure_data"):
        handler.get_or_compute("x", lambda: None)
    assert not handler.keys()


def test_a_child_that_is_forked_by_a_generator_does_not_remove_the_file_of_its_parent(tmp_path):
    handler = DataHandler(tmp_path)

    def frames():
        yield np.zeros((4, 3), np.float32)
        child = os.fork()
        if child == 0:
            raise ZeroDivisionError  # What the parent writes is dropped in the child.
        assert os.waitpid(child, 0)[1] == 0
        yield np.ones((4, 3), np.float32)

    parent = os.getpid()
    try:
        found = handler.get_or_compute("x", lambda: {"frames": frames()}, kind="trajectory")
    except ZeroDivisionError:
        os._exit(0 if os.getpid() != parent else 1)
    assert found["frames"].shape == (2, 4, 3)
    assert len(handler.keys()) == 1


LIMITED = """
import resource, sys
import numpy as np
from proteinflex_optimization import DataHandler

handler = DataHandler(sys.argv[1])
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
value = np.random.default_rng(0).normal(size=(1000, 100, 3))
assert handler.get_or_compute("x", lambda: {"a": value})["a"].tobytes() == value.tobytes()
found = handler.get_or_compute("x", lambda: {"frames": value}, kind="trajectory")
assert found["frames"].tobytes() == value.tobytes()
try:
    handler.get_or_compute("y", lambda: {"frames": iter(value)}, kind="trajectory")
except OSError as error:
    print(error)
assert handler.keys() == []
"""


def test_a_value_beyond_the_limit_of_the_size_of_files_is_returned(tmp_path):
    """That of files in memory as well."""
    command = [sys.executable, "-c", LIMITED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("the value is returned and not stored: [Errno 27] File too large") == 2
    assert "File too large" in done.stdout, "a part of what a generator made is no value"
