"""Where the system starts no more threads, requests go on with those that run, or fail: none hangs."""

import errno
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from proteinflex_optimization import DataHandler
from proteinflex_optimization.remote import obstore_store
from proteinflex_optimization.remote.requests import finished, need_threads, waited
from proteinflex_optimization.remote.stores import open_store


@pytest.fixture
def room(monkeypatch):
    """Let only so many threads run at a time, as a limit of processes does."""
    limit = SimpleNamespace(n_threads=0, is_refused=threading.Event())

    def start(self):
        if sum(thread.is_alive() for thread in started) >= limit.n_threads:
            limit.is_refused.set()
            raise RuntimeError("can't start new thread")
        started.append(self)
        real_start(self)

    started = []
    real_start = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", start)
    return limit


def test_a_request_without_a_thread_is_an_error_that_says_so(room):
    with pytest.raises(BlockingIOError, match="no thread can be started") as caught:
        waited(lambda: 1)
    assert caught.value.errno == errno.EAGAIN


def test_requests_go_on_with_the_threads_that_run(room):
    room.n_threads = 2
    tasks = [(number, lambda: room.is_refused.wait(60)) for number in range(5)]
    assert sorted(finished(tasks)) == [(number, True) for number in range(5)]


def test_another_error_of_a_thread_stays_what_it_is(monkeypatch):
    def fail(self):
        raise RuntimeError("something else")

    monkeypatch.setattr(threading.Thread, "start", fail)
    with pytest.raises(RuntimeError, match="something else"):
        need_threads(1)


def test_obstore_is_refused_where_it_could_not_start_its_threads(room, tmp_path, monkeypatch):
    """It would panic, or wait for ever."""
    pytest.importorskip("obstore")
    monkeypatch.setattr(obstore_store, "_first_user", None)
    monkeypatch.setenv("TOKIO_WORKER_THREADS", "3")
    room.n_threads = 4
    for _ in range(2):
        with pytest.raises(BlockingIOError, match=r"obstore needs 5, .*THREADS=1 3$"):
            open_store(f"file://{tmp_path}")
    room.n_threads = 5
    with pytest.raises(FileNotFoundError):
        open_store(f"file://{tmp_path}").head("a.fxt")


def test_what_can_not_be_kept_in_the_background_is_read_all_the_same(tmp_path, monkeypatch, caplog):
    frames = np.zeros((4, 5, 3), np.float32)
    key = DataHandler(tmp_path / "there").store_trajectory({"frames": frames}, "run")
    handler = DataHandler(tmp_path / "here", upstream=tmp_path / "there")

    def start(self):
        if self.name == "proteinflex-promote":
            raise RuntimeError("can't start new thread")
        real_start(self)

    real_start = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", start)
    for _ in range(2):
        assert handler.open(key).n_frames == 4
    assert caplog.text.count("is not kept: can't start new thread") == 2
