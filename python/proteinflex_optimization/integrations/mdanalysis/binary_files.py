"""How binary trajectory files end, and what they hold that MDAnalysis does not read."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from proteinflex_optimization.errors import InvalidArgumentError
from proteinflex_optimization.integrations.mdanalysis.findings import Findings

XTC_HEADER = 56
"""Bytes before the coordinates: magic, atoms, step, time, box, atoms again."""
XTC_COMPRESSED = 36
"""Bytes before the compressed coordinates: precision, bounds, the smallest index, their length."""
TRR_MAGIC = 1993
XTC_SMALL = 9
"""Up to this number of atoms, coordinates are not compressed."""
XTC_MAGICS = {1995: ">i", 2023: ">q"}
"""With the type of the length of the compressed coordinates."""
NETCDF_PADDING = 4
"""Less than this may follow the last record."""


def walk_xtc(path: Path, findings: Findings) -> None:
    """Follow the frames of an XTC file to its end.

    Raises
    ------
    InvalidArgumentError
        The number of atoms changes: libxdrfile would write beyond its memory.
    """

    def skip(file: BinaryIO) -> int:
        begin = file.tell()
        magic, n_atoms = struct.unpack(">ii", _read(file, 8))
        if magic not in XTC_MAGICS:
            raise ValueError(f"no frame begins at byte {begin}")
        if n_atoms <= XTC_SMALL:
            file.seek(begin + XTC_HEADER + 12 * n_atoms)
        else:
            file.seek(begin + XTC_HEADER + XTC_COMPRESSED - 4)
            length = XTC_MAGICS[magic]
            (n_bytes,) = struct.unpack(length, _read(file, struct.calcsize(length)))
            file.seek((n_bytes + 3) // 4 * 4, 1)
        return int(n_atoms)

    _walk(path, skip, findings)


def walk_trr(path: Path, findings: Findings) -> None:
    """Follow the frames of a TRR file to its end.

    Raises
    ------
    InvalidArgumentError
        The number of atoms changes: libxdrfile would write beyond its memory.
    """

    def skip(file: BinaryIO) -> int:
        begin = file.tell()
        magic, _, name_bytes = struct.unpack(">iii", _read(file, 12))
        if magic != TRR_MAGIC:
            raise ValueError(f"no frame begins at byte {begin}")
        file.seek((name_bytes + 3) // 4 * 4, 1)
        *blocks, n_atoms, _, _ = struct.unpack(">13i", _read(file, 52))
        # The precision of a frame shows in the size of what is there.
        vectors = blocks[7] or blocks[8] or blocks[9]
        is_double = blocks[2] == 72 or (n_atoms > 0 and vectors == 24 * n_atoms)
        file.seek((16 if is_double else 8) + sum(blocks), 1)
        return int(n_atoms)

    _walk(path, skip, findings)


def _walk(path: Path, skip: Callable[[BinaryIO], int], findings: Findings) -> None:
    size = path.stat().st_size
    n_atoms = number = 0
    with path.open("rb") as file:
        while file.tell() < size:
            findings.n_whole, findings.whole_bytes = number, file.tell()
            try:
                found = skip(file)
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
            number += 1


def dcd(reader: Any, path: Path, findings: Findings) -> None:
    """Compare the frames that fit into the file with its size, and find out whether it has times."""
    header = reader._file.header
    # MDAnalysis's step is the number of the frame.
    findings.has_steps = False
    findings.has_time = header["delta"] > 0 and header["nsavc"] > 0
    with path.open("rb") as file:
        order = "<" if struct.unpack("<i", _read(file, 4))[0] == 84 else ">"
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
    has_cell, has_fourth = (
        is_charmm and value != 0 for value in struct.unpack(f"{order}2i", control[44:52])
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
    begin = min(_address(file.variables[name].data) for name in records) - _address(file._mm_buf)
    end = begin + file._recs * file._recsize
    if not end <= path.stat().st_size < end + NETCDF_PADDING:
        _compare(end, path, reader.n_frames, findings)


def _address(array: Any) -> int:
    return int(array.__array_interface__["data"][0])


def h5md(reader: Any, path: Path, findings: Findings) -> None:
    """Check that what is read as one frame is of one step, and find what is not read.

    Raises
    ------
    InvalidArgumentError
        Velocities, forces or the box are of other steps than the positions.
    """
    group = reader._particle_group
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
        if "step" in element and not np.array_equal(_steps(element), expected):
            findings.unpaired.add(name)
            findings.left_out.append(f"{name} (of other steps)")
    others = sorted(set(reader._file["particles"]) - {group.name.split("/")[-1]})
    findings.left_out += [f"particles/{name}" for name in others]
    findings.left_out += sorted(
        f"{group.name.lstrip('/')}/{name}"
        for name in set(group) - {"position", "velocity", "force", "box"}
        if hasattr(group[name], "keys") and {"value", "step"} <= set(group[name])
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


def gsd(reader: Any, path: Path, findings: Findings) -> None:
    """Find boxes that are not rectangular: MDAnalysis takes their tilts for cosines."""
    findings.has_box = not any(reader._file[i].configuration.box[3:].any() for i in (0, -1))
    if not findings.has_box:
        findings.left_out.append("box (MDAnalysis does not read tilted ones)")


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
