"""What of a topology the formats that MDAnalysis writes have a place for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from proteinflex_optimization.topology import Topology

ALL = ("names", "elements", "residue_names", "residue_numbers", "insertion_codes", "segment_ids")


@dataclass(frozen=True)
class _Places:
    """The letters that each column of texts has, and the numbers of residues, from and to."""

    letters: dict[str, int]
    numbers: tuple[int, int]
    most_bonded: int = -1
    """Of how many atoms bonds are written."""
    filled: frozenset[str] = frozenset()
    """Columns in which something is written in place of an empty text."""
    alphanumeric: frozenset[str] = frozenset()
    """Columns in which something is written in place of all but letters and digits."""
    wraps: bool = False
    """Whether a residue 0 after others stands for one more than the largest number."""


PLACES = {
    ".pdb": _Places(
        {
            "names": 4,
            "elements": 2,
            "residue_names": 4,
            "insertion_codes": 1,
            "segment_ids": 4,
            "chain_ids": 1,
        },
        (-999, 9999),
        most_bonded=99_999,
        alphanumeric=frozenset({"chain_ids"}),
    ),
    ".gro": _Places(
        {"names": 5, "residue_names": 5}, (0, 99_999), filled=frozenset({"names"}), wraps=True
    ),
    ".xyz": _Places({"elements": 2}, (0, -1), filled=frozenset({"elements"})),
}
PLACES[".ent"] = PLACES[".pdb"]
"""By suffix; other formats hold frames only."""


def lost_columns(topology: Topology, suffix: str) -> list[str]:
    """Return the columns that a file will not hold as they are; ``topology`` for all of them."""
    places = PLACES.get(suffix)
    if places is None:
        return ["topology"]
    lost = []
    for name in (*ALL, "chain_ids", "subchains"):
        values = getattr(topology, name)
        if name == "residue_numbers":
            least, most = places.numbers
            is_lost = bool(((values < least) | (values > most)).any())
            if places.wraps:
                is_lost |= bool((np.trim_zeros(values, "f") == 0).any())
        else:
            texts = np.unique(values)
            is_lost = (
                bool((np.char.str_len(texts) > places.letters.get(name, 0)).any())
                or (name in places.filled and "" in texts)
                or (name in places.alphanumeric and not np.char.isalnum(texts).all())
                or any(_writable(text) != text for text in texts.tolist())
            )
        if is_lost:
            lost.append(name)
    if topology.n_bonds and topology.n_atoms > places.most_bonded:
        lost.append("bonds")
    return lost


def make_writable(universe: Any, suffix: str) -> None:
    """Replace what would break the lines or columns of a file; `lost_columns` tells where."""
    if suffix not in PLACES:
        return
    atoms, residues = universe.atoms, universe.residues
    groups = {"names": atoms, "elements": atoms, "chainIDs": atoms, "resnames": residues}
    groups |= {"icodes": residues, "segids": universe.segments}
    for attribute, group in groups.items():
        texts = getattr(group, attribute, None)
        if texts is not None and any(_writable(text) != text for text in set(texts)):
            setattr(group, attribute, np.array([_writable(text) for text in texts], object))
    # What is read again needs a name in each line.
    if suffix == ".gro" and "" in set(atoms.names):
        atoms.names = np.array([name or "X" for name in atoms.names], object)
    # Where no atom has an element, MDAnalysis writes their names.
    if suffix == ".xyz" and not hasattr(atoms, "elements"):
        atoms.names = np.array([name or "X" for name in atoms.names], object)
    elif suffix == ".xyz" and "" in set(atoms.elements):
        pairs = zip(atoms.elements, atoms.names, strict=True)
        atoms.elements = np.array([element or name or "X" for element, name in pairs], object)


def _writable(text: str) -> str:
    # Readers count bytes: what takes two shifts all columns after it.
    return "".join(c if c.isascii() and c.isprintable() and c != " " else "_" for c in text)
