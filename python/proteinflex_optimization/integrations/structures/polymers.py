"""Which residues make up proteins and nucleic acids, in sources that don't say it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .atoms import Grouping, Text
from .residue_kinds import CAPS, is_standard, kind

BACKBONES = ({"N", "CA", "C"}, {"P", "C1'"}, {"O3'", "C1'"})
"""Atoms that a residue of an unknown name has when it is a link of a chain."""


def find_polymers(
    grouping: Grouping,
    residue_names: Text,
    names: Text,
    is_hetero: NDArray[np.bool_],
    identity: list[NDArray[np.str_]],
    ends: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Return for each residue whether it is a link of a chain.

    Links are amino acids and nucleotides, known by name or by their backbone, that follow each
    other: two or more, or one that stands in ATOM records. A usual amino acid in HETATM records
    is a ligand, beside others that are in ATOM records or after the end of its chain.

    Parameters
    ----------
    grouping : Grouping
        Which residue each atom is in.
    residue_names : ndarray of str
        Of each residue.
    names : ndarray of str
        Of each atom.
    is_hetero : ndarray of bool
        Of each residue: whether its atoms are HETATM records.
    identity : list of ndarray of str
        Of each residue: its chain, and what else tells chains apart.
    ends : ndarray of bool
        Of each residue: whether a chain ends after it (TER).
    """
    starts = np.zeros(len(residue_names), bool)
    starts[0] = True
    starts[1:] = ends[:-1]
    for column in identity:
        starts[1:] |= column[1:] != column[:-1]
    is_polymer = np.zeros(len(residue_names), bool)
    links = _links(grouping, residue_names, names)
    bounds = [*np.flatnonzero(starts).tolist(), len(starts)]
    ended: set[str] = set()
    for start, stop in itertools.pairwise(bounds):
        chain = str(identity[0][start])
        for first, last in _stretches(links[start:stop], start):
            het = is_hetero[first:last]
            linked = links[first:last].copy()
            if not het.all():
                linked &= ~(
                    het & [is_standard(name) for name in residue_names[first:last].tolist()]
                )
            elif chain in ended and chain:
                continue
            caps = _is_cap(residue_names[first:last])
            inner = linked & ~caps
            if inner.sum() > 1 or (inner & ~het).any():
                is_polymer[first:last] = linked | caps
        if ends[stop - 1]:
            ended.add(chain)
    return is_polymer


def _links(grouping: Grouping, residue_names: Text, names: Text) -> NDArray[np.bool_]:
    kinds = [kind(name) for name in residue_names.tolist()]
    links = np.array([one in ("amino", "nucleic") for one in kinds])
    unknown = np.array([one == "unknown" for one in kinds])
    atoms: dict[int, set[str]] = {}
    for row in np.flatnonzero(unknown[grouping.index]):
        atoms.setdefault(int(grouping.index[row]), set()).add(str(names[row]))
    for residue, found in atoms.items():
        links[residue] = any(backbone <= found for backbone in BACKBONES)
    return links | _is_cap(residue_names)


def _is_cap(residue_names: Text) -> NDArray[np.bool_]:
    return np.isin(residue_names, list(CAPS))


def _stretches(links: NDArray[np.bool_], offset: int) -> Iterator[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(links, prepend=False, append=False)) + offset
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
