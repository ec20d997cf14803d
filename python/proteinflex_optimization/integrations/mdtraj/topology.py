"""Topologies of mdtraj."""

from __future__ import annotations

from typing import Any

import mdtraj
from mdtraj.core.topology import Amide, Aromatic, Double, Single, Triple

from proteinflex_optimization._arguments import instance
from proteinflex_optimization._log import get_logger
from proteinflex_optimization._packed import checked_path
from proteinflex_optimization._system_errors import is_of_system
from proteinflex_optimization._topology_columns import build
from proteinflex_optimization.errors import InvalidArgumentError
from proteinflex_optimization.topology import Topology, of_structure_file

logger = get_logger()

BOND_TYPES = {float(kind): kind for kind in (Single, Double, Triple, Aromatic, Amide)}
"""mdtraj's types of bonds by their order."""


def topology_from_mdtraj(source: Any) -> Topology:
    """Return what a topology of mdtraj says, but for serial numbers and formal charges.

    Parameters
    ----------
    source : mdtraj.Topology or mdtraj.Trajectory
        mdtraj has no insertion codes.
    """
    topology = known_topology(source, "source")
    # By index, as coordinates are: iterating goes from residue to residue.
    chains = [topology.chain(index) for index in range(topology.n_chains)]
    residues = [topology.residue(index) for index in range(topology.n_residues)]
    atoms = [topology.atom(index) for index in range(topology.n_atoms)]
    bonds = list(topology.bonds)
    return Topology(
        [atom.name for atom in atoms],
        [_symbol(atom.element) for atom in atoms],
        [atom.residue.index for atom in atoms],
        [residue.name for residue in residues],
        [residue.resSeq for residue in residues],
        [residue.chain.index for residue in residues],
        [chain.chain_id or "" for chain in chains],
        segment_ids=[residue.segment_id or "" for residue in residues],
        bonds=[(bond.atom1.index, bond.atom2.index) for bond in bonds],
        bond_orders=[_order(bond) for bond in bonds],
    )


def topology_to_mdtraj(topology: Topology) -> Any:
    """Return an `mdtraj.Topology`, which has no insertion codes and no subchains.

    Raises
    ------
    InvalidArgumentError
        mdtraj does not know an element: it has none heavier than livermorium, and no tritium.
    """
    instance("topology", topology, Topology, "a Topology")
    made = mdtraj.Topology()
    names, segments = topology.residue_names.tolist(), topology.segment_ids.tolist()
    numbers = topology.residue_numbers.tolist()
    virtual, by_symbol = mdtraj.element.virtual, mdtraj.element.Element.getBySymbol
    build(
        topology,
        "mdtraj",
        lambda symbol: by_symbol(symbol) if symbol else virtual,
        lambda chain_id: made.add_chain(chain_id or None),
        lambda row, chain: made.add_residue(names[row], chain, numbers[row], segments[row]),
        made.add_atom,
        lambda one, two, order, n: made.add_bond(one, two, BOND_TYPES.get(order), n),
    )
    return made


def known_topology(topology: Any, name: str = "topology") -> Any:
    """Return the `mdtraj.Topology` that the argument ``name`` is or has, also as a file."""
    if isinstance(topology, Topology):
        return topology_to_mdtraj(topology)
    if isinstance(topology, mdtraj.Topology):
        return topology
    if isinstance(topology, mdtraj.Trajectory):
        return topology.topology
    path = checked_path(name, topology)
    try:
        return mdtraj.load_topology(path)
    except Exception as error:
        if is_of_system(error) or isinstance(error, ImportError):
            raise
        reason = f"{type(error).__name__}: {error}"
        read = of_structure_file(path)
        if read is None:
            raise InvalidArgumentError(
                f"{name}={path!r} is not valid: expected a topology that mdtraj can read. "
                f"It says: {reason}"
            ) from error
        logger.warning(
            "%s: the topology is as import_structure reads it; mdtraj does not: %s", path, reason
        )
        known = topology_to_mdtraj(read)
        known.create_standard_bonds()  # As mdtraj does when it reads a PDB file.
        return known


def _symbol(element: Any) -> str:
    return "" if element is None or element.atomic_number == 0 else str(element.symbol)


def _order(bond: Any) -> float:
    return float(bond.order or 0) if bond.type is None else float(bond.type)
