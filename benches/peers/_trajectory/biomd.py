"""BIOMD, the molecular codec of SZ3 3.4, through pysz, which knows its name only from a file of settings.

It takes coordinates in nm. Its step is finer than the bound allows, by a margin for the rounding of
floats; so it takes part a second time with the bound at which its error is just what is allowed.
"""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from .compressors import Chunks
from .contender import Contender, Frames

#: In nm; what others are given in Å.
NANOMETRE = np.float32(10)
#: How often the bound is moved to where the error is what is allowed, and how near is near enough.
ROUNDS, NEAR = 4, 1e-3


def biomd(spacing: float, chunk_frames: int, *, is_equal: bool = False) -> Contender:
    """Run BIOMD on chunks of so many frames.

    Parameters
    ----------
    spacing
        Of the grid that others round to, in Å: half of it is the bound.
    chunk_frames
        Frames coded together.
    is_equal
        Whether the bound is widened until the error is that of rounding to the grid.
    """
    from pysz import sz, szConfig, szErrorBoundMode

    allowed = spacing / 2 / float(NANOMETRE)
    bounds = [] if is_equal else [allowed]

    def encode(chunk: Frames, bound: float) -> bytes:
        config: Any = szConfig()
        config.loadcfg(str(_settings()))
        config.errorBoundMode = szErrorBoundMode.ABS
        config.absErrorBound = bound
        payload: bytes = sz.compress(np.ascontiguousarray(chunk), config)[0].tobytes()
        return payload

    def decode(payload: bytes, shape: tuple[int, ...]) -> Frames:
        chunk: Frames = sz.decompress(np.frombuffer(payload, np.uint8), np.float32, shape)[0]
        return chunk

    def equal_bound(chunk: Frames) -> float:
        bound = allowed
        for _ in range(ROUNDS):
            read = decode(encode(chunk, bound), chunk.shape)
            error = float(np.abs(read.astype(np.float64) - chunk).max())
            if abs(allowed - error) < NEAR * allowed:
                break
            bound += allowed - error
        return bound

    def write(path: Path, frames: Frames) -> None:
        chunks = [
            frames[start : start + chunk_frames] / NANOMETRE
            for start in range(0, len(frames), chunk_frames)
        ]
        if not bounds:
            bounds.append(equal_bound(chunks[0]))
        Chunks.write(
            path, frames.shape, chunk_frames, (encode(chunk, bounds[0]) for chunk in chunks)
        )

    def read_chunk(payload: bytes, shape: tuple[int, ...]) -> Frames:
        chunk = decode(payload, shape)
        chunk *= NANOMETRE
        return chunk

    name = f"BIOMD, {chunk_frames} frame" + "s" * (chunk_frames > 1) + ", equal error" * is_equal
    return Contender(name, write, lambda path: Chunks(path, read_chunk))


@functools.cache
def _settings() -> Path:
    path = Path(_directory().name) / "biomd.ini"
    path.write_text("[GlobalSettings]\nCmprAlgo = ALGO_BIOMD\n", encoding="ascii")
    return path


@functools.cache
def _directory() -> tempfile.TemporaryDirectory[str]:
    """Make a folder that is removed with this process."""
    return tempfile.TemporaryDirectory(prefix="flexopt-bench-")
