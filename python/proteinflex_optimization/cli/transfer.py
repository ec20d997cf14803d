"""`flexopt cache import` and `export`: between a cache and files of other formats."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
import zipfile
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from proteinflex_optimization._publish import published
from proteinflex_optimization.errors import InvalidArgumentError

if TYPE_CHECKING:
    from proteinflex_optimization import DataHandler
    from proteinflex_optimization.types import EntryKind, StoredData

STRUCTURE_SUFFIXES = (".pdb", ".ent", ".cif", ".mmcif", ".pdbx")
"""What is imported as a structure unless it is said to be a trajectory."""

SECONDS_BETWEEN_LINES = 0.1
"""How often progress is drawn at most."""


def export_entry(handler: DataHandler, options: argparse.Namespace) -> dict[str, Any]:
    """Write an entry as a file; returns where it is, its size, and what it has no place for."""
    target = Path(options.file)
    suffix = target.suffix.lower()
    if suffix == ".npz":
        left_out = export_arrays(handler.load_data(options.key), target, overwrite=options.force)
    else:
        trajectory = handler.open(options.key)
        with ProgressLine("exporting") as progress:
            if suffix == ".zarr":
                from proteinflex_optimization.integrations.zarr import export_zarr as write
            else:
                from proteinflex_optimization.integrations.mdanalysis import (
                    export_trajectory as write,
                )
            left_out = write(trajectory, target, overwrite=options.force, progress=progress)
        names = [array["name"] for array in handler.info(options.key)["arrays"]]
        left_out += [name for name in names if name not in trajectory.fields]
    return {"file": str(target), "bytes": _size_of(target), "left_out": left_out}


def export_arrays(data: StoredData, target: Path, *, overwrite: bool) -> list[str]:
    """Write the arrays of an entry as ``.npz``; returns the names of what is none."""
    import numpy as np

    arrays = {name: value for name, value in data.items() if isinstance(value, np.ndarray)}
    # Not by keywords of `savez`: a field may be called `file`.
    with (
        published(target, overwrite=overwrite) as hidden,
        zipfile.ZipFile(hidden, "w") as archive,
    ):
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    return [name for name in data if name not in arrays]


def import_file(handler: DataHandler, options: argparse.Namespace) -> dict[str, Any]:
    """Store a file as an entry; returns its key and what `info` says of it."""
    source = Path(options.file)
    if not source.is_file():
        raise InvalidArgumentError(f"FILE={options.file!r} is not valid: there is no such file")
    stem = re.sub(r"\.(gz|bz2|xz)$", "", source.name)
    is_structure = options.topology is None and stem.lower().endswith(STRUCTURE_SUFFIXES)
    kind: EntryKind = options.kind or ("structure" if is_structure else "trajectory")
    data_id = Path(stem).stem if options.id is None else options.id
    if handler.key_for(data_id, kind=kind) in handler and not options.force:
        raise InvalidArgumentError(
            f"--id={data_id!r} is not valid: the cache has a {kind} of this name already, "
            "expected a new name (--force replaces it)"
        )
    if kind == "structure":
        key = handler.import_structure(source, data_id)
    else:
        with ProgressLine("importing") as progress:
            key = handler.import_trajectory(
                options.topology,
                source,
                data_id,
                precision=options.precision,
                profile=options.profile,
                progress=progress,
            )
    info = handler.info(key)
    names = ("key", "data_id", "kind", "raw_bytes", "stored_bytes", "saved_percent")
    return {name: value for name, value in info.items() if name in names}


class ProgressLine:
    """A line on a terminal that says how many frames are done; nothing where there is none.

    Parameters
    ----------
    verb : str
        What is being done.
    """

    def __init__(self, verb: str) -> None:
        self._verb = verb
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
        text = f"\r{self._verb} {done}/{total} frames, {percent:.0f} %"
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


def print_json(result: dict[str, Any]) -> None:
    """Print a result for scripts."""
    print(json.dumps(result, indent=2, default=str))


def _size_of(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size
