"""Caches behind a cache: what is found there is kept here, and nothing is changed there."""

import errno
import shutil
import tempfile
import time

import numpy as np
import pytest
from proteinflex_optimization import CacheKeyError, DataHandler, InvalidArgumentError
from proteinflex_optimization.remote import tier
from proteinflex_optimization.remote.entries import Download
from remote.upstreams import (
    FRAMES,
    Source,
    send,
    state_of,
    upstream_at,
    warnings_of,
)
from waiting import until


@pytest.mark.parametrize("kind", ["directory", "s3", "http"])
def test_a_miss_is_found_upstream_and_kept_here(kind, tmp_path, local, request):
    shared = upstream_at(tmp_path / "shared")
    if kind == "s3":
        bucket = request.getfixturevalue("bucket")
        send(bucket, shared, "group/cache")
        shared = f"{bucket.url}/group/cache/"
    elif kind == "http":
        server = request.getfixturevalue("http_server")
        shutil.copytree(shared, server.directory / "cache")
        shared = f"{server.url}/cache"
    handler = DataHandler(local, upstream=[shared])
    key = handler.key_for("run")

    assert key in handler
    assert "run" in handler
    assert "other" not in handler
    assert handler.keys() == [], "a look keeps nothing"
    loaded = handler.load_data("run")
    np.testing.assert_array_equal(loaded["frames"], FRAMES)
    assert loaded["note"] == "run"
    assert handler.info("run")["metadata"] == {"of": "run"}
    np.testing.assert_array_equal(handler["crystal"]["positions"], FRAMES[0])
    assert set(handler.keys()) == {key, handler.key_for("crystal", "structure")}

    (stats,) = handler.get_cache_stats()["upstream"]
    assert (stats["hits"], stats["misses"], stats["errors"]) == (2, 1, 0), "only of 'other'"
    assert stats["available"]
    assert stats["bytes"] == sum(handler.info(key)["stored_bytes"] for key in handler)
    alone = DataHandler(local)
    np.testing.assert_array_equal(alone.load_data(key)["frames"], FRAMES)
    assert alone.verify()["ok"]
    with pytest.raises(CacheKeyError, match='nothing is stored under "other"'):
        handler.load_data("other")
    assert handler.get_cache_stats()["upstream"][0]["misses"] == 2


def test_tiers_are_asked_in_order_and_only_for_what_is_not_here(tmp_path, local):
    first = Source(upstream_at(tmp_path / "first", ["a"]))
    second = Source(upstream_at(tmp_path / "second", ["a", "b"], FRAMES + 1))
    handler = DataHandler(local, upstream=[first, second])
    np.testing.assert_array_equal(handler.load_data("a")["frames"], FRAMES)
    assert second.heads == 0
    np.testing.assert_array_equal(handler.load_data("b")["frames"], FRAMES + 1)
    handler.store_trajectory({"frames": FRAMES + 2}, "c")
    asked = first.heads, second.heads
    for data_id, added in (("a", 0), ("b", 1), ("c", 2)):
        np.testing.assert_array_equal(handler.load_data(data_id)["frames"], FRAMES + added)
        assert data_id in handler
    assert (first.heads, second.heads) == asked


def test_nothing_is_written_to_a_directory_upstream(tmp_path, local):
    shared = upstream_at(tmp_path / "shared")
    # As copied, without the folders that were empty.
    for folder in ("pins", "locks", "quarantine"):
        shutil.rmtree(shared / folder)
    before = state_of(shared)
    handler = DataHandler(local, upstream=shared)
    with handler.open("run") as trajectory:
        np.testing.assert_array_equal(trajectory.read(atoms=[3]), FRAMES[:, [3]])
    until(handler.keys)
    handler.load_data("crystal")
    assert "crystal" in handler
    assert "other" not in handler
    handler.cleanup()
    handler.clear()
    assert state_of(shared) == before


def test_what_does_not_fit_here_is_loaded_all_the_same(tmp_path, local, caplog):
    shared = upstream_at(tmp_path / "shared")
    handler = DataHandler(local, max_cache_size=10e-6, upstream=[shared])
    handler.store_structure({"x": np.arange(9)}, "mine")
    np.testing.assert_array_equal(handler.load_data("run")["frames"], FRAMES)
    assert handler.info("run")["data_id"] == "run"
    assert handler.keys() == [handler.key_for("mine", "structure")], "and nothing was evicted"
    assert "is not kept" in warnings_of(caplog)[0]
    stats = handler.get_cache_stats()
    assert stats["used_bytes"] <= stats["max_bytes"]


def test_what_fits_neither_here_nor_into_the_temporary_directory_is_an_error(
    tmp_path, local, monkeypatch
):
    handler = DataHandler(local, max_cache_size=10e-6, upstream=[upstream_at(tmp_path / "shared")])

    def write(self, *_):
        raise OSError(errno.ENOSPC, "No space left on device", self._path)

    monkeypatch.setattr(Download, "_write", write)
    for call in (
        handler.load_data,
        handler.info,
        lambda name: handler.get_or_compute(name, lambda: pytest.fail("again"), kind="trajectory"),
    ):
        with pytest.raises(OSError, match="No space left") as raised:
            call("run")
        assert raised.value.errno == errno.ENOSPC
        assert raised.value.filename.startswith(tempfile.gettempdir())


def test_what_is_kept_makes_space_within_the_limit(tmp_path, local):
    ids = [f"run{number}" for number in range(8)]
    shared = upstream_at(tmp_path / "shared", ids)
    size = DataHandler(shared).info("run0")["stored_bytes"]
    handler = DataHandler(local, max_cache_size=3.5 * size / 1e9, upstream=[shared])
    for data_id in ids:
        np.testing.assert_array_equal(handler.load_data(data_id)["frames"], FRAMES)
        assert handler.get_cache_stats()["used_bytes"] <= 3.5 * size
    assert handler.key_for("run7") in set(handler.keys())


def test_a_read_only_handler_reads_through_and_keeps_nothing(tmp_path, local, caplog):
    shared = upstream_at(tmp_path / "shared")
    DataHandler(local)
    before = state_of(local)
    handler = DataHandler(local, read_only=True, upstream=[shared])
    np.testing.assert_array_equal(handler.load_data("run")["frames"], FRAMES)
    np.testing.assert_array_equal(handler.open("run")[3], FRAMES[3])
    assert handler.info("run")["n_frames"] == 40
    time.sleep(0.1)
    assert state_of(local) == before
    assert warnings_of(caplog) == []


def test_an_unfinished_trajectory_here_gets_no_finished_one_beside_it(tmp_path, local):
    shared = upstream_at(tmp_path / "shared")
    handler = DataHandler(local, upstream=[shared])
    writer = handler.trajectory_writer("run")
    writer.append(FRAMES[:5])
    writer.suspend()
    np.testing.assert_array_equal(handler.load_data("run")["frames"], FRAMES)
    with handler.trajectory_writer("run", resume=True) as writer:
        assert writer.n_frames == 5
        writer.append(FRAMES[5:7])
    np.testing.assert_array_equal(handler.load_data("run")["frames"], FRAMES[:7])


def test_open_of_a_miss_reads_what_is_asked_for_and_keeps_all_in_the_background(
    local, tmp_path, bucket, monkeypatch
):
    frames = np.random.default_rng(3).normal(size=(2000, 100, 3)).astype(np.float32)
    shared = upstream_at(tmp_path / "shared", frames=frames)
    send(bucket, shared, "cache")
    handler = DataHandler(local, upstream=[f"{bucket.url}/cache"])
    with monkeypatch.context() as patched:
        patched.setattr(handler._tiers, "promote", lambda *_: None)
        bucket.gate.forget()
        with handler.open("run") as trajectory:
            np.testing.assert_array_equal(trajectory[7], frames[7])
        sent = sum(request["sent"] for request in bucket.gate.requests())
        assert sent < DataHandler(shared).info("run")["stored_bytes"] / 4
    assert handler.keys() == []
    with handler.open("run") as trajectory, handler.open("run") as second:
        until(handler.keys)
        np.testing.assert_array_equal(trajectory[-1], frames[-1])
        np.testing.assert_array_equal(second[-1], frames[-1])
    size = handler.info("run")["stored_bytes"]
    # It is counted once it is there.
    until(lambda: handler.get_cache_stats()["upstream"][0]["bytes"] >= size)
    (stats,) = handler.get_cache_stats()["upstream"]
    assert stats["bytes"] == size, "it was copied once"
    bucket.gate.forget()
    np.testing.assert_array_equal(handler.open("run")[0], frames[0])
    assert bucket.gate.requests() == []
    assert DataHandler(local).verify()["ok"]


def test_open_prefers_a_trajectory_upstream_to_a_structure_here(tmp_path, local):
    shared = upstream_at(tmp_path / "shared", ["crystal"])
    handler = DataHandler(local, upstream=[shared])
    handler.store_structure({"x": 1}, "crystal")
    assert len(handler.open("crystal")) == 40
    with pytest.raises(InvalidArgumentError, match="structure"):
        DataHandler(local, upstream=[tmp_path]).open(handler.key_for("crystal", "structure"))
    both = DataHandler(tmp_path / "other", upstream=[shared])
    with pytest.raises(InvalidArgumentError, match="may mean more than one entry"):
        both.load_data("crystal")
    assert "crystal" in both


@pytest.mark.parametrize("method", ["open", "info", "load_data", "__getitem__"])
def test_an_exact_name_upstream_comes_before_the_beginning_of_a_key_here(method, tmp_path, local):
    name = DataHandler(local).store_trajectory({"frames": FRAMES[:3]}, "other")[:9]
    having = upstream_at(tmp_path / "having", [name])
    lacking = upstream_at(tmp_path / "lacking")

    def n_frames(upstream):
        found = getattr(DataHandler(local, upstream=[upstream]), method)(name)
        return {"open": len, "info": lambda info: info["n_frames"]}.get(
            method, lambda data: len(data["frames"])
        )(found)

    assert n_frames(lacking) == 3
    assert n_frames(having) == 40


def test_computed_values_are_taken_from_upstream(tmp_path, local):
    shared = DataHandler(tmp_path / "shared")

    def double(x):
        return {"value": 2 * x}

    assert shared.memoize(double)(21) == {"value": 42}
    shared.get_or_compute("one", lambda: {"x": 1})
    handler = DataHandler(local, upstream=[shared.cache_dir])
    before = handler.get_cache_stats()["upstream"][0]["hits"]
    assert handler.memoize(double)(21) == {"value": 42}
    assert handler.get_or_compute("one", lambda: pytest.fail("it was computed")) == {"x": 1}
    assert handler.get_cache_stats()["upstream"][0]["hits"] == before + 2
    assert handler.get_or_compute("two", lambda: {"x": 2}) == {"x": 2}
    with pytest.raises(InvalidArgumentError):
        handler.get_or_compute("", lambda: {})
    with pytest.raises(InvalidArgumentError):
        handler.get_or_compute("one", lambda: {}, kind="what")


def test_no_message_of_a_tier_has_credentials(local, caplog):
    url = "http://user:s3cr3t@127.0.0.1:9/cache?signature=s3cr3t"
    handler = DataHandler(local, upstream=[url])
    handler._tiers.tiers[0].head = lambda key: None  # Nobody listens; do not wait for retries.
    assert "s3cr3t" not in repr(handler.get_cache_stats())
    broken = tier.Tier(handler._tiers.tiers[0].source)
    broken.failed(OSError(f"cannot get {url}"))
    broken.damaged(tier.ObjectInfo("entries/x", 1, None, None), OSError(f"cannot get {url}"))
    assert len(caplog.records) == 2
    assert "s3cr3t" not in caplog.text


def test_wrong_upstreams_are_refused_before_anything_is_made(tmp_path):
    for wrong, expected in (
        ([3], "upstream has an item of type int"),
        (None, "upstream is of type NoneType"),
        (DataHandler(tmp_path / "other"), "expected its directory"),
        ([""], "expected the path of a cache directory"),
        (["http://[::1/x"], "http://"),
        (["ftp://example.org/x"], "expected s3://"),
        (["s3://"], "expected a bucket"),
    ):
        with pytest.raises(InvalidArgumentError, match=expected):
            DataHandler(tmp_path / "new", upstream=wrong)
    assert not (tmp_path / "new").exists()
