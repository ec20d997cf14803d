"""Python's signal handlers act during long calls, and what they raise leaves a clean state."""

from __future__ import annotations

import fcntl
import itertools
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from proteinflex_optimization import (
    CheckpointManager,
    DataHandler,
    ProgressTracker,
)
from proteinflex_optimization._native import is_local_filesystem

AFTER = 0.05
"""Seconds from the beginning of a call to the signal."""
PROMPT = 30.0
"""Seconds until a call that would go on for ever has ended, on a machine that does other work too."""
LOOK = 0.05
"""How often a call looks for signals, in seconds."""

pytestmark = pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals need the main thread"
)


class StopError(Exception):
    """What a handler raises."""


@contextmanager
def handled(action: Callable[[], Any], after: float = AFTER) -> Iterator[None]:
    """Call `action` in a handler, once, so many seconds later."""
    before = signal.signal(signal.SIGALRM, lambda *_: action())
    try:
        signal.setitimer(signal.ITIMER_REAL, after)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def stop() -> None:
    raise StopError


def stopped(call: Callable[[], Any], after: float = AFTER) -> float:
    """Interrupt a call; return how long after the signal it ended."""
    started = time.monotonic()
    # Also where the signal comes before the call has begun.
    with pytest.raises(StopError), handled(stop, after):
        call()
    return time.monotonic() - started - after


def for_ever(call: Callable[[], Any]) -> Callable[[], Any]:
    """Return what is interrupted in a call however little time each takes."""

    def calls() -> None:
        while True:
            call()

    return calls


def is_stopped_early(call: Callable[[], Any]) -> bool:
    """Whether an interruption ends a call long before its end, where it takes long.

    It need not be so each time: a machine that does other work may delay any of them.
    """
    for _ in range(5):
        undisturbed = seconds(call)
        took = stopped(for_ever(call), undisturbed / 10)
        if undisturbed < 10 * LOOK or took < undisturbed / 2:
            return True
    return False


def seconds(call: Callable[[], Any]) -> float:
    """How long a call takes that nothing interrupts."""
    started = time.monotonic()
    call()
    return time.monotonic() - started


def walk(n_frames: int, n_atoms: int = 3000) -> np.ndarray:
    steps = np.random.default_rng(0).normal(scale=0.01, size=(n_frames, n_atoms, 3))
    return np.cumsum(steps.astype("f4"), 0)


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    # As many as take several times as long to store as it is until a signal comes, on most machines.
    return np.tile(walk(600), (8, 1, 1))


def files(directory: Path) -> set[str]:
    found = (str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())
    return {path for path in found if "lock" not in path}


def test_a_store_that_is_interrupted_stores_nothing_and_leaves_nothing(tmp_path, frames):
    handler = DataHandler(tmp_path, profile="archive", precision=0.001)
    small = {"frames": frames[:2]}
    key = handler.store_trajectory(small, "a")
    before = files(tmp_path)
    blocks = itertools.repeat(frames)
    assert stopped(lambda: handler.store_trajectory({"frames": blocks}, "b")) < PROMPT
    assert handler.keys() == [key]
    assert files(tmp_path) == before
    # Of an array at once; one may have ended before the signal came.
    assert stopped(for_ever(lambda: handler.store_trajectory({"frames": frames}, "a"))) < PROMPT
    assert files(tmp_path) == before
    assert handler.verify()["ok"]
    assert len(handler.open(key)) in (2, len(frames))
    assert handler.load_data(handler.store_trajectory(small, "a"))["frames"].shape[0] == 2


def test_frames_of_an_interrupted_append_are_all_taken_back(tmp_path, frames):
    handler = DataHandler(tmp_path, profile="archive", precision=0.001)
    with handler.trajectory_writer("a") as writer:
        writer.append(frames[:300])
        writer.flush()
        writer.append(frames[300:310])
        assert stopped(for_ever(lambda: writer.append(frames))) < PROMPT
        n_frames = writer.n_frames
        # Those of appends that had ended stay.
        assert (n_frames - 310) % len(frames) == 0
        writer.append(frames[310:320])
    found = handler.open(writer.key)
    assert np.abs(found[:310] - frames[:310]).max() < 0.00051
    assert np.abs(found[n_frames:] - frames[310:320]).max() < 0.00051


def test_a_writer_that_is_left_by_an_interruption_can_be_resumed(tmp_path, frames):
    handler = DataHandler(tmp_path, profile="archive", precision=0.001)

    def write() -> None:
        with handler.trajectory_writer("a") as writer:
            writer.append(frames[:10])
            assert stopped(for_ever(lambda: writer.append(frames))) < PROMPT
            stop()

    with pytest.raises(StopError):
        write()
    with handler.trajectory_writer("a", resume=True) as writer:
        assert writer.n_frames >= 10
        assert (writer.n_frames - 10) % len(frames) == 0


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> tuple[DataHandler, str]:
    handler = DataHandler(tmp_path_factory.mktemp("cache"), durable=False)
    # Long to read because the entries are many.
    block = walk(40)
    for number in range(20):
        handler.store_trajectory({"frames": block}, f"e{number}")
    # Several times as long as it takes until a signal is looked for, on most machines.
    return handler, handler.store_trajectory({"frames": (block for _ in range(300))}, "long")


def test_a_verification_that_is_interrupted_takes_nothing_for_damaged(stored):
    handler, _ = stored
    n_entries = len(handler)
    assert is_stopped_early(handler.verify)
    assert len(handler) == n_entries
    assert handler.get_cache_stats()["corrupt"] == 0
    assert handler.verify()["ok"]


def test_a_load_that_is_interrupted_can_be_done_again(stored):
    handler, key = stored

    def load() -> int:
        return len(handler.load_data(key)["frames"])

    assert is_stopped_early(load)
    assert load() == 12000
    assert handler.get_cache_stats()["corrupt"] == 0


def test_a_save_that_is_interrupted_leaves_the_older_checkpoint(tmp_path):
    manager = CheckpointManager(tmp_path, link_unchanged=False)
    manager.create_checkpoint("one", {"state": {"step": 1}})
    before = files(tmp_path)
    state = {"state": {"array": np.ones(60_000_000)}}

    def save() -> None:
        shutil.rmtree(tmp_path / "two", ignore_errors=True)
        manager.create_checkpoint("two", state)

    assert is_stopped_early(save)
    shutil.rmtree(tmp_path / "two", ignore_errors=True)
    assert files(tmp_path) == before
    path = manager.create_checkpoint("two", {"state": {"step": 2}})
    assert manager.latest() == path


@contextmanager
def every_lock_held(directory: Path) -> Iterator[Callable[[], None]]:
    """Hold all locks of a directory, as a stopped process does; yields what lets go of them."""
    locks = [path for path in directory.rglob("*") if path.is_file()]
    locks = [path for path in locks if "lock" in str(path.relative_to(directory))]
    assert locks
    held = [open(path, "rb") for path in locks]  # noqa: SIM115
    for file in held:
        fcntl.flock(file, fcntl.LOCK_EX)

    def release() -> None:
        for file in held:
            fcntl.flock(file, fcntl.LOCK_UN)

    try:
        yield release
    finally:
        for file in held:
            file.close()


@pytest.fixture
def waiting(
    tmp_path, frames
) -> Iterator[tuple[DataHandler, Callable[[], Any], Callable[[], None]]]:
    """A cache, a call at work that waits for a lock, however long that takes, and what ends that."""
    handler = DataHandler(tmp_path)
    handler.store_structure({"a": 1}, "x")

    def given() -> Iterator[np.ndarray]:
        # From now on the call is at work, however long it took to come here.
        signal.setitimer(signal.ITIMER_REAL, 10 * AFTER)
        yield frames[:100]

    with every_lock_held(tmp_path) as release:
        yield handler, lambda: handler.store_trajectory({"frames": given()}, "a"), release


def test_a_handler_that_raises_nothing_runs_in_the_middle_of_a_call_and_ends_nothing(waiting):
    handler, call, release = waiting
    with handled(release, after=1000):
        key = call()
    assert key in handler


def test_a_handler_may_use_what_the_interrupted_call_uses(waiting):
    handler, call, release = waiting
    keys = handler.keys()

    def store_another() -> None:
        release()
        keys.append(handler.store_trajectory({"frames": walk(2)}, "b"))

    with handled(store_another, after=1000):
        keys.append(call())
    assert sorted(keys) == sorted(handler.keys())


def store(directory: Path) -> Callable[[], Any]:
    handler = DataHandler(directory)
    handler.store_structure({"a": 1}, "x")
    return lambda: handler.store_structure({"a": 1}, "y")


def remove(directory: Path) -> Callable[[], Any]:
    handler = DataHandler(directory)
    handler.store_structure({"a": 1}, "x")
    return lambda: handler.remove("x")


def save(directory: Path) -> Callable[[], Any]:
    manager = CheckpointManager(directory)
    manager.create_checkpoint("one", {"m": {"v": 1}})
    return lambda: manager.create_checkpoint("two", {"m": {"v": 1}})


def test_a_system_call_that_a_signal_has_cut_short_is_made_again(tmp_path):
    handler, manager = DataHandler(tmp_path / "cache"), CheckpointManager(tmp_path / "saved")
    array = np.arange(100.0)
    frames = np.zeros((4, 5, 3), np.float32)
    key = handler.store_structure({"a": array}, "a")
    with handler.trajectory_writer("b") as writer:
        writer.append(frames)
        writer.suspend()
    (unfinished,) = tmp_path.glob("cache/entries/*/*.suspended")
    os.link(unfinished, tmp_path / "copy")  # So it is copied, not taken.
    path = manager.create_checkpoint("c", {"m": {"a": array}})
    is_local = is_local_filesystem(tmp_path)
    calls = "openat,openat2,getdents64,statfs,fallocate,flock,copy_file_range"
    # Every second one of each thread fails.
    rules = ["-e", f"trace={calls}", "-e", f"inject={calls}:error=EINTR:when=1+2"]
    command = ["strace", "-f", "-o", os.devnull, *rules, "-p", str(os.getpid())]
    if shutil.which("strace") is None:
        pytest.skip("no strace here")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        if "attached" not in tracer.stderr.readline():
            pytest.skip("strace is not permitted here")
        try:
            loaded, verified = handler.load_data(key), manager.verify(path)
            with handler.trajectory_writer("b", resume=True) as writer:
                writer.append(frames)
            keys, checkpoints = handler.keys("trajectory"), manager.list_checkpoints()
            handler.cleanup()
            assert is_local_filesystem(tmp_path) == is_local
        finally:
            tracer.terminate()
    assert (loaded["a"] == array).all()
    assert verified["ok"]
    assert keys == [handler.key_for("b")]
    assert len(handler.open("b")) == 8
    assert [one["checkpoint_id"] for one in checkpoints] == ["c"]


@pytest.mark.parametrize("begin", [store, remove, save])
def test_a_wait_for_a_lock_is_interrupted(tmp_path, begin):
    call = begin(tmp_path)
    with every_lock_held(tmp_path):
        assert stopped(call) < PROMPT
    call()


def test_looking_waits_for_no_lock(tmp_path):
    handler = DataHandler(tmp_path / "cache")
    key = handler.store_structure({"a": 1}, "x")
    manager = CheckpointManager(tmp_path / "checkpoints")
    path = manager.create_checkpoint("one", {"m": {"v": 1}})
    board = tmp_path / "board"
    ProgressTracker(checkpoint_dir=board).start_task("t", "T", 3).update()
    with every_lock_held(tmp_path):
        assert ProgressTracker.attach(board).get_progress()["completed_steps"] == 1
        assert handler.get_cache_stats()["structures"] == 1
        assert handler.load_data(key) == {"a": 1}
        assert handler.info(key)["data_id"] == "x"
        assert manager.latest() == path
        assert len(manager.list_checkpoints()) == 1


def test_ctrl_c_ends_a_program_in_the_middle_of_a_save(tmp_path):
    code = (
        "import sys, numpy as np\n"
        "from proteinflex_optimization import CheckpointManager\n"
        "manager = CheckpointManager(sys.argv[1])\n"
        "state = {'m': {'a': np.zeros(40_000_000)}}\n"
        "print('ready', flush=True)\n"
        "while True: manager.create_checkpoint('x', state)\n"
    )
    program = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert program.stdout.readline() == "ready\n"
        time.sleep(0.5)
        program.send_signal(signal.SIGINT)
        _, errors = program.communicate(timeout=60)
    finally:
        program.kill()
        program.communicate()
    assert errors.splitlines()[-1] == "KeyboardInterrupt"
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".tmp")]


def test_what_a_log_handler_raises_in_the_middle_of_a_long_call_is_raised(tmp_path):
    class Raising(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise StopError(record.getMessage())

    manager = CheckpointManager(tmp_path)
    path = Path(manager.create_checkpoint("one", {"m": {"v": 1}}))
    manager.create_checkpoint("two", {"m": {"v": 1}})
    (tmp_path / "two" / "values").unlink()
    logger, raising = logging.getLogger("proteinflex_optimization"), Raising()
    logger.addHandler(raising)
    try:
        with pytest.raises(StopError, match="two"):
            manager.latest()
    finally:
        logger.removeHandler(raising)
    assert manager.latest() == str(path)


def test_a_child_that_a_handler_forks_in_the_middle_of_a_call_does_not_hang(waiting):
    handler, call, release = waiting
    children = []

    def fork() -> None:
        children.append(os.fork())
        release()

    with handled(fork, after=1000):
        try:
            call()
            code = 0
        except RuntimeError as error:
            code = 7 if "forked" in str(error) else 1
        if children == [0]:
            os._exit(code)
    end = time.monotonic() + 60
    ended = (0, 0)
    while ended == (0, 0) and time.monotonic() < end:
        ended = os.waitpid(children[0], os.WNOHANG)
        time.sleep(0.01)
    if ended == (0, 0):
        os.kill(children[0], signal.SIGKILL)
        os.waitpid(children[0], 0)
    assert os.waitstatus_to_exitcode(ended[1]) == 7
    assert len(handler) == 2
