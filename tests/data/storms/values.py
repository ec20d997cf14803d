"""Values that can be computed again, and what is counted when they are read."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from proteinflex_optimization import DataHandler

LIMIT = 3_000_000
# What the largest structure takes: stores in progress count, and make room when they are done.
LARGEST = 250_000
IDS = 60
# What must not happen; the tests require none of it.
WRONG, EXCEEDED, LOST = "wrong values", "limit exceeded", "entries or frames lost"


def structure(number: int, version: int) -> dict:
    """Make the structure of a number, in one of its versions: from some bytes to 200 kB."""
    generator = np.random.default_rng((number, version))
    size = int(generator.integers(1, 50_000)) if number % 3 else int(generator.integers(1, 500))
    x = generator.normal(size=size).astype(np.float32)
    return {"number": number, "version": version, "x": x}


def frames(number: int, first: int, count: int) -> np.ndarray:
    """Make frames of 200 atoms of a trajectory."""
    atoms = np.arange(600, dtype=np.float32).reshape(200, 3)
    times = np.arange(first, first + count, dtype=np.float32)[:, None, None]
    return atoms + times * np.float32(0.25) + np.float32(number)


def compare(found: np.ndarray, expected: np.ndarray, done: Counter) -> None:
    """Count a value as wrong unless every bit is right."""
    done[WRONG] += found.shape != expected.shape or found.tobytes() != expected.tobytes()


def check(found: dict, done: Counter) -> None:
    """Compare a structure with what it must be."""
    compare(found["x"], structure(found["number"], found["version"])["x"], done)


def check_trajectory(handler: DataHandler, number: int, done: Counter) -> None:
    """Compare a trajectory with what it must be, while others evict and replace it."""
    with handler.open(handler.key_for(f"t{number}")) as trajectory:
        first = 0
        for chunk in trajectory.iter_chunks():
            compare(chunk, frames(number, first, len(chunk)), done)
            first += len(chunk)
        done[LOST] += first != 40 + number
    done["trajectories read"] += 1


def check_limit(handler: DataHandler, in_progress: int, done: Counter) -> None:
    """Look whether the limit is kept, but for stores in progress."""
    used = handler.get_cache_stats()["used_bytes"]
    done["looks at the limit"] += 1
    done[EXCEEDED] += used > LIMIT + in_progress * LARGEST


@contextlib.contextmanager
def directory():
    """Make a directory for as long as it is needed."""
    path = Path(tempfile.mkdtemp(prefix="flexopt-storm-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
