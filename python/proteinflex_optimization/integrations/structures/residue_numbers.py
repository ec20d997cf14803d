"""Residue numbers of PDB files, which have four columns, and what programs write there beyond 9999."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

DECIMAL = re.compile(r"[-+]?\d{1,20}")  # Python's int() refuses texts of thousands of digits.
OPENMM = re.compile(r"[A-F][0-9A-F]{3}")
HYBRID36 = re.compile(r"[A-Z][0-9A-Z]{3}|[a-z][0-9a-z]{3}")
PLAIN_HEX = re.compile(r"[0-9a-f]{4}")
LARGEST = 2**31 - 1


class NotANumberError(ValueError):
    """What stands for a residue number is not a number; ``place`` says which."""

    def __init__(self, place: int) -> None:
        super().__init__(place)
        self.place = place


def is_missing(texts: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Return where there is no number: blanks, or the asterisks of a number that had no space."""
    return np.asarray(np.char.strip(texts, "* ") == "")


def decode_numbers(texts: Sequence[str], chains: Sequence[str]) -> tuple[NDArray[np.int32], int]:
    """Return the numbers of consecutive residues, and how many of them had none.

    Beyond 9999 OpenMM writes A000, A001, … in base 16, hybrid-36 the same in base 36, and VMD the
    plain hexadecimal number, 2710 and so on; all of a file's numbers together tell which it is. A
    residue that has no number gets the one after that of the residue before it in its chain.

    Raises
    ------
    NotANumberError
        One of them is something else.
    """
    unique = set(texts)
    missing = {text for text in unique if not text.strip("* ")}
    coded = {text for text in unique - missing if not DECIMAL.fullmatch(text)}
    offset, base = 0, 10
    if not coded:
        base = 16 if ("9999", "2710") in itertools.pairwise(texts) else 10
    elif all(PLAIN_HEX.fullmatch(text) for text in coded):
        base = 16
    elif all(OPENMM.fullmatch(text) for text in coded):
        base, offset = 16, 10_000 - 0xA000
    elif all(HYBRID36.fullmatch(text) for text in coded):
        base = 36
    else:
        raise NotANumberError(next(place for place, text in enumerate(texts) if text in coded))
    numbers = np.empty(len(texts), np.int64)
    n_missing = 0
    previous = 0
    for place, text in enumerate(texts):
        if place and chains[place] != chains[place - 1]:
            previous = 0
        if text in missing:
            number = previous + 1
            n_missing += 1
        elif text not in coded:
            number = int(text)
            if base == 16 and offset == 0 and previous >= 9999 and len(text) == 4:
                plain = int(text, 16)  # VMD's 2710 follows 9999.
                number = plain if 0 <= plain - previous <= abs(number - previous) else number
        elif base == 36:
            # Upper case starts at 10000, lower case where that ends.
            number = int(text, 36) + (
                10_000 - 10 * 36**3 if text[0].isupper() else 10_000 + 16 * 36**3
            )
        else:
            number = int(text, base) + offset
        if abs(number) > LARGEST:
            raise NotANumberError(place)
        numbers[place] = previous = number
    return numbers.astype(np.int32), n_missing
