"""Entries as ``.npz``: an archive of arrays, which NumPy reads without this package.

export_npz(handler.open(key), "run.npz", overwrite=False)
key = import_npz(handler, "run.npz", "protein1_md")
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from proteinflex_optimization import _native
from proteinflex_optimization._arguments import callback, instance, path_text
from proteinflex_optimization._filesystem import refuse_other_than_a_file
from proteinflex_optimization._publish import published
from proteinflex_optimization._system_errors import is_of_system, naming
from proteinflex_optimization.errors import InvalidArgumentError, InvalidTypeError
from proteinflex_optimization.trajectory import Trajectory

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from proteinflex_optimization.data_handler import DataHandler
    from proteinflex_optimization.types import EntryKind, Precision, Profile, StoredData, StrPath


def export_npz(
    data: Trajectory | StoredData, path: StrPath, *, overwrite: bool = False
) -> list[str]:
    """Write the arrays of an entry as ``.npz``.

    Parameters
    ----------
    data : Trajectory or dict
        From `DataHandler.open`; of a structure what `DataHandler.load_data` returns. The topology of a
        trajectory is not in a dict of it.
    path : str or path
        The file. It appears when it is complete.
    overwrite : bool
        Whether a file that is there may be replaced.

    Returns
    -------
    list of str
        The names of what is not an array, ``topology`` among them.

    Raises
    ------
    InvalidArgumentError
        Something is there.
    """
    left_out = []
    if isinstance(data, Trajectory):
        left_out = [] if data.topology is None else ["topology"]
        fields = {field: data.read(field=field) for field in data.fields}
        data = {**fields, **data._beside_frames()}
    instance("data", data, Mapping, "a Trajectory, or what load_data returns")
    arrays = {name: value for name, value in data.items() if isinstance(value, np.ndarray)}
    # Not by keywords of `savez`: a field may be called `file`.
    with (
        published(path, overwrite=overwrite) as hidden,
        zipfile.ZipFile(hidden, "w") as archive,
    ):
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    return [name for name in data if name not in arrays] + left_out


def read_npz(path: StrPath) -> dict[str, NDArray[Any]]:
    """Read all arrays of a ``.npz``; pickled objects are refused.

    Parameters
    ----------
    path : str or path
        The file.

    Returns
    -------
    dict
        The arrays, by name.

    Raises
    ------
    InvalidArgumentError
        It is not such a file, or is damaged.
    """
    path = path_text("path", path)
    refuse_other_than_a_file("path", Path(path))
    try:
        with (
            naming(path),
            Path(path).open("rb") as file,
            np.load(file, allow_pickle=False) as archive,
        ):
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, TypeError, EOFError, KeyError, zipfile.BadZipFile) as error:
        if is_of_system(error):
            raise
        raise InvalidArgumentError(
            f"path={str(path)!r} is not valid: expected a whole .npz of arrays ({error})"
        ) from error


def kind_of_npz(path: StrPath) -> EntryKind:
    """Return what an export was made of: a trajectory has ``frames``.

    Parameters
    ----------
    path : str or path
        The file.

    Returns
    -------
    str
        ``'structure'`` or ``'trajectory'``.

    Raises
    ------
    InvalidArgumentError
        It is not an ``.npz``.
    """
    path = path_text("path", path)
    refuse_other_than_a_file("path", Path(path))
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as error:
        raise InvalidArgumentError(
            f"path={str(path)!r} is not valid: expected a whole .npz of arrays ({error})"
        ) from error
    return "trajectory" if "frames.npy" in names else "structure"


def import_npz(
    handler: DataHandler,
    path: StrPath,
    data_id: str,
    metadata: dict[str, Any] | None = None,
    *,
    precision: Precision | None = None,
    profile: Profile | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> str:
    """Store the arrays of a ``.npz`` as a trajectory, under the names that they have there.

    Parameters
    ----------
    handler : DataHandler
        The cache.
    path : str or path
        A file that `export_npz` or `numpy.savez` wrote, with ``frames`` in Å.
    data_id : str
        The name of the trajectory in the cache.
    metadata : dict, optional
        Plain values that are kept with it; a ``.npz`` has none.
    precision, profile : optional
        As for `DataHandler.store_trajectory`.
    progress : callable, optional
        Called with the number of frames that are stored and of all, once.

    Returns
    -------
    str
        The key.

    Raises
    ------
    InvalidArgumentError
        It is not such a file, or has no ``frames``.
    """
    instance("handler", handler, _native.DataHandler, "a DataHandler")
    callback("progress", progress)
    if not isinstance(path, (str, os.PathLike)):
        raise InvalidTypeError(f"path={path!r} is not valid: expected one .npz file")
    path = path_text("path", path)
    if not Path(path).exists():
        raise InvalidArgumentError(f"path={str(path)!r} is not valid: there is no such file")
    refuse_other_than_a_file("path", Path(path))
    data = read_npz(path)
    if "frames" not in data or data["frames"].ndim != 3:
        found = ", ".join(f"{name} {array.shape}" for name, array in data.items())
        raise InvalidArgumentError(
            f"path={str(path)!r} is not valid: expected an array 'frames' of the shape "
            f"(n_frames, n_atoms, 3), found {found or 'nothing'}"
        )
    try:
        key: str = handler.store_trajectory(
            data, data_id, metadata, precision=precision, profile=profile
        )
    except (InvalidArgumentError, InvalidTypeError) as error:
        if "trajectory_data" not in str(error):
            raise  # Of another argument.
        raise type(error)(f"path={str(path)!r} is not valid: {error}") from error
    if progress is not None:
        progress(len(data["frames"]), len(data["frames"]))
    return key
