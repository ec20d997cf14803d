"""How a protein moves: aligned RMSF per residue, RMSD and radius of gyration, block by block.

No more than one block of frames is in memory at a time, however long the trajectory is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Coordinates = NDArray[np.float64]

BLOCK_FRAMES = 64


class Frames(Protocol):
    """What is analysed: a `Trajectory`, or anything that reads like one."""

    @property
    def n_frames(self) -> int:
        """The number of frames."""

    def read(
        self, start: int | None = ..., stop: int | None = ..., *, atoms: Any = ...
    ) -> NDArray[Any]:
        """Read frames start to stop of all or some atoms."""


@dataclass(frozen=True)
class Flexibility:
    """The result.

    Attributes
    ----------
    rmsf : ndarray
        (n_selected,) in the unit of the coordinates: root-mean-square fluctuation of each selected
        atom about its mean position, after superposition on the mean structure.
    rmsd : ndarray
        (n_frames,): root-mean-square deviation of the selected atoms from the first frame, after
        superposition.
    radius_of_gyration : ndarray
        (n_frames,): mass-weighted, over all atoms.
    """

    rmsf: Coordinates
    rmsd: Coordinates
    radius_of_gyration: Coordinates


def analyse(
    frames: Frames,
    selected: NDArray[np.int64],
    masses: Coordinates,
    *,
    frames_per_block: int = BLOCK_FRAMES,
    on_block: Callable[[int], None] = lambda _: None,
) -> Flexibility:
    """Compute the flexibility of a trajectory.

    Parameters
    ----------
    frames : Trajectory
        (n_frames, n_atoms, 3), of one whole molecule: no periodic images are mended.
    selected : ndarray
        The indices of the atoms to superpose and to measure, usually Cα.
    masses : ndarray
        (n_atoms,), any unit.
    frames_per_block : int
        Frames read at a time.
    on_block : callable
        Called with the number of frames after each block, twice for each frame in all.

    Returns
    -------
    Flexibility
    """
    reference = centred(_read(frames, 0, 1, selected))[0]
    rmsd = np.empty(frames.n_frames)
    gyration = np.empty(frames.n_frames)
    mean = RunningMoments(reference.shape)
    for start, stop in _blocks(frames.n_frames, frames_per_block):
        block = _read(frames, start, stop, None)
        gyration[start:stop] = radii_of_gyration(block, masses)
        aligned = superposed(block[:, selected], reference)
        rmsd[start:stop] = np.sqrt(((aligned - reference) ** 2).sum(axis=2).mean(axis=1))
        mean.add(aligned)
        on_block(stop - start)
    about_mean = RunningMoments(reference.shape)
    for start, stop in _blocks(frames.n_frames, frames_per_block):
        about_mean.add(superposed(_read(frames, start, stop, selected), centred(mean.mean)))
        on_block(stop - start)
    return Flexibility(np.sqrt(about_mean.variance.sum(axis=1)), rmsd, gyration)


class RunningMoments:
    """Mean and variance of arrays that arrive in blocks.

    Blocks are merged by the pairwise update of Chan, Golub and LeVeque (doi:10.1080/00031305.1983.10483115),
    which does not lose digits to a large mean.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.count = 0
        self.mean = np.zeros(shape)
        self._squares = np.zeros(shape)

    def add(self, block: Coordinates) -> None:
        """Take in a block; its first axis counts the samples."""
        count = len(block)
        mean = block.mean(axis=0)
        squares = ((block - mean) ** 2).sum(axis=0)
        total = self.count + count
        difference = mean - self.mean
        self._squares += squares + difference**2 * (self.count * count / total)
        self.mean = self.mean + difference * (count / total)
        self.count = total

    @property
    def variance(self) -> Coordinates:
        """The mean squared distance from the mean, per element."""
        return self._squares / self.count


def centred(coordinates: Coordinates) -> Coordinates:
    """Move the centroid of each frame to the origin."""
    moved: Coordinates = coordinates - coordinates.mean(axis=-2, keepdims=True)
    return moved


def superposed(frames: Coordinates, reference: Coordinates) -> Coordinates:
    """Rotate and move each frame onto a centred reference with the least RMSD.

    The rotation is Kabsch's (doi:10.1107/S0567739476001873), by singular value decomposition, kept
    from turning into a reflection.

    Parameters
    ----------
    frames : ndarray
        (n_frames, n_atoms, 3).
    reference : ndarray
        (n_atoms, 3), centred.

    Returns
    -------
    ndarray
        (n_frames, n_atoms, 3).
    """
    moved = centred(frames)
    left, _, right = np.linalg.svd(np.swapaxes(moved, 1, 2) @ reference)
    handedness = np.sign(np.linalg.det(left @ right))
    left[:, :, 2] *= handedness[:, None]
    rotated: Coordinates = moved @ (left @ right)
    return rotated


def radii_of_gyration(frames: Coordinates, masses: Coordinates) -> Coordinates:
    """Mass-weighted root-mean-square distance of the atoms from their centre of mass, per frame."""
    weights = masses / masses.sum()
    centre = np.einsum("a,fac->fc", weights, frames)
    squares = ((frames - centre[:, None]) ** 2).sum(axis=2)
    radii: Coordinates = np.sqrt(squares @ weights)
    return radii


def _blocks(n_frames: int, size: int) -> Iterator[tuple[int, int]]:
    for start in range(0, n_frames, size):
        yield start, min(start + size, n_frames)


def _read(frames: Frames, start: int, stop: int, atoms: Any) -> Coordinates:
    return np.asarray(frames.read(start, stop, atoms=atoms), dtype=np.float64)
