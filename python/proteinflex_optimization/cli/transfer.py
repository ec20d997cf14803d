"""`flexopt cache import` and `export`: between a cache and files of other formats."""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from proteinflex_optimization._packed import without_suffix
from proteinflex_optimization.errors import InvalidArgumentError

if TYPE_CHECKING:
    from proteinflex_optimization import DataHandler, Trajectory
    from proteinflex_optimization.types import EntryKind, Precision, StoredData

SECONDS_BETWEEN_LINES = 0.1
"""How often progress is drawn at most."""


def export_entry(handler: DataHandler, options: argparse.Namespace) -> dict[str, Any]:
    """Write an entry as a file; returns where it is, its size, and what it has no place for."""
    if Path(options.file).suffix.lower() != ".npz":
        return write_trajectory(handler.open(options.key), options)
    if handler.info(options.key)["kind"] == "trajectory":
        return write_arrays(handler.open(options.key), options)
    return write_arrays(handler.load_data(options.key), options)


def write_arrays(data: Trajectory | StoredData, options: argparse.Namespace) -> dict[str, Any]:
    """Write the arrays of an entry as a file; returns what `export_entry` does."""
    from proteinflex_optimization.integrations.npz import export_npz

    target = _target(options)
    return _written(target, export_npz(data, target, overwrite=options.force))


def write_trajectory(trajectory: Trajectory, options: argparse.Namespace) -> dict[str, Any]:
    """Write a trajectory as a file that is not one of arrays; returns what `export_entry` does."""
    target = _target(options)
    suffix = target.suffix.lower()
    with ProgressLine("exporting") as progress:
        if suffix == ".fxt":
            from proteinflex_optimization.integrations.fxt import export_fxt as write
        elif suffix == ".zarr":
            from proteinflex_optimization.integrations.zarr import export_zarr as write
        else:
            from proteinflex_optimization.integrations.mdanalysis import export_trajectory as write
        return _written(
            target, write(trajectory, target, overwrite=options.force, progress=progress)
        )


def _target(options: argparse.Namespace) -> Path:
    """Return the file to write, before a library is loaded for it."""
    target = Path(options.file)
    if os.path.lexists(target) and not options.force:
        raise InvalidArgumentError(
            f"FILE={str(target)!r} is not valid: it is there already, expected a new name (--force "
            "replaces it)"
        )
    return target


def _written(target: Path, left_out: list[str]) -> dict[str, Any]:
    return {"file": str(target), "bytes": _size_of(target), "left_out": left_out}


def import_files(handler: DataHandler, options: argparse.Namespace) -> dict[str, Any]:
    """Store a file, or the parts of a run, as an entry; returns its key and what `info` says of it."""
    sources = [Path(file) for file in options.files]
    for source in sources:
        is_zarr = "zarr" in (source.suffix.lower()[1:], str(options.format).lower())
        if source.is_dir() and not is_zarr:
            raise InvalidArgumentError(
                f"FILE={str(source)!r} is not valid: it is a directory, expected a file"
            )
    stem = without_suffix(sources[0].name)
    kind = options.kind or _kind_of(stem, options)
    if kind == "structure":
        _refuse_what_only_trajectories_have(options)
    data_id = _name_of(sources[0], Path(stem).stem) if options.id is None else options.id
    if not options.force:
        # Also at the end: another process may store under this name meanwhile.
        handler._keep_stored()
    if handler.key_for(data_id, kind=kind) in handler and not options.force:
        raise InvalidArgumentError(
            f"--id={data_id!r} is not valid: the cache has a {kind} of this name already, "
            "expected a new name (--force replaces it)"
        )
    is_unfinished = any(one["data_id"] == data_id for one in handler.unfinished())
    if kind == "trajectory" and is_unfinished and not options.force:
        raise InvalidArgumentError(
            f"--id={data_id!r} is not valid: an unfinished trajectory of this name waits to be resumed, "
            "expected a new name (--force replaces it)"
        )
    if kind == "structure":
        if len(sources) > 1:
            raise InvalidArgumentError(
                f"FILE={str(sources[1])!r} is not valid: expected one file of a structure"
            )
        key = _import_structure(handler, sources[0], data_id)
    else:
        with ProgressLine("importing") as progress:
            key = handler.import_trajectory(
                options.topology,
                sources if len(sources) > 1 else sources[0],
                data_id,
                format=options.format,
                topology_format=options.topology_format,
                overlap=options.overlap,
                allow_truncated=options.allow_truncated,
                precision=options.precision,
                profile=options.profile,
                progress=progress,
                dt=options.dt,
            )
        if options.force:
            handler.remove_unfinished(key)
    info = handler.info(key)
    names = ("key", "data_id", "kind", "raw_bytes", "stored_bytes", "saved_percent")
    return {name: value for name, value in info.items() if name in names}


def _name_of(source: Path, stem: str) -> str:
    """Return the name that a file is stored under: of the copy of an entry's file, the entry's."""
    if source.suffix == ".fxt" and re.fullmatch("t-[0-9a-f]{32}", stem):
        from proteinflex_optimization import open_trajectory

        return open_trajectory(source).data_id
    return stem


def parse_precision(text: str) -> Precision:
    """Return a precision such as ``0.001`` or ``frames=0.001,velocities=0.01``.

    Parameters
    ----------
    text : str
        A number, which is for coordinates, or fields and their numbers. Which fields and numbers may be
        is checked where the precision is used.

    Raises
    ------
    argparse.ArgumentTypeError
        It is neither, or names a field twice.
    """
    expected = "expected a number, or FIELD=NUMBER,…"
    try:
        if "=" not in text:
            return float(text)
        pairs = [part.split("=", 1) for part in text.split(",")]
        by_field = {name.strip(): float(number) for name, number in pairs}
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not valid: {expected}") from None
    if len(by_field) < len(pairs):
        raise argparse.ArgumentTypeError(f"{text!r} is not valid: it names a field twice")
    return by_field


def _kind_of(stem: str, options: argparse.Namespace) -> EntryKind:
    if options.topology is not None or options.format is not None or len(options.files) > 1:
        return "trajectory"
    if stem.lower().endswith(".npz"):
        from proteinflex_optimization.integrations.npz import kind_of_npz

        return kind_of_npz(options.files[0])
    from proteinflex_optimization.topology import STRUCTURE_SUFFIXES

    return "structure" if stem.lower().endswith(STRUCTURE_SUFFIXES) else "trajectory"


def _refuse_what_only_trajectories_have(options: argparse.Namespace) -> None:
    given = {
        "topology": options.topology,
        "format": options.format,
        "topology-format": options.topology_format,
        "dt": options.dt,
        "overlap": None if options.overlap == "remove" else options.overlap,
        "allow-truncated": options.allow_truncated or None,
        "precision": options.precision,
        "profile": options.profile,
    }
    for name, value in given.items():
        if value is not None:
            raise InvalidArgumentError(
                f"--{name}={value!r} is not valid: a structure has none; expected it for a file that "
                "is imported with --kind trajectory"
            )


def _import_structure(handler: DataHandler, source: Path, data_id: str) -> str:
    if source.suffix.lower() == ".npz":
        from proteinflex_optimization.integrations.npz import read_npz

        return handler.store_structure(read_npz(source), data_id)
    return handler.import_structure(source, data_id)


class ProgressLine:
    """A line on a terminal that says how much is done; nothing where there is none.

    Parameters
    ----------
    verb : str
        What is being done.
    unit : str
        What is counted.
    """

    def __init__(self, verb: str, unit: str = "frames") -> None:
        self._verb = verb
        self._unit = unit
        self._is_drawn = False
        self._next = 0.0

    def __call__(self, done: int, total: int) -> None:
        """Draw the line, but not more often than can be read."""
        now = time.monotonic()
        if not sys.stderr.isatty() or (now < self._next and done < total):
            return
        self._next = now + SECONDS_BETWEEN_LINES
        self._is_drawn = True
        percent = 100 * done / total if total else 100
        text = f"\r{self._verb} {done}/{total} {self._unit}, {percent:.0f} %"
        print(text, end="", file=sys.stderr, flush=True)

    def __enter__(self) -> ProgressLine:
        """Return this object."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Clear the line."""
        if self._is_drawn:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _size_of(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size
