"""Structures as topologies: files, stored dicts, and structures of gemmi."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gemmi
import numpy as np
from numpy.typing import NDArray

from proteinflex_optimization._topology_columns import texts
from proteinflex_optimization.errors import InvalidArgumentError
from proteinflex_optimization.topology import Topology

from .elements import UNKNOWN
from .read import read_structure

NEEDED = (
    "atom_names",
    "elements",
    "residue_index",
    "residue_names",
    "residue_numbers",
    "chains",
)
"""What a stored structure has to have."""


def topology_of(source: Any) -> Topology:
    """Return the topology of a structure; without bonds, for neither files nor dicts tell all.

    Parameters
    ----------
    source : gemmi.Structure or dict or path or object
        All atoms of the first model of a `gemmi.Structure`; a dict as `read_structure` returns it; or
        what `read_structure` reads.

    Raises
    ------
    InvalidArgumentError
        It can't be read, or a dict lacks a column.
    """
    if isinstance(source, gemmi.Structure):
        return _of_gemmi(source)
    data = source if isinstance(source, Mapping) else read_structure(source)
    missing = [name for name in NEEDED if name not in data]
    if missing:
        raise InvalidArgumentError(
            f"source has no {missing[0]!r}: expected a structure as import_structure stores it, "
            f"with {', '.join(NEEDED)}"
        )
    chain_ids, chain_index = texts("chains", np.asarray(data["chains"]))
    return Topology(
        data["atom_names"],
        _symbols(np.asarray(data["elements"])),
        data["residue_index"],
        data["residue_names"],
        data["residue_numbers"],
        chain_index,
        chain_ids,
        insertion_codes=data.get("insertion_codes"),
        segment_ids=data.get("segment_ids"),
    )


def _of_gemmi(structure: gemmi.Structure) -> Topology:
    if len(structure) == 0:
        raise InvalidArgumentError("source has no model: expected atoms")
    chains = list(structure[0])
    residues = [(number, residue) for number, chain in enumerate(chains) for residue in chain]
    atoms = [(number, atom) for number, (_, residue) in enumerate(residues) for atom in residue]
    numbers = []
    for _, residue in residues:
        if residue.seqid.num is None:
            raise InvalidArgumentError(
                f"source has a residue {residue} without a number: expected one"
            )
        numbers.append(residue.seqid.num)
    return Topology(
        [atom.name for _, atom in atoms],
        ["" if atom.element.name == UNKNOWN else atom.element.name for _, atom in atoms],
        [number for number, _ in atoms],
        [residue.name for _, residue in residues],
        numbers,
        [number for number, _ in residues],
        [chain.name for chain in chains],
        insertion_codes=[residue.seqid.icode.strip() for _, residue in residues],
        segment_ids=[residue.segment for _, residue in residues],
        subchains=[residue.subchain for _, residue in residues],
    )


def _symbols(elements: NDArray[np.str_]) -> NDArray[np.str_]:
    return np.where(elements == UNKNOWN, "", elements)
