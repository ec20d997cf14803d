"""What of a topology the formats that MDAnalysis writes have a place for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

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
    ),
    ".gro": _Places({"names": 5, "residue_names": 5}, (0, 99_999)),
    ".xyz": _Places({"elements": 2}, (0, -1)),
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
        else:
            is_lost = bool((np.char.str_len(values) > places.letters.get(name, 0)).any())
        if is_lost:
            lost.append(name)
    if topology.n_bonds and topology.n_atoms > places.most_bonded:
        lost.append("bonds")
    return lost
