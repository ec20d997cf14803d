"""Indexing of trajectories as NumPy indexes arrays, reading only the frames that are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import InvalidTypeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._native import Trajectory

ALL = slice(None)
EXPECTED = "an int, a slice, a list or mask of frames, `...`, or a tuple of these"


def select(trajectory: Trajectory, index: Any) -> Any:
    """Return ``numpy.asarray(trajectory)[index]``, of which only the frames are read.

    Raises
    ------
    InvalidTypeError
        It is not an index, or adds an axis.
    IndexError
        Such frames, atoms or coordinates are not there.
    """
    frames, atoms, rest = _expanded(index)
    read: dict[str, Any] = {}
    # The reader chooses atoms where NumPy would not pair them with indices of another axis.
    is_alone = isinstance(frames, (int, slice)) and isinstance(rest, slice)
    if isinstance(atoms, slice) or (is_alone and np.ndim(atoms) == 1):
        if atoms is not ALL:
            read["atoms"] = np.arange(trajectory.n_atoms)[atoms]
        atoms = ALL
    block, place = _block(trajectory, frames, read)
    return block[place, atoms, rest]


def _expanded(index: Any) -> tuple[Any, Any, Any]:
    """Return one index for each of the three axes."""
    parts = list(index) if isinstance(index, tuple) else [index]
    dots = [number for number, part in enumerate(parts) if part is Ellipsis]
    if len(dots) > 1:
        raise IndexError(f"index={index!r} is not valid: `...` may be there once")
    missing = 3 - (len(parts) - len(dots))
    if missing < 0:
        raise IndexError(f"index={index!r} is not valid: a trajectory has 3 axes")
    at = dots[0] if dots else len(parts)
    parts[at : at + len(dots)] = [ALL] * missing
    frames, atoms, rest = (_part(part, index) for part in parts)
    return frames, atoms, rest


def _part(part: Any, index: Any) -> Any:
    """Return a slice, an int, or an array of indices or a mask of one axis."""
    if isinstance(part, slice):
        return part
    if not isinstance(part, (bool, np.bool_, str, bytes)) and part is not None:
        try:
            found = np.asarray(part)
        except (TypeError, ValueError):
            found = np.empty(0, object)
        if found.size == 0 and isinstance(part, (list, tuple)):
            found = found.astype(np.intp)
        if found.dtype.kind in "iu":
            return int(found) if found.ndim == 0 else found
        if found.dtype.kind == "b" and found.ndim == 1:
            return found
    raise InvalidTypeError(f"index={index!r} is not valid: expected {EXPECTED}")


def _block(trajectory: Trajectory, frames: Any, read: dict[str, Any]) -> tuple[NDArray[Any], Any]:
    """Return the frames that are asked for, and the index that picks them from these."""
    if isinstance(frames, slice):
        return trajectory.read(frames.start, frames.stop, frames.step, **read), ALL
    wanted = np.arange(trajectory.n_frames)[frames]  # An IndexError here says what is wrong.
    numbers, place = np.unique(np.atleast_1d(wanted), return_inverse=True)
    runs = np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1) if numbers.size else []
    blocks = [trajectory.read(int(run[0]), int(run[-1]) + 1, **read) for run in runs]
    # NumPy would join blocks of the other byte order in that of the machine.
    dtype = trajectory.dtype
    block = np.concatenate(blocks, dtype=dtype) if blocks else trajectory.read(0, 0, **read)
    return block, 0 if np.ndim(wanted) == 0 else place.reshape(np.shape(wanted))
