"""Caches behind a cache in threads, forked children and other processes, and at the end of a program."""

import contextlib
import os
import pickle
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from proteinflex_optimization import DataHandler, InvalidTypeError
from proteinflex_optimization.remote.stores import open_store
from remote.upstreams import FRAMES, Source, send, upstream_at


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
