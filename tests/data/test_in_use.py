"""An entry that a process has open is evicted last, and stays readable there."""

import multiprocessing
import os
import shutil
import signal

import numpy as np
import pytest
from proteinflex_optimization import CorruptDataError, DataHandler, InvalidArgumentError

LIMIT = 0.001
CONTEXT = multiprocessing.get_context("spawn")


def frames(seed):
    return np.random.default_rng(seed).normal(size=(20, 1000, 3)).astype(np.float32)


def hold(directory, key, plain, ready, go):
    """Have a trajectory open, or an array of it, until told to read it."""
    trajectory = DataHandler(directory).open(key)
    held = np.asarray(trajectory) if plain else trajectory
    ready.set()
    go.wait(250)
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
    assert ready.wait(120)
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
    reader.join(120)
    assert reader.exitcode == 0, "it reads on"


def test_a_holder_that_was_killed_holds_nothing(tmp_path):
    handler = DataHandler(tmp_path, max_cache_size=LIMIT)
    oldest = store(handler, 0)
    ready, go = CONTEXT.Event(), CONTEXT.Event()
    reader = CONTEXT.Process(target=hold, args=(tmp_path, oldest, False, ready, go))
    reader.start()
    assert ready.wait(120)
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
    child.join(120)
    assert child.exitcode == 0


def test_a_forked_child_does_not_unlock_what_its_parent_has_locked(tmp_path):
    handler = DataHandler(tmp_path)
    writers = [handler.trajectory_writer("md")]
    writers[0].append(frames(0))
    child = multiprocessing.get_context("fork").Process(target=writers.clear)
    child.start()
    child.join(120)
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
    child.join(120)
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


@pytest.mark.parametrize("removed", ["*", "entries", "locks", "pins", "quarantine", "."])
def test_what_rm_removes_of_a_cache_in_use_is_made_again(tmp_path, removed):
    directory = tmp_path / "cache"
    handler = DataHandler(directory, max_cache_size=5)

    def remove():
        for path in [directory] if removed == "." else directory.glob(removed):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def write():
        with handler.trajectory_writer("writer", overwrite=True) as writer:
            writer.append(frames(1))

    def meet_damage():
        handler.store_structure({"a": 1}, "damaged")
        (path,) = directory.glob(f"entries/*/{handler.key_for('damaged', 'structure')}.fxt")
        path.write_bytes(path.read_bytes()[:-20])
        remove_but("entries")
        with pytest.raises(CorruptDataError):
            handler.load_data("damaged")
        assert "damaged" not in handler

    def remove_but(name):
        if removed not in ("*", name, "."):
            remove()

    calls = [
        lambda: handler.store_structure({"a": 1}, "structure"),
        lambda: store(handler, 1),
        lambda: handler.store_trajectory({"frames": iter(frames(1))}, "streamed"),
        lambda: handler.get_or_compute("computed", lambda: {"a": 2}),
        write,
        handler.clear,
        handler.cleanup,
        handler.get_cache_stats,
        lambda: handler.prune(1),
        handler.verify,
        meet_damage,
    ]
    for call in calls:
        handler.store_structure({"a": 0}, "first")
        remove()
        call()
    remove()
    handler.store_structure({"a": 1}, "pinned")
    remove_but("entries")
    handler.pin("pinned")
    handler.unpin("pinned")
    handler.remove("pinned")
    assert handler.get_cache_stats()["max_bytes"] == 5e9, "the limit stays"
    remove()
    store(handler, 1)
    assert DataHandler(directory).get_cache_stats()["max_bytes"] == 5e9


def test_what_leads_to_a_cache_in_use_is_not_made_again(tmp_path):
    # As where a file system was unmounted.
    handler = DataHandler(tmp_path / "mounted" / "cache")
    shutil.rmtree(tmp_path / "mounted")
    with pytest.raises(FileNotFoundError):
        handler.store_structure({"a": 1}, "x")
    assert not (tmp_path / "mounted").exists()


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
