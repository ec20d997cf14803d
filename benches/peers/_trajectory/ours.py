"""A cached trajectory, as a user of the cache stores and reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from proteinflex_optimization import DataHandler

from .contender import Contender, Frames, Indices, Stored

KEY = "trajectory"


class Ours(Stored):
    """A lazy handle."""

    def __init__(self, path: Path) -> None:
        handler = DataHandler(path)
        self.trajectory = handler.open(handler.key_for(KEY))

    def read(self) -> Frames:
        """Read every frame."""
        return self.trajectory.read()

    def frame(self, index: int) -> Frames:
        """Read one frame."""
        return self.trajectory[index]

    def stride(self, step: int) -> Frames:
        """Read every `step`th frame."""
        return self.trajectory.read(step=step)

    def atoms(self, indices: Indices) -> Frames:
        """Read some atoms of every frame."""
        return self.trajectory.read(atoms=indices)


def compressed(spacing: float | None, profile: str = "default") -> Contender:
    """Compress, exactly or within a bound."""
    name = "ours" if profile == "default" else f"ours, {profile}"
    return _contender(name, {"precision": spacing, "profile": profile})


def uncompressed() -> Contender:
    """Store as it is, checksummed."""
    return _contender("ours, uncompressed", {"enable_compression": False})


def _contender(name: str, options: dict[str, Any]) -> Contender:
    def write(path: Path, frames: Frames) -> None:
        DataHandler(path, **options).store_trajectory({"frames": frames}, KEY)

    def size(path: Path) -> int:
        return Ours(path).trajectory.stored_bytes

    return Contender(name, write, Ours, size, is_ours=True)
