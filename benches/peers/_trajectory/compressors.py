"""Compressors of arrays, each given chunks of as many frames as ours, one after the other in a file.

Each gets the numbers of a chunk in the order that suits it: the course of each coordinate in time, or
all x, all y, all z. Which one that is, its first chunk tells, before any time is taken.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .contender import CHUNK_FRAMES, Contender, Frames, Stored

Flat = NDArray[Any]
Encode = Callable[[Flat], bytes]
Decode = Callable[[bytes, int], Flat]

#: Axes of a chunk (frames, atoms, components), from the slowest to the fastest.
TIME = (1, 2, 0)
PLANAR = (2, 0, 1)


def flat(frames: Frames, order: tuple[int, ...]) -> Flat:
    """Put the numbers of a chunk in order."""
    return np.ascontiguousarray(frames.transpose(order)).reshape(-1)


def shaped(numbers: Flat, shape: tuple[int, ...], order: tuple[int, ...]) -> Frames:
    """Undo it."""
    return numbers.reshape([shape[axis] for axis in order]).transpose(np.argsort(order))


class Chunks(Stored):
    """Chunks, an index of them as JSON, its length."""

    def __init__(self, path: Path, decode: Callable[[bytes, tuple[int, ...]], Frames]) -> None:
        self.bytes = path.read_bytes()
        self.decode = decode
        length = int.from_bytes(self.bytes[-8:], "little")
        index = json.loads(self.bytes[-8 - length : -8])
        self.shape: tuple[int, ...] = tuple(index["shape"])
        self.chunk_frames: int = index["chunk_frames"]
        self.offsets: list[int] = index["offsets"]

    @staticmethod
    def write(
        path: Path, shape: tuple[int, ...], chunk_frames: int, payloads: Iterable[bytes]
    ) -> None:
        """Write the payloads of chunks of so many frames each, the last of fewer."""
        offsets = [0]
        with path.open("wb") as file:
            for payload in payloads:
                file.write(payload)
                offsets.append(file.tell())
            index = json.dumps({"shape": shape, "chunk_frames": chunk_frames, "offsets": offsets})
            file.write(index.encode() + len(index).to_bytes(8, "little"))

    def chunk(self, number: int) -> Frames:
        """Decode one chunk."""
        n_frames = min(self.chunk_frames, self.shape[0] - number * self.chunk_frames)
        start, end = self.offsets[number : number + 2]
        return self.decode(self.bytes[start:end], (n_frames, *self.shape[1:]))

    def read(self) -> Frames:
        """Decode every chunk into one array."""
        out = np.empty(self.shape, np.float32)
        for number in range(len(self.offsets) - 1):
            start = number * self.chunk_frames
            out[start : start + self.chunk_frames] = self.chunk(number)
        return out

    def frame(self, index: int) -> Frames:
        """Decode the chunk that a frame is in."""
        return self.chunk(index // self.chunk_frames)[index % self.chunk_frames]

    def stride(self, step: int) -> Frames:
        """Decode the chunks that hold every `step`th frame, one after the other."""
        if step <= self.chunk_frames:
            return super().stride(step)
        return np.array([self.frame(index) for index in range(0, self.shape[0], step)])


def _contender(name: str, encode: Encode, decode: Decode) -> Contender:
    chosen: list[tuple[int, ...]] = []

    def write(path: Path, frames: Frames) -> None:
        chunks = [
            frames[start : start + CHUNK_FRAMES] for start in range(0, len(frames), CHUNK_FRAMES)
        ]
        if not chosen:
            chosen.append(min(TIME, PLANAR, key=lambda order: len(encode(flat(chunks[0], order)))))
        payloads = (encode(flat(chunk, chosen[0])) for chunk in chunks)
        Chunks.write(path, frames.shape, CHUNK_FRAMES, payloads)

    def read_chunk(payload: bytes, shape: tuple[int, ...]) -> Frames:
        return shaped(decode(payload, math.prod(shape)), shape, chosen[0])

    return Contender(name, write, lambda path: Chunks(path, read_chunk))


def blosc2_shuffle() -> Contender:
    """Blosc2 with zstd behind the shuffle that it has by default."""
    import blosc2

    return _blosc2("blosc2, shuffle", [blosc2.Filter.SHUFFLE])


def blosc2_bytedelta() -> Contender:
    """Blosc2 with zstd behind differences of sorted bytes."""
    import blosc2

    return _blosc2("blosc2, bytedelta", [blosc2.Filter.SHUFFLE, blosc2.Filter.BYTEDELTA])


def _blosc2(name: str, filters: list[Any]) -> Contender:
    import blosc2

    def encode(numbers: Flat) -> bytes:
        return blosc2.compress2(
            numbers,
            typesize=4,
            codec=blosc2.Codec.ZSTD,
            clevel=5,
            filters=filters,
            filters_meta=[0] * len(filters),
            nthreads=1,
        )

    def decode(payload: bytes, _count: int) -> Flat:
        return np.frombuffer(blosc2.decompress2(payload, nthreads=1), np.float32)

    return _contender(name, encode, decode)


def pco() -> Contender:
    """Pcodec on floats."""
    from pcodec import ChunkConfig, standalone

    config = ChunkConfig()
    return _contender(
        "pco",
        lambda numbers: standalone.simple_compress(numbers, config),
        lambda payload, _count: standalone.simple_decompress(payload),
    )


def pco_rounded(spacing: float) -> Contender:
    """Pcodec on integers: what one would write in five lines of numpy."""
    from pcodec import ChunkConfig, standalone

    config = ChunkConfig()

    def encode(numbers: Flat) -> bytes:
        return standalone.simple_compress(np.rint(numbers / spacing).astype(np.int32), config)

    def decode(payload: bytes, _count: int) -> Flat:
        return (standalone.simple_decompress(payload) * spacing).astype(np.float32)

    return _contender("rounding + pco", encode, decode)


def fpzip() -> Contender:
    """Give fpzip the numbers as one row."""
    import fpzip

    return _contender(
        "fpzip",
        lambda numbers: fpzip.compress(numbers, precision=0, order="C"),
        lambda payload, _count: fpzip.decompress(payload, order="C"),
    )


def zfp(spacing: float | None) -> Contender:
    """Run zfp, reversible or bounded. On one dimension: on more it does worse with atoms."""
    import zfpy

    options = {} if spacing is None else {"tolerance": spacing / 2}
    return _contender(
        "zfp",
        lambda numbers: zfpy.compress_numpy(numbers, write_header=True, **options),
        lambda payload, _count: zfpy.decompress_numpy(payload),
    )


def sz3(spacing: float) -> Contender:
    """Run SZ3, bounded, with the algorithm that it chooses, through its own Python package."""
    from pysz import sz, szConfig, szErrorBoundMode

    def encode(numbers: Flat) -> bytes:
        config = szConfig()
        config.errorBoundMode = szErrorBoundMode.ABS
        config.absErrorBound = spacing / 2
        return sz.compress(numbers, config)[0].tobytes()

    def decode(payload: bytes, count: int) -> Flat:
        return sz.decompress(np.frombuffer(payload, np.uint8), np.float32, (count,))[0]

    return _contender("SZ3, pysz", encode, decode)
