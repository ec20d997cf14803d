"""Topologies of OpenMM as those that trajectories hold, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from proteinflex_optimization._arguments import instance
from proteinflex_optimization._topology_columns import build, chosen_atoms
from proteinflex_optimization.errors import InvalidArgumentError, InvalidTypeError
from proteinflex_optimization.topology import Topology

if TYPE_CHECKING:
    from proteinflex_optimization.types import AtomSelection

ORDERS = {"Single": 1.0, "Double": 2.0, "Triple": 3.0, "Aromatic": 1.5, "Amide": 1.25}
"""Of bonds by OpenMM's name of their type."""


def topology_from_openmm(source: Any, atoms: AtomSelection | None = None) -> Topology:
    """Return what an OpenMM topology says, but for atom ids, formal charges and the box.

    Parameters
    ----------
    source : openmm.app.Topology or object
        Or what has one: a simulation, `PDBFile`, `PDBxFile`, `Modeller`.
    atoms : int, slice or array_like, optional
        Which atoms, in this order, with the bonds between them; default: all.

    Raises
    ------
    InvalidArgumentError
        The id of a residue is not a number, an element is not in the periodic table, or `atoms` are
        not atoms of it, each once.
    """
    topology = getattr(source, "topology", source)
    if not callable(getattr(topology, "chains", None)):
        raise InvalidTypeError(
            f"source is of type {type(source).__name__}: expected an OpenMM topology, or what has one"
        )
    chains, residues = list(topology.chains()), list(topology.residues())
    # The order of positions, which differs from that of residues where atoms were added late.
    found = sorted(topology.atoms(), key=lambda atom: atom.index)
    if atoms is not None:
        found = [found[index] for index in chosen_atoms(atoms, len(found))]
        used = {atom.residue for atom in found}
        residues = [residue for residue in residues if residue in used]
        used = {residue.chain for residue in residues}
        chains = [chain for chain in chains if chain in used]
    row = {each: index for rows in (chains, residues, found) for index, each in enumerate(rows)}
    numbers, codes = [], []
    for residue in residues:
        number, code = _number(residue)
        numbers.append(number)
        codes.append(code)
    bonds = [bond for bond in topology.bonds() if bond.atom1 in row and bond.atom2 in row]
    return Topology(
        [atom.name for atom in found],
        ["" if atom.element is None else atom.element.symbol for atom in found],
        [row[atom.residue] for atom in found],
        [residue.name for residue in residues],
        numbers,
        [row[residue.chain] for residue in residues],
        [chain.id for chain in chains],
        insertion_codes=codes,
        bonds=[(row[bond.atom1], row[bond.atom2]) for bond in bonds],
        bond_orders=[_order(bond) for bond in bonds],
    )


def topology_to_openmm(topology: Topology) -> Any:
    """Return an `openmm.app.Topology`; see `Topology.to_openmm`."""
    from openmm import app
    from openmm.app import topology as types

    instance("topology", topology, Topology, "a Topology")
    if (np.diff(topology.residue_index) < 0).any():
        atom = int(np.argmax(np.diff(topology.residue_index) < 0)) + 1
        raise InvalidArgumentError(
            f"the topology is not valid for OpenMM: atom {atom} is in residue "
            f"{topology.residue_index[atom]}, and the one before it in a later one; expected atoms "
            "in the order of their residues, as OpenMM numbers them"
        )
    made = app.Topology()
    names, codes = topology.residue_names.tolist(), topology.insertion_codes.tolist()
    numbers = topology.residue_numbers.tolist()
    kinds = {order: getattr(types, name) for name, order in ORDERS.items()}
    build(
        topology,
        "OpenMM",
        lambda symbol: app.Element.getBySymbol(symbol) if symbol else None,
        made.addChain,
        lambda row, chain: made.addResidue(names[row], chain, str(numbers[row]), codes[row]),
        made.addAtom,
        lambda one, two, order, n: made.addBond(one, two, kinds.get(order), n),
    )
    return made


def _number(residue: Any) -> tuple[int, str]:
    """Return the number and the insertion code of a residue, which OpenMM has as one text or two."""
    text, code = str(residue.id).strip(), (residue.insertionCode or "").strip()
    if not code and text[:-1].lstrip("-").isdecimal() and text[-1].isalpha():
        text, code = text[:-1], text[-1]
    try:
        return int(text), code
    except ValueError:
        raise InvalidArgumentError(
            f"the id of residue {residue.index} ({residue.name}) is {residue.id!r}: expected a "
            "whole number, with an insertion code or without"
        ) from None


def _order(bond: Any) -> float:
    name = None if bond.type is None else str(bond.type)
    if name in ORDERS:
        return ORDERS[name]
    return float(bond.order or 0)
