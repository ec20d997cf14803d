"""How binary trajectory files end, and what they hold that MDAnalysis does not read."""

from __future__ import annotations

import math
import re
import struct
import sys
from array import array
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from MDAnalysis.units import convert

from proteinflex_optimization.errors import InvalidArgumentError
from proteinflex_optimization.integrations.mdanalysis import xtc_stream
from proteinflex_optimization.integrations.mdanalysis.findings import Findings
from proteinflex_optimization.integrations.mdanalysis.reader_classes import place_of

XTC_HEADER = struct.Struct(">4xi44xi")
"""Of a frame: the number of atoms; after step, time and box, it comes again."""
XTC_COMPRESSED = struct.Struct(">f7i")
"""Before compressed coordinates: precision, lowest and highest integers, index of the smallest size."""
XTC_SMALL = 9
"""Up to this number of atoms, coordinates are not compressed."""
XTC_MAGICS = {1995: struct.Struct(">i"), 2023: struct.Struct(">q")}
"""With the type of the length of the compressed coordinates."""
XTC_WIDEST = 2**31 - 3
"""The widest range of integers that is written."""
READ_AT_OPENING = 2
"""Frames that MDAnalysis reads when it opens XTC and TRR."""
TRR_HEADER = struct.Struct(">3i12s13i")
TRR_BEGIN = (1993, 13, 12, b"GMX_trn_file")
NATIVE = "<" if sys.byteorder == "little" else ">"
NO_DCD_STEP = 1
"""What mdtraj and VMD write for a time step that they don't know. In the unit of these files it would be
48.9 fs; those of LAMMPS have other units."""
NETCDF_PADDING = 4
"""Less than this may follow the last record."""


def walk_xtc(path: Path, findings: Findings) -> None:
    """Follow the frames of an XTC file to its end.

    Raises
    ------
    InvalidArgumentError
        The number of atoms changes: libxdrfile would write beyond its memory.
    """
    findings.check_frame = partial(_xtc_frame, is_read=True)
    _walk(path, _xtc_frame, findings)


def _xtc_frame(file: BinaryIO, *, is_read: bool) -> int:
    """Pass over a frame, and return its number of atoms; before it is read, check its positions, too.

    libxdrfile checks nothing of a header, and a wrong number in it can end the process.
    """
    begin = file.tell()
    header = _read(file, XTC_HEADER.size)
    magic = int.from_bytes(header[:4], "big")
    if magic not in XTC_MAGICS:
        raise ValueError(f"no frame begins at byte {begin}")
    n_atoms, n_positions = XTC_HEADER.unpack(header)
    if n_atoms != n_positions or n_atoms < 1:
        raise ValueError(f"it has {n_atoms} atoms and {n_positions} positions")
    if n_atoms <= XTC_SMALL:
        file.seek(12 * n_atoms, 1)
        return int(n_atoms)
    precision, *bounds, size = XTC_COMPRESSED.unpack(_read(file, XTC_COMPRESSED.size))
    spans = [high - low + 1 for low, high in zip(bounds[:3], bounds[3:], strict=True)]
    if not 0 < precision < math.inf:
        raise ValueError(f"its precision is {precision}")
    if not all(1 <= span <= XTC_WIDEST for span in spans) or size not in xtc_stream.SIZES:
        raise ValueError(f"its positions are of {spans} values, and the size {size}")
    length = XTC_MAGICS[magic]
    (n_bytes,) = length.unpack(_read(file, length.size))
    # What libxdrfile has room for.
    if not 0 < n_bytes <= 4 * (int(3 * n_atoms * 1.2) - 3):
        raise ValueError(f"its {n_atoms} positions take {n_bytes} bytes")
    padding = -n_bytes % 4
    if is_read:
        stream = _read(file, n_bytes)
        if not xtc_stream.is_decodable(stream, n_atoms, spans, size):
            raise ValueError(f"its {n_bytes} bytes are not {n_atoms} positions")
        file.seek(padding, 1)
    else:
        file.seek(n_bytes + padding, 1)
    return int(n_atoms)


def walk_trr(path: Path, findings: Findings) -> None:
    """Follow the frames of a TRR file to its end.

    Raises
    ------
    InvalidArgumentError
        The number of atoms changes: libxdrfile would write beyond its memory.
    """
    _walk(path, partial(_trr_frame, findings), findings)


def _trr_frame(findings: Findings, file: BinaryIO, *, is_read: bool) -> int:
    """Pass over a frame, and return its number of atoms; libxdrfile divides by what is in a header."""
    begin = file.tell()
    *name, ir, e, box, vir, pres, top, sym, x, v, f, n_atoms, _, _ = TRR_HEADER.unpack(
        _read(file, TRR_HEADER.size)
    )
    if tuple(name) != TRR_BEGIN:
        raise ValueError(f"no frame begins at byte {begin}")
    blocks, others = (box, vir, pres, x, v, f), (ir, e, top, sym)
    # The precision of a frame shows in the size of what is there.
    for real in (4, 8):
        whole = (*[9 * real] * 3, *[3 * n_atoms * real] * 3)
        fits = all(size in (0, most) for size, most in zip(blocks, whole, strict=True))
        if fits and n_atoms > 0 and any((box, x, v, f)) and not any(others):
            findings.hides_overflow |= real == 8
            file.seek(2 * real + sum(blocks), 1)
            return int(n_atoms)
    raise ValueError(f"{n_atoms} atoms have no blocks of {(*blocks, *others)} bytes")


def _walk(path: Path, skip: Callable[..., int], findings: Findings) -> None:
    size = path.stat().st_size
    n_atoms = number = 0
    offsets = array("q")
    findings.offsets = offsets
    with path.open("rb") as file:
        while (begin := file.tell()) < size:
            findings.whole_bytes = begin
            try:
                found = skip(file, is_read=number < READ_AT_OPENING)
            except (EOFError, OSError) as error:
                findings.cut = f"frame {number} is cut ({error})"
                return
            except ValueError as error:
                findings.cut = f"frame {number} is damaged ({error})"
                return
            if number and found != n_atoms:
                raise InvalidArgumentError(
                    f"trajectory={str(path)!r} is not valid: frame {number} has {found} atoms, expected "
                    f"{n_atoms} as in frame 0"
                )
            n_atoms = found
            if file.tell() > size:
                findings.cut = f"frame {number} ends at byte {file.tell()}, the file at {size}"
                return
            offsets.append(begin)
            number += 1


def dcd(reader: Any, path: Path, findings: Findings) -> None:
    """Compare the frames that fit into the file with its size, and find out whether it has times.

    Raises
    ------
    InvalidArgumentError
        It has a fourth dimension that MDAnalysis takes for frames.
    """
    header = reader._file.header
    # MDAnalysis's step is the number of the frame.
    findings.has_steps = False
    with path.open("rb") as file:
        order = "<" if _read(file, 4) == (84).to_bytes(4, "little") else ">"
        file.seek(0)
        control = _record(file, order)
        # The length of the titles is wrong in many files, their number is not.
        _, n_titles = struct.unpack(f"{order}2i", _read(file, 8))
        file.seek(80 * n_titles + 4, 1)
        _record(file, order)  # The number of atoms.
        n_fixed = struct.unpack(f"{order}i", control[36:40])[0]
        if n_fixed:
            _record(file, order)
        begin = file.tell()
    is_charmm = struct.unpack(f"{order}i", control[80:84])[0] != 0
    (step,) = struct.unpack_from(f"{order}{'f' if is_charmm else 'd'}", control, 40)
    findings.has_time = 0 < step < math.inf and header["nsavc"] > 0
    if step == NO_DCD_STEP and reader.units["time"] == "AKMA":
        findings.has_time = False
        findings.notes.append(
            "its time step is 1, which stands for none: its times are from dt= alone"
        )
    if order != NATIVE:
        # MDAnalysis reads the step in the order of this machine.
        reader.ts.dt = convert(step, reader.units["time"], "ps") * header["nsavc"]
    has_cell, has_fourth = (
        is_charmm and value != 0 for value in struct.unpack(f"{order}2i", control[44:52])
    )
    if has_fourth and order != NATIVE:
        raise InvalidArgumentError(
            f"trajectory={str(path)!r} is not valid: it has a fourth dimension, and MDAnalysis reads none "
            "in the byte order of other machines; expected x, y and z"
        )
    n_axes = 4 if has_fourth else 3
    cell = 56 if has_cell else 0
    first = cell + n_axes * (4 * reader.n_atoms + 8)
    other = cell + n_axes * (4 * (reader.n_atoms - n_fixed) + 8)
    end = begin + first + (reader.n_frames - 1) * other
    _compare(end, path, reader.n_frames, findings)
    announced = struct.unpack(f"{order}i", control[4:8])[0]
    if announced > reader.n_frames:
        # CHARMM announces what is planned.
        findings.notes.append(f"its header announces {announced} frames, it has {reader.n_frames}")


def netcdf(reader: Any, path: Path, findings: Findings) -> None:
    """Compare the records that the header counts with the size of the file."""
    file = reader.trjfile
    known = {"coordinates", "time", "cell_lengths", "cell_angles", "velocities", "forces"}
    records = {name for name, variable in file.variables.items() if variable.isrec}
    findings.left_out += sorted(records - known)
    if not (records and file.use_mmap):
        return
    # The variables of a record follow each other; the first one's place is where the records begin.
    begin = min(place_of(file, name, 0)[0] for name in records)
    end = begin + file._recs * file._recsize
    if not end <= path.stat().st_size < end + NETCDF_PADDING:
        _compare(end, path, reader.n_frames, findings)


def h5md(reader: Any, path: Path, findings: Findings) -> None:
    """Check that what is read as one frame is of one step, and find what is not read.

    Raises
    ------
    InvalidArgumentError
        Velocities, forces or the box are of other steps than the positions; or the atoms of a frame
        are others than those of the first, or in another order.
    """
    group = reader._particle_group
    _check_ids(group, path, findings)
    elements = (group[path]["value"] for path in H5MD_ELEMENTS.values() if path in group)
    findings.hides_overflow = any(element.dtype.itemsize > 4 for element in elements)
    steps = {name: _steps(group[path]) for name, path in H5MD_ELEMENTS.items() if path in group}
    if not steps:
        return
    first, expected = next(iter(steps.items()))
    for name, found in steps.items():
        if not np.array_equal(found, expected):
            raise InvalidArgumentError(
                f"trajectory={str(path)!r} is not valid: its {name} are of other steps than its "
                f"{first}, and MDAnalysis pairs them by their number; expected the same steps (remove "
                "one of them from a copy of the file)"
            )
    for name, element in _observables(reader._file):
        unit = _unit(element)
        if name in ENERGIES and unit not in (None, *KJ_PER_MOL):
            findings.unpaired.add(name)
            findings.left_out.append(f"{name} (in {unit}, and not in kJ/mol)")
        elif "step" in element and not np.array_equal(_steps(element), expected):
            findings.unpaired.add(name)
            findings.left_out.append(f"{name} (of other steps)")
    if "position" in group and "box/edges" in group:
        names = reader._unit_translation["length"]
        units = [_unit(group[name]) for name in ("position", "box/edges")]
        of_positions, of_box = (names.get(unit, unit) for unit in units)
        if of_box not in (None, of_positions):
            findings.has_box = False
            findings.left_out.append(f"box (its unit is {of_box}, of positions {of_positions})")
    others = sorted(set(reader._file["particles"]) - {group.name.split("/")[-1]})
    findings.left_out += [f"particles/{name}" for name in others]
    findings.left_out += sorted(
        f"{group.name.lstrip('/')}/{name}"
        for name in set(group) - {"position", "velocity", "force", "box"}
    )


def _check_ids(group: Any, path: Path, findings: Findings) -> None:
    """Refuse frames whose rows are not of the same atoms, as some programs write them."""
    ids = group.get("id/value")
    if ids is None or ids.ndim != 2 or len(ids) == 0:
        return
    first = ids[0]
    findings.atoms = [str(atom) for atom in first]
    for number in range(1, len(ids)):
        found = ids[number]
        if not np.array_equal(found, first):
            atom = int(np.flatnonzero(found != first)[0])
            raise InvalidArgumentError(
                f"trajectory={str(path)!r} is not valid: row {atom} of frame {number} is the atom of the "
                f"id {found[atom]}, expected {first[atom]} as in frame 0; all frames need the same atoms "
                "in the same order (sort them by particles/…/id in a copy of the file)"
            )


def _observables(file: Any) -> Iterator[tuple[str, Any]]:
    """Give observables by the names that MDAnalysis gives them."""
    for name, group in file.get("observables", {}).items():
        if "value" in group:
            yield name, group
        else:
            yield from ((f"{name}/{part}", element) for part, element in group.items())


H5MD_ELEMENTS = {
    "positions": "position",
    "velocities": "velocity",
    "forces": "force",
    "box": "box/edges",
}


ENERGIES = frozenset({"energy", "potential", "kinetic"})
"""Names of observables that are those of fields in kJ/mol."""
KJ_PER_MOL = ("kJ mol-1", "kJ/mol")


def _unit(element: Any) -> Any:
    unit = element["value"].attrs.get("unit")
    return unit.decode() if isinstance(unit, bytes) else unit


def _steps(element: Any) -> Any:
    n_frames = element["value"].shape[0]
    if "step" not in element:
        return np.arange(n_frames)
    steps = element["step"]
    return steps[()] if steps.shape == () else steps[:n_frames]


def trz(reader: Any, path: Path, findings: Findings) -> None:
    """Tell a file with an unfinished frame, of which MDAnalysis reads none."""
    if reader.n_frames == 0:
        raise InvalidArgumentError(
            f"trajectory={str(path)!r} is not valid: it has an unfinished frame or none, and MDAnalysis "
            "reads nothing of such a file"
        )


def namdbin(reader: Any, path: Path, findings: Findings) -> None:
    """Compare the size of the file with its number of atoms."""
    _compare(4 + 24 * reader.n_atoms, path, reader.n_frames, findings)


GSD_UNREAD = re.compile(r"particles/(velocity|image|orientation|angmom)$|log/")


def gsd(reader: Any, path: Path, findings: Findings) -> None:
    """Find what any frame has besides positions and box."""
    find = reader._file.file.find_matching_chunk_names
    names = [*find("particles/"), *find("log/")]
    findings.left_out += sorted(filter(GSD_UNREAD.match, names))


def _compare(end: int, path: Path, n_frames: int, findings: Findings) -> None:
    size = path.stat().st_size
    if size != end:
        findings.cut = f"it has {size} bytes, and its {n_frames} frames end at {end}"


def _record(file: BinaryIO, order: str) -> bytes:
    """Read a Fortran record."""
    (length,) = struct.unpack(f"{order}i", _read(file, 4))
    content = _read(file, length)
    file.seek(4, 1)
    return content


def _read(file: BinaryIO, n_bytes: int) -> bytes:
    content = file.read(n_bytes)
    if n_bytes < 0 or len(content) != n_bytes:
        raise EOFError("the file ends in a header")
    return content
