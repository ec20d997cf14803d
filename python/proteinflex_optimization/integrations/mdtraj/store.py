"""Trajectories of mdtraj into a cache, or a file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import mdtraj
import numpy as np
from mdtraj.utils import in_units_of

from proteinflex_optimization import _native
from proteinflex_optimization._arguments import instance, iterable
from proteinflex_optimization._log import get_logger
from proteinflex_optimization._overflow import overflow, refuse_infinite
from proteinflex_optimization.errors import InvalidArgumentError
from proteinflex_optimization.trajectory_file import create_trajectory

from .topology import topology_from_mdtraj

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proteinflex_optimization._native import TrajectoryWriter
    from proteinflex_optimization.data_handler import DataHandler
    from proteinflex_optimization.topology import Topology
    from proteinflex_optimization.trajectory_file import TrajectoryFileWriter
    from proteinflex_optimization.types import Precision, Profile, StrPath

logger = get_logger()

BLOCK_FRAMES = 64
"""Frames converted at a time while a trajectory is stored."""


def store_mdtraj(
    handler: DataHandler,
    trajectory: Any,
    data_id: str,
    metadata: dict[str, Any] | None = None,
    *,
    precision: Precision | None = None,
    profile: Profile | None = None,
) -> str:
    """Store an `mdtraj.Trajectory`, or several whose frames follow each other.

    Parameters
    ----------
    handler : DataHandler
        The cache.
    trajectory : mdtraj.Trajectory or iterable of these
        Frames in nm, as mdtraj has them; such as `mdtraj.iterload` gives them, one in memory at a
        time. All have to have the same atoms, and all a unit cell or none.
    data_id : str
        The name of the trajectory in the cache.
    metadata : dict, optional
        Plain values that are kept with it.
    precision : float or dict, optional
        As for `DataHandler.store_trajectory`, in Å; None takes the handler's, which keeps every bit of the
        coordinates in Å (float32) unless it was made with one.
    profile : {'default', 'archive'}, optional
        As for `DataHandler.store_trajectory`.

    Returns
    -------
    str
        The key. The entry has ``frames`` (Å), ``time`` (ps) and, where there is a unit cell, ``box``
        (six lengths and angles, Å and degrees); and the topology, where there is one.

    Raises
    ------
    InvalidArgumentError
        They differ in their atoms, or in what they have beside coordinates, or there is none; or a
        coordinate in Å is too large for float32. Then nothing is stored.

    Notes
    -----
    Where a file has no times, or mdtraj does not read them, as of DCD, it counts frames in integers.
    These are left out, which is logged.
    """
    instance("handler", handler, _native.DataHandler, "a DataHandler")
    trajectories = _several(trajectory)
    with handler._import_writer(data_id, metadata, precision=precision, profile=profile) as writer:
        _append_all(writer, trajectories, data_id)
    return str(writer.key)


def save_mdtraj(
    path: StrPath,
    trajectory: Any,
    metadata: dict[str, Any] | None = None,
    *,
    precision: Precision | None = None,
    profile: Profile = "default",
    overwrite: bool = False,
) -> None:
    """Write an `mdtraj.Trajectory` to a `.fxt` file.

    Parameters
    ----------
    path : str or path
        The file; it appears when it is complete.
    trajectory : mdtraj.Trajectory or iterable of them
        As for `store_mdtraj`.
    metadata, precision, profile, overwrite
        As for `create_trajectory`.

    Raises
    ------
    InvalidArgumentError
        As by `store_mdtraj` and `create_trajectory`.
    """
    trajectories = _several(trajectory)
    with create_trajectory(
        path, metadata, precision=precision, profile=profile, overwrite=overwrite
    ) as writer:
        _append_all(writer, trajectories, os.fspath(path))


def _several(trajectory: Any) -> Iterable[Any]:
    if isinstance(trajectory, mdtraj.Trajectory):
        return [trajectory]
    return iterable("trajectory", trajectory, "an mdtraj.Trajectory, or several")


def _append_all(
    writer: TrajectoryWriter | TrajectoryFileWriter, trajectories: Iterable[Any], name: str
) -> None:
    first: Any = None
    for trajectory in trajectories:
        instance("trajectory", trajectory, mdtraj.Trajectory, "an mdtraj.Trajectory, or several")
        has_time = np.asarray(trajectory.time).dtype.kind == "f"
        cell = None
        if trajectory.unitcell_lengths is not None:
            with overflow() as noticed:
                lengths = in_units_of(trajectory.unitcell_lengths, "nanometers", "angstroms")
            cell = np.concatenate([lengths, trajectory.unitcell_angles], axis=1)
            if noticed:
                refuse_infinite("trajectory", "box", cell, writer.n_frames)
        if first is None:
            first = trajectory.topology
            kept = _kept(trajectory, name)
            if kept is not None:
                writer._set_topology(kept._encoded)
            if not has_time:
                logger.warning("%s: left out: time, for it counts frames in integers", name)
        elif trajectory.topology is not first and trajectory.topology != first:
            raise InvalidArgumentError(
                f"trajectory is not valid: {trajectory} has other atoms than those before it"
            )
        for start in range(0, trajectory.n_frames, BLOCK_FRAMES):
            block = slice(start, start + BLOCK_FRAMES)
            fields = {"time": np.asarray(trajectory.time[block])} if has_time else {}
            if cell is not None:
                fields["box"] = cell[block]
            with overflow() as noticed:
                frames = in_units_of(trajectory.xyz[block], "nanometers", "angstroms")
                frames = frames.astype(np.float32, copy=False)
            if noticed:
                refuse_infinite("trajectory", "frames", frames, writer.n_frames)
            writer.append(frames, **fields)
    if writer.n_frames == 0:
        raise InvalidArgumentError("trajectory has no frames: expected at least one")


def _kept(trajectory: Any, data_id: str) -> Topology | None:
    """Return the topology to be stored; what is in the way is logged."""
    if trajectory.topology is None:
        return None
    try:
        return topology_from_mdtraj(trajectory)
    except InvalidArgumentError as error:
        logger.warning("%s: left out: its topology: %s", data_id, error)
        return None
