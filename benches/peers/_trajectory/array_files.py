"""General array formats: zarr and HDF5, chunked as ours is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .contender import CHUNK_ATOMS, CHUNK_FRAMES, Contender, Frames, Indices, Stored


class Sliced(Stored):
    """An array that understands slices."""

    def __init__(self, array: Any, file: Any = None) -> None:
        self.array = array
        self.file = file

    def read(self) -> Frames:
        """Read every frame."""
        return self.array[:]

    def frame(self, index: int) -> Frames:
        """Read one frame."""
        return self.array[index]

    def stride(self, step: int) -> Frames:
        """Read every `step`th frame."""
        return self.array[::step]

    def atoms(self, indices: Indices) -> Frames:
        """Read some atoms, as one slice where they are one: that is what these formats are quick at."""
        first, last = int(indices[0]), int(indices[-1])
        part = self.array[:, first : last + 1]
        return part if last - first + 1 == len(indices) else part[:, indices - first]

    def close(self) -> None:
        """Close the file, where there is one."""
        if self.file is not None:
            self.file.close()


def chunks(frames: Frames) -> tuple[int, int, int]:
    """Choose chunks as ours are."""
    return min(len(frames), CHUNK_FRAMES), min(frames.shape[1], CHUNK_ATOMS), 3


def zarr_default() -> Contender:
    """Zarr v3 with the codecs that it chooses."""
    import zarr

    zarr.config.set({"threading.max_workers": 1, "async.concurrency": 1})

    def write(path: Path, frames: Frames) -> None:
        zarr.create_array(path, data=frames, chunks=chunks(frames), zarr_format=3)

    return Contender("zarr v3", write, lambda path: Sliced(zarr.open_array(path, mode="r")))


def hdf5_gzip() -> Contender:
    """HDF5 with the filters that are always there."""
    return _hdf5("HDF5, shuffle + gzip", {"compression": "gzip", "shuffle": True})


def hdf5_sz3(spacing: float) -> Contender:
    """HDF5 with SZ3, bounded."""
    import hdf5plugin

    return _hdf5("HDF5, SZ3", dict(hdf5plugin.SZ3(absolute=spacing / 2)))


def _hdf5(name: str, filters: dict[str, Any]) -> Contender:
    import h5py

    def write(path: Path, frames: Frames) -> None:
        with h5py.File(path, "w") as file:
            file.create_dataset("frames", data=frames, chunks=chunks(frames), **filters)

    def open_(path: Path) -> Stored:
        file = h5py.File(path, "r")
        return Sliced(file["frames"], file)

    return Contender(name, write, open_)
