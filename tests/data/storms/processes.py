"""Many processes at once."""

from __future__ import annotations

import multiprocessing
import random
import time
from collections import Counter
from pathlib import Path

from proteinflex_optimization import DataHandler
from proteinflex_optimization.errors import CacheFullError, CacheKeyError

from .values import (
    EXCEEDED,
    IDS,
    LIMIT,
    LOST,
    WRONG,
    check,
    check_limit,
    check_trajectory,
    directory,
    frames,
    structure,
)

LEAST = ("stores", "structures read", "trajectories read", "looks at the limit")
"""What is done some times by each of the processes."""


def processes(seconds: float = 10, workers: int = 8) -> dict[str, int]:
    """Store, read, evict, pin, remove and verify in many processes at once."""
    with directory() as path:
        DataHandler(path, max_cache_size=LIMIT / 1e9)
        context = multiprocessing.get_context("spawn")
        with context.Pool(workers) as pool:
            given = [(path, seed, workers, seconds) for seed in range(workers)]
            jobs = [pool.apply_async(worker, arguments) for arguments in given]
            done = Counter()
            for job in jobs:
                done.update(job.get(timeout=seconds + 200))
        handler = DataHandler(path)
        assert handler.verify()["ok"]
        check_limit(handler, 0, done)
        stats = handler.get_cache_stats()
        assert stats["corrupt"] == stats["quarantined"] == 0, stats
        assert not list(path.glob("entries/*/.*.tmp"))
    return dict(done) | {"processes": workers}


def worker(path: Path, seed: int, workers: int, seconds: float) -> Counter:
    """Do whatever comes to mind until the time is over."""
    choose = random.Random(seed)
    handlers = [DataHandler(path), DataHandler(path, durable=False, enable_compression=False)]
    done: Counter = Counter({WRONG: 0, EXCEEDED: 0, LOST: 0})
    until = time.monotonic() + seconds
    # On a busy machine for longer.
    while time.monotonic() < until or min(done[what] for what in LEAST) < 5:
        handler = choose.choice(handlers)
        number, what = choose.randrange(IDS), choose.random()
        key = handler.key_for(str(number), "structure")
        try:
            if what < 0.4:
                handler.store_structure(structure(number, choose.randrange(4)), str(number))
                done["stores"] += 1
            elif what < 0.5:
                data = {"frames": frames(number, 0, 40 + number)}
                handler.store_trajectory(data, f"t{number}")
                done["stores"] += 1
            elif what < 0.75:
                check(handler.load_data(key), done)
                done["structures read"] += 1
            elif what < 0.88:
                check_trajectory(handler, number, done)
            elif what < 0.92:
                assert handler.verify(key)["ok"]
                done["verified"] += 1
            elif what < 0.94:
                handler.remove(key)
                done["removed"] += 1
            elif what < 0.96:
                handler.pin(key)
                time.sleep(0.01)
                handler.unpin(key)
                done["pinned"] += 1
            elif what < 0.99:
                check_limit(handler, workers, done)
            else:
                handler.cleanup()
                done["cleaned up"] += 1
        except CacheKeyError:
            done["misses"] += 1
        except CacheFullError:
            # All that is not pinned at the moment is smaller than what was to be stored.
            done["refused"] += 1
    done["evictions"] = sum(handler.get_cache_stats()["evictions"] for handler in handlers)
    return done
