"""Columns of a PDB file's atom records, checked as they are read."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .atoms import Text
from .content import invalid, other_format
from .residue_kinds import WATERS, is_standard, parent

WIDTH = 80
BLANK = ord(" ")
POINT = ord(".")
PQR = re.compile(rb"ATOM.*(\s+[-+]?\d+\.\d+){3}\s+[-+]?\d+\.\d{3,}\s+\d+\.\d{3,}\s*$")
"""Five numbers at the end: a charge and a radius after a position."""

PDBQT = re.compile(rb" *[-+]?\d+\.\d{3} *")
"""A charge where PDB files have a segment."""

DIGITS = np.frombuffer(b"0123456789", np.uint8)


class AtomColumns:
    """Atom records as a matrix of characters; columns are counted from 0, as slices.

    Parameters
    ----------
    path : Path
        For messages.
    lines : list of bytes
        All lines of the file.
    places : list of int
        Which of them are the atoms.
    cut : int, optional
        The last line of the file, where nothing ends it: it may be cut short.
    """

    def __init__(self, path: Path, lines: list[bytes], places: list[int], cut: int | None) -> None:
        self._path = path
        self._lines = lines
        self._places = places
        chosen = np.array([lines[place][:WIDTH] for place in places], f"S{WIDTH}")
        self._chars = chosen.view(np.uint8).reshape(-1, WIDTH)
        self._lengths = np.array([len(lines[place].rstrip()) for place in places])
        self._chars[self._chars == 0] = BLANK
        if (self._chars > 127).any():
            self._decode()
        self._refuse(
            (self._chars[:, :66] == ord("\t")).any(axis=1), "it has tabs: expected columns"
        )
        self._chars[self._chars == ord("\t")] = BLANK
        if cut is not None and places[-1] == cut:
            self._check_end()
        self._check_coordinates()
        if PDBQT.fullmatch(self._chars[0, 66:76].tobytes()):
            raise other_format(self._path, "PDBQT")

    def raw(self, start: int, stop: int) -> Text:
        """Return these columns as they stand; blanks at the end are left out."""
        block = np.ascontiguousarray(self._chars[:, start:stop])
        # Latin-1 is the code points themselves; `np.char.decode` takes longer than all the rest.
        return np.char.rstrip(block.astype(np.uint32).view(f"U{stop - start}").ravel())

    def text(self, start: int, stop: int) -> Text:
        """Return these columns without the blanks around."""
        return np.char.strip(self.raw(start, stop))

    def all_names(self) -> bytes:
        """Return all columns but those of numbers."""
        return self._chars[:, [0, *range(12, 27), *range(72, 78)]].tobytes()

    def is_hetero(self) -> NDArray[np.bool_]:
        """Return which are HETATM records."""
        return np.asarray((self._chars[:, 0] | 32) == ord("h"))

    def residue_numbers(self) -> tuple[Text, Text]:
        """Return numbers as they stand, and insertion codes.

        A digit in the column of the insertion code is the fifth of a number, as CHARMM writes it.
        """
        numbers, codes = self.text(22, 26), self.text(26, 27)
        is_fifth = (
            np.char.isdigit(codes) & np.char.isdigit(numbers) & (np.char.str_len(numbers) == 4)
        )
        if is_fifth.any():
            numbers = np.where(is_fifth, np.char.add(numbers, codes), numbers)
            codes = np.where(is_fifth, "", codes)
        return numbers, codes

    def positions(self) -> NDArray[np.float64]:
        """Return (n_atoms, 3), in Å."""
        return np.stack([self._numbers(at, at + 8) for at in (30, 38, 46)], axis=1)

    def optional(self, start: int, stop: int, what: str) -> NDArray[np.float32] | None:
        """Return numbers, NaN where there is none; None where no atom has one.

        Asterisks are what is left of a number that had no space: NaN as well.
        """
        block = self._chars[:, start:stop]
        is_there = ((block != BLANK) & (block != ord("*"))).any(axis=1)
        if not is_there.any():
            return None
        values = np.full(len(block), np.nan)
        values[is_there], is_number = _parse(block[is_there])
        bad = is_there.copy()
        bad[is_there] = ~is_number
        if stop == 66:
            bad |= is_there & (block[:, -1] != BLANK) & np.isin(self._chars[:, stop], DIGITS)
        if bad.any():
            problem = f"columns {start + 1} to {stop} hold {{}}: expected {what}, or blanks"
            self._refuse(bad, problem, start, stop)
        return values.astype(np.float32)

    def count_overflown(self, start: int, stop: int) -> int:
        """Return how many atoms have asterisks for a number that was too wide for these columns."""
        return int(np.count_nonzero((self._chars[:, start:stop] == ord("*")).any(axis=1)))

    def _numbers(self, start: int, stop: int) -> NDArray[np.float64]:
        values, is_number = _parse(self._chars[:, start:stop])
        problem = f"columns {start + 1} to {stop} hold {{}}: expected a coordinate"
        self._refuse(~is_number | ~np.isfinite(values), problem, start, stop)
        return values

    def _check_coordinates(self) -> None:
        """Refuse numbers that reach beyond their columns, of which a part would be read."""
        chars = self._chars
        is_full = (chars[:, 38 - 1] != BLANK) & (chars[:, 46 - 1] != BLANK)
        self._refuse(
            (self._lengths < 54) & (is_full | (self._lengths <= 46)),
            "it is cut short: expected coordinates in columns 31 to 54",
        )
        self._refuse(
            (chars[:, 27:30] != BLANK).any(axis=1),
            "columns 28 to 30 hold {}: expected blanks before the coordinates, which are shifted "
            "or too large",
            27,
            30,
        )
        # What is after z in the place of an occupancy or B-factor may be what z had no columns for.
        follows = (chars[:, 60] == BLANK) | (chars[:, 63] == POINT)
        follows &= chars[:, 57] == POINT
        for start, stop in ((30, 38), (38, 46), (46, 54)):
            touches = (chars[:, stop - 1] != BLANK) & (chars[:, stop] != BLANK)
            is_full = (chars[:, start:stop] != BLANK).all(axis=1) & (follows | (stop < 54))
            is_whole = (chars[:, start + 4] == POINT) | is_full
            self._refuse(
                touches & ~is_whole,
                f"columns {start + 1} to {stop + 1} hold {{}}: a number that is shifted or too long",
                start,
                stop + 1,
            )

    def _check_end(self) -> None:
        line = self._lines[self._places[-1]]
        cut_field = any(
            at < len(line) < to and line[at:].strip() for at, to in ((54, 60), (60, 66))
        )
        if cut_field or (len(line) == 77 and line[76:].strip()):
            raise invalid(
                self._path,
                "the file ends within this line, which is cut short; get it again",
                line=self._places[-1] + 1,
            )

    def _decode(self) -> None:
        """Put one character in each column where UTF-8 has taken several bytes for it."""
        for row in np.flatnonzero((self._chars > 127).any(axis=1)):
            line = self._lines[self._places[row]]
            try:
                line = line.decode("utf-8").encode("latin-1")
            except UnicodeDecodeError:
                pass  # Then each byte is a character.
            except UnicodeEncodeError as error:
                raise invalid(
                    self._path,
                    f"it has a character of no PDB file ({error})",
                    line=self._places[row] + 1,
                ) from None
            self._chars[row] = np.frombuffer(line[:WIDTH].ljust(WIDTH), np.uint8)

    def _refuse(self, bad: NDArray[np.bool_], problem: str, start: int = 0, stop: int = 0) -> None:
        if bad.any():
            row = int(np.argmax(bad))
            if PQR.match(self._lines[self._places[row]]):
                raise other_format(self._path, "PQR")
            found = self._chars[row, start:stop].tobytes().decode("latin-1")
            raise invalid(self._path, problem.format(repr(found)), line=self._places[row] + 1)


def is_two_letter_chain(columns: AtomColumns) -> bool:
    """Return whether chains have two letters, as gemmi and Phenix write large structures.

    The column before the chain is the fourth of a residue's name (TIP3, POPC). It belongs to the
    chain where several usual names, or HOH or a nucleotide's, would get the same letter.
    """
    both = (columns.raw(20, 21) != "") & (columns.raw(21, 22) != "")
    if not both.any():
        return False
    usual: dict[str, set[str]] = {}
    for name in np.unique(columns.text(17, 21)[both]).tolist():
        before, letter = name[:-1], name[-1]
        if parent(name) != name or name in WATERS:
            return False
        if is_standard(before) or before == "HOH":
            usual.setdefault(letter, set()).add(before)
    return any(
        len(names) > 1 or any(name == "HOH" or len(name) < 3 for name in names)
        for names in usual.values()
    )


def _parse(block: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the numbers of a matrix of characters, and where there is one."""
    fields = np.ascontiguousarray(block).view(f"S{block.shape[1]}").ravel()
    is_number = ~(block == ord("_")).any(axis=1)  # Python takes 1_0 for a number.
    try:
        return fields.astype(np.float64), is_number
    except ValueError:
        values = np.zeros(len(fields))
        for row, field in enumerate(fields.tolist()):
            try:
                values[row] = float(field)
            except ValueError:
                is_number[row] = False
        return values, is_number
