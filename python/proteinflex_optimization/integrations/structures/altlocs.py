"""Choosing among alternative locations."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .atoms import Atoms

NONE = ""


def best_rows(atoms: Atoms) -> NDArray[np.intp]:
    """Return the atoms of the alternatives with the highest mean occupancy, of whole residues.

    Residues at one place, all of whose atoms are alternatives, are alternatives of each other: a
    point mutation in the crystal.
    """
    has_altloc = atoms.altlocs != NONE
    if not has_altloc.any():
        return np.arange(len(atoms.names))
    rows_of = np.split(
        np.argsort(atoms.residue_index, kind="stable"),
        np.cumsum(np.bincount(atoms.residue_index))[:-1],
    )
    chosen: list[NDArray[np.intp] | list[int]] = []
    for group in _groups(atoms, rows_of, has_altloc):
        if has_altloc[group[0]].any() or len(group) > 1:
            chosen.append(_best(atoms, group))
        else:
            chosen.append(group[0])
    return np.concatenate([np.asarray(rows, np.intp) for rows in chosen])


def _groups(
    atoms: Atoms, rows_of: list[NDArray[np.intp]], has_altloc: NDArray[np.bool_]
) -> Iterator[list[NDArray[np.intp]]]:
    all_alternative = np.array([bool(has_altloc[rows].all()) for rows in rows_of])
    group: list[NDArray[np.intp]] = []
    for residue, rows in enumerate(rows_of):
        same = (
            group
            and atoms.residues.site[residue] == atoms.residues.site[residue - 1]
            and all_alternative[residue]
            and all_alternative[residue - 1]
        )
        if group and not same:
            yield group
            group = []
        group.append(rows)
    yield group


def _best(atoms: Atoms, group: list[NDArray[np.intp]]) -> list[int]:
    names, altlocs = atoms.names, atoms.altlocs

    def occupancy(row: int) -> float:
        value = 1.0 if atoms.occupancies is None else float(atoms.occupancies[row])
        return 1.0 if np.isnan(value) else value

    occupancies: dict[str, list[float]] = {}
    for row in np.concatenate(group).tolist():
        if altlocs[row] != NONE:
            occupancies.setdefault(str(altlocs[row]), []).append(occupancy(row))
    # The first of equals, for `max` keeps it.
    label = max(occupancies, key=lambda at: np.mean(occupancies[at]))
    rows = next(rows for rows in group if (altlocs[rows] == label).any()).tolist()
    # Names without an alternative may repeat, and all of these atoms are kept.
    plain = {str(names[row]) for row in rows if altlocs[row] == NONE}
    chosen: dict[object, int] = {}

    def rank(row: int) -> tuple[bool, float]:
        return bool(altlocs[row] == label), occupancy(row)

    for row in rows:
        name = str(names[row])
        if altlocs[row] == NONE:
            chosen[row] = row
        elif name not in plain and (name not in chosen or rank(row) > rank(chosen[name])):
            chosen[name] = row
    return list(chosen.values())
