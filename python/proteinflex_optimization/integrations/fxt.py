"""Entries of a cache as `.fxt` files outside of it, and back, to the bit."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np

from proteinflex_optimization import _native
from proteinflex_optimization._arguments import callback, instance, path_text
from proteinflex_optimization._publish import published
from proteinflex_optimization.errors import (
    CorruptDataError,
    InvalidArgumentError,
    InvalidTypeError,
    ProteinFlexError,
)
from proteinflex_optimization.remote.urls import is_url
from proteinflex_optimization.trajectory import Trajectory, open_trajectory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from proteinflex_optimization.data_handler import DataHandler
    from proteinflex_optimization.types import Precision, Profile, StrPath

PART = 32 << 20
"""Bytes of an object that are in memory while it is copied."""


def export_fxt(
    trajectory: Trajectory,
    path: StrPath,
    *,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """Copy the file of a trajectory, with all that is in it.

    Parameters
    ----------
    trajectory : Trajectory
        From `DataHandler.open`.
    path : str or path
        The copy.
    overwrite : bool
        Whether a file that is there is replaced.
    progress : callable, optional
        Called with the number of frames that are written and of all, once.

    Returns
    -------
    list of str
        Nothing: all is written.

    Raises
    ------
    InvalidArgumentError
        Something is there.
    ProteinFlexError
        The entry was replaced since the trajectory was opened. An `OSError` where it was removed.
    """
    instance("trajectory", trajectory, Trajectory, "a Trajectory")
    callback("progress", progress)
    with published(path, overwrite=overwrite) as hidden:
        if trajectory.path is None:
            _copy_object(trajectory._object, hidden)
        else:
            shutil.copyfile(trajectory.path, hidden)
        if open_trajectory(hidden)._version() != trajectory._version():
            raise ProteinFlexError(
                f"the entry of trajectory {trajectory.data_id!r} was replaced after it had been "
                "opened: open it again"
            )
    if progress is not None:
        progress(trajectory.n_frames, trajectory.n_frames)
    return []


def _copy_object(source: Any, path: Path) -> None:
    """Copy an object by ranges and check all of it: what was cached of it may have been damaged."""
    with path.open("xb") as file:
        for start in range(0, source.size, PART):
            (part,) = source.read_ranges([start], [min(start + PART, source.size)])
            file.write(part)
    report = open_trajectory(path)._verify()
    if not report["ok"]:
        raise CorruptDataError(f"{source.url}: {report['damaged'][0]['reason']}")


def import_fxt(
    handler: DataHandler,
    path: Any,
    data_id: str,
    metadata: dict[str, Any] | None = None,
    *,
    precision: Precision | None = None,
    profile: Profile | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> str:
    """Store the trajectory of a `.fxt` file, with its topology and all that was stored with it.

    Parameters
    ----------
    handler : DataHandler
        The cache.
    path : str or path
        The file.
    data_id : str
        The name of the trajectory in the cache.
    metadata : dict, optional
        Plain values that are kept with it. Default: those of the file.
    precision, profile : optional
        As for `DataHandler.store_trajectory`. Default: those of the file, which is stored as it is.
    progress : callable, optional
        Called with the number of frames that are stored and of all, once.

    Returns
    -------
    str
        The key.

    Raises
    ------
    InvalidArgumentError
        It is not one file. The other errors are those of `open_trajectory`.

    Notes
    -----
    The frames are in memory whole where arrays or values beside them were stored, else a chunk at a
    time.
    """
    instance("handler", handler, _native.DataHandler, "a DataHandler")
    callback("progress", progress)
    if not isinstance(path, (str, os.PathLike)):
        raise InvalidTypeError(f"path={path!r} is not valid: expected one .fxt file")
    path = path if is_url(path) else path_text("path", path)
    source = open_trajectory(path)
    metadata = source.metadata if metadata is None else metadata
    # What was rounded stays known as that, and is coded as such numbers are.
    precision = source._info()["precision"] if precision is None else precision
    profile = source._profile() if profile is None else profile
    beside = source._beside_frames()
    for name, value in beside.items():
        if np.ndim(value) > 0 and len(value) == source.n_frames and isinstance(value, np.ndarray):
            raise InvalidArgumentError(
                f"path={str(path)!r} is not valid: its array {name!r} belongs to no frame and has "
                f"as many items as there are frames, {source.n_frames}; in a cache it would be a field"
            )
    if beside:
        key = handler.store_trajectory(
            {**{field: source.read(field=field) for field in source.fields}, **beside},
            data_id,
            metadata,
            precision=precision,
            profile=profile,
            structure=source.topology,
        )
    else:
        key = _stream(handler, source, data_id, metadata, precision, profile)
    if progress is not None:
        progress(source.n_frames, source.n_frames)
    return key


def _stream(
    handler: DataHandler,
    source: Trajectory,
    data_id: str,
    metadata: dict[str, Any],
    precision: Precision,
    profile: Profile,
) -> str:
    topology = source.topology
    with handler._import_writer(data_id, metadata, precision=precision, profile=profile) as writer:
        if topology is not None:
            writer._set_topology(topology._encoded)
        for start in range(0, source.n_frames, source.chunk_frames):
            stop = min(start + source.chunk_frames, source.n_frames)
            block = {field: source.read(start, stop, field=field) for field in source.fields}
            writer.append(block.pop("frames"), **block)
    return writer.key
