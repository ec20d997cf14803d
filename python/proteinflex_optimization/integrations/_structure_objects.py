"""Structures of Biotite and OpenMM as gemmi's, without importing either library."""

from __future__ import annotations

import itertools
from typing import Any

import gemmi
import numpy as np

from proteinflex_optimization.errors import InvalidArgumentError


def is_biotite(source: Any) -> bool:
    """Recognise Biotite's `AtomArray` and `AtomArrayStack` by what they have."""
    return hasattr(source, "coord") and hasattr(source, "get_annotation_categories")


def from_biotite(source: Any) -> tuple[Any, bool]:
    """Convert; also return whether it has B-factors."""
    known = source.get_annotation_categories()
    n_atoms = source.array_length()
    coordinates = np.asarray(source.coord, np.float64).reshape(-1, n_atoms, 3)

    def annotation(name: str, default: Any) -> Any:
        return getattr(source, name) if name in known else itertools.repeat(default)

    atoms = list(
        zip(
            source.chain_id,
            source.res_id,
            annotation("ins_code", ""),
            source.res_name,
            source.atom_name,
            source.element,
            annotation("b_factor", 0.0),
            annotation("occupancy", 1.0),
            annotation("altloc_id", ""),
            range(n_atoms),
            strict=False,
        )
    )
    structure = gemmi.Structure()
    for number, positions in enumerate(coordinates, 1):
        _add_model(structure, number, atoms, positions)
    return structure, "b_factor" in known


def is_openmm(source: Any) -> bool:
    """Recognise OpenMM's files and modellers, and pairs of a topology and positions."""
    if isinstance(source, tuple):
        return len(source) == 2 and hasattr(source[0], "residues")
    return hasattr(source, "topology") and hasattr(source, "positions")


def from_openmm(source: Any) -> Any:
    """Convert; lengths are in nm where positions have no unit."""
    from openmm import unit

    if isinstance(source, tuple):
        topology, positions = source
    else:
        topology, positions = source.topology, source.positions
    if unit.is_quantity(positions):
        positions = positions.value_in_unit(unit.angstrom)
    else:
        positions = np.asarray(positions, np.float64) * 10
    positions = np.array([tuple(position) for position in positions], np.float64)
    if positions.shape != (topology.getNumAtoms(), 3):
        raise InvalidArgumentError(
            f"source has positions of shape {positions.shape}: expected "
            f"({topology.getNumAtoms()}, 3), as its topology"
        )
    atoms = [
        (
            atom.residue.chain.id,
            atom.residue.id,
            atom.residue.insertionCode,
            atom.residue.name,
            atom.name,
            "" if atom.element is None else atom.element.symbol,
            0.0,
            1.0,
            "",
            atom.index,
        )
        for atom in topology.atoms()
    ]
    structure = gemmi.Structure()
    _add_model(structure, 1, atoms, positions)
    return structure


def _add_model(structure: Any, number: int, atoms: list[Any], positions: Any) -> None:
    model = gemmi.Model(number)
    for chain_id, of_chain in itertools.groupby(atoms, key=lambda atom: atom[0]):
        chain = gemmi.Chain(str(chain_id))
        for (seq, code, name), of_residue in itertools.groupby(of_chain, key=lambda a: a[1:4]):
            residue = gemmi.Residue()
            residue.name = str(name)
            residue.seqid = _number(seq, code)
            for _, _, _, _, atom_name, element, b_factor, occupancy, altloc, index in of_residue:
                atom = gemmi.Atom()
                atom.name = str(atom_name)
                atom.element = gemmi.Element(str(element))
                atom.pos = gemmi.Position(*positions[index])
                atom.b_iso = float(b_factor)
                atom.occ = float(occupancy)
                if altloc not in ("", ".", "?", " "):
                    atom.altloc = str(altloc)
                residue.add_atom(atom)
            chain.add_residue(residue)
        model.add_chain(chain)
    structure.add_model(model)


def _number(seq: Any, code: Any) -> Any:
    try:
        number = int(seq)
    except ValueError:
        raise InvalidArgumentError(
            f"source has a residue with the number {seq!r}: expected whole numbers"
        ) from None
    return gemmi.SeqId(number, (str(code).strip() or " "))
