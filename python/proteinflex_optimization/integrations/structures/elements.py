"""The element of each atom, where the source does not say it.

An atom's name begins with its element, so "CA" is carbon or calcium, and "HG" hydrogen or mercury.
The residue decides: those of biopolymers and water have no metals, an ion is named as its residue.
Of other residues, a PDB file says it by the column: two-letter symbols begin one column earlier.
Many programs put all names there, and then only halogens and the like are taken for what they look.
Beads of coarse-grained models have no element.
"""

from __future__ import annotations

import re

import gemmi
import numpy as np
from numpy.typing import NDArray

from proteinflex_optimization._log import get_logger

from .atoms import Text
from .residue_kinds import is_standard, is_water

logger = get_logger()

UNKNOWN = "X"
"""What has no element: a virtual site, a bead."""

OF_BIOPOLYMERS = frozenset("HDCNOPS")
OF_WATER = frozenset("HDO")

NO_ELEMENT = frozenset(("EP", "LP", "X", "XX", "VS", "DU"))
"""What stands for an element where a program says that there is none."""

IONS = {
    "SOD": "Na",
    "POT": "K",
    "CLA": "Cl",
    "CAL": "Ca",
    "LIT": "Li",
    "RUB": "Rb",
    "CES": "Cs",
    "BAR": "Ba",
    "CAD": "Cd",
    "IOD": "I",
}
"""What CHARMM calls ions."""

_NEVER_SYMBOLS = "He Ho Hf Hs Ne Nd Nb Np Nh No Cn Cm Cf Pa Po Pm Fm Fl Og Bk Bh Db Sg"
NEVER = frozenset(_NEVER_SYMBOLS.split())
"""Two-letter symbols that are names of atoms (hydrogen on O, nitrogen D) far more often."""

MAX_WARNINGS = 5

LEFT_JUSTIFIED = re.compile(r"(CL|BR|FE|ZN|MG|MN|SE|SI)(?![A-Z])")
"""Names that mean these elements even where all names are left-justified."""


def guess_elements(
    symbols: Text | None,
    names: Text,
    residue_names: Text,
    is_alone: NDArray[np.bool_],
    source: str,
) -> Text:
    """Return the element of each atom: what the source says, else what its name means.

    A warning names what the source has as elements and no table knows.

    Parameters
    ----------
    symbols : ndarray of str, optional
        What the source has as the element of each atom.
    names : ndarray of str
        The name of each atom; where it has four columns, with the blank before it.
    residue_names : ndarray of str
        Of each atom.
    is_alone : ndarray of bool
        Whether the atom is the only one of its residue.
    source : str
        What it is read from, for the warning.
    """
    is_aligned = bool(np.char.startswith(names, " ").any())
    keys = list(
        zip(
            [""] * len(names) if symbols is None else symbols.tolist(),
            names.tolist(),
            residue_names.tolist(),
            is_alone.tolist(),
            strict=True,
        )
    )
    different = set(keys)
    is_coarse = any(
        (name.strip() == "BB" and is_standard(residue)) or name.strip() == residue == "W"
        for _, name, residue, _ in different
    )
    if is_coarse:
        found = {key: _known(key[0].strip()) for key in different}
    else:
        found = {key: _element(*key, is_aligned=is_aligned) for key in different}
    if symbols is not None:
        _warn_of_unknown(symbols, found, keys, source)
    return np.array([found[key] for key in keys])


def _warn_of_unknown(
    symbols: Text,
    found: dict[tuple[str, str, str, bool], str],
    keys: list[tuple[str, str, str, bool]],
    source: str,
) -> None:
    unknown = {
        symbol
        for symbol in np.unique(np.char.strip(symbols)).tolist()
        if symbol and _known(symbol) == UNKNOWN and symbol.upper() not in NO_ELEMENT
    }
    guesses: dict[tuple[str, str], int] = {}
    for key in keys if unknown else ():
        if key[0].strip() in unknown:
            pair = key[0].strip(), found[key]
            guesses[pair] = guesses.get(pair, 0) + 1
    for (symbol, guess), n_atoms in sorted(guesses.items())[:MAX_WARNINGS]:
        logger.warning(
            "%s: the element %r of %d atoms is unknown; taken as %s by their names and residues",
            source,
            symbol,
            n_atoms,
            guess,
        )
    if len(guesses) > MAX_WARNINGS:
        logger.warning("%s: %d more kinds of such atoms", source, len(guesses) - MAX_WARNINGS)


def _element(symbol: str, name: str, residue: str, is_alone: bool, *, is_aligned: bool) -> str:
    known = _known(symbol.strip())
    if known != UNKNOWN or symbol.strip().upper() in NO_ELEMENT:
        return known
    bare = name.strip().lstrip("0123456789'\"").upper()
    if is_water(residue):
        # A D alone is the Drude particle of its oxygen, D1 is deuterium.
        return bare[:1] if bare[:1] in OF_WATER and bare != "D" else UNKNOWN
    if is_alone and _letters(bare) == _letters(residue):
        ion = IONS.get(_letters(bare)) or _known(_letters(bare)[:2])
        return ion if ion != UNKNOWN else _known(bare[:1])
    if is_standard(residue):
        return _of_biopolymer(bare)
    match = LEFT_JUSTIFIED.match(bare)
    if match and match[1] == "FE":  # Never the fifth fluorine, wherever it stands.
        return "Fe"
    four_letters = len(name.strip()) == 4
    if not is_aligned or four_letters:
        if match and name[:1] != " ":
            return _known(match[1])
        one = _known(bare[:1])
        return one if one != UNKNOWN else _known(bare[:2])
    two = _known(bare[:2]) if name[:1].isalpha() and bare[1:2].isalpha() else UNKNOWN
    if two != UNKNOWN and two not in NEVER:
        return two
    return _known(bare[:1])


def _of_biopolymer(bare: str) -> str:
    is_drude = bare[:1] == "D" and bare[1:2] in ("C", "N", "O", "S")
    return bare[:1] if bare[:1] in OF_BIOPOLYMERS and not is_drude else UNKNOWN


def _letters(name: str) -> str:
    return re.sub("[^A-Z]", "", name.upper())


def _known(symbol: str) -> str:
    return str(gemmi.Element(symbol).name) if symbol else UNKNOWN
