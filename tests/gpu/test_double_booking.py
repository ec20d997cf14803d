"""Thousands of allocations at once, with holders that are killed: no memory is ever given twice.

The witness is independent of the reservations: each GPU has as many slots as tasks fit into it, and
each slot is a file that the holder of the memory must be able to lock. The kernel gives the slot back
before the reservation, also at a kill, for it was opened first: a slot that is missing is memory that
two have.
"""

import random
import signal
import subprocess
import sys
import time

import pytest

# Twice as many processes as there are places, so that someone always waits.
PROCESSES = 8
SLOTS = [1, 1, 1, 1]
MIXED_SLOTS = [1, 2, 1]

WORKER = """
import fcntl, os, random, sys, time
from pathlib import Path

directory, wanted, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
slots = [
    [os.open(directory / f"{index}.{slot}", os.O_RDWR | os.O_CREAT) for slot in range(int(count))]
    for index, count in enumerate(sys.argv[4:])
]

from proteinflex_optimization import GPUManager, InsufficientGPUMemoryError

chance = random.Random(seed)
manager = GPUManager({"work": 8000}, prefer_single_gpu=True)
done = 0
while done < wanted:
    try:
        if chance.random() < 0.05:
            (index,) = manager.wait_for_gpus("work", 60)
        else:
            (index,) = manager.allocate_gpus("work")
    except InsufficientGPUMemoryError:
        time.sleep(chance.random() * 0.002)
        continue
    for slot in slots[index]:
        try:
            fcntl.flock(slot, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            pass
    else:
        print("twice", flush=True)
        sys.exit(7)
    # Ten times as long as an allocation takes, so that most of the time all places are taken.
    time.sleep(chance.random() * 0.02)
    done += 1
    # Counted while it is held, in one write: a process that is killed has counted what it had.
    os.write(1, b".")
    fcntl.flock(slot, fcntl.LOCK_UN)
    manager.release_gpus()
"""


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("slots", "allocations", "kills"),
    [
        (SLOTS, 300, 4),
        (MIXED_SLOTS, 100, 3),
        pytest.param(SLOTS, 10_000, 60, marks=pytest.mark.soak),
    ],
)
def test_no_memory_is_ever_given_twice(machine, tmp_path, slots, allocations, kills):
    machine.write(
        *(machine.gpu(number, total=8000 * count + 100) for number, count in enumerate(slots))
    )
    chance = random.Random(1)
    counted = (tmp_path / "counted").open("wb")
    wanted = -(-allocations // PROCESSES)

    def start(seed):
        return subprocess.Popen(
            [sys.executable, "-c", WORKER, *map(str, (tmp_path, wanted, seed, *slots))],
            env=machine.environment(),
            stdout=counted,
            stderr=subprocess.PIPE,
        )

    workers = [start(seed) for seed in range(PROCESSES)]
    seed = PROCESSES
    killed = 0
    try:
        while any(worker.poll() is None for worker in workers):
            time.sleep(0.05)
            alive = [number for number, worker in enumerate(workers) if worker.poll() is None]
            # One after the other, all the way.
            count = (tmp_path / "counted").stat().st_size
            if killed < kills and alive and count * (kills + 1) >= allocations * (killed + 1):
                number = chance.choice(alive)
                workers[number].send_signal(signal.SIGKILL)
                workers[number].communicate()
                # Another one takes its place, and does as much as it would have.
                workers[number] = start(seed)
                seed += 1
                killed += 1
    finally:
        for worker in workers:
            worker.kill()
        errors = [worker.communicate()[1].decode() for worker in workers]
    counted.close()
    said = (tmp_path / "counted").read_bytes()
    assert b"twice" not in said
    assert [worker.returncode for worker in workers] == [0] * PROCESSES, errors
    assert len(said) >= allocations
    # On a busy machine the others may have ended before all of them were.
    assert killed > 0
    print(f"{len(said)} allocations, {killed} holders killed, none given twice")
