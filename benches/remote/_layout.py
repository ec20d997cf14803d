"""Where the chunks of a trajectory are in its file, read from its index (docs/format-trajectory.md)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

RECORD, TRAILER = 64, 64
FIELD = 1


@dataclass(frozen=True)
class Chunk:
    """Consecutive frames of some rows of the first field, and the bytes they take."""

    first_frame: int
    n_frames: int
    first_row: int
    n_rows: int
    stored: int


def chunks(path: Path) -> list[Chunk]:
    """Return the chunks of `frames`, the first field."""
    data = path.read_bytes()
    (index,) = struct.unpack_from("<Q", data, len(data) - TRAILER + 8)
    (padding,) = struct.unpack_from("<I", data, index + 12)
    at = index + RECORD + padding
    schema, count = struct.unpack_from("<II", data, at + 24)
    found = []
    for entry in range(at + 32 + schema, at + 32 + schema + 80 * count, 80):
        header = entry + 16
        target, (number,) = data[header + 6], struct.unpack_from("<I", data, header + 8)
        if (target, number) == (FIELD, 0):
            frames = struct.unpack_from("<QQ", data, header + 16)
            rows = struct.unpack_from("<II", data, header + 32)
            (stored,) = struct.unpack_from("<Q", data, header + 48)
            found.append(Chunk(*frames, *rows, stored))
    return found


def stored_bytes(
    path: Path, frames: list[int] | None = None, atoms: tuple[int, int] | None = None
) -> int:
    """Return the bytes of all chunks that have some of these frames and atoms."""
    return sum(
        chunk.stored
        for chunk in chunks(path)
        if (
            frames is None
            or any(
                chunk.first_frame <= number < chunk.first_frame + chunk.n_frames
                for number in frames
            )
        )
        and (
            atoms is None
            or (chunk.first_row < atoms[1] and atoms[0] < chunk.first_row + chunk.n_rows)
        )
    )
