"""Many gigabytes."""

from __future__ import annotations

import resource
import time
from collections import Counter

import numpy as np
from proteinflex_optimization import DataHandler

from .values import (
    LOST,
    WRONG,
    compare,
    directory,
)


def large(gigabytes: float = 50) -> dict[str, float]:
    """Write a trajectory of many gigabytes that compresses to little; memory and opening stay small."""
    n_atoms = 100_000
    block = np.zeros((50, n_atoms, 3), np.float32)
    block += np.arange(n_atoms, dtype=np.float32)[:, None]
    with directory() as path:
        handler = DataHandler(path)
        count = max(4, round(gigabytes * 1e9 / block.nbytes))
        peaks = []
        with handler.trajectory_writer("large") as writer:
            for number in range(count):
                writer.append(block)
                if number % 10 == 9:
                    writer.flush()
                if number in (count // 4, count - 1):
                    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
        started = time.perf_counter()
        trajectory = handler.open(writer.key)
        opened = time.perf_counter() - started
        started = time.perf_counter()
        last = trajectory[-1]
        read = time.perf_counter() - started
        done: Counter = Counter({WRONG: 0, LOST: 0})
        compare(last, block[0], done)
        done[LOST] += len(trajectory) != count * len(block)
        # The index is what grows: some bytes for each chunk and block of rows.
        assert peaks[1] - peaks[0] < 200, peaks
        assert opened < 1, opened
    return dict(done) | {
        "GB written": round(count * block.nbytes / 1e9, 1),
        "MiB of memory after a quarter": peaks[0],
        "MiB of memory at the end": peaks[1],
        "ms to open": round(1e3 * opened, 1),
        "ms to read the last frame": round(1e3 * read, 1),
    }
