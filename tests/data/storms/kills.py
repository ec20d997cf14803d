"""Writers that are killed."""

from __future__ import annotations

import multiprocessing
import random
import signal
import time
from collections import Counter
from pathlib import Path

from proteinflex_optimization import DataHandler

from .values import (
    EXCEEDED,
    IDS,
    LIMIT,
    LOST,
    WRONG,
    check,
    check_limit,
    compare,
    directory,
    frames,
    structure,
)


def kills(count: int = 20) -> dict[str, int]:
    """Kill writers at random moments, and look at what they leave."""
    context = multiprocessing.get_context("fork")
    choose = random.Random(1)
    done: Counter = Counter({WRONG: 0, EXCEEDED: 0, LOST: 0})
    # Without locks: a process that is killed while holding one keeps it.
    flushed = context.RawValue("q", 0)
    stored = context.RawValue("q", 0)
    # Which version of each structure is in the cache that evicts nothing, or none.
    returned = context.RawArray("q", [-1] * IDS)
    with directory() as path, directory() as roomy:
        DataHandler(path, max_cache_size=LIMIT / 1e9)
        shared = (path, roomy, flushed, stored, returned)
        for number in range(count):
            victim = context.Process(target=write_for_ever, args=(number, *shared))
            victim.start()
            while number == 0 and not flushed.value:  # There is something in any case.
                assert victim.is_alive()
                time.sleep(0.01)
            time.sleep(choose.uniform(0.01, 0.25))
            victim.kill()
            victim.join()
            assert victim.exitcode == -signal.SIGKILL
            handler = DataHandler(path)
            for key in handler.keys("structure"):
                check(handler.load_data(key), done)
                done["structures read after a kill"] += 1
            check_kept(DataHandler(roomy), returned, done)
            check_limit(handler, 1, done)
            if flushed.value:
                with handler.trajectory_writer("md", resume=True) as writer:
                    done[LOST] += writer.n_frames < flushed.value
                    found = writer.read()
                    compare(found, frames(0, 0, len(found)), done)
                    done["frames recovered"] += len(found)
                    writer.suspend()
        done["kills"] = count
        done["stores before a kill"] = stored.value
        handler.cleanup()
        assert handler.verify()["ok"]
        assert not list(path.glob("entries/*/.*.tmp")), "what the dead have left goes"
    return dict(done)


def check_kept(handler: DataHandler, returned, done: Counter) -> None:
    """Look whether each store that returned is there, or a later one that could not say so any more."""
    for number, version in enumerate(returned):
        if version < 0:
            continue
        key = handler.key_for(str(number), "structure")
        if key not in handler:
            done[LOST] += 1
            continue
        found = handler.load_data(key)
        check(found, done)
        done[LOST] += found["version"] < version
        done["stores looked for after a kill"] += 1


def write_for_ever(seed: int, path: Path, roomy: Path, flushed, stored, returned) -> None:
    """Store structures and go on with a trajectory, until killed."""
    choose = random.Random(seed)
    handler = DataHandler(path, durable=False)
    keeps_all = DataHandler(roomy, durable=False)
    writer = handler.trajectory_writer("md", resume=True)
    while True:
        number = choose.randrange(IDS)
        made = structure(number, seed)
        handler.store_structure(made, str(number))
        keeps_all.store_structure(made, str(number))
        returned[number] = seed
        stored.value += 2
        if writer.n_frames < 500:
            writer.append(frames(0, writer.n_frames, 3))
            if choose.random() < 0.3:
                writer.flush()
                flushed.value = writer.n_frames
