"""An entry that a process has open is evicted last, and stays readable there."""

import multiprocessing
import os
import signal

import numpy as np
import pytest
from proteinflex_optimization import DataHandler, InvalidArgumentError

LIMIT = 0.001
CONTEXT = multiprocessing.get_context("spawn")


def frames(seed):
    return np.random.default_rng(seed).normal(size=(20, 1000, 3)).astype(np.float32)


def hold(directory, key, plain, ready, go):
    """Have a trajectory open, or an array of it, until told to read it."""
    trajectory = DataHandler(directory).open(key)
    held = np.asarray(trajectory) if plain else trajectory
    ready.set()
    go.wait(60)
    np.testing.assert_array_equal(held[:], frames(0))


def store(handler, number):
    return handler.store_trajectory({"frames": frames(number)}, str(number))


@pytest.mark.parametrize("plain", [False, True], ids=["handle", "memory map"])
def test_an_entry_that_another_process_has_open_is_evicted_only_if_others_do_not_suffice(
    tmp_path, plain
):
    handler = DataHandler(tmp_path, max_cache_size=LIMIT, enable_compression=not plain)
    oldest = store(handler, 0)
    ready, go = CONTEXT.Event(), CONTEXT.Event()
    reader = CONTEXT.Process(target=hold, args=(tmp_path, oldest, plain, ready, go))
    reader.start()
    assert ready.wait(60)
    for number in range(1, 12):
        store(handler, number)
    assert oldest in handler, "others could be evicted"
    assert handler.key_for("1") not in handler
    pinned = set(handler.keys()) - {oldest}
    for key in pinned:
        handler.pin(key)
    newest = store(handler, 12)
    assert set(handler.keys()) == pinned | {newest}, "only the open entry could be evicted"
    go.set()
    reader.join(60)
    assert reader.exitcode == 0, "it reads on"


def test_a_holder_that_was_killed_holds_nothing(tmp_path):
    handler = DataHandler(tmp_path, max_cache_size=LIMIT)
    oldest = store(handler, 0)
    ready, go = CONTEXT.Event(), CONTEXT.Event()
    reader = CONTEXT.Process(target=hold, args=(tmp_path, oldest, False, ready, go))
    reader.start()
    assert ready.wait(60)
    os.kill(reader.pid, signal.SIGKILL)
    reader.join()
    for number in range(1, 8):
        store(handler, number)
    assert oldest not in handler


def test_a_handle_that_was_closed_holds_nothing(tmp_path):
    handler = DataHandler(tmp_path, max_cache_size=LIMIT)
    oldest = store(handler, 0)
    trajectory = handler.open(oldest)
    for number in range(1, 8):
        store(handler, number)
    assert oldest in handler
    del trajectory
    for number in range(8, 14):
        store(handler, number)
    assert oldest not in handler


def test_a_forked_child_holds_what_its_parent_had_open(tmp_path):
    handler = DataHandler(tmp_path, max_cache_size=LIMIT)
    oldest = store(handler, 0)
    trajectory = handler.open(oldest)
    pipe, child_end = multiprocessing.Pipe()
    open_ones = [trajectory]
    child = multiprocessing.get_context("fork").Process(
        target=read_when_told, args=(child_end, open_ones)
    )
    child.start()
    open_ones.clear()
    del trajectory
    for number in range(1, 8):
        store(handler, number)
    assert oldest in handler
    pipe.send(True)
    child.join(60)
    assert child.exitcode == 0


def test_a_forked_child_does_not_unlock_what_its_parent_has_locked(tmp_path):
    handler = DataHandler(tmp_path)
    writers = [handler.trajectory_writer("md")]
    writers[0].append(frames(0))
    child = multiprocessing.get_context("fork").Process(target=writers.clear)
    child.start()
    child.join(60)
    assert child.exitcode == 0
    with pytest.raises(InvalidArgumentError, match="other writer"):
        handler.trajectory_writer("md")
    writers[0].close()


def read_when_told(pipe, open_ones):
    pipe.recv()
    np.testing.assert_array_equal(open_ones[0][:], frames(0))


def test_orphaned_temporary_files_are_removed_before_anything_is_evicted(tmp_path):
    handler = DataHandler(tmp_path, max_cache_size=LIMIT, enable_compression=False)
    child = multiprocessing.get_context("fork").Process(target=die_storing, args=(handler,))
    child.start()
    child.join(60)
    (left,) = tmp_path.glob("entries/*/.*.tmp")
    assert left.stat().st_size > 700_000
    assert handler.get_cache_stats()["used_bytes"] > 700_000, "it counts"
    keys = [store(handler, number) for number in range(4)]
    assert all(key in handler for key in keys)
    assert not left.exists()


def die_storing(handler):
    def blocks():
        yield from (frames(number) for number in range(4))
        os.kill(os.getpid(), signal.SIGKILL)

    handler.store_trajectory({"frames": blocks()}, "dies")


def test_more_handles_than_files_may_be_open_are_no_error(tmp_path):
    import resource

    handler = DataHandler(tmp_path)
    key = store(handler, 0)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    try:
        handles = [handler.open(key) for _ in range(500)]
        for handle in handles[::100]:
            np.testing.assert_array_equal(handle[:], frames(0))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
