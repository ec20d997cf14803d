"""Atoms of one model in the order of their source, and the residues that they are in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .residue_kinds import is_water

Text = NDArray[np.str_]


@dataclass(frozen=True)
class Residues:
    """Residues in their order. ``site`` is the same for residues that stand at one place."""

    names: Text
    numbers: NDArray[np.int32]
    insertion_codes: Text
    chains: Text
    segment_ids: Text
    is_polymer: NDArray[np.bool_]
    site: NDArray[np.intp]


@dataclass(frozen=True)
class Atoms:
    """Atoms of one model. What the source does not say of any atom is None, of some NaN."""

    names: Text
    elements: Text
    positions: NDArray[np.float64]
    altlocs: Text
    b_factors: NDArray[np.float32] | None
    occupancies: NDArray[np.float32] | None
    residue_index: NDArray[np.intp]
    residues: Residues
    cell: NDArray[np.float64] | None


def is_no_crystal(cell: NDArray[np.float64]) -> bool:
    """Return whether these lengths are the placeholders of what has no cell."""
    return bool((cell[:3] <= 1).all())


def is_cell(cell: NDArray[np.float64]) -> bool:
    """Return whether three lengths and three angles can be those of a cell."""
    return bool((cell > 0).all() and (cell[3:] < 180).all() and np.isfinite(cell).all())


class Source(Protocol):
    """Something that models can be taken from."""

    label: str
    n_models: int
    says_plddt: bool

    def model(self, number: int) -> Atoms:
        """Return a model, counted from 1."""
        ...


@dataclass(frozen=True)
class Grouping:
    """Which residue each atom is in, the first atom of each residue, and the site of each residue."""

    index: NDArray[np.intp]
    first: NDArray[np.intp]
    site: NDArray[np.intp]

    @property
    def is_alone(self) -> NDArray[np.bool_]:
        """Whether each atom is the only one of its residue."""
        found: NDArray[np.bool_] = (np.bincount(self.index) == 1)[self.index]
        return found


def group_residues(
    identity: Sequence[NDArray[Any]],
    residue_names: Text,
    names: Text,
    altlocs: Text,
    has_number: NDArray[np.bool_],
    breaks: NDArray[np.bool_] | None = None,
) -> Grouping:
    """Make a residue of each run of atoms that agree in `identity` and in the residue's name.

    Numbers repeat (they wrap at 9999), so what agrees further on is another residue. Where numbers
    can't tell neighbours apart, in waters and ions that all have one and in residues that have none,
    the first atom's name coming again starts the next.

    Parameters
    ----------
    identity : sequence of ndarray
        Chain, number and whatever else tells residues apart, of each atom.
    residue_names, names, altlocs : ndarray of str
        Of each atom.
    has_number : ndarray of bool
        Whether the atom's residue has a number.
    breaks : ndarray of bool, optional
        Where a residue starts whatever else is said.
    """
    new_site = np.zeros(len(names), bool)
    new_site[0] = True
    for column in identity:
        new_site[1:] |= column[1:] != column[:-1]
    if breaks is not None:
        new_site |= breaks
    new = new_site.copy()
    new[1:] |= residue_names[1:] != residue_names[:-1]

    known = {name: is_water(name) for name in np.unique(residue_names).tolist()}
    is_ion = np.char.rstrip(names, "+-0123456789") == np.char.rstrip(residue_names, "+-0123456789")
    may_repeat = ~has_number | is_ion | np.array([known[name] for name in residue_names.tolist()])
    start = np.flatnonzero(new)[np.cumsum(new) - 1]
    again = may_repeat & (names == names[start]) & (altlocs == altlocs[start])
    new |= again
    new_site |= again

    site = np.cumsum(new_site) - 1
    index = _joined(np.cumsum(new) - 1, site, residue_names, altlocs)
    _, first, index = np.unique(index, return_index=True, return_inverse=True)
    return Grouping(index, first, site[first])


def _joined(
    index: NDArray[np.intp], site: NDArray[np.intp], residue_names: Text, altlocs: Text
) -> NDArray[np.intp]:
    """Join the parts of two kinds of residue at one place whose atoms alternate in the file."""
    starts = np.flatnonzero(np.diff(index, prepend=-1))
    parts = np.bincount(site[starts])
    for place in np.flatnonzero(parts > 2):
        rows = slice(*np.searchsorted(site, [place, place + 1]))
        if (altlocs[rows] != "").all():
            first: dict[str, int] = {}
            index[rows] = [
                first.setdefault(name, number)
                for name, number in zip(
                    residue_names[rows].tolist(), index[rows].tolist(), strict=True
                )
            ]
    return index
