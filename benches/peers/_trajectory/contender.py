"""What a contender is: it writes coordinates to a path, and opens what it wrote."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.float32]
Indices = NDArray[np.intp]

#: Frames coded together, and atoms in a block, wherever a format lets its user choose: ours.
CHUNK_FRAMES = 64
CHUNK_ATOMS = 4096


class Stored(ABC):
    """A trajectory that is open. A subclass that can do better than reading all of it overrides how."""

    @abstractmethod
    def read(self) -> Frames:
        """Read every frame."""

    def frame(self, index: int) -> Frames:
        """Read one frame."""
        return self.read()[index]

    def stride(self, step: int) -> Frames:
        """Read every `step`th frame."""
        return self.read()[::step]

    def atoms(self, indices: Indices) -> Frames:
        """Read some atoms of every frame."""
        return self.read()[:, indices]

    def close(self) -> None:  # noqa: B027 - most have nothing to close
        """Close it."""


@dataclass(frozen=True)
class Contender:
    """A way to keep a trajectory."""

    name: str
    write: Callable[[Path, Frames], None]
    open: Callable[[Path], Stored]
    #: What to measure the size of; the path that was written to, where it is not said.
    size: Callable[[Path], int] | None = None
    is_ours: bool = False
    #: Whether somebody else's writer is called, so that only its reading is measured.
    only_reads: bool = False

    def bytes_at(self, path: Path) -> int:
        """Measure what was written."""
        if self.size:
            return self.size(path)
        if path.is_dir():
            return sum(part.stat().st_size for part in path.rglob("*") if part.is_file())
        return path.stat().st_size


@dataclass(frozen=True)
class Missing:
    """A contender that is not here, and what it lacks."""

    name: str
    reason: str
