"""The limit holds, for every process that shares the directory, and nothing is wrong meanwhile."""

import multiprocessing
import time

import numpy as np
import pytest
from proteinflex_optimization import (
    CacheFullError,
    CacheKeyError,
    DataHandler,
    InvalidArgumentError,
)

MEGABYTE = 1e-3
"""In GB, as `max_cache_size` is given."""


def array(seed, size=100_000):
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)


def ids(handler):
    return sorted(handler.info(key)["data_id"] for key in handler.keys(None))


def test_ten_times_the_limit_never_exceeds_it(tmp_path):
    handler = DataHandler(tmp_path, max_cache_size=MEGABYTE)
    for seed in range(100):
        handler.store_structure({"x": array(seed)}, str(seed))
        stats = handler.get_cache_stats()
        assert stats["used_bytes"] <= stats["max_bytes"] == 1_000_000
        assert stats["usage_percent"] == pytest.approx(stats["used_bytes"] / 1e4)
    assert "99" in ids(handler)
    assert stats["evictions"] == 100 - stats["entries"]


def test_a_load_by_another_process_counts_as_a_use(tmp_path):
    handler = DataHandler(tmp_path, max_cache_size=0.35 * MEGABYTE)
    keys = [handler.store_structure({"x": array(seed)}, str(seed)) for seed in range(3)]
    context = multiprocessing.get_context("spawn")
    loader = context.Process(target=load, args=(str(tmp_path), keys[0]))
    loader.start()
    loader.join()
    assert loader.exitcode == 0
    handler.store_structure({"x": array(3)}, "3")
    assert ids(handler) == ["0", "2", "3"]


def load(directory, key):
    DataHandler(directory).load_data(key)


def test_pinned_entries_stay_and_what_does_not_fit_beside_them_is_refused(tmp_path):
    handler = DataHandler(tmp_path, max_cache_size=MEGABYTE)
    keys = [handler.store_structure({"x": array(seed)}, str(seed)) for seed in range(8)]
    for key in keys:
        handler.pin(key)
    assert handler.get_cache_stats()["pinned_bytes"] >= 800_000
    with pytest.raises(CacheFullError, match="pinned"):
        handler.store_structure({"x": array(9, 400_000)}, "too much")
    assert ids(handler) == [str(seed) for seed in range(8)]
    handler.unpin(keys[3])
    handler.store_structure({"x": array(9, 200_000)}, "fits")
    assert ids(handler) == ["0", "1", "2", "4", "5", "6", "7", "fits"]


def test_an_entry_larger_than_the_limit_removes_nothing(tmp_path):
    handler = DataHandler(tmp_path, max_cache_size=MEGABYTE)
    handler.store_structure({"x": array(1)}, "small")
    with pytest.raises(CacheFullError, match="max_cache_size"):
        handler.store_structure({"x": array(2, 2_000_000)}, "large")
    assert ids(handler) == ["small"]


def test_the_limit_belongs_to_the_directory(tmp_path):
    assert DataHandler(tmp_path / "new").get_cache_stats()["max_bytes"] == 100 * 10**9
    first = DataHandler(tmp_path, max_cache_size=2.5)
    assert DataHandler(tmp_path).get_cache_stats()["max_bytes"] == 2_500_000_000
    DataHandler(tmp_path, max_cache_size=100.0)
    assert first.get_cache_stats()["max_bytes"] == 100 * 10**9


@pytest.mark.parametrize("size", [0, -1, float("nan"), float("inf"), "1", True])
def test_a_limit_that_is_none_is_refused(tmp_path, size):
    with pytest.raises(InvalidArgumentError, match="max_cache_size"):
        DataHandler(tmp_path / "cache", max_cache_size=size)
    assert not (tmp_path / "cache").exists()


def test_entries_are_evicted_as_a_trajectory_that_is_being_written_grows(tmp_path):
    handler = DataHandler(tmp_path, max_cache_size=MEGABYTE)
    for seed in range(8):
        handler.store_structure({"x": array(seed)}, str(seed))
    frames = np.random.default_rng(1).normal(size=(20, 1000, 3)).astype(np.float32)
    writer = handler.trajectory_writer("md")
    for _ in range(4):
        writer.append(frames)
        writer.flush()
        # Frames that were flushed early are written again with those that follow them.
        assert handler.get_cache_stats()["used_bytes"] <= 1_000_000 + frames.nbytes
    with pytest.raises(CacheFullError) as caught:
        append_for_ever(writer, frames)
    assert "nothing was removed" not in str(caught.value), "others were evicted for it"
    writer.suspend()
    assert set(ids(handler)) <= {"7"}, "the oldest went first"
    DataHandler(tmp_path, max_cache_size=10 * MEGABYTE)
    with handler.trajectory_writer("md", resume=True) as writer:
        assert writer.n_frames >= 40
        kept = writer.n_frames
    assert handler.open(handler.key_for("md")).n_frames == kept


def append_for_ever(writer, frames):
    while True:
        writer.append(frames)


def test_processes_that_store_load_and_evict_at_once_read_nothing_wrong(tmp_path):
    """Four processes on one directory that holds a fifth of what they store."""
    DataHandler(tmp_path, max_cache_size=MEGABYTE)
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    workers = [
        context.Process(target=work, args=(str(tmp_path), seed, results)) for seed in range(4)
    ]
    for worker in workers:
        worker.start()
    handler = DataHandler(tmp_path)
    most = 0
    while any(worker.is_alive() for worker in workers):
        most = max(most, handler.get_cache_stats()["used_bytes"])
        time.sleep(0.01)
    found = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert most <= 1_000_000
    loads, evictions = (sum(column) for column in zip(*found, strict=True))
    assert loads > 50
    assert evictions > 50
    assert handler.verify()["ok"]
    assert handler.get_cache_stats()["corrupt"] == 0


def work(directory, seed, results):
    handler = DataHandler(directory)
    random = np.random.default_rng(seed)
    loads = 0
    until = time.monotonic() + 2
    # On a busy machine for longer.
    while time.monotonic() < until or loads < 15 or handler.get_cache_stats()["evictions"] < 15:
        data_id = int(random.integers(50))
        stored = np.full(100_000, data_id, np.uint8)
        stored[:50_000] = array(data_id, 50_000)
        if random.random() < 0.5:
            handler.store_structure({"x": stored, "id": data_id}, str(data_id))
        try:
            found = handler.load_data(handler.key_for(str(data_id), kind="structure"))
        except CacheKeyError:
            continue
        loads += 1
        assert found["id"] == data_id
        np.testing.assert_array_equal(found["x"], stored)
    results.put((loads, handler.get_cache_stats()["evictions"]))
