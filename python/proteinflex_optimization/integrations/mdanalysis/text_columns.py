"""Numbers in the columns of text files, where what has overflown its own is read as other numbers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from proteinflex_optimization.errors import InvalidArgumentError

PDB_POINTS = slice(34, 51, 8)
"""Of x, y and z."""
GRO_FIRST = 20
"""Where x begins; from its point on, each number has as many columns as there are between two points."""
GRO_POINT = 24


def check_pdb(line: str, place: int, path: Path) -> None:
    """Refuse an atom whose coordinates are not in their columns, by the rule of `import_structure`.

    Raises
    ------
    InvalidArgumentError
        They have overflown, are shifted, or are cut short.
    """
    atom = line.rstrip()
    if len(atom) >= 54 and atom[PDB_POINTS] == "..." and atom[27:30] == "   ":
        return
    if len(atom) <= 46 or (len(atom) < 54 and atom[37] != " " and atom[45] != " "):
        # The end of the file may be cut, which is another matter.
        if line.endswith("\n"):
            raise _invalid(path, place, "is cut short, expected coordinates in columns 31 to 54")
        return
    # What is after z in the place of an occupancy or B-factor may be what z had no columns for.
    follows = atom[57:58] == "." and (atom[60:61] in " " or atom[63:64] == ".")
    for start in (30, 38, 46):
        is_full = " " not in atom[start : start + 8] and (start < 46 or follows)
        if _touches(atom, start + 8) and atom[start + 4] != "." and not is_full:
            raise _overflown(path, place, atom[27:60], "columns 31 to 54")
    if atom[27:30].strip():
        raise _overflown(path, place, atom[27:60], "columns 31 to 54")


def check_gro(atoms: Iterable[str], path: Path) -> None:
    """Refuse an atom of a GRO file whose coordinates or velocities are not in their columns.

    Raises
    ------
    InvalidArgumentError
        They have overflown or are shifted.
    """
    width = 0
    for place, line in enumerate(atoms, 3):
        numbers = line[GRO_FIRST:].rstrip()
        if not width:
            # MDAnalysis takes the number of columns from the second point of this line.
            width = line[GRO_POINT + 1 :].find(".") + 1
            points = line[GRO_POINT : GRO_POINT + 3 * width : max(width, 1)]
            if points != "..." or not numbers[3 * width - 1 : 3 * width].strip():
                raise _overflown(path, place, numbers, "three columns of one width")
        for number in range(6 if len(numbers) > 3 * width else 2):
            # Velocities have a decimal more.
            point = GRO_POINT + number * width - (number > 2)
            end = GRO_FIRST + (number + 1) * width
            if _touches(line, end) and line[point] != ".":
                raise _overflown(path, place, numbers, f"numbers of {width} columns")


def check_width(line: str, n_numbers: int, width: int, place: int, path: Path) -> None:
    """Refuse a line that is longer than its numbers, of so many columns each.

    Raises
    ------
    InvalidArgumentError
        It is.
    """
    if len(line.rstrip()) > n_numbers * width:
        raise _overflown(
            path, place, line.rstrip()[-40:], f"{n_numbers} numbers of {width} columns"
        )


def check_crd(line: str, end: int, place: int, path: Path) -> None:
    """Refuse an atom of a CRD file with a coordinate beyond the end of their columns.

    Raises
    ------
    InvalidArgumentError
        There is one.
    """
    if _touches(line, end):
        raise _overflown(path, place, line.rstrip(), f"coordinates up to column {end}")


def _touches(line: str, at: int) -> bool:
    """Whether there is no blank on either side of this place."""
    return len(line[at - 1 : at + 1].strip()) == 2


def _overflown(path: Path, place: int, found: str, expected: str) -> InvalidArgumentError:
    return _invalid(
        path, place, f"holds {found!r}, which is shifted or too large, expected {expected}"
    )


def _invalid(path: Path, place: int, problem: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"trajectory={str(path)!r} is not valid: line {place} {problem}")
