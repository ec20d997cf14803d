"""Computed once, however many ask; errors are not cached."""

import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
import pytest
from proteinflex_optimization import DataHandler, InvalidArgumentError


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
        assert ready.wait(30)
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
        time.sleep(60)

    DataHandler(directory).get_or_compute("x", compute)
