"""What dumps and data files of LAMMPS hold that MDAnalysis does not read, or reads otherwise."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from proteinflex_optimization.errors import InvalidArgumentError
from proteinflex_optimization.integrations.mdanalysis.findings import Findings
from proteinflex_optimization.integrations.mdanalysis.text_lines import (
    Lines,
    check_last_line,
    lines_of,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

INTEGER = re.compile(r"[-+]?\d+")


def lammps_dump(reader: Any, path: Path, findings: Findings) -> None:
    """Read the atoms and the box of each frame. Dumps tell steps, and neither times nor units.

    Raises
    ------
    InvalidArgumentError
        Frames of several numbers of atoms, or of other atoms; or images that MDAnalysis unwraps wrongly.
    """
    findings.has_time = False
    is_scaled = reader.lammps_coordinate_convention.startswith("scaled")
    lines = Lines(path)
    number = 0
    first: set[str] = set()
    for line in lines:
        if not line.strip():
            continue
        header = [line, *(next(lines, "") for _ in range(8))]
        if not header[8].startswith("ITEM: ATOMS"):
            findings.cut = f"frame {number} has no whole header"
            return
        if header[3].split() != [str(reader.n_atoms)]:
            raise InvalidArgumentError(
                f"trajectory={str(path)!r} is not valid: frame {number} has {header[3].strip()} atoms, "
                f"expected {reader.n_atoms} as in frame 0"
            )
        columns = header[8].split()[2:]
        if number == 0:
            read = {*reader._parsable_columns, *(reader._additional_columns or ())}
            unread = [name for name in columns if name not in read]
            if unread and reader._additional_columns is not True:
                findings.left_out.append(f"columns {' '.join(unread)}")
        atoms = list(islice(lines, reader.n_atoms))
        if len(atoms) < reader.n_atoms:
            findings.cut = f"frame {number} ends before its {reader.n_atoms} atoms"
            return
        if "id" in columns:
            column = columns.index("id")
            words = (line.split(None, column + 1) for line in atoms)
            ids = {line[column] if len(line) > column else "" for line in words}
            first = first or ids
            if len(ids) < len(atoms) or ids != first:
                raise _other_ids(ids, first, number, path)
        if reader._unwrap and (is_scaled or len(header[4].split()) == 9):
            raise InvalidArgumentError(
                f"unwrap_images=True is not valid for trajectory={str(path)!r}: of scaled positions and "
                "of tilted boxes, MDAnalysis adds images by other lengths; expected False"
            )
        # MDAnalysis subtracts it from scaled positions as well, to which it was never added.
        findings.origins.append(_origin(header[4:8]) * (2 if is_scaled else 1))
        number += 1
    findings.atoms = sorted(first)
    if not first:
        findings.notes.append(
            "its atoms have no ids: whether each frame has one order can't be told"
        )
    check_last_line(lines.last_two, findings, is_free=True)


def lammps_data(reader: Any, path: Path, findings: Findings) -> None:
    """Find image flags, and velocities in another unit than MDAnalysis takes them for."""
    lines = Lines(path)
    title = next(lines, "")
    in_real_units = re.search(r"\bunits = real\b", title) or "MDAnalysis" in title
    if reader.ts.has_velocities and not in_real_units:
        findings.has_velocities = False
        findings.left_out.append("velocities (in units of LAMMPS that may be any)")
    is_atom = False
    for line in filter(str.strip, lines):
        if is_atom:
            words = line.split("#")[0].split()
            # Of the style with the fewest columns: id, type, x, y, z and these.
            if len(words) >= 8 and all(INTEGER.fullmatch(word) for word in words[-3:]):
                findings.left_out.append("image flags")
            break
        is_atom = line.split()[0] == "Atoms"
    check_last_line(lines_of(path), findings)


def _other_ids(ids: set[str], first: set[str], number: int, path: Path) -> InvalidArgumentError:
    others = sorted(ids - first, key=lambda text: (len(text), text))
    found = f"an atom of the id {others[0]}, which frame 0 has not" if others else "an id twice"
    return InvalidArgumentError(
        f"trajectory={str(path)!r} is not valid: frame {number} has {found}; all frames need the same "
        "atoms"
    )


def _origin(header: list[str]) -> NDArray[np.float64]:
    """Return the lower corner of a box, which MDAnalysis subtracts from the positions."""
    (x, _, *xy), (y, _, *xz), (z, _, *yz) = (
        [float(word) for word in line.split()] for line in header[1:]
    )
    if len(header[0].split()) == 9:
        x -= min(0.0, xy[0], xz[0], xy[0] + xz[0])
        y -= min(0.0, yz[0])
    return np.array([x, y, z])
