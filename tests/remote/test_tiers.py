"""Caches behind a cache: what is found there is kept here, and what fails there is no error here."""

import contextlib
import errno
import logging
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from proteinflex_optimization import (
    CacheKeyError,
    DataHandler,
    InvalidArgumentError,
    InvalidTypeError,
)
from proteinflex_optimization.remote import tier, tiers
from proteinflex_optimization.remote.directory_store import DirectoryStore
from proteinflex_optimization.remote.entries import Download, object_name
from proteinflex_optimization.remote.stores import open_store

FRAMES = np.random.default_rng(7).normal(0, 9, (40, 30, 3)).astype(np.float32)
FOREVER = 1000.0
"""Seconds after which pytest has long ended a test."""


def upstream_at(directory: Path, ids=("run",), frames=FRAMES) -> Path:
    """Make a cache with a trajectory for each id, and a structure."""
    handler = DataHandler(directory, durable=False)
    for data_id in ids:
        handler.store_trajectory({"frames": frames, "note": data_id}, data_id, {"of": data_id})
    handler.store_structure({"positions": FRAMES[0]}, "crystal")
    return directory


def state_of(directory: Path) -> dict[str, tuple[int, ...]]:
    """Return what a change of anything in a directory changes."""
    found = {path: path.lstat() for path in [directory, *directory.rglob("*")]}
    return {
        str(path): (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        for path, stat in found.items()
    }


def send(bucket, directory: Path, prefix: str) -> None:
    """Copy a cache directory into a bucket, as `aws s3 sync` does."""
    for path in directory.rglob("*"):
        if path.is_file():
            bucket.put(f"{prefix}/{path.relative_to(directory).as_posix()}", path.read_bytes())


def damage(directory: Path, key: str) -> None:
    """Flip a byte in the middle of an entry."""
    path = directory / object_name(key)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def entry_keys(directory: Path) -> set[str]:
    return set(DataHandler(directory, read_only=True).keys())


def wait_until(condition, seconds=60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def warnings_of(caplog) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]


@pytest.fixture
def local(tmp_path: Path) -> Path:
    return tmp_path / "local"


class Source:
    """A source that behaves as told."""

    url = "test://tier"

    def __init__(self, directory: Path | None = None, seconds: float = 0.0, error=None) -> None:
        self.directory, self.seconds, self.error = directory, seconds, error
        self.heads = self.reads = 0
        self.released = threading.Event()

    def head(self, name):
        self.heads += 1
        return self._ask().head(name)

    def read(self, *request):
        self.reads += 1
        return self._ask().read(*request)

    def list(self, prefix=""):
        return iter(())

    def _ask(self):
        self.released.wait(self.seconds)
        if self.error is not None:
            raise self.error
        return DirectoryStore(self.directory)


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
    assert stats["hits"] == 2
    assert stats["errors"] == 0
    assert stats["available"]
    assert stats["bytes"] == sum(handler.info(key)["stored_bytes"] for key in handler)
    alone = DataHandler(local)
    np.testing.assert_array_equal(alone.load_data(key)["frames"], FRAMES)
    assert alone.verify()["ok"]
    with pytest.raises(CacheKeyError, match='nothing is stored under "other"'):
        handler.load_data("other")


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
    wait_until(handler.keys)
    handler.load_data("crystal")
    assert "crystal" in handler
    assert "other" not in handler
    handler.cleanup()
    handler.clear()
    assert state_of(shared) == before


def test_a_damaged_entry_upstream_is_named_and_never_kept(tmp_path, local, caplog):
    bad, good = upstream_at(tmp_path / "bad"), upstream_at(tmp_path / "good")
    key = DataHandler(bad).key_for("run")
    damage(bad, key)
    handler = DataHandler(local, upstream=[bad])
    for _ in range(3):
        with pytest.raises(CacheKeyError):
            handler.load_data(key)
    (message,) = warnings_of(caplog)
    assert f"{bad}/{object_name(key)} is not used: {bad}/{object_name(key)}: " in message
    assert "is damaged" in message
    assert handler.keys() == []
    assert not list((local / "entries").rglob("*.fxt*"))
    (stats,) = handler.get_cache_stats()["upstream"]
    assert (stats["errors"], stats["hits"], stats["bytes"]) == (1, 0, 0)

    handler = DataHandler(local, upstream=[bad, good])
    np.testing.assert_array_equal(handler.load_data(key)["frames"], FRAMES)
    assert handler.verify(key)["ok"]


@pytest.mark.parametrize("kind", ["other key", "cut", "empty", "not an entry"])
def test_a_hostile_object_upstream_is_never_kept(kind, tmp_path, local, caplog):
    shared = upstream_at(tmp_path / "shared", ["run", "other"])
    handler = DataHandler(local, upstream=shared)
    key = handler.key_for("run")
    path = shared / object_name(key)
    other = (shared / object_name(handler.key_for("other"))).read_bytes()
    whole = path.read_bytes()
    path.write_bytes(
        {"other key": other, "cut": whole[:-70], "empty": b"", "not an entry": b"<html>" * 99}[kind]
    )
    with pytest.raises(CacheKeyError):
        handler.load_data("run")
    with pytest.raises(CacheKeyError):
        handler.open("run")
    assert handler.keys() == []
    assert len(warnings_of(caplog)) == 1
    path.write_bytes(whole)
    np.testing.assert_array_equal(handler.load_data("run")["frames"], FRAMES)


def test_a_tier_that_is_gone_is_one_warning_and_is_asked_again_later(
    tmp_path, local, caplog, monkeypatch
):
    shared = tmp_path / "mount" / "shared"
    handler = DataHandler(local, upstream=[shared])
    for number in range(50):
        assert f"run{number}" not in handler
    (message,) = warnings_of(caplog)
    assert str(shared) in message
    assert "is its file system mounted?" in message
    (stats,) = handler.get_cache_stats()["upstream"]
    assert (stats["errors"], stats["misses"], stats["available"]) == (1, 0, False)
    handler.store_trajectory({"frames": FRAMES}, "mine")
    np.testing.assert_array_equal(handler.load_data("mine")["frames"], FRAMES)

    upstream_at(shared)
    assert "run" not in handler, "it is left alone"
    monkeypatch.setattr(tier, "LEFT_ALONE_SECONDS", 0.0)
    handler = DataHandler(tmp_path / "local2", upstream=[tmp_path / "none", shared])
    np.testing.assert_array_equal(handler.load_data("run")["frames"], FRAMES)
    assert handler.get_cache_stats()["upstream"][1]["hits"] == 1


def test_a_slow_tier_is_bounded_by_its_time_out_and_left_alone(
    tmp_path, local, caplog, monkeypatch
):
    monkeypatch.setattr(tier, "LOOKUP_SECONDS", 2.0)
    monkeypatch.setattr(tier, "LEFT_ALONE_SECONDS", 1000.0)
    shared = upstream_at(tmp_path / "shared")
    slow = Source(shared, seconds=FOREVER)
    handler = DataHandler(local, upstream=[slow, shared])
    for _ in range(20):
        handler.load_data("run")
        handler.remove("run")
    slow.released.set()
    assert slow.heads == 1
    assert sum("does not work and is left alone" in text for text in warnings_of(caplog)) == 1


def test_a_tier_that_stalls_within_an_entry_is_passed_over(tmp_path, local, caplog, monkeypatch):
    monkeypatch.setattr(tiers, "READ_SECONDS", 2.0)
    shared = upstream_at(tmp_path / "shared")

    class Stalls(Source):
        def read(self, *request):
            self.released.wait(FOREVER)
            return super().read(*request)

    stalls = Stalls(shared)
    handler = DataHandler(local, upstream=[stalls, shared])
    np.testing.assert_array_equal(handler.load_data("run")["frames"], FRAMES)
    stalls.released.set()
    (message,) = warnings_of(caplog)
    assert "no answer within 2 s" in message


@pytest.mark.parametrize("error", [OSError(5, "broken"), RuntimeError("odd"), PermissionError(13)])
def test_whatever_a_tier_raises_is_a_plain_miss(error, local, caplog):
    handler = DataHandler(local, upstream=[Source(error=error)])
    with pytest.raises(CacheKeyError):
        handler.load_data("run")
    with pytest.raises(CacheKeyError):
        handler.open("run")
    assert "run" not in handler
    assert handler.get_or_compute("one", lambda: {"x": 1}) == {"x": 1}
    assert len(warnings_of(caplog)) == 1


def test_the_error_of_a_miss_names_the_tiers_that_were_not_asked(tmp_path, local):
    shared = upstream_at(tmp_path / "shared")
    handler = DataHandler(local, upstream=[shared, Source(error=OSError(5, "broken"))])
    assert "other" not in handler
    for call in (handler.load_data, handler.info, handler.open):
        with pytest.raises(CacheKeyError, match=r"may be in test://tier, which does not work"):
            call("other")
    with pytest.raises(CacheKeyError, match="evicted or removed$"):
        DataHandler(local, upstream=[shared]).load_data("other")


def test_an_entry_that_is_refused_or_no_file_does_not_make_the_others_be_left_alone(
    tmp_path, local, caplog
):
    shared = upstream_at(tmp_path / "shared", ["a", "b", "c"])

    class Refuses(Source):
        def head(self, name):
            if self.refused in name:
                raise PermissionError(13, "access is denied")
            return super().head(name)

    source = Refuses(shared)
    handler = DataHandler(local, upstream=[source])
    source.refused = handler.key_for("a")
    path = shared / object_name(handler.key_for("c"))
    path.rename(path.with_suffix(".moved"))
    path.symlink_to(path.with_suffix(".moved"))
    for _ in range(3):
        assert "a" not in handler
        assert "c" not in handler
        np.testing.assert_array_equal(handler.load_data("b")["frames"], FRAMES)
        handler.remove("b")
    (message,) = warnings_of(caplog)
    assert "refuses" in message


def test_an_entry_that_is_replaced_while_it_is_read_is_read_again(tmp_path, local, caplog):
    shared = upstream_at(tmp_path / "shared")

    class Replaced(Source):
        def read(self, *request):
            if self.reads == 0:
                upstream_at(shared, frames=FRAMES + 1)
            return super().read(*request)

    handler = DataHandler(local, upstream=[Replaced(shared)])
    np.testing.assert_array_equal(handler.load_data("run")["frames"], FRAMES + 1)
    assert warnings_of(caplog) == []


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
        wait_until(handler.keys)
        np.testing.assert_array_equal(trajectory[-1], frames[-1])
        np.testing.assert_array_equal(second[-1], frames[-1])
    size = handler.info("run")["stored_bytes"]
    # It is counted once it is there.
    wait_until(lambda: handler.get_cache_stats()["upstream"][0]["bytes"] >= size)
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


def test_an_entry_that_many_threads_miss_is_read_once(tmp_path, local):
    source = Source(upstream_at(tmp_path / "shared"), seconds=0.05)
    handler = DataHandler(local, upstream=[source])
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(handler.load_data("run")["frames"]))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert all(np.array_equal(frames, FRAMES) for frames in found)
    assert source.reads == 1


def test_a_forked_child_goes_on_with_the_tiers_it_can_use(tmp_path, local, bucket):
    """A store's threads are not in the child; that is a plain miss there, and never a hang."""
    shared = upstream_at(tmp_path / "shared")
    send(bucket, upstream_at(tmp_path / "remote", ["far"]), "cache")
    handler = DataHandler(local, upstream=[f"{bucket.url}/cache", shared])
    handler.load_data("far")
    handler.remove("far")
    with handler._tiers._guard:  # As if another thread had it.
        child = os.fork()
        if child == 0:
            status = 1
            with contextlib.suppress(BaseException):
                assert np.array_equal(handler.load_data("run")["frames"], FRAMES)
                assert "far" not in handler
                status = 0
            os._exit(status)
    end = time.monotonic() + 60
    while (done := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if time.monotonic() > end:
            os.kill(child, 9)
        time.sleep(0.01)
    assert done[1] == 0


def test_a_handler_pickles_with_its_upstreams_and_without_credentials(tmp_path, local):
    shared = upstream_at(tmp_path / "shared")
    url = "https://user:s3cr3t@example.org/cache"
    handler = DataHandler(local, upstream=[shared, url], precision=0.01)
    pickled = pickle.dumps(handler)
    assert b"s3cr3t" not in pickled
    other = pickle.loads(pickled)
    assert [one["url"] for one in other.get_cache_stats()["upstream"]] == [
        str(shared),
        "https://example.org/cache",
    ]
    np.testing.assert_array_equal(other.load_data("run")["frames"], FRAMES)
    assert pickle.loads(pickle.dumps(DataHandler(local))).get_cache_stats()["upstream"] == []
    from obstore.store import MemoryStore

    for place in ("some/path", "s3://bucket/path"):
        given = DataHandler(local, upstream=[open_store(place, MemoryStore())])
        with pytest.raises(InvalidTypeError, match="pickled"):
            pickle.dumps(given)


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


BACKGROUND = """
import sys, time
import proteinflex_optimization.remote.entries as entries
from proteinflex_optimization import DataHandler
from proteinflex_optimization.remote.directory_store import DirectoryStore
entries.PIECE = 4096
entries.IN_FLIGHT = 1
class Slow(DirectoryStore):
    def read(self, *request):
        time.sleep(0.5)
        return super().read(*request)
local, shared = sys.argv[1:]
handler = DataHandler(local, upstream=[Slow(shared)])
print(len(handler.open("run")), flush=True)
time.sleep(0.2)
"""


def test_the_end_of_the_program_ends_a_promotion_and_leaves_nothing(tmp_path, local):
    frames = np.random.default_rng(1).normal(size=(2000, 60, 3)).astype(np.float32)
    shared = upstream_at(tmp_path / "shared", frames=frames)
    done = subprocess.run(
        [sys.executable, "-c", BACKGROUND, str(local), str(shared)],
        capture_output=True,
        text=True,
        timeout=100,  # At its pace the copy would take 150 s.
        check=True,
    )
    assert done.stdout == "2000\n"
    assert done.stderr == ""
    assert not [path for path in (local / "entries").rglob("*") if path.is_file()]


SILENT = """
import socket, sys
from proteinflex_optimization import DataHandler
from proteinflex_optimization.remote import tier
tier.LOOKUP_SECONDS = 0.5
listening = socket.create_server(("127.0.0.1", 0))
url = f"http://127.0.0.1:{listening.getsockname()[1]}"
handler = DataHandler(sys.argv[1], upstream=[url])
print("run" in handler, handler.get_cache_stats()["upstream"][0]["errors"])
"""


def test_a_tier_that_never_answers_does_not_keep_the_program_from_ending(local):
    pytest.importorskip("obstore")
    done = subprocess.run(
        [sys.executable, "-c", SILENT, str(local)],
        env={**os.environ, "PROTEINFLEX_REMOTE_TIMEOUT": "600"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (done.returncode, done.stdout) == (0, "False 1\n")
    assert "no answer within 0.5 s" in done.stderr
