"""How text files of coordinates end, and what they hold that MDAnalysis does not read."""

from __future__ import annotations

import re
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from MDAnalysis.coordinates.TRC import TRCReader
from numpy.typing import NDArray

from proteinflex_optimization.errors import InvalidArgumentError
from proteinflex_optimization.integrations.mdanalysis.findings import Findings
from proteinflex_optimization.integrations.mdanalysis.text_columns import (
    GRO_FIRST,
    check_crd,
    check_gro,
    check_pdb,
    check_width,
)
from proteinflex_optimization.integrations.mdanalysis.text_lines import (
    Lines,
    check_last_line,
    lines_of,
)

PLACEHOLDER = re.compile(r"CRYST1 +1\.0+ +1\.0+ +1\.0+ +90\.0+ +90\.0+ +90\.0")
"""The cell of a structure that has none."""
CELL = (6, 15, 24, 33, 40, 47, 54)
"""Where its lengths and angles begin and end."""
GRO_TIME = re.compile(r"\bt\s*=\s*[-+]?[\d.]")


def text(reader: Any, path: Path, findings: Findings) -> None:
    """Notice a number that was cut at the end of the file."""
    check_last_line(lines_of(path), findings)


def ended_lines(reader: Any, path: Path, findings: Findings) -> None:
    """Notice a last line without its end, which the programs of a format always write."""
    check_last_line(lines_of(path), findings, is_free=True)


def xyz(reader: Any, path: Path, findings: Findings) -> None:
    """Read the number of atoms of each frame, and look for more than x, y and z.

    Raises
    ------
    InvalidArgumentError
        Frames of several numbers of atoms, or of atoms in another order; or columns in another order.
    """
    lines = Lines(path)
    first = lines.peek(3)
    if len(first) > 1 and "Lattice=" in first[1]:
        findings.left_out.append("Lattice")
    if len(first) > 2 and len(first[2].split()) > 4:
        findings.left_out.append("columns after x, y and z")
    _check_counted_frames(lines, reader.n_atoms, 1, path, findings, name_column=0)


def _check_xyz_columns(comment: str, number: int, path: Path) -> None:
    columns = re.search(r"Properties=(\S+)", comment)
    if columns and not re.match(r"species:S:1:pos:R:3(:|$)", columns[1]):
        raise InvalidArgumentError(
            f"trajectory={str(path)!r} is not valid: the columns of frame {number} are {columns[1]}, and "
            "MDAnalysis takes the second to fourth for x, y and z; expected species:S:1:pos:R:3 first"
        )


def tinker(reader: Any, path: Path, findings: Findings) -> None:
    """Read the number of atoms of each frame.

    Raises
    ------
    InvalidArgumentError
        Frames of several numbers of atoms, or of atoms in another order.
    """
    lines = Lines(path)
    n_more = int(reader.periodic)
    _check_counted_frames(lines, reader.n_atoms, n_more, path, findings, name_column=1)
    if findings.cut is None:
        check_last_line(lines.last_two, findings, is_free=True)


def _check_counted_frames(
    lines: Lines,
    n_atoms: int,
    n_more: int,
    path: Path,
    findings: Findings,
    *,
    name_column: int,
) -> None:
    """Follow frames of a number of atoms, so many more lines, and a line for each atom."""
    number, has_blank = 0, False
    for line in lines:
        if not line.strip():
            has_blank = True  # At the end, that is nothing.
            continue
        if has_blank:
            raise InvalidArgumentError(
                f"trajectory={str(path)!r} is not valid: it has a blank line before frame {number}, "
                "expected one frame right after the other"
            )
        count = line.split()[0]
        if count != str(n_atoms):
            raise InvalidArgumentError(
                f"trajectory={str(path)!r} is not valid: frame {number} begins with {line.strip()[:40]!r}, "
                f"expected {n_atoms} atoms in each frame"
            )
        more = list(islice(lines, n_more))
        if more:
            _check_xyz_columns(more[0], number, path)
        words = (line.split(None, name_column + 1) for line in islice(lines, n_atoms))
        names = [line[name_column] if len(line) > name_column else "" for line in words]
        if len(more) + len(names) < n_more + n_atoms:
            findings.cut = f"frame {number} ends before its {n_atoms} atoms"
            return
        findings.atoms = findings.atoms or names
        _check_names(names, findings.atoms, number, path)
        number += 1
    check_last_line(lines.last_two, findings)


def _check_names(names: list[str], first: list[str], number: int, path: Path) -> None:
    """Refuse a frame whose atoms come in another order: MDAnalysis would mix them."""
    if names == first:
        return
    if len(names) != len(first):
        raise InvalidArgumentError(
            f"trajectory={str(path)!r} is not valid: frame {number} has {len(names)} atoms, expected "
            f"{len(first)} as in frame 0"
        )
    atom = next(i for i, name in enumerate(names) if name != first[i])
    raise InvalidArgumentError(
        f"trajectory={str(path)!r} is not valid: atom {atom} of frame {number} is {names[atom]!r}, "
        f"expected {first[atom]!r} as in frame 0; all frames need the same atoms in the same order"
    )


def mdcrd(reader: Any, path: Path, findings: Findings) -> None:
    """Compare the number of lines with that of whole frames."""
    per_frame = reader.lines_per_frame + int(reader.periodic)
    lines = Lines(path)
    lines.skip(1)
    n_lines = 0
    for place, line in enumerate(lines, 2):
        if line.strip():
            n_left = 3 * reader.n_atoms - 10 * (n_lines % per_frame)
            if n_left > 0:  # Of the box, nothing.
                check_width(line, min(n_left, 10), 8, place, path)
            n_lines += 1
    whole = n_lines // per_frame
    if n_lines % per_frame:
        findings.cut = f"frame {whole} has {n_lines % per_frame} of its {per_frame} lines"
    elif len(lines.last_two[-1].rstrip("\n")) % 8:
        findings.cut = "its last number is not whole"
        findings.last_is_cut = True
    if reader.periodic:
        findings.left_out.append("angles of the box (the file has none: 90° are assumed)")


def pdb(path: Path, findings: Findings) -> None:
    """Count models, their ends and their boxes.

    Raises
    ------
    InvalidArgumentError
        Models that MDAnalysis does not tell apart, or that have other atoms than the first, or the
        same in another order.
    """
    names: list[str] = []
    n_models = n_ends = n_boxes = n_files = models_before_box = 0
    is_after_end = False
    last, cell = [""], ""
    for place, line in enumerate(lines_of(path), 1):
        record = line[:6].rstrip()
        if record == "MODEL":
            if names and not n_models:
                raise InvalidArgumentError(
                    f"trajectory={str(path)!r} is not valid: it has {len(names)} atoms before its first "
                    "MODEL, which MDAnalysis passes over; expected MODEL before the atoms of each frame"
                )
            n_models += 1
            names = []
        elif record == "ENDMDL":
            n_ends += 1
            findings.atoms = findings.atoms or names
            _check_names(names, findings.atoms, n_models - 1, path)
            names = []
        elif record == "CRYST1":
            n_boxes += not PLACEHOLDER.match(line)
            models_before_box, cell = n_models, line
        elif record in ("ATOM", "HETATM"):
            check_pdb(line, place, path)
            n_files += is_after_end
            is_after_end = False
            # Name, residue, chain and its number; an alternative location may come and go.
            names.append(f"{line[12:16].strip()} {line[17:27].rstrip()}")
        elif record == "END":
            is_after_end = True
        if line.strip():
            last = [line]
    if n_files and not n_models:
        raise InvalidArgumentError(
            f"trajectory={str(path)!r} is not valid: it has atoms after END, which MDAnalysis does not "
            "tell apart; expected MODEL and ENDMDL around each frame"
        )
    findings.atoms = findings.atoms or names
    ends_with = last[0][:6].rstrip()
    if ends_with in ("MODEL", "CRYST1"):
        findings.cut = f"it ends with {ends_with}"
        findings.last_is_cut = ends_with == "MODEL"
    elif n_ends < n_models and ends_with not in ("END", "CONECT", "MASTER"):
        findings.cut = f"it has {n_models} models, and {n_ends} ends of them"
        findings.last_is_cut = True
    elif ends_with in ("ATOM", "HETATM"):
        if not last[0].endswith("\n"):
            findings.cut = "it ends within the line of an atom (if that is whole, end the line)"
            findings.last_is_cut = True
        else:
            findings.notes.append("it has no END: whether atoms are missing can't be told")
    # One box within the first model stays for all; else MDAnalysis gives it to the model before it.
    if n_models and (n_boxes, models_before_box) == (1, 0):
        findings.box = _cell(cell)
    is_of_all = findings.box is not None or (n_boxes, models_before_box) == (1, 1)
    if n_models and n_boxes not in (0, n_models) and not is_of_all:
        findings.has_box = False
        findings.left_out.append(f"box ({n_boxes} CRYST1 records for {n_models} models)")


def _cell(line: str) -> NDArray[np.float32] | None:
    """Return lengths and angles of a CRYST1 record; None where it has none."""
    try:
        box = np.array([line[start:end] for start, end in pairwise(CELL)], np.float32)
    except ValueError:
        return None
    return box if box[:3].any() else None


def pdbqt(reader: Any, path: Path, findings: Findings) -> None:
    """Check columns, and refuse several models, of which one is read."""
    n_models = 0
    for place, line in enumerate(lines_of(path), 1):
        n_models += line.startswith("MODEL")
        if line.startswith(("ATOM", "HETATM")):
            check_pdb(line, place, path)
    if n_models > 1:
        raise _several(path, n_models, "models")
    text(reader, path, findings)


def gro(reader: Any, path: Path, findings: Findings) -> None:
    """Check columns, and refuse several frames, of which one is read."""
    lines = Lines(path)
    if GRO_TIME.search(next(lines, "")):
        findings.left_out.append("time (in the title)")
    lines.skip(1)
    if not reader.ts.has_velocities and "".join(lines.peek(1)).count(".", GRO_FIRST) > 3:
        findings.left_out.append("velocities (all are 0)")
    check_gro(islice(lines, reader.n_atoms), path)
    lines.skip(1)
    if any(line.strip() for line in lines):
        raise _several(path, "several", "frames")
    check_last_line(lines.last_two, findings)


def mol2(reader: Any, path: Path, findings: Findings) -> None:
    """Compare the atoms and bonds with the numbers that are announced.

    Raises
    ------
    InvalidArgumentError
        Several molecules of one size: these are not frames. Or the same atoms in another order.
    """
    names = set()
    for number, block in enumerate(reader.frames):
        sections, _ = reader.parse_block(block)
        name, counts = (*sections["molecule"], "", "")[:2]
        names.add(name.strip())
        announced = [int(count) for count in counts.split()[:2]]
        found = [len(sections.get(part, ())) for part in ("atom", "bond")][: len(announced)]
        if not announced or found != announced:
            findings.cut = (
                f"molecule {number} announces atoms and bonds {announced}, it has {found}"
            )
            findings.last_is_cut = True
            break
        atoms = [line.split(None, 2)[1] for line in sections["atom"]]
        findings.atoms = findings.atoms or atoms
        if len(names) == 1:
            _check_names(atoms, findings.atoms, number, path)
    if len(names) > 1:
        raise InvalidArgumentError(
            f"trajectory={str(path)!r} is not valid: it has {len(reader.frames)} molecules with "
            f"{len(names)} names, expected frames of one molecule"
        )
    check_last_line(lines_of(path), findings)


def gamess(reader: Any, path: Path, findings: Findings) -> None:
    """Tell the output of a run that did not end."""
    if not any("TERMINATED NORMALLY" in line for line in lines_of(path)):
        findings.notes.append("it does not say that the run ended: frames may be missing")


TRC_FRAME = ("TIMESTEP", "POSITIONRED", "GENBOX")
"""What is read of a frame of GROMOS, to the last of them."""


def trc(path: Path, findings: Findings) -> None:
    """Follow the blocks of a GROMOS file, and find those that are not read.

    Raises
    ------
    InvalidArgumentError
        A block has no END, for which MDAnalysis would look for ever. Or of several frames, one has not
        the blocks of the others up to GENBOX, by which MDAnalysis tells them apart.
    """
    names, last, is_open = list[str](), "", False
    for line in lines_of(path):
        word = line.strip()
        if word and not word.startswith("#"):
            last = word
            if not is_open:
                names.append(word)
            is_open = word != "END"
    if last != "END":
        raise InvalidArgumentError(
            f"trajectory={str(path)!r} is not valid: it ends with {last[:40]!r}, expected END; the file "
            "is cut or damaged"
        )
    findings.left_out += sorted(set(TRCReader.NOT_SUPPORTED_BLOCKS).intersection(names))
    if "TIMESTEP" not in names:
        findings.has_time = findings.has_steps = False
    found = [name for name in names if name in TRC_FRAME]
    of_frame = found[: found.index("GENBOX") + 1] if "GENBOX" in found else found
    number, n_more = divmod(len(found), max(1, len(of_frame)))
    is_frame = len(set(of_frame)) == len(of_frame)
    if not is_frame or found != of_frame * number + of_frame[:n_more]:
        raise InvalidArgumentError(
            f"trajectory={str(path)!r} is not valid: expected the same blocks in each frame, GENBOX as "
            "the last of them, by which MDAnalysis tells frames apart"
        )
    if n_more:
        findings.cut = f"frame {number} ends before its {of_frame[n_more]}"
        findings.last_is_cut = True


def history(reader: Any, path: Path, findings: Findings) -> None:
    """Compare the number of lines with that of whole frames; steps and times are not read.

    Raises
    ------
    InvalidArgumentError
        Frames of other atoms: MDAnalysis sorts those of each by their numbers.
    """
    findings.left_out.append("step and time")
    per_atom = 2 + int(reader._has_vels) + int(reader._has_forces)
    n_before = 1 + 3 * int(reader._has_cell)
    per_frame = n_before + per_atom * int(reader.n_atoms)
    lines = Lines(path)
    lines.skip(2)
    n_lines, atoms = 0, list[str]()
    for line in filter(str.strip, lines):
        number, place = divmod(n_lines, per_frame)
        if place >= n_before and (place - n_before) % per_atom == 0:
            atoms.append(line.split()[:2][-1])  # The number, or a name alone.
        n_lines += 1
        if place == per_frame - 1:
            atoms.sort()
            findings.atoms = findings.atoms or atoms
            _check_names(atoms, findings.atoms, number, path)
            atoms = []
    if n_lines % per_frame:
        found = f"{n_lines % per_frame} of its {per_frame} lines"
        findings.cut = f"frame {n_lines // per_frame} has {found}"
        findings.last_is_cut = reader.n_frames > n_lines // per_frame
    else:
        check_last_line(lines.last_two, findings, is_free=True)


def inpcrd(reader: Any, path: Path, findings: Findings) -> None:
    """Find velocities and a box after the coordinates, which are not read."""
    lines = Lines(path)
    lines.skip(2)
    for number, line in enumerate(islice(lines, (reader.n_atoms + 1) // 2)):
        check_width(line, min(6, 3 * reader.n_atoms - 6 * number), 12, number + 3, path)
    check_last_line(lines.last_two, findings)
    if any(line.strip() for line in lines):
        findings.left_out.append("velocities or box (after the coordinates)")


def crd(reader: Any, path: Path, findings: Findings) -> None:
    """Check columns, and compare the number of atoms that are announced and those that are there."""
    end = 0
    for place, line in enumerate(lines_of(path), 1):
        if line.strip()[:1] in ("", "*"):
            continue
        if end:
            check_crd(line, end, place, path)
            continue
        announced, *more = line.split()
        end = 100 if "EXT" in more else 50
        if int(announced) != reader.n_atoms:
            findings.cut = f"it announces {announced} atoms and has {reader.n_atoms}"
    text(reader, path, findings)


def _several(path: Path, n_found: Any, what: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"trajectory={str(path)!r} is not valid: it has {n_found} {what}, and MDAnalysis reads one of "
        "this format; expected a format with frames, such as XTC or multi-model PDB"
    )
