"""Cached trajectories as Zarr v3 groups, which xarray and dask read without this package.

    export_zarr(handler.open(key), "run.zarr")
    key = import_zarr(handler, "run.zarr", "protein1_md")
    xarray.open_zarr("run.zarr", consolidated=False)

The group has one array for each per-frame field, of the same values and dtype, whose chunks hold the
frames of a stored chunk and end with a checksum (crc32c), which any reader checks; and one for each
other array, such as masses. What is in `zarr.json`, such as metadata, has none. Zarr has no byte order in
its dtypes: big-endian arrays are read as little-endian ones.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from proteinflex_optimization._needed import needed

with needed("zarr", "zarr"):
    import zarr
    import zarr.codecs
    import zarr.storage

from proteinflex_optimization import _native
from proteinflex_optimization._arguments import callback, instance, path_text
from proteinflex_optimization._filesystem import refuse_other_than_a_file
from proteinflex_optimization._json import held_by_json
from proteinflex_optimization._publish import published
from proteinflex_optimization._system_errors import is_of_system, naming
from proteinflex_optimization._units import check_notes
from proteinflex_optimization.errors import InvalidArgumentError
from proteinflex_optimization.trajectory import Trajectory

if TYPE_CHECKING:
    from proteinflex_optimization.data_handler import DataHandler
    from proteinflex_optimization.types import Precision, Profile, StrPath

ROOT_FILES = ("zarr.json", ".zgroup")
FILES = re.compile(r"zarr\.json|\.z(group|array|attrs|metadata)|(c|(c\.)?\d+(\.\d+)*)")
"""Of a group, in either version of Zarr: what describes it, and chunks."""
COMPRESSORS = (zarr.codecs.ZstdCodec(), zarr.codecs.Crc32cCodec())
"""Zarr's own, and a checksum of each chunk, by which any reader finds damage."""


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
        Whether a file, an empty directory or a Zarr group that is there may be replaced.
    progress : callable, optional
        Called with the number of frames that are written and of all.

    Returns
    -------
    list of str
        What was left out: items of the metadata and plain values that JSON can't hold, and arrays
        beside the frames of a dtype that Zarr does not have.

    Raises
    ------
    InvalidArgumentError
        Something is there, also a directory with anything that is not Zarr's; or Zarr has no such
        dtype.

    Notes
    -----
    Dimensions are named ``frame``, ``atom`` and ``xyz`` where they are these. The group's attributes
    are ``data_id``, ``content_id``, ``metadata`` and ``fields``, the names of the per-frame arrays, and,
    where there are any, ``values``, the plain values beside the frames, and ``static``, the names of the
    arrays that belong to no frame.
    """
    instance("trajectory", trajectory, Trajectory, "a Trajectory")
    callback("progress", progress)
    metadata, not_plain = held_by_json(trajectory.metadata)
    left_out = [f"metadata[{name!r}]" for name in not_plain]
    static = trajectory._beside_frames()
    arrays_beside = {name: item for name, item in static.items() if isinstance(item, np.ndarray)}
    values, not_plain = held_by_json(
        {n: item for n, item in static.items() if n not in arrays_beside}
    )
    left_out += not_plain
    attributes = {
        "data_id": trajectory.data_id,
        "content_id": trajectory.content_id,
        "metadata": metadata,
        **({"values": values} if values else {}),
    }
    with published(path, overwrite=overwrite, check_old=_refuse_other_than_zarr) as hidden:
        group = zarr.create_group(store=str(hidden), zarr_format=3, attributes=attributes)
        arrays = {field: _array(group, trajectory, field) for field in trajectory.fields}
        block = trajectory.chunk_frames
        for start in range(0, trajectory.n_frames, block):
            stop = min(start + block, trajectory.n_frames)
            for field, array in arrays.items():
                array[start:stop] = trajectory.read(start, stop, field=field)
            if progress is not None:
                progress(stop, trajectory.n_frames)
        for name, item in arrays_beside.items():
            if not _write_static(group, name, item, trajectory.n_atoms):
                left_out.append(name)
        written = [name for name in arrays_beside if name not in left_out]
        if written:
            group.attrs["static"] = written
        group.attrs["fields"] = list(trajectory.fields)
    if trajectory.topology is not None:
        left_out.append("topology")
    return left_out


def import_zarr(
    handler: DataHandler,
    path: StrPath,
    data_id: str,
    metadata: dict[str, Any] | None = None,
    *,
    precision: Precision | None = None,
    profile: Profile | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> str:
    """Store a Zarr group that `export_zarr` wrote, or one with the same arrays.

    Parameters
    ----------
    handler : DataHandler
        The cache.
    path : str or path
        The directory: a group with an array ``frames`` in Å, and others of as many frames.
    data_id : str
        The name of the trajectory in the cache.
    metadata : dict, optional
        Plain values that are kept with it. Default: the group's attribute ``metadata``.
    precision, profile : optional
        As for `DataHandler.store_trajectory`.
    progress : callable, optional
        Called with the number of frames that are stored and of all.

    Returns
    -------
    str
        The key.

    Raises
    ------
    InvalidArgumentError
        It is not such a group, or a part of it can't be read; or attributes of an array say that its
        numbers are in another unit (``units``), or others than those that are stored
        (``scale_factor``, ``add_offset``, ``_FillValue``, ``missing_value``). Nothing appears in
        the cache.
    """
    instance("handler", handler, _native.DataHandler, "a DataHandler")
    callback("progress", progress)
    given, path = path, path_text("path", path) if isinstance(path, (str, os.PathLike)) else ""
    if not path or not Path(path).is_dir():
        raise InvalidArgumentError(
            f"path={given!r} is not valid: expected the directory of one Zarr group"
        )
    try:
        with naming(path):
            group = zarr.open_group(_RegularFiles(Path(path), read_only=True), mode="r")
            arrays = dict(group.arrays())
        attributes = dict(group.attrs)
        is_ours = "content_id" in attributes
        static = set(attributes.get("static", ())) if is_ours else set()
        fields = set(attributes["fields"]) if is_ours else set()
        values = dict(attributes.get("values", {})) if is_ours else {}
        arrays |= {name: group[name] for name in fields if "/" in name and name in group}
    except Exception as error:
        if is_of_system(error):
            raise
        raise InvalidArgumentError(
            f"path={str(path)!r} is not valid: expected a Zarr group ({error})"
        ) from error
    _check_arrays(arrays, static, fields, path, is_ours=is_ours)
    if metadata is None and isinstance(attributes.get("metadata"), dict):
        metadata = attributes["metadata"]
    n_frames = arrays["frames"].shape[0]
    if static or values:
        # A writer takes nothing but frames; these came from a dict in memory.
        data = {name: np.asarray(_read(array, ..., path)) for name, array in arrays.items()}
        key: str = handler.store_trajectory(
            {**data, **values}, data_id, metadata, precision=precision, profile=profile
        )
        if progress is not None:
            progress(n_frames, n_frames)
        return key
    block = max(1, arrays["frames"].chunks[0])
    with handler._import_writer(data_id, metadata, precision=precision, profile=profile) as writer:
        for start in range(0, n_frames, block):
            chosen = slice(start, start + block)
            found = {name: _read(array, chosen, path) for name, array in arrays.items()}
            writer.append(found.pop("frames"), **found)
            if progress is not None:
                progress(min(start + block, n_frames), n_frames)
    return str(writer.key)


class _RegularFiles(zarr.storage.LocalStore):  # type: ignore[misc]
    """A directory in which nothing but files is read: a pipe would block, and a device never end."""

    async def get(self, key: str, *arguments: Any, **options: Any) -> Any:
        path = self.root / key
        if path.exists() and not path.is_dir():
            refuse_other_than_a_file("path", path)
        return await super().get(key, *arguments, **options)


def _refuse_other_than_zarr(target: Path) -> None:
    """Refuse to replace a directory that has anything else than a Zarr group."""
    if not target.is_dir():
        return
    files = [file for file in target.rglob("*") if file.is_symlink() or not file.is_dir()]
    others = [
        file
        for file in files
        if file.is_symlink() or not file.is_file() or not FILES.fullmatch(file.name)
    ]
    if others:
        found = f"has {str(others[0].relative_to(target))!r}, which is not Zarr's"
    elif any(target.iterdir()) and not any((target / name).is_file() for name in ROOT_FILES):
        found = "is not empty, and has no zarr.json"
    else:
        return
    raise InvalidArgumentError(
        f"path={str(target)!r} is not valid: the directory there {found}; expected a Zarr group, an "
        "empty directory or nothing"
    )


def _check_arrays(
    arrays: dict[str, Any], static: set[str], fields: set[str], path: StrPath, *, is_ours: bool
) -> None:
    for attribute, names in (("static", static), ("fields", fields)):
        if not names <= arrays.keys():
            raise InvalidArgumentError(
                f"path={str(path)!r} is not valid: the array {min(names - arrays.keys())!r} is "
                f"not there, which its attribute {attribute!r} names"
            )
    shapes = {name: array.shape for name, array in arrays.items()}
    frames = shapes.get("frames", ())
    if len(frames) != 3 or frames[0] == 0:
        raise InvalidArgumentError(
            f"path={str(path)!r} is not valid: expected an array 'frames' of the shape "
            f"(n_frames, n_atoms, 3), found {shapes or 'no arrays'}"
        )
    for name, shape in shapes.items():
        if name not in static and shape[:1] != frames[:1]:
            raise InvalidArgumentError(
                f"path={str(path)!r} is not valid: the array {name!r} has the shape {shape}, "
                f"expected {frames[0]} frames as in 'frames'"
            )
    for name, array in arrays.items():
        check_notes(array, name)
        # Zarr reads chunks that are not there as zeros; `export_zarr` writes all of them.
        if is_ours and array.nchunks_initialized != array.nchunks:
            raise InvalidArgumentError(
                f"path={str(path)!r} is not valid: {array.nchunks_initialized} of the "
                f"{array.nchunks} chunks of {name!r} are there"
            )


def _read(array: Any, chosen: Any, path: StrPath) -> Any:
    try:
        with naming(path):
            return array[chosen]
    except Exception as error:
        if is_of_system(error):
            raise
        which = f"frames {chosen.start} to {chosen.stop} of " if isinstance(chosen, slice) else ""
        raise InvalidArgumentError(
            f"path={str(path)!r} is not valid: {which}{array.name!r} can't be read ({error})"
        ) from error


def _write_static(group: Any, name: str, item: Any, n_atoms: int) -> bool:
    """Write an array that belongs to no frame; returns whether Zarr can hold it."""
    if "/" in name:
        return False
    names = [
        "atom" if length == n_atoms and axis == 0 else None
        for axis, length in enumerate(item.shape)
    ]
    try:
        _check_dtype(item.dtype)
        with warnings.catch_warnings():
            # Text has no place in the specification of Zarr v3 yet.
            warnings.simplefilter("ignore")
            array = group.create_array(
                name,
                shape=item.shape,
                dtype=item.dtype,
                chunks=tuple(max(1, length) for length in item.shape),
                dimension_names=names,
                config={"write_empty_chunks": True},
                compressors=COMPRESSORS,
            )
    except (TypeError, ValueError, NotImplementedError):
        return False
    array[...] = item
    return True


def _check_dtype(dtype: np.dtype[Any]) -> None:
    """Refuse a structured dtype that Zarr reads as another one, of which the values may be others."""
    if dtype.names is None:
        return
    fields = {name: dtype[name] for name in dtype.names}
    packed = np.dtype([(name, field.base.newbyteorder("<")) for name, field in fields.items()])
    if dtype != packed or any(field.names for field in fields.values()):
        raise TypeError("of structured ones it has those of packed little-endian numbers and texts")


def _array(group: Any, trajectory: Trajectory, field: str) -> Any:
    nothing = trajectory.read(0, 0, field=field)
    item = nothing.shape[1:]
    names: list[str | None] = ["frame", *(None for _ in item)]
    if item == (trajectory.n_atoms, 3) and field != "box":
        names[1:] = ["atom", "xyz"]
    try:
        _check_dtype(nothing.dtype)
        return group.create_array(
            field,
            shape=(trajectory.n_frames, *item),
            dtype=nothing.dtype,
            chunks=(trajectory.chunk_frames, *(max(1, length) for length in item)),
            dimension_names=names,
            config={"write_empty_chunks": True},
            compressors=COMPRESSORS,
        )
    except (TypeError, ValueError, NotImplementedError) as error:
        raise InvalidArgumentError(
            f"the field {field!r} is of dtype {nothing.dtype}, which Zarr can't hold ({error})"
        ) from error
