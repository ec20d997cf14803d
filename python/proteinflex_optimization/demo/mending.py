"""Complete a structure: heavy atoms by pdbfixer, hydrogens by OpenMM. Every change is reported."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .residues import Kind, Residue

PH = 7.0
PHOSPHATE = ("P", "OP1", "OP2", "O1P", "O2P", "OP3", "O3P")
STATES = frozenset({"HID", "HIE", "HIP", "ASH", "GLH", "LYN"})
NO_ATOMS = frozenset({"X", "", "Vs", "Lp", "Ep"})
"""Elements of what is not an atom: virtual sites, lone pairs, Drude particles."""


def complete(chains: list[list[Residue]], force_field: Any, say: Callable[[str], None]) -> Any:
    """Make an OpenMM `Modeller` of chains of residues, with nothing missing.

    The residues stay as many and in their order.
    """
    from openmm import app

    for chain in chains:
        _leave_out(chain, say)
    topology, positions = _topology(chains)
    text = io.StringIO()
    app.PDBxFile.writeFile(topology, positions, text, keepIds=True)
    fixer = _add_heavy_atoms(text, [residue for chain in chains for residue in chain], say)
    modeller = app.Modeller(fixer.topology, fixer.positions)
    _add_hydrogens(modeller, [residue for chain in chains for residue in chain], force_field, say)
    _restore_places(modeller.topology, chains)
    return modeller


def _leave_out(chain: list[Residue], say: Callable[[str], None]) -> None:
    """Remove what the force field has no place for: virtual sites, deuterium, 5'-phosphates."""
    for residue in chain:
        for name, element in list(residue.elements.items()):
            if element.title() in NO_ATOMS or element.upper() == "D":
                del residue.atoms[name], residue.elements[name]
    first = chain[0]
    if first.kind is Kind.NUCLEOTIDE and "P" in first.atoms:
        for name in PHOSPHATE:
            first.atoms.pop(name, None)
            first.elements.pop(name, None)
        say(f"structure: removed the 5' phosphate of {first.label}")


def _topology(chains: list[list[Residue]]) -> tuple[Any, Any]:
    from openmm import app, unit

    topology = app.Topology()
    positions = []
    for number, chain in enumerate(chains):
        own = topology.addChain(str(number))
        for index, residue in enumerate(chain):
            added = topology.addResidue(residue.name, own, str(index))
            for name, position in residue.atoms.items():
                element = app.Element.getBySymbol(residue.elements[name].title())
                topology.addAtom(name, element, added)
                positions.append(position)
    return topology, np.array(positions) * unit.angstrom


def _add_heavy_atoms(text: io.StringIO, residues: list[Residue], say: Callable[[str], None]) -> Any:
    from pdbfixer import PDBFixer

    text.seek(0)
    fixer = PDBFixer(pdbxfile=text)
    # Residues that the file lacks are not made up: the ends of a gap are ends of chains.
    fixer.missingResidues = {}
    fixer.nonstandardResidues = [
        (topological, residue.name)
        for topological, residue in zip(fixer.topology.residues(), residues, strict=True)
        if residue.is_modified
    ]
    for residue in residues:
        if residue.is_modified:
            say(f"structure: made {residue.label} the standard residue {residue.name}")
    fixer.replaceNonstandardResidues()
    fixer.findMissingAtoms()
    n_atoms = sum(map(len, fixer.missingAtoms.values()))
    if n_atoms:
        where = [residues[residue.index].label for residue in fixer.missingAtoms]
        say(f"structure: added {n_atoms} missing heavy atoms in {listed(where)}")
    if fixer.missingTerminals:
        where = [residues[residue.index].label for residue in fixer.missingTerminals]
        say(f"structure: added the terminal oxygen of {listed(where)}")
    fixer.addMissingAtoms(seed=1)
    return fixer


def _add_hydrogens(
    modeller: Any, residues: list[Residue], force_field: Any, say: Callable[[str], None]
) -> None:
    """Add hydrogens that are missing, and replace those by whose names a residue is not known."""

    def hydrogens(residues: Iterable[Any]) -> list[Any]:
        return [a for residue in residues for a in residue.atoms() if a.element.symbol == "H"]

    had = len(hydrogens(modeller.topology.residues()))
    variants = [residue.variant for residue in residues]
    variants = modeller.addHydrogens(pH=PH, variants=variants)
    unmatched = force_field.getUnmatchedResidues(modeller.topology)
    replaced = hydrogens(unmatched)
    if replaced:
        modeller.delete(replaced)
        modeller.addHydrogens(pH=PH, variants=variants)
        where = [residues[residue.index].label for residue in unmatched]
        say(f"structure: replaced {len(replaced)} hydrogens of {listed(where)}")
    added = len(hydrogens(modeller.topology.residues())) - had
    if added > 0:
        say(f"structure: added {added} hydrogens to the {had} of the file (pH {PH:g})")
    elif added < 0:
        say(f"structure: removed {-added} of {had} hydrogens")
    states = [variant for variant in variants if variant in STATES]
    if states:
        say(f"structure: states of protonation: {tally(states)}")


def _restore_places(topology: Any, chains: list[list[Residue]]) -> None:
    """Give chains and residues the names that they have in the file."""
    for own, chain in zip(topology.chains(), chains, strict=True):
        own.id = chain[0].chain
        for added, residue in zip(own.residues(), chain, strict=True):
            added.id, added.insertionCode = residue.number, residue.insertion_code


def listed(items: Iterable[str], most: int = 12) -> str:
    """Join with commas; of a long list its beginning and the number of the rest."""
    items = list(items)
    rest = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + rest


def tally(names: Iterable[str]) -> str:
    """Return each name with how often it is there."""
    return ", ".join(f"{count} {name}" for name, count in sorted(Counter(names).items()))
