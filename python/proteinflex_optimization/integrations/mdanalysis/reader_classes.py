"""MDAnalysis's classes of readers: which a file has, what they take, and where they fail."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from MDAnalysis.coordinates.base import ProtoReader

from proteinflex_optimization._packed import packer_of, without_suffix
from proteinflex_optimization.errors import InvalidArgumentError

if TYPE_CHECKING:
    from proteinflex_optimization.types import StrPath

FORMATS_OF_SUFFIXES = {".lammpstrj": "LAMMPSDUMP"}
"""Usual suffixes that MDAnalysis does not know."""

OPTIONS_OF_ALL = ("dt", "time_offset", "n_atoms", "atom_style", "transformations")
"""Options that MDAnalysis takes for any file, besides those in the signatures of its readers."""


READ_PACKED = ("gzip", "bzip2")
"""What MDAnalysis decompresses,"""
READ_UNPACKED = frozenset(
    {
        *("XTC", "TRR", "TNG", "DCD", "LAMMPS", "NCDF", "H5MD", "TRZ", "COOR", "GSD", "DMS"),
        *("INPCRD", "CONFIG", "HISTORY"),
    }
)
"""but not of these formats."""


def reader_with(offsets: Sequence[int], reader_class: Any) -> Any:
    """Return a reader of XTC or TRR that is given where the frames begin.

    MDAnalysis's own keeps that in hidden files beside the trajectory, which it locks.
    """

    def set_offsets(reader: Any, store: bool = False) -> None:
        reader._xdr.set_offsets(np.array(offsets, np.int64))

    members = {"_load_offsets": set_offsets, "_read_offsets": set_offsets}
    return type(reader_class.__name__, (reader_class,), members)


def reader_without_mapping(reader_class: Any) -> Any:
    """Return a reader of NetCDF that reads each frame from the file.

    MDAnalysis's own maps the file, and touching what another program has cut off ends the process.
    """

    def read(reader: Any, name: str, frame: int) -> Any:
        file = reader.trjfile
        if not file.use_mmap:
            found = file.variables[name][frame]
        else:
            begin, dtype, shape = place_of(file, name, frame)
            file.fp.seek(begin)
            content = file.fp.read(dtype.itemsize * math.prod(shape))
            found = np.frombuffer(content, dtype).reshape(shape)[()]
        scale = reader.scale_factors[name]
        return found if scale is None else found * scale

    def time_step(reader: Any) -> Any:
        if not reader.has_time or reader.n_frames < 2:
            return 1.0  # MDAnalysis's default, which it would warn of.
        return read(reader, "time", 1) - read(reader, "time", 0)

    members = {"_get_var_and_scale": read, "_get_dt": time_step}
    return type(reader_class.__name__, (reader_class,), members)


def reader_with_tilts(reader_class: Any) -> Any:
    """Return a reader of GSD that makes angles of the tilts, which MDAnalysis's takes for their cosines."""

    def read(reader: Any, frame: int) -> Any:
        with np.errstate(invalid="ignore"):
            ts = reader_class._read_frame(reader, frame)
        x, y, z, xy, xz, yz = reader._file[frame].configuration.box
        ts.triclinic_dimensions = (x, 0, 0), (xy * y, y, 0), (xz * z, yz * z, z)
        return ts

    return type(reader_class.__name__, (reader_class,), {"_read_frame": read})


def place_of(file: Any, name: str, record: int) -> tuple[int, np.dtype[Any], tuple[int, ...]]:
    """Return where a record of a variable begins in a mapped NetCDF file, and what it is."""
    data = file.variables[name].data  # Of the map, which is not touched.
    begin = _address(data) - _address(file._mm_buf) + record * data.strides[0]
    return begin, data.dtype, data.shape[1:]


def _address(array: Any) -> int:
    """Return where an array lies in memory."""
    return int(array.__array_interface__["data"][0])


def silence_half_made_readers(error: Exception) -> None:
    """Keep readers that could not be made from complaining on stderr when they are deleted."""
    trace = error.__traceback__
    while trace is not None:
        made = trace.tb_frame.f_locals.get("self")
        if isinstance(made, ProtoReader):
            with suppress(Exception):
                made.close()
            made.close = lambda: None
            made._auxs = {}
        trace = trace.tb_next
    if isinstance(error.__context__, Exception):
        silence_half_made_readers(error.__context__)


def format_of(path: Path, format: Any) -> Any:
    """Return a format as MDAnalysis takes it; None where its suffix tells it."""
    if isinstance(format, str):
        return format.upper()
    return usual_format(path) if format is None else format


def usual_format(path: StrPath) -> str | None:
    """Return the format of a suffix that MDAnalysis does not know."""
    return FORMATS_OF_SUFFIXES.get(Path(without_suffix(str(path))).suffix.lower())


def refuse_packed(path: Path, name: str | None) -> None:
    """Refuse a compressed file that MDAnalysis's reader, by its name where it is known, can't read."""
    packer = packer_of(path)
    if packer not in (None, *READ_PACKED) or (packer is not None and name in READ_UNPACKED):
        raise InvalidArgumentError(
            f"trajectory={str(path)!r} is not valid: it is compressed with {packer}, and can't be read "
            "so; decompress it first"
        )


def refuse_unknown(options: dict[str, Any], reader_class: Any) -> None:
    """Refuse options of no effect: readers ignore what they do not know."""
    known = {*OPTIONS_OF_ALL}
    for base in reader_class.__mro__:
        if issubclass(base, ProtoReader):
            known |= inspect.signature(base.__init__).parameters.keys()
    # With `sub`, readers of XTC and TRR write beyond the memory of a frame.
    known -= {"self", "args", "kwargs", "filename", "format", "convert_units", "sub"}
    for name in options.keys() - known:
        raise InvalidArgumentError(
            f"{name}={options[name]!r} is not valid: {reader_class.__name__} of MDAnalysis has no such "
            f"option, expected one of {', '.join(sorted(known))}"
        )


def name_of(reader_class: Any) -> str:
    """Return the first name of the format that a reader reads."""
    names = reader_class.format
    return str(names if isinstance(names, str) else names[0]).upper()


def ignore_offsets(reader: Any) -> None:
    """Keep MDAnalysis from adding an offset when it converts times of H5MD, and an observable as one."""
    copy_to_data = reader._copy_to_data

    def copy_without_offset() -> None:
        copy_to_data()
        reader.ts.data.pop("time_offset", None)

    reader._copy_to_data = copy_without_offset
