"""An OpenMM topology as plain values, which OpenMM has no portable form for."""

from __future__ import annotations

from typing import Any

import numpy as np

from proteinflex_optimization.errors import InvalidArgumentError

from .topology import ORDERS


def topology_to_plain(topology: Any) -> dict[str, Any]:
    """Return everything that a topology holds as lists and arrays.

    Parameters
    ----------
    topology : openmm.app.Topology
        Chains, residues, atoms and bonds are numbered in their order.

    Returns
    -------
    dict
        Names and ids are lists, with one item per chain, residue, atom or bond; ``residue_chains``,
        ``atom_residues`` and ``bonds`` (n_bonds, 2) are int64 indices; ``box`` is None or the vectors
        (3, 3) float64 in nm. ``elements`` has number, name, symbol and mass (Da) of each element, and
        ``atom_elements`` an index into it, -1 for none.
    """
    from openmm import unit

    chains, residues = list(topology.chains()), list(topology.residues())
    atoms, bonds = list(topology.atoms()), list(topology.bonds())
    elements: dict[Any, int] = {}
    for atom in atoms:
        if atom.element is not None:
            elements.setdefault(atom.element, len(elements))
    box = topology.getPeriodicBoxVectors()
    return {
        "chain_ids": [chain.id for chain in chains],
        "residue_names": [residue.name for residue in residues],
        "residue_ids": [residue.id for residue in residues],
        "insertion_codes": [residue.insertionCode for residue in residues],
        "residue_chains": np.array([residue.chain.index for residue in residues], np.int64),
        "atom_names": [atom.name for atom in atoms],
        "atom_ids": [atom.id for atom in atoms],
        # Of OpenMM 8.2 and later.
        "formal_charges": [getattr(atom, "formalCharge", None) for atom in atoms],
        "atom_residues": np.array([atom.residue.index for atom in atoms], np.int64),
        "atom_elements": np.array([elements.get(atom.element, -1) for atom in atoms], np.int64),
        "elements": [
            [e.atomic_number, e.name, e.symbol, float(e.mass.value_in_unit(unit.dalton))]
            for e in elements
        ],
        "bonds": np.array([(b.atom1.index, b.atom2.index) for b in bonds], np.int64).reshape(-1, 2),
        "bond_types": [None if bond.type is None else str(bond.type) for bond in bonds],
        "bond_orders": [bond.order for bond in bonds],
        # A list of vectors with units is kept as such.
        "box": None
        if box is None
        else np.array([vector.value_in_unit(unit.nanometer) for vector in box], np.float64),
    }


def topology_from_plain(plain: dict[str, Any]) -> Any:
    """Return the `openmm.app.Topology` that `topology_to_plain` was given.

    Raises
    ------
    InvalidArgumentError
        An element of the program has the same symbol and is another one.
    """
    from openmm import Vec3, app, unit
    from openmm.app import topology as types

    made = app.Topology()
    chains = [made.addChain(name) for name in plain["chain_ids"]]
    residues = [
        made.addResidue(name, chains[chain], number, code)
        for name, chain, number, code in zip(
            plain["residue_names"],
            plain["residue_chains"].tolist(),
            plain["residue_ids"],
            plain["insertion_codes"],
            strict=True,
        )
    ]
    elements = [_element(*element) for element in plain["elements"]]
    atoms = []
    for name, element, residue, number, charge in zip(
        plain["atom_names"],
        plain["atom_elements"].tolist(),
        plain["atom_residues"].tolist(),
        plain["atom_ids"],
        plain["formal_charges"],
        strict=True,
    ):
        options = {} if charge is None else {"formalCharge": charge}
        known = None if element < 0 else elements[element]
        atoms.append(made.addAtom(name, known, residues[residue], number, **options))
    kinds = {str(kind): kind for kind in (getattr(types, name) for name in ORDERS)}
    for (first, second), kind, order in zip(
        plain["bonds"].tolist(), plain["bond_types"], plain["bond_orders"], strict=True
    ):
        made.addBond(atoms[first], atoms[second], None if kind is None else kinds[kind], order)
    if plain["box"] is not None:
        made.setPeriodicBoxVectors([Vec3(*row) for row in plain["box"].tolist()] * unit.nanometer)
    return made


def _element(number: int, name: str, symbol: str, mass: float) -> Any:
    """Find an element by its symbol, or register one that the saving program had defined itself."""
    from openmm import app, unit

    try:
        known = app.Element.getBySymbol(symbol)
    except KeyError:
        return app.Element(number, name, symbol, mass * unit.dalton)
    if (known.atomic_number, known.name) != (number, name):
        raise InvalidArgumentError(
            f"the topology's element {symbol!r} is {name!r} with number {number}, and in this "
            f"program {known.name!r} with number {known.atomic_number}: expected the same"
        )
    return known
