"""The protein of a structure file, ready to simulate and to store."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from proteinflex_optimization._arguments import renamed
from proteinflex_optimization.errors import ProteinFlexError

from .settings import FORCE_FIELD

if TYPE_CHECKING:
    from .residues import Residue

MOST_INCOMPLETE = 0.1
"""The part of a protein's residues that may lack their backbone; more, and it is a coarse model."""


MOST_ATOMS_WITHOUT_CUTOFF = 5_000
CUTOFF = 2.0
"""In nm; of larger proteins, whose pairs of atoms would be too many."""


class StructureError(ProteinFlexError):
    """A structure can't be simulated; the message says which part of it and what to do."""


@dataclass(frozen=True)
class Protein:
    """A protein with all its atoms, and how sure its coordinates are.

    Attributes
    ----------
    topology : openmm.app.Topology
        Atoms, residues and bonds.
    positions : ndarray
        (n_atoms, 3) float32, in Å.
    confidence : ndarray
        (n_residues,) float32: the B-factor of the file at each residue's Cα, which predictors fill with
        pLDDT (0 to 100); NaN where the file has none.
    system : openmm.System
        Its forces, as the force field describes them.
    """

    topology: Any
    positions: NDArray[np.float32]
    confidence: NDArray[np.float32]
    system: Any

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


def load_protein(
    path: Path, *, drop_unknown: bool = False, say: Callable[[str], None] = lambda _: None
) -> Protein:
    """Read the protein of a PDB or mmCIF file, complete it and describe its forces.

    Of several models the first is taken. Water and salt ions are left out, for the solvent is
    implicit. Missing heavy atoms, hydrogens and terminal oxygens are added and modified residues
    become their standard parents; residues that the file lacks are not made up, and the ends of such
    a gap are ends of chains.

    Parameters
    ----------
    path : Path
        The file, gzipped or not.
    drop_unknown : bool
        Whether to leave out what the force field has no parameters for.
    say : callable
        Is told of each change, in one line.

    Raises
    ------
    InvalidArgumentError
        The file can't be read.
    StructureError
        It holds no protein, a coarse model, or something that the force field does not know.
    """
    from openmm import app, unit

    from proteinflex_optimization.integrations.structures import read_structure

    from .mending import complete
    from .residues import residues_of

    with renamed("source", "pdb"):
        data: dict[str, Any] = {**read_structure(path)}
    if data["n_models"] > 1:
        say(f"structure: took the first of {data['n_models']} models")
    chains = _selected(path, residues_of(data), data.get("cell"), drop_unknown, say)
    force_field = app.ForceField(*FORCE_FIELD)
    modeller = complete(chains, force_field, say)
    positions = np.asarray(modeller.positions.value_in_unit(unit.angstrom), dtype=np.float32)
    confidence = np.array([r.confidence for chain in chains for r in chain], dtype=np.float32)
    system = _system(path, force_field, modeller.topology)
    return Protein(modeller.topology, positions, confidence, system)


def _selected(
    path: Path,
    residues: list[Residue],
    cell: NDArray[np.float64] | None,
    drop_unknown: bool,
    say: Callable[[str], None],
) -> list[list[Residue]]:
    """Choose the residues to simulate, as chains of bonded residues."""
    from .residues import Kind, chains_of

    kept = _with_backbones(path, _without_solvent(residues, say), say)
    unknown = [residue for residue in kept if residue.kind is Kind.UNKNOWN]
    chains = chains_of([residue for residue in kept if residue.kind is not Kind.UNKNOWN], cell)
    chains = _known(path, chains, unknown, drop_unknown, say)
    for before, after in itertools.pairwise(chains):
        if before[-1].chain == after[0].chain and before[-1].kind is after[0].kind:
            say(f"structure: a gap between {before[-1].label} and {after[0].label} ends the chain")
    return chains


def _without_solvent(residues: list[Residue], say: Callable[[str], None]) -> list[Residue]:
    from .mending import tally
    from .residues import Kind

    solvent = [residue for residue in residues if residue.kind in (Kind.WATER, Kind.SALT)]
    if solvent:
        names = tally(residue.original for residue in solvent)
        say(f"structure: left out water and salt, for the solvent is implicit: {names}")
    return [residue for residue in residues if residue.kind not in (Kind.WATER, Kind.SALT)]


def _with_backbones(path: Path, kept: list[Residue], say: Callable[[str], None]) -> list[Residue]:
    """Leave out residues without a whole backbone; refuse a structure that has too many, or no others."""
    from .mending import listed, tally
    from .residues import Kind

    amino_acids = [residue for residue in kept if residue.kind is Kind.AMINO_ACID]
    if not amino_acids:
        found = tally(residue.original for residue in kept) or "only water and salt"
        raise StructureError(f"{path} holds no protein: {found}")
    incomplete = [residue for residue in kept if not residue.has_backbone]
    if len(incomplete) > MOST_INCOMPLETE * len(amino_acids):
        first = incomplete[0]
        raise StructureError(
            f"{path}: {len(incomplete)} of {len(amino_acids)} amino acids lack atoms of their "
            f"backbone (N, CA, C); {first.label} has only {listed(first.atoms)}. This is a coarse "
            "model: rebuild all atoms first"
        )
    if incomplete:
        labels = listed(residue.label for residue in incomplete)
        say(f"structure: left out residues without a complete backbone: {labels}")
    return [residue for residue in kept if residue.has_backbone]


def _known(
    path: Path,
    chains: list[list[Residue]],
    unknown: list[Residue],
    drop_unknown: bool,
    say: Callable[[str], None],
) -> list[list[Residue]]:
    """Leave out what the force field does not know, or refuse it."""
    from .mending import listed
    from .residues import Kind

    # The force field has no residue that is both the first and the last of a chain.
    alone = [chain[0] for chain in chains if len(chain) == 1]
    if unknown or alone:
        what = listed(
            [residue.label for residue in unknown]
            + [f"{residue.label} (alone in its chain)" for residue in alone],
            most=40,
        )
        if not drop_unknown:
            raise StructureError(
                f"{path}: the force field ({', '.join(FORCE_FIELD)}) has no parameters for {what}; "
                "--drop-unknown leaves them out"
            )
        say(f"structure: left out what the force field has no parameters for: {what}")
    chains = [chain for chain in chains if len(chain) > 1]
    if not any(residue.kind is Kind.AMINO_ACID for chain in chains for residue in chain):
        raise StructureError(f"{path} holds no chain of two amino acids or more")
    return chains


def _system(path: Path, force_field: Any, topology: Any) -> Any:
    from openmm import app, unit

    large = topology.getNumAtoms() > MOST_ATOMS_WITHOUT_CUTOFF
    try:
        return force_field.createSystem(
            topology,
            nonbondedMethod=app.CutoffNonPeriodic if large else app.NoCutoff,
            nonbondedCutoff=CUTOFF * unit.nanometer,
            constraints=app.HBonds,
            hydrogenMass=3 * unit.dalton,
        )
    except (ValueError, KeyError) as error:
        raise StructureError(
            f"{path}: the force field ({', '.join(FORCE_FIELD)}) does not accept the structure: {error}"
        ) from error
