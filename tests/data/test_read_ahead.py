"""Iterating decodes the next frames in the background, and nothing else changes."""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from proteinflex_optimization import DataHandler
from proteinflex_optimization.errors import CorruptDataError, InvalidArgumentError
from waiting import until

FRAMES = np.random.default_rng(0).normal(size=(500, 300, 3)).astype(np.float32)


@pytest.fixture(params=[True, False], ids=["compressed", "plain"])
def trajectory(request, tmp_path):
    handler = DataHandler(tmp_path, enable_compression=request.param)
    data = {"frames": FRAMES, "time": np.arange(500.0)}
    return handler.open(handler.store_trajectory(data, "md"))


def threads():
    """Count the threads of this process that are ahead."""
    names = []
    for file in Path("/proc/self/task").glob("*/comm"):
        # A thread may end between the listing and the look.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            names.append(file.read_text())
    return sum(name.startswith("proteinflex-ahe") for name in names)


@pytest.mark.parametrize("size", [None, 1, 7, 64, 499, 500, 10_000])
def test_chunks_are_all_frames_in_order(trajectory, size):
    chunks = list(trajectory.iter_chunks(size))
    np.testing.assert_array_equal(np.concatenate(chunks), FRAMES)
    if size:
        assert [len(chunk) for chunk in chunks[:-1]] == [min(size, 500)] * (len(chunks) - 1)
    assert all(chunk.flags.writeable and chunk.flags.aligned for chunk in chunks)


def test_frames_are_given_one_by_one_and_any_field_in_chunks(trajectory):
    for frame, expected in zip(trajectory, FRAMES, strict=True):
        np.testing.assert_array_equal(frame, expected)
    times = np.concatenate(list(trajectory.iter_chunks(64, field="time")))
    np.testing.assert_array_equal(times, np.arange(500.0))


def test_wrong_arguments_are_named(trajectory):
    with pytest.raises(InvalidArgumentError, match="n_frames"):
        trajectory.iter_chunks(0)
    with pytest.raises(InvalidArgumentError, match="velocities"):
        trajectory.iter_chunks(field="velocities")


def test_the_thread_ends_when_the_iterator_is_dropped(trajectory):
    chunks = trajectory.iter_chunks(10)
    next(chunks)
    until(lambda: threads() == 1)
    del chunks
    until(lambda: threads() == 0)
    for _ in trajectory:
        break
    until(lambda: threads() == 0)


def test_damage_surfaces_after_the_frames_before_it(tmp_path):
    handler = DataHandler(tmp_path)
    key = handler.store_trajectory({"frames": FRAMES}, "md")
    file = tmp_path / "entries" / key[2:4] / f"{key}.fxt"
    trajectory = handler.open(key)
    with file.open("r+b") as opened:
        opened.seek(file.stat().st_size * 3 // 4)
        byte = opened.read(1)[0]
        opened.seek(-1, 1)
        opened.write(bytes([byte ^ 1]))
    given: list = []
    chunks = trajectory.iter_chunks()
    with pytest.raises(CorruptDataError, match="chunk"):
        given.extend(chunk for chunk in chunks)
    found = np.concatenate(given)
    assert 0 < len(found) < 500
    np.testing.assert_array_equal(found, FRAMES[: len(found)])
    assert list(chunks) == [], "after an error there is nothing more"
    assert key not in handler
    assert handler.get_cache_stats()["corrupt"] == 1


def test_a_forked_child_goes_on_where_its_parent_was(trajectory):
    chunks = trajectory.iter_chunks(50)
    next(chunks)

    def child():
        np.testing.assert_array_equal(np.concatenate(list(chunks)), FRAMES[50:])

    children = [multiprocessing.get_context("fork").Process(target=child) for _ in range(4)]
    for process in children:
        process.start()
    np.testing.assert_array_equal(np.concatenate(list(chunks)), FRAMES[50:])
    for process in children:
        process.join(120)
        assert process.exitcode == 0


def test_threads_can_share_an_iterator(trajectory):
    chunks = trajectory.iter_chunks(10)
    found = []

    def take():
        for chunk in chunks:
            found.append(chunk)

    takers = [threading.Thread(target=take) for _ in range(4)]
    for taker in takers:
        taker.start()
    for taker in takers:
        taker.join()
    assert sum(len(chunk) for chunk in found) == 500
    np.testing.assert_array_equal(
        np.sort(np.concatenate(found), axis=None), np.sort(FRAMES, axis=None)
    )


def test_a_child_forked_while_a_chunk_is_read_does_not_wait_for_that(tmp_path):
    handler = DataHandler(tmp_path, durable=False)
    frames = np.random.default_rng(0).normal(size=(40, 30_000, 3)).astype(np.float32)
    trajectory = handler.open(handler.store_trajectory({"frames": frames}, "md"))
    began = time.monotonic()
    next(trajectory.iter_chunks(40))
    took = time.monotonic() - began
    refused = 0
    for attempt in range(50):
        # A single chunk is read when it is asked for.
        chunks = trajectory.iter_chunks(40)
        reader = threading.Thread(target=next, args=(chunks,))
        reader.start()
        time.sleep(took * (attempt % 10) / 10)
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            try:
                os._exit(0 if len(next(chunks, frames)) == 40 else 1)
            except InvalidArgumentError:
                os._exit(7)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        reader.join()
        assert status in (0, 7), f"attempt {attempt}: the child ended with {status}"
        refused += status == 7
        if refused:
            break
    assert refused


def test_plain_frames_are_gone_through_in_parts_as_well(trajectory):
    assert all(len(chunk) <= 100 for chunk in trajectory.iter_chunks())


def test_it_is_never_more_than_two_chunks_ahead(tmp_path):
    handler = DataHandler(tmp_path)
    n_atoms = 200_000
    frames = (np.zeros((4, n_atoms, 3), np.float32) for _ in range(25))
    chunks = handler.open(handler.store_trajectory({"frames": frames}, "large")).iter_chunks(4)
    next(chunks)
    until(lambda: threads() == 1)
    before = handler.get_cache_stats()["memory"]["resident_bytes"]
    time.sleep(0.5)
    grown = handler.get_cache_stats()["memory"]["resident_bytes"] - before
    assert grown < 3 * 4 * n_atoms * 12
