"""What a residue's name says: amino acid, nucleotide, water or something else; and its letter.

gemmi's tables know the names of the Protein Data Bank. Force fields have names of their own.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import gemmi

Kind = Literal["amino", "nucleic", "water", "known", "unknown"]

_WATER_NAMES = (
    "HOH WAT H2O DOD SOL SPC SPCE TIP TIP2 TIP3 TIP4 TIP5 TIP3P TIP4P TIP5P T3P T4P T4E T4H T5P "
    "TP3 TP3M TP4 TP5 OH2 HHO OHH OPC OPC3 SWM4 SWM6"
)
WATERS = frozenset(_WATER_NAMES.split())
"""Water, as CHARMM, Amber, GROMACS, GROMOS and Desmond call it beside the PDB."""

_AMINO_NAMES = "ALA ARG ASN ASP CYS GLN GLU GLY HIS ILE LEU LYS MET PHE PRO SER THR TRP TYR VAL"
STANDARD_AMINO = frozenset(_AMINO_NAMES.split())

_STATES = {
    "HIS": "HSD HSE HSP HID HIE HIP HISA HISB HISD HISE HISP HISH HIS1 HIS2",
    "CYS": "CYX CYM CYSH CYSP CYS1 CYS2 CYN",
    "ASP": "ASH ASPH ASPP",
    "GLU": "GLH GLUH GLUP",
    "LYS": "LYN LYSH LSN LYP",
    "ARG": "ARGN ARN",
    "TYR": "TYM",
    "A": "ADE RA RA3 RA5 RAN A3 A5 AN",
    "G": "GUA RG RG3 RG5 RGN G3 G5 GN",
    "C": "CYT RC RC3 RC5 RCN C3 C5 CN",
    "U": "URA RU RU3 RU5 RUN U3 U5 UN",
    "DA": "DA3 DA5 DAN",
    "DG": "DG3 DG5 DGN",
    "DC": "DC3 DC5 DCN",
    "DT": "THY DT3 DT5 DTN",
}
_PARENTS = {name: parent for parent, names in _STATES.items() for name in names.split()}
"""What CHARMM, Amber, GROMOS and OPLS call ends of chains and states of protonation."""

CAPS = frozenset(("ACE", "FOR", "NME", "NMA", "NHE", "NH2", "ETA", "ACX", "CT3"))
"""What closes the ends of a chain."""


@cache
def parent(name: str) -> str:
    """Return the name that the Protein Data Bank has for a force field's residue."""
    if name in _PARENTS:
        return _PARENTS[name]
    if len(name) == 4 and name[0] in "NC":  # Amber's ends of chains: NALA, CHIE.
        inner = _PARENTS.get(name[1:], name[1:])
        if inner in STANDARD_AMINO:
            return inner
    return name


@cache
def kind(name: str) -> Kind:
    """Return what a residue of this name is; ``'known'`` is something else that is in the tables."""
    if is_water(name):
        return "water"
    info = gemmi.find_tabulated_residue(parent(name))
    if info.is_amino_acid():
        return "amino"
    if info.is_nucleic_acid():
        return "nucleic"
    return "known" if info.found() else "unknown"


@cache
def is_water(name: str) -> bool:
    """Return whether a residue of this name is water."""
    return name.upper() in WATERS


@cache
def is_standard(name: str) -> bool:
    """Return whether all its atoms are of H, C, N, O, P and S: the usual residues of biopolymers."""
    of = parent(name)
    return of in STANDARD_AMINO or gemmi.find_tabulated_residue(of).is_standard() or name in CAPS


@cache
def letter(name: str) -> str:
    """Return the one-letter code; X where there is none."""
    code: str = gemmi.find_tabulated_residue(parent(name)).one_letter_code
    return code.strip().upper() or "X"
