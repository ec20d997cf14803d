"""The protein of a PDB file, ready to simulate and to store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proteinflex_optimization.errors import ProteinFlexError

from .settings import FORCE_FIELD

WATER = frozenset({"HOH", "WAT", "TIP3", "SOL", "DOD"})


class StructureError(ProteinFlexError):
    """A structure can't be simulated; the message says which part of it and what to do."""


@dataclass(frozen=True)
class Protein:
    """A protein with all its hydrogens, and how sure its coordinates are.

    Attributes
    ----------
    topology : openmm.app.Topology
        Atoms, residues and bonds.
    positions : ndarray
        (n_atoms, 3) float32, in Å.
    confidence : ndarray
        (n_residues,) float32: the B-factor column of the file at each residue's Cα, which predictors
        fill with pLDDT (0 to 100); NaN where a residue has no Cα in the file.
    """

    topology: Any
    positions: NDArray[np.float32]
    confidence: NDArray[np.float32]

    @property
    def residues(self) -> list[Any]:
        """The residues, in order."""
        return list(self.topology.residues())

    @property
    def alpha_carbons(self) -> NDArray[np.int64]:
        """The index of each residue's Cα atom; residues without one (caps) are left out."""
        return np.array([a.index for a in self.topology.atoms() if a.name == "CA"], dtype=np.int64)

    @property
    def masses(self) -> NDArray[np.float64]:
        """(n_atoms,) in dalton."""
        from openmm import unit

        return np.array(
            [a.element.mass.value_in_unit(unit.dalton) for a in self.topology.atoms()],
        )

    def as_data(self) -> dict[str, Any]:
        """Return what goes into the cache."""
        atoms = list(self.topology.atoms())
        return {
            "positions": self.positions,
            "plddt": self.confidence,
            "atom_names": np.array([atom.name for atom in atoms]),
            "elements": np.array([atom.element.symbol for atom in atoms]),
            "residue_index": np.array([atom.residue.index for atom in atoms], dtype=np.int32),
            "residue_names": [residue.name for residue in self.residues],
            "residue_ids": [residue.id for residue in self.residues],
            "chains": [residue.chain.id for residue in self.residues],
        }


def load_protein(path: Path) -> Protein:
    """Read the protein of a PDB file: no water, no ions, all hydrogens.

    Raises
    ------
    StructureError
        The file holds no protein, or one that the force field does not know.
    """
    from openmm import app, unit

    try:
        pdb = app.PDBFile(str(path))
    except Exception as error:
        raise StructureError(f"{path} can't be read as a PDB file: {error}") from error
    modeller = app.Modeller(pdb.topology, pdb.positions)
    solvent = [
        residue
        for residue in modeller.topology.residues()
        if residue.name.upper() in WATER or len(list(residue.atoms())) == 1
    ]
    modeller.delete(solvent)
    if modeller.topology.getNumAtoms() == 0:
        raise StructureError(f"{path} holds no protein: only water, ions or nothing")
    force_field = app.ForceField(*FORCE_FIELD)
    try:
        modeller.addHydrogens(force_field)
    except (ValueError, KeyError) as error:
        raise StructureError(_unknown_residue(path, force_field, modeller, error)) from error
    positions = np.asarray(modeller.positions.value_in_unit(unit.angstrom), dtype=np.float32)
    found = _confidence_of_residues(path)
    confidence = np.array(
        [
            found.get((residue.chain.id.strip(), residue.id, residue.insertionCode.strip()), np.nan)
            for residue in modeller.topology.residues()
        ],
        dtype=np.float32,
    )
    return Protein(modeller.topology, positions, confidence)


def _confidence_of_residues(path: Path) -> dict[tuple[str, str, str], float]:
    """Read the B-factor column (61 to 66 of the PDB format) at each residue's first Cα."""
    confidence: dict[tuple[str, str, str], float] = {}
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith("ENDMDL"):
                break
            if not line.startswith("ATOM") or line[12:16].strip() != "CA":
                continue
            residue = (line[21].strip(), line[22:26].strip(), line[26].strip())
            try:
                confidence.setdefault(residue, float(line[60:66]))
            except ValueError:
                continue
    return confidence


def _unknown_residue(path: Path, force_field: Any, modeller: Any, error: Exception) -> str:
    unmatched = force_field.getUnmatchedResidues(modeller.topology)
    known = set(force_field._templates)
    names = sorted({residue.name for residue in unmatched if residue.name not in known})
    if names:
        return (
            f"{path}: the force field ({', '.join(FORCE_FIELD)}) has no parameters for "
            f"{', '.join(names)}; remove these residues, or replace modified ones by their "
            "standard parents"
        )
    where = ", ".join(f"{residue.name} {residue.id}" for residue in unmatched[:5])
    return (
        f"{path}: atoms are missing or too many near {where or 'some residues'} ({error}); "
        "complete the structure first, for example with PDBFixer"
    )
