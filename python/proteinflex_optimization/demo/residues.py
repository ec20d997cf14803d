"""What the residues of a structure file are, and which of them can be simulated.

Names of residues differ between PDB, CHARMM, Amber and GROMACS; here each gets the name that OpenMM
and pdbfixer use, and the state of protonation that its name says.
"""

from __future__ import annotations

import enum
import itertools
from dataclasses import dataclass, field
from typing import Any

import gemmi
import numpy as np
from numpy.typing import NDArray
from pdbfixer.pdbfixer import proteinResidues, substitutions

from proteinflex_optimization.integrations.structures.residue_kinds import is_water

AMINO_ACIDS = frozenset(proteinResidues)
CAPS = {"ACE": "ACE", "NME": "NME", "NMA": "NME", "NH2": "NH2", "NHE": "NH2"}
PROTONATION = {
    **dict.fromkeys(("HID", "HSD", "HISD", "HISA"), ("HIS", "HID")),
    **dict.fromkeys(("HIE", "HSE", "HISE", "HISB"), ("HIS", "HIE")),
    **dict.fromkeys(("HIP", "HSP", "HISP", "HISH"), ("HIS", "HIP")),
    **dict.fromkeys(("ASH", "ASPH", "ASPP"), ("ASP", "ASH")),
    **dict.fromkeys(("GLH", "GLUH", "GLUP"), ("GLU", "GLH")),
    **dict.fromkeys(("LYN", "LSN", "LYSN"), ("LYS", "LYN")),
    "LYSH": ("LYS", "LYS"),
    "CYSH": ("CYS", "CYS"),
    "CYM": ("CYS", "CYX"),
    **dict.fromkeys(("CYX", "CYS2", "CYSX"), ("CYS", None)),
    "ARGN": ("ARG", None),
}
"""Names of protonation states: the residue, and its variant in OpenMM's `Modeller.addHydrogens`."""

# fmt: off
SALT = frozenset({
    "LI", "NA", "K", "RB", "CS", "F", "CL", "BR", "I", "LIT", "SOD", "POT", "RUB", "CES", "FLU",
    "CLA", "BROM", "IOD", "CIO", "CIP", "CIM",
})
# fmt: on
"""Elements and names of ions that belong to the solvent. Metals that proteins bind do not."""

NUCLEOTIDES = {
    **{
        prefix + base + end: base
        for base in "AGCU"
        for prefix in ("", "R")
        for end in ("", "3", "5")
    },
    **{"D" + base + end: base for base in "AGCT" for end in ("", "3", "5")},
    **{
        "ADE": "A",
        "GUA": "G",
        "CYT": "C",
        "URA": "U",
        "THY": "T",
        "DAD": "A",
        "DGU": "G",
        "DCY": "C",
    },
}
LONGEST_BOND = 2.5
"""Between residues, in Å. A real one has 1.3 to 1.6; across one missing residue it is 3 or more."""


class Kind(enum.Enum):
    """What is done with a residue."""

    AMINO_ACID = enum.auto()
    NUCLEOTIDE = enum.auto()
    WATER = enum.auto()
    SALT = enum.auto()
    UNKNOWN = enum.auto()


@dataclass
class Residue:
    """A residue of the file.

    Attributes
    ----------
    original : str
        Its name there.
    chain, number, insertion_code : str
        Its place there.
    name : str
        Its standard name, of its kind's parent where it is modified.
    variant : str or None
        The state of protonation that its name says.
    is_modified : bool
        Whether the file has a modified residue of this name.
    kind : Kind
        What is done with it.
    atoms : dict
        Position in Å of each atom, by name.
    elements : dict
        Symbol of each atom, by name.
    confidence : float
        The B-factor or pLDDT of its Cα; NaN where the file has none.
    """

    original: str
    chain: str
    number: str
    insertion_code: str
    confidence: float
    atoms: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    elements: dict[str, str] = field(default_factory=dict)
    name: str = ""
    variant: str | None = None
    is_modified: bool = False
    kind: Kind = Kind.UNKNOWN

    def __post_init__(self) -> None:
        """Find out what it is."""
        self.kind, self.name, self.variant = _classify(self)

    @property
    def label(self) -> str:
        """Its name and place, for messages."""
        chain = f"{self.chain}:" if self.chain else ""
        return f"{chain}{self.original} {self.number}{self.insertion_code}"

    @property
    def has_backbone(self) -> bool:
        """Whether the atoms are there on which everything else is built."""
        if self.kind is not Kind.AMINO_ACID or self.name in CAPS.values():
            return True
        return {"N", "CA", "C"} <= self.atoms.keys()

    def move(self, shift: NDArray[np.float64]) -> None:
        """Move all atoms."""
        self.atoms = {name: position + shift for name, position in self.atoms.items()}


def residues_of(data: dict[str, Any]) -> list[Residue]:
    """Make the residues of what `read_structure` returned."""
    confidence = data.get("plddt", data.get("residue_b_factors"))
    first = np.searchsorted(data["residue_index"], np.arange(len(data["residue_names"]) + 1))
    residues = []
    for index, name in enumerate(data["residue_names"]):
        own = slice(first[index], first[index + 1])
        names = [str(atom) for atom in data["atom_names"][own]]
        residue = Residue(
            original=str(name),
            chain=str(data["chains"][index]).strip(),
            number=str(data["residue_numbers"][index]),
            insertion_code=str(data["insertion_codes"][index]),
            confidence=np.nan if confidence is None else float(confidence[index]),
            # Of atoms of one name, the first.
            atoms=dict(
                zip(reversed(names), data["positions"][own][::-1].astype(np.float64), strict=True)
            ),
            elements=dict(zip(reversed(names), data["elements"][own][::-1].tolist(), strict=True)),
        )
        residue.atoms = dict(reversed(residue.atoms.items()))
        residues.append(residue)
    return _joined(residues)


def _joined(residues: list[Residue]) -> list[Residue]:
    """Join amino acids of which a file has some atoms, often the hydrogens, at another place."""
    whole: dict[tuple[str, str, str, str], Residue] = {}
    joined = []
    for residue in residues:
        place = (residue.chain, residue.number, residue.insertion_code, residue.original)
        other = whole.get(place)
        is_part = (
            other is not None
            and other.kind is Kind.AMINO_ACID
            and not residue.atoms.keys() >= {"N", "CA", "C"}
            and not residue.atoms.keys() & other.atoms.keys()
        )
        if other is None or not is_part:
            joined.append(residue)
            whole[place] = residue
        else:
            other.atoms |= residue.atoms
            other.elements |= residue.elements
    return joined


def _classify(residue: Residue) -> tuple[Kind, str, str | None]:
    name = residue.original.strip().upper()
    if is_water(name):
        return Kind.WATER, name, None
    ion = {name.rstrip("+-"), *(element.upper() for element in residue.elements.values())}
    if len(residue.atoms) == 1 and not ion.isdisjoint(SALT):
        return Kind.SALT, name, None
    if len(name) == 4 and name[0] in "NC" and name[1:] in AMINO_ACIDS | PROTONATION.keys():
        # Amber's names of residues at the ends of a chain.
        name = name[1:]
    if name in PROTONATION:
        return Kind.AMINO_ACID, *PROTONATION[name]
    if name in AMINO_ACIDS:
        return Kind.AMINO_ACID, name, None
    if name in CAPS:
        return Kind.AMINO_ACID, CAPS[name], None
    if name in NUCLEOTIDES and "C1'" in {atom.replace("*", "'") for atom in residue.atoms}:
        is_rna = not {"O2'", "O2*"}.isdisjoint(residue.atoms)
        return Kind.NUCLEOTIDE, NUCLEOTIDES[name] if is_rna else "D" + NUCLEOTIDES[name], None
    if {"N", "CA", "C"} <= residue.atoms.keys():
        parent = _parent(name)
        if parent in AMINO_ACIDS:
            residue.is_modified = True
            return Kind.AMINO_ACID, parent, None
    return Kind.UNKNOWN, name, None


def _parent(name: str) -> str:
    """Return the standard residue of which a modified one was made, or nothing."""
    if name in substitutions:
        return str(substitutions[name])
    letter = gemmi.find_tabulated_residue(name).one_letter_code.strip().upper()
    return gemmi.expand_one_letter(letter, gemmi.ResidueKind.AA) or "" if letter else ""


def chains_of(residues: list[Residue], cell: NDArray[np.float64] | None) -> list[list[Residue]]:
    """Join residues that are bonded to each other; a gap in a chain ends it.

    Residues that a file lists apart from their chain come to their place in it. Molecules that were
    cut by a periodic boundary are made whole.
    """
    lattice = None if cell is None else gemmi.UnitCell(*cell)
    chains: list[list[Residue]] = []
    for residue in residues:
        if lattice is not None:
            _make_whole(residue, lattice)
        before = chains[-1][-1] if chains else None
        if before is not None and before.chain == residue.chain:
            bond = _bond(before, residue)
            if bond is not None and lattice is not None and np.linalg.norm(bond) > LONGEST_BOND:
                shift = _to_nearest(bond, lattice)
                if np.linalg.norm(bond + shift) < LONGEST_BOND:
                    residue.move(shift)
                    bond = bond + shift
            if bond is not None and np.linalg.norm(bond) <= LONGEST_BOND:
                chains[-1].append(residue)
                continue
        chains.append([residue])
    return _linked(chains)


def _linked(chains: list[list[Residue]]) -> list[list[Residue]]:
    """Join parts of a chain that are bonded though a file lists them apart."""
    linked = list(chains)
    for part in chains:
        for other in linked:
            if other is part or other[-1].chain != part[0].chain:
                continue
            bond = _bond(other[-1], part[0])
            if bond is not None and np.linalg.norm(bond) <= LONGEST_BOND:
                other += part
                linked = [chain for chain in linked if chain is not part]
                break
    return linked


def _bond(before: Residue, after: Residue) -> NDArray[np.float64] | None:
    """Return the vector from one residue to the next where their kinds are bonded."""
    if before.kind is not after.kind:
        return None
    pairs = [("C", "N")] if before.kind is Kind.AMINO_ACID else [("O3'", "P"), ("O3*", "P")]
    for first, second in pairs:
        if first in before.atoms and second in after.atoms:
            return after.atoms[second] - before.atoms[first]
    return None


def _to_nearest(vector: NDArray[np.float64], lattice: Any) -> NDArray[np.float64]:
    """Return the lattice vector that makes a vector shortest when it is added."""
    turns = np.round(np.array(lattice.fractionalize(gemmi.Position(*vector)).tolist()))
    shift = lattice.orthogonalize(gemmi.Fractional(*-turns)).tolist()
    return np.asarray(shift, dtype=np.float64)


def _make_whole(residue: Residue, lattice: Any) -> None:
    names = list(residue.atoms)
    for before, name in itertools.pairwise(names):
        step = residue.atoms[name] - residue.atoms[before]
        # No residue is as large: a boundary cut it.
        if np.linalg.norm(step) > 20.0:
            residue.atoms[name] = residue.atoms[name] + _to_nearest(step, lattice)
