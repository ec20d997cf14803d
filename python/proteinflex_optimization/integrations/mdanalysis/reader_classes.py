"""MDAnalysis's classes of readers: which a file has, what they take, and where they fail."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from MDAnalysis.coordinates.base import ProtoReader

from proteinflex_optimization.errors import InvalidArgumentError

if TYPE_CHECKING:
    from proteinflex_optimization.types import StrPath

FORMATS_OF_SUFFIXES = {".lammpstrj": "LAMMPSDUMP"}
"""Usual suffixes that MDAnalysis does not know."""

OPTIONS_OF_ALL = ("dt", "time_offset", "n_atoms", "atom_style", "transformations")
"""Options that MDAnalysis takes for any file, besides those in the signatures of its readers."""


def reader_with(offsets: Sequence[int], reader_class: Any) -> Any:
    """Return a reader of XTC or TRR that is given where the frames begin.

    MDAnalysis's own keeps that in hidden files beside the trajectory, which it locks.
    """

    def set_offsets(reader: Any, store: bool = False) -> None:
        reader._xdr.set_offsets(np.array(offsets, np.int64))

    members = {"_load_offsets": set_offsets, "_read_offsets": set_offsets}
    return type(reader_class.__name__, (reader_class,), members)


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


def format_of(path: Path, format: Any) -> Any:
    """Return a format as MDAnalysis takes it; None where its suffix tells it."""
    if isinstance(format, str):
        return format.upper()
    return usual_format(path) if format is None else format


def usual_format(path: StrPath) -> str | None:
    """Return the format of a suffix that MDAnalysis does not know."""
    name = str(path).lower().removesuffix(".gz").removesuffix(".bz2")
    return FORMATS_OF_SUFFIXES.get(Path(name).suffix)


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
