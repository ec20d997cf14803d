"""Topologies of MDAnalysis, and back.

MDAnalysis has no chains: a chain is a residue's segment and the ``chainID`` of its atoms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import MDAnalysis
import numpy as np
from MDAnalysis.core import topologyattrs
from MDAnalysis.core.topology import Topology as MDAnalysisTopology
from MDAnalysis.guesser import tables

from proteinflex_optimization._arguments import instance
from proteinflex_optimization._integrations import integration
from proteinflex_optimization._topology_columns import texts
from proteinflex_optimization.errors import InvalidArgumentError, InvalidTypeError
from proteinflex_optimization.topology import Topology

if TYPE_CHECKING:
    from numpy.typing import NDArray

ORDERS = {"ar": 1.5, "am": 1.25}
"""What Tripos files call bonds that are not whole."""


def topology_from_mdanalysis(source: Any) -> Topology:
    """Return the topology of a universe or a group of atoms, in the order of the group.

    Parameters
    ----------
    source : MDAnalysis.Universe or AtomGroup
        Atoms, each once. Names, elements and ids that it has not got are empty.

    Raises
    ------
    InvalidArgumentError
        Atoms are there twice, residues have no numbers, or an element is not one.
    """
    if not hasattr(source, "atoms"):
        raise InvalidTypeError(
            f"source is of type {type(source).__name__}: expected a universe or a group of atoms"
        )
    atoms = source.atoms
    if len(atoms.unique) < len(atoms):
        raise InvalidArgumentError("source is not valid: expected a group of each atom once")
    if not hasattr(atoms, "resids"):
        raise InvalidArgumentError("source is not valid: its residues have no numbers (resids)")
    # Chains are in the order of their residues, whatever the order of the group.
    of_atoms = _attribute(atoms, "chainIDs")
    in_order = np.argsort(atoms.indices)
    chain_ids, found = texts("chain_ids", of_atoms[in_order])
    chain_of_atoms = np.empty(len(atoms), np.intp)
    chain_of_atoms[in_order] = found
    # A residue of atoms of two chains is two: its atoms would be in one chain else.
    both = atoms.resindices.astype(np.int64) * max(len(chain_ids), 1) + chain_of_atoms
    _, first, residue_index = np.unique(both, return_index=True, return_inverse=True)
    bonds, orders = _bonds(atoms)
    return Topology(
        _attribute(atoms, "names"),
        _attribute(atoms, "elements"),
        residue_index,
        _attribute(atoms, "resnames")[first],
        atoms.resids[first],
        chain_of_atoms[first],
        chain_ids,
        insertion_codes=np.char.strip(_attribute(atoms, "icodes")[first]),
        segment_ids=_attribute(atoms, "segids")[first],
        bonds=bonds,
        bond_orders=orders,
    )


def topology_of_structure(path: Any, universe: Any) -> Topology:
    """Return the topology of a PDB or mmCIF file as `import_structure` reads it.

    MDAnalysis knows no residue numbers beyond 9999 but its own. Bonds are those that it has found.

    Raises
    ------
    InvalidArgumentError
        The file can't be read, or is of other atoms than the universe that was made of it.
    ImportError
        gemmi is not installed.
    """
    structures = integration("structures")
    read = structures.topology_of(structures.read_structure(path, altlocs="all"))
    if read.n_atoms != len(universe.atoms):
        raise InvalidArgumentError(
            f"source={str(path)!r} has {read.n_atoms} atoms, expected {len(universe.atoms)}"
        )
    bonds, orders = _bonds(universe.atoms)
    return Topology(
        read.names,
        read.elements,
        read.residue_index,
        read.residue_names,
        read.residue_numbers,
        read.chain_index,
        read.chain_ids,
        insertion_codes=read.insertion_codes,
        segment_ids=read.segment_ids,
        bonds=bonds,
        bond_orders=orders,
    )


def topology_to_mdanalysis(topology: Topology) -> MDAnalysisTopology:
    """Return a topology as `MDAnalysis.Universe` takes one.

    Segments are those of the topology or, where it has none, its chains. What is empty for all
    atoms or residues is left out, so that MDAnalysis guesses it as of a file without it. Masses are
    those of the elements.
    """
    instance("topology", topology, Topology, "a Topology")
    chain_ids = _picked(topology.chain_ids, topology.chain_index)
    segment_ids = topology.segment_ids if topology.segment_ids.any() else chain_ids
    segments, segment_index = texts("segment_ids", segment_ids)
    attributes: list[Any] = [
        topologyattrs.Atomnames(_objects(topology.names)),
        topologyattrs.Resids(topology.residue_numbers.astype(np.int64)),
        topologyattrs.Resnums(topology.residue_numbers.astype(np.int64)),
        topologyattrs.Resnames(_objects(topology.residue_names)),
        topologyattrs.Segids(np.array(segments, object)),
    ]
    of_atoms = _picked(chain_ids, topology.residue_index)
    optional = (
        (topologyattrs.Elements, topology.elements),
        (topologyattrs.ChainIDs, of_atoms),
        (topologyattrs.ICodes, topology.insertion_codes),
    )
    attributes += [kind(_objects(values)) for kind, values in optional if values.any()]
    if topology.elements.any():
        # MDAnalysis knows no isotopes, and virtual sites have no mass.
        known = tables.masses | {"D": 2.014, "T": 3.016}
        masses = {
            symbol: known.get(symbol, 0.0) for symbol in np.unique(topology.elements).tolist()
        }
        of_each = np.array([masses[symbol] for symbol in topology.elements.tolist()])
        attributes.append(topologyattrs.Masses(of_each, guessed=True))
    if topology.n_bonds:
        orders: list[Any] = [order or None for order in topology.bond_orders.tolist()]
        pairs = [tuple(pair) for pair in topology.bonds.tolist()]
        attributes.append(topologyattrs.Bonds(pairs, order=orders))
    return MDAnalysisTopology(
        topology.n_atoms,
        topology.n_residues,
        len(segments),
        attrs=attributes,
        atom_resindex=topology.residue_index.astype(np.intp),
        residue_segindex=segment_index.astype(np.intp),
    )


def topology_to_universe(topology: Topology) -> Any:
    """Return an `MDAnalysis.Universe` of a topology, without coordinates."""
    return MDAnalysis.Universe(topology_to_mdanalysis(topology))


def _attribute(atoms: Any, name: str) -> NDArray[Any]:
    """Return an attribute of all atoms as texts; empty ones where there is none."""
    values = getattr(atoms, name, None)
    if values is None or len(atoms) == 0:
        return np.zeros(len(atoms), "U1")
    return np.array([str(value) for value in values])


def bonded_atoms(universe: Any, source: str = "source") -> NDArray[np.intp]:
    """Return the two atoms of each bond; ``source`` is what an error names.

    Raises
    ------
    InvalidArgumentError
        One of them is not of the universe.
    """
    stored = getattr(universe._topology, "bonds", None)
    pairs = np.array([] if stored is None else stored.values, np.intp).reshape(-1, 2)
    n_atoms = len(universe.atoms)
    is_wrong = ((pairs < 0) | (pairs >= n_atoms)).any(axis=1)
    if is_wrong.any():
        bond = int(np.argmax(is_wrong))
        first, second = (pairs[bond] + 1).tolist()
        raise InvalidArgumentError(
            f"{source} is not valid: bond {bond} is between the atoms {first} and {second}, expected "
            f"numbers from 1 to {n_atoms}"
        )
    return pairs


def _bonds(atoms: Any) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
    """Return the bonds between these atoms, by their places in the group."""
    pairs = bonded_atoms(atoms.universe)
    if not len(pairs):
        return None, None
    place = np.full(len(atoms.universe.atoms), -1)
    place[atoms.indices] = np.arange(len(atoms))
    pairs = place[pairs]
    kept = (pairs >= 0).all(axis=1)
    orders = np.array([_order(order) for order in atoms.universe._topology.bonds.order])
    return pairs[kept], orders[kept]


def _order(order: Any) -> float:
    """Return a bond's order; 0 for what is not a number, or not known."""
    if order is None:
        return 0.0
    try:
        number = float(ORDERS.get(order, order))
    except (TypeError, ValueError):
        return 0.0
    return number if number * 4 in range(256) else 0.0


def _picked(texts: NDArray[np.str_], index: NDArray[np.int32]) -> NDArray[np.str_]:
    return texts[index] if len(texts) else np.zeros(len(index), "U1")


def _objects(texts: NDArray[np.str_]) -> NDArray[Any]:
    return texts.astype(object)
