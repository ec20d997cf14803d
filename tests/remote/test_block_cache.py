"""Blocks of objects on the disk: never wrong, never more than the limit, shared by processes."""

import errno
import multiprocessing
import os
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
from proteinflex_optimization import (
    BlockCache,
    InvalidArgumentError,
    InvalidTypeError,
    open_trajectory,
)
from remote.trajectories import FRAMES, stored, write

pytest.importorskip("obstore")


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "blocks"


@pytest.fixture
def url(http_server):
    (http_server.directory / "run.fxt").write_bytes(stored())
    return f"{http_server.url}/run.fxt"


def blocks(directory):
    return sorted(path for path in Path(directory).rglob("*") if path.is_file())


def requests(server):
    return len(server.gate.requests())


def test_what_was_read_is_not_fetched_again(http_server, url, directory):
    np.testing.assert_array_equal(open_trajectory(url, cache=directory)[:], FRAMES)
    before = requests(http_server)
    again = open_trajectory(url, cache=str(directory))
    np.testing.assert_array_equal(again[:], FRAMES)
    np.testing.assert_array_equal(np.array(list(again)), FRAMES)
    assert requests(http_server) == before + 1  # Which version it is.


def test_blocks_of_a_replaced_object_are_not_used(http_server, url, directory):
    np.testing.assert_array_equal(open_trajectory(url, cache=directory)[:], FRAMES)
    path = http_server.directory / "run.fxt"
    path.write_bytes(stored(backwards=True))
    os.utime(path, (1, 1))
    np.testing.assert_array_equal(open_trajectory(url, cache=directory)[:], FRAMES[::-1])


@pytest.mark.parametrize("kind", ["obstore", "fsspec"])
def test_two_stores_share_a_cache_whatever_their_paths_and_versions(kind, tmp_path, directory):
    from fsspec.implementations.dirfs import DirFileSystem
    from fsspec.implementations.local import LocalFileSystem
    from obstore.store import MemoryStore

    for number, coordinates in enumerate((FRAMES, FRAMES[::-1])):
        place = tmp_path / str(number)
        place.mkdir()
        path = write(place / "run.fxt", coordinates.copy(), compress=False)
        os.utime(path, (1, 1))
        store = DirFileSystem(str(place), LocalFileSystem())
        if kind == "obstore":
            store = MemoryStore()
            store.put("run.fxt", path.read_bytes())
        trajectory = open_trajectory("run.fxt", store=store, cache=directory)
        np.testing.assert_array_equal(trajectory[:], coordinates)


def test_another_process_uses_the_same_blocks(http_server, url, directory):
    trajectory = open_trajectory(url, cache=directory)
    np.testing.assert_array_equal(trajectory[:], FRAMES)
    before = requests(http_server)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(trajectory))[:], FRAMES)
    assert requests(http_server) == before


@pytest.mark.parametrize("damage", ["bit", "cut", "empty", "moved"])
def test_a_damaged_block_is_fetched_again(http_server, url, directory, damage):
    np.testing.assert_array_equal(open_trajectory(url, cache=directory)[:], FRAMES)
    contents = [path.read_bytes() for path in blocks(directory)]
    for path, content, other in zip(
        blocks(directory), contents, contents[1:] + contents[:1], strict=True
    ):
        flipped = bytes([content[0], *content[1:300], content[300] ^ 4]) + content[301:]
        spoiled = {"bit": flipped, "cut": content[:-1], "empty": b"", "moved": other}[damage]
        path.write_bytes(spoiled)
    before = requests(http_server)
    np.testing.assert_array_equal(open_trajectory(url, cache=directory)[:], FRAMES)
    assert requests(http_server) > before + 1
    assert sorted(contents) == sorted(path.read_bytes() for path in blocks(directory))


def test_the_limit_holds_and_what_was_used_last_stays(tmp_path):
    cache = BlockCache(tmp_path, max_size=0.001)
    block = bytes(50_000)
    for number in range(100):
        cache.put("run", number, block)
        for path in blocks(tmp_path):
            # So far back that a use is noted again.
            os.utime(path, (path.stat().st_mtime - 100,) * 2)
        cache.get("run", 0)
        assert sum(path.stat().st_size for path in blocks(tmp_path)) <= 1_000_000
    assert cache.get("run", 99) == block
    assert cache.get("run", 0) == block
    assert cache.get("run", 50) is None


def test_blocks_and_leftovers_of_the_future_get_old_from_now_on(tmp_path):
    cache = BlockCache(tmp_path, max_size=0.001)
    later = time.time() + 86_400
    cache.put("run", 0, bytes(50_000))
    (of_future,) = blocks(tmp_path)
    left = of_future.with_name(".left.tmp")
    left.write_bytes(b"")
    for path in (of_future, left):
        os.utime(path, (later, later))
    cache.get("run", 0)
    assert of_future.stat().st_mtime < later - 3600, "a use is noted"
    os.utime(of_future, (later, later))
    for number in range(1, 30):
        cache.put("run", number, bytes(50_000))
    assert left.stat().st_mtime < later - 3600
    assert not of_future.exists(), "it is not the last to go"
    assert cache.get("run", 29) is not None


def test_blocks_of_others_are_used_and_passed_over_by_eviction(tmp_path, monkeypatch, caplog):
    cache = BlockCache(tmp_path, max_size=0.001)
    cache.put("theirs", 0, bytes(50_000))
    (theirs,) = blocks(tmp_path)
    os.utime(theirs, (1, 1))
    hidden = next(name for number in range(256) if (name := f"{number:02x}") != theirs.parent.name)
    (tmp_path / hidden).mkdir(exist_ok=True)
    unlink, scandir = Path.unlink, os.scandir

    def refused(*_, **__):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "utime", refused)
    monkeypatch.setattr(
        Path, "unlink", lambda path, **how: refused() if path == theirs else unlink(path, **how)
    )
    monkeypatch.setattr(
        os, "scandir", lambda path: refused() if path == tmp_path / hidden else scandir(path)
    )
    for number in range(60):
        cache.put("mine", number, bytes(50_000))
        assert sum(path.stat().st_size for path in tmp_path.glob("*/*.block")) <= 1_000_000
    assert cache.get("theirs", 0) == bytes(50_000)
    assert cache.get("mine", 59) is not None
    assert caplog.text == ""


def write_blocks(directory):
    cache = BlockCache(directory, max_size=0.002)
    for number in range(60):
        cache.put("run", number, number.to_bytes(2, "big") * 20_000)
        found = cache.get("run", number)
        assert found in (None, number.to_bytes(2, "big") * 20_000)


def test_processes_share_a_directory(tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=write_blocks, args=(tmp_path,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    assert 0 < sum(path.stat().st_size for path in blocks(tmp_path)) <= 2_000_000


def test_a_cache_that_cannot_be_written_is_a_warning(url, tmp_path, caplog):
    (tmp_path / "file").write_bytes(b"")
    trajectory = open_trajectory(url, cache=tmp_path / "file" / "blocks")
    np.testing.assert_array_equal(trajectory[:], FRAMES)
    assert len([record for record in caplog.records if "blocks" in record.message]) <= 2
    assert "file/blocks" in caplog.text


def test_a_limit_that_makes_no_sense_is_refused(tmp_path):
    for size in (0, -1, float("nan"), 10**400):
        with pytest.raises(InvalidArgumentError, match=r"max_size=.* is not valid"):
            BlockCache(tmp_path, max_size=size)
    for size in ("10", True, None):
        with pytest.raises(InvalidTypeError, match="max_size=.* is of type"):
            BlockCache(tmp_path, max_size=size)
    assert BlockCache(tmp_path, max_size=np.float32(0.5)).max_size == 0.5


def test_a_cache_in_no_directory_is_refused():
    with pytest.raises(InvalidArgumentError, match="directory=''"):
        BlockCache("")
