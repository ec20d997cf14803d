"""Cached trajectories as Zarr v3 groups, which xarray and dask read without this package.

    export_zarr(handler.open(key), "run.zarr")
    xarray.open_zarr("run.zarr", consolidated=False)

The group has one array for each per-frame field, of the same dtype and to the bit, whose chunks hold
the frames of a stored chunk.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

try:
    import zarr
except ImportError as error:
    raise ImportError(
        'this needs zarr 3: install it with `pip install "proteinflex-optimization[zarr]"`'
    ) from error

from proteinflex_optimization._publish import published
from proteinflex_optimization.errors import InvalidArgumentError

if TYPE_CHECKING:
    from proteinflex_optimization.trajectory import Trajectory
    from proteinflex_optimization.types import StrPath


def export_zarr(
    trajectory: Trajectory,
    path: StrPath,
    *,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """Write a stored trajectory as a Zarr v3 group in a directory.

    Parameters
    ----------
    trajectory : Trajectory
        From `DataHandler.open`.
    path : str or path
        The directory. It appears when it is complete.
    overwrite : bool
        Whether a directory that is there may be replaced.
    progress : callable, optional
        Called with the number of frames that are written and of all.

    Returns
    -------
    list of str
        What was left out: those items of the metadata that JSON can't hold.

    Raises
    ------
    InvalidArgumentError
        Something is there, or Zarr has no such dtype.

    Notes
    -----
    Dimensions are named ``frame``, ``atom`` and ``xyz`` where they are these. The group's attributes
    are ``data_id``, ``content_id`` and ``metadata``.
    """
    metadata, left_out = _plain(trajectory.metadata)
    attributes = {
        "data_id": trajectory.data_id,
        "content_id": trajectory.content_id,
        "metadata": metadata,
    }
    with published(path, overwrite=overwrite) as hidden:
        group = zarr.create_group(store=str(hidden), zarr_format=3, attributes=attributes)
        arrays = {field: _array(group, trajectory, field) for field in trajectory.fields}
        block = trajectory.chunk_frames
        for start in range(0, trajectory.n_frames, block):
            stop = min(start + block, trajectory.n_frames)
            for field, array in arrays.items():
                array[start:stop] = trajectory.read(start, stop, field=field)
            if progress is not None:
                progress(stop, trajectory.n_frames)
    return left_out


def _array(group: Any, trajectory: Trajectory, field: str) -> Any:
    nothing = trajectory.read(0, 0, field=field)
    item = nothing.shape[1:]
    names: list[str | None] = ["frame", *(None for _ in item)]
    if item == (trajectory.n_atoms, 3) and field != "box":
        names[1:] = ["atom", "xyz"]
    try:
        return group.create_array(
            field,
            shape=(trajectory.n_frames, *item),
            dtype=nothing.dtype,
            chunks=(trajectory.chunk_frames, *(max(1, length) for length in item)),
            dimension_names=names,
        )
    except (TypeError, ValueError, NotImplementedError) as error:
        raise InvalidArgumentError(
            f"the field {field!r} is of dtype {nothing.dtype}, which Zarr can't hold ({error})"
        ) from error


def _plain(metadata: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    kept, left_out = {}, []
    for name, value in metadata.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):
            left_out.append(f"metadata[{name!r}]")
        else:
            kept[name] = value
    return kept, left_out
