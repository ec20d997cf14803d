"""Measuring contenders in turns, after checking that each gives back what it promised."""

from __future__ import annotations

import gc
import shutil
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .contender import Contender, Frames, Missing, Stored
from .data import DataSet
from .lineup import lineup

STRIDE = 10
AT_RANDOM = 32
#: Seconds of a frame.
SLOW = 2e-3


@dataclass(frozen=True)
class Result:
    """What one contender did with one data set. Times are medians, in seconds."""

    name: str
    is_ours: bool
    bytes: int
    error: float
    #: None of those that only read.
    encode: float | None
    decode: float
    frame: float
    #: Of one frame of many.
    at_random: float
    stride: float
    atoms: float


def measure(
    data: DataSet, spacing: float | None, directory: Path, rounds: int, only: Sequence[str] = ("",)
) -> list[Result]:
    """Let everybody write and read one data set, or those whose names begin as `only` says."""
    frames = np.ascontiguousarray(data.frames)
    contenders: dict[str, tuple[Contender, Path]] = {}
    checked: dict[str, tuple[int, float]] = {}
    for contender in lineup(spacing, data.is_on_grid, only):
        if isinstance(contender, Missing):
            print(f"{contender.name}: left out, {contender.reason}", file=sys.stderr)
            continue
        path = directory / f"{len(contenders)}"
        contender.write(path, frames)
        error = check(contender.open(path), frames, data, spacing)
        contenders[contender.name] = (contender, path)
        checked[contender.name] = (contender.bytes_at(path), error)
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    random = np.random.default_rng(1)
    gc.disable()
    try:
        for _ in range(rounds):
            index = int(random.integers(len(frames)))
            for name, (contender, path) in contenders.items():
                times = one_round(contender, path, frames, data, index)
                for operation, taken in times.items():
                    seconds[name, operation].append(taken)
    finally:
        gc.enable()
    for _, path in contenders.values():
        remove(path)
    results = []
    for name, (contender, _) in contenders.items():
        medians: dict[str, float | None] = {
            operation: statistics.median(times)
            for (who, operation), times in seconds.items()
            if who == name
        }
        if contender.only_reads:
            medians["encode"] = None
        results.append(Result(name, contender.is_ours, *checked[name], **medians))
    return results


def check(stored: Stored, frames: Frames, data: DataSet, spacing: float | None) -> float:
    """Find the largest error, and that every way of reading gives the same."""
    read = stored.read()
    assert (read.shape, read.dtype) == (frames.shape, frames.dtype)
    error = float(np.abs(read.astype(np.float64) - frames).max())
    if spacing is None:
        assert read.tobytes() == frames.tobytes(), "lossless is not"
    last = len(frames) - 1
    assert np.array_equal(stored.frame(last), read[last])
    assert np.array_equal(stored.stride(STRIDE), read[::STRIDE])
    assert np.array_equal(stored.atoms(data.protein), read[:, data.protein])
    stored.close()
    return error


def one_round(
    contender: Contender, path: Path, frames: Frames, data: DataSet, index: int
) -> dict[str, float]:
    """Time each operation once. Opening counts where all is read; else the file is open already."""
    remove(path)
    times = {"encode": timed(lambda: contender.write(path, frames))}

    def decode() -> None:
        stored = contender.open(path)
        stored.read()
        stored.close()

    times["decode"] = timed(decode)
    # Opened again each time, so that nothing still has what was decoded before.
    for operation, read in {
        "frame": lambda stored: stored.frame(index),
        "stride": lambda stored: stored.stride(STRIDE),
        "atoms": lambda stored: stored.atoms(data.protein),
    }.items():
        stored = contender.open(path)
        times[operation] = timed(lambda read=read, stored=stored: read(stored))
        stored.close()
    # Of those that decode a whole chunk for each, fewer will do.
    count = AT_RANDOM if times["frame"] < SLOW else AT_RANDOM // 16
    order = np.random.default_rng(index).permutation(len(frames))[:count].tolist()
    stored = contender.open(path)
    for each in order:
        stored.frame(each)  # What is read of a file but once is there.
    times["at_random"] = timed(lambda: [stored.frame(each) for each in order]) / len(order)
    stored.close()
    return times


def timed(call: Callable[[], object]) -> float:
    """Seconds of processor time that a call takes, by all threads of this process together."""
    started = time.process_time()
    call()
    return time.process_time() - started


def remove(path: Path) -> None:
    """Remove a file or a directory."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
