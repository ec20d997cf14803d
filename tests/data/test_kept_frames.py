"""Decoded frames that are kept for the next read."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from proteinflex_optimization import DataHandler

FRAMES = np.cumsum(np.random.default_rng(3).normal(0, 0.05, (400, 900, 3)), axis=0).astype("f4")
# One is coded by the shape of molecules, the other one packed: chunks of the latter decode whole.
DTYPES = ["f4", "f8"]


@pytest.fixture(params=DTYPES)
def stored(request, tmp_path):
    frames = FRAMES.astype(request.param)
    handler = DataHandler(tmp_path)
    return handler, handler.store_trajectory({"frames": frames, "time": np.arange(400.0)}, "md")


def test_whatever_was_read_before_reads_are_what_was_stored(stored):
    handler, key = stored
    trajectory = handler.open(key)
    random = np.random.default_rng(5)
    for _ in range(300):
        start, count, step = random.integers(400), random.integers(1, 90), random.integers(1, 5)
        atoms = [None, [3, 899, 5]][random.integers(2)]
        wanted = FRAMES[start : start + count : step]
        found = trajectory.read(start, start + count, step, atoms=atoms)
        np.testing.assert_array_equal(found, wanted if atoms is None else wanted[:, atoms])
    np.testing.assert_array_equal(trajectory[:], FRAMES)
    np.testing.assert_array_equal(trajectory[:], FRAMES)
    np.testing.assert_array_equal(trajectory.time, np.arange(400.0))


def test_frames_that_were_changed_by_their_reader_are_read_anew(stored):
    handler, key = stored
    trajectory = handler.open(key)
    for _ in range(4):
        frames, one = trajectory[:], trajectory[17]
        np.testing.assert_array_equal(frames, FRAMES)
        np.testing.assert_array_equal(one, FRAMES[17])
        frames[:], one[:] = 0, 0


def test_threads_that_pick_frames_of_one_trajectory_all_get_the_right_ones(stored):
    handler, key = stored
    trajectory = handler.open(key)
    wrong = []

    def pick(seed):
        for frame in np.random.default_rng(seed).integers(0, 400, 200):
            if not np.array_equal(trajectory[int(frame)], FRAMES[frame]):
                wrong.append(frame)

    pickers = [threading.Thread(target=pick, args=(seed,)) for seed in range(4)]
    for picker in pickers:
        picker.start()
    for picker in pickers:
        picker.join()
    assert not wrong


@pytest.mark.parametrize(("megabytes", "most"), [("0", 25e6), ("20", 45e6)])
def test_what_is_kept_is_bounded_whatever_is_read(tmp_path, megabytes, most):
    """Frames of 100 MB, packed, are picked at random in a process that may keep less."""
    n_atoms, n_frames = 3000, 1000
    frames = np.random.default_rng(6).normal(0, 20, (n_frames, n_atoms, 3))
    key = DataHandler(tmp_path).store_trajectory({"frames": frames.astype("f4")}, "md")
    script = f"""
import numpy as np
from proteinflex_optimization import DataHandler
handler = DataHandler({str(tmp_path)!r})
trajectory = handler.open({key!r})
trajectory[0]
def resident():
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("RssAnon")).split()[1])
before = most = resident()
for frame in np.random.default_rng(7).integers(0, {n_frames}, 150):
    trajectory[int(frame)]
    most = max(most, resident())
print(most - before)
"""
    environment = {**os.environ, "PROTEINFLEX_DECODED_MB": megabytes}
    command = [sys.executable, "-c", script]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert int(run.stdout) < most


def test_a_frame_is_read_without_the_model_and_the_others_where_none_is_kept(tmp_path):
    steps = np.random.default_rng(9).normal(0, 0.1, (64, 3000, 3))
    bonds = np.cumsum(np.random.default_rng(10).normal(0, 1.5, (3000, 3)), axis=0)
    frames = (bonds + steps).astype("f4")
    DataHandler(tmp_path).store_trajectory({"frames": frames}, "md", precision=0.01)
    script = f"""
from proteinflex_optimization import DataHandler
trajectory = DataHandler({str(tmp_path)!r}).open("md")
def bytes_read():
    return int(open("/proc/self/io").readline().split()[1])
for frame in (5, 60, 5, 6):
    before = bytes_read()
    trajectory[frame]
    print(bytes_read() - before)
"""
    environment = {**os.environ, "PROTEINFLEX_DECODED_MB": "0"}
    command = [sys.executable, "-c", script]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    first, *others = map(int, run.stdout.split())
    # What is read first, before any frame.
    head = 32 * 1024
    assert max(others) <= first - head


def test_a_trajectory_that_is_closed_keeps_nothing(tmp_path):
    handler = DataHandler(tmp_path)
    frames = np.random.default_rng(8).normal(0, 20, (64, 20_000, 3)).astype("f4")
    keys = [handler.store_trajectory({"frames": frames}, str(number)) for number in range(4)]
    handler.open(keys[0])[5]
    before = handler.get_cache_stats()["memory"]["resident_bytes"]
    for key in keys * 3:
        trajectory = handler.open(key)
        np.testing.assert_array_equal(trajectory[5], frames[5])
        np.testing.assert_array_equal(trajectory[60], frames[60])
        del trajectory
    after = handler.get_cache_stats()["memory"]["resident_bytes"]
    assert after - before < 2 * frames.nbytes
