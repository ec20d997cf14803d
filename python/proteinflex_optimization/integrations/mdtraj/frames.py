"""Stored frames as `mdtraj.Trajectory`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mdtraj
import numpy as np
from mdtraj.utils import in_units_of

from proteinflex_optimization._arguments import instance, whole
from proteinflex_optimization._cells import TURNED, is_turned
from proteinflex_optimization._log import get_logger
from proteinflex_optimization._overflow import overflow, refuse_infinite
from proteinflex_optimization.errors import InvalidArgumentError
from proteinflex_optimization.trajectory import Trajectory

from .topology import known_topology

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from proteinflex_optimization.types import AtomSelection

logger = get_logger()


def to_mdtraj(
    trajectory: Trajectory,
    topology: Any = None,
    *,
    start: int | None = None,
    stop: int | None = None,
    step: int | None = None,
    atoms: AtomSelection | None = None,
) -> Any:
    """Return frames of a stored trajectory, which is in Å, as an `mdtraj.Trajectory`.

    Parameters
    ----------
    trajectory : Trajectory
        From `DataHandler.open`.
    topology : str or path or mdtraj.Topology or mdtraj.Trajectory
        What mdtraj takes as ``top``; of all atoms. Default: that of the entry.
    start, stop, step : int, optional
        Which frames, as in a slice.
    atoms : optional
        Which atoms: indices, a mask or a slice. They come in the order of the topology, each once.
        Only these are decoded.

    Returns
    -------
    mdtraj.Trajectory
        Coordinates in nm as float32, writable. ``time`` (ps) where it is stored, else the number of
        each frame; the unit cell where ``box`` is stored, per frame or one for all, as three vectors or
        as lengths and angles, NaN in frames that have none. There is no place for velocities, forces,
        other fields, and what else belongs to no frame.

    Raises
    ------
    InvalidArgumentError
        The topology has another number of atoms, or there is none; ``box`` has another shape; or a
        coordinate is too large for float32.
    """
    instance("trajectory", trajectory, Trajectory, "a Trajectory")
    known = known_topology(trajectory._needed_topology() if topology is None else topology)
    if known.n_atoms != trajectory.n_atoms:
        raise InvalidArgumentError(
            f"topology has {known.n_atoms} atoms: expected {trajectory.n_atoms}, as the trajectory"
        )
    if atoms is not None:
        # mdtraj's subset has them residue by residue, so that is how they are read.
        chosen = np.unique(_chosen(trajectory, atoms))
        order = np.array([atom.index for atom in known.atoms], np.intp)
        atoms = order[np.isin(order, chosen)]
        known = known.subset(chosen)
    with overflow() as noticed:
        frames = trajectory.read(start, stop, step, atoms=atoms).astype(np.float32, copy=False)
    if noticed:
        refuse_infinite("trajectory", "selected frames", frames)
    result = mdtraj.Trajectory(
        in_units_of(frames, "angstroms", "nanometers", inplace=True),
        known,
        time=_read(trajectory, "time", start, stop, step),
    )
    _set_cell(result, trajectory._boxes(start, stop, step), trajectory.data_id)
    return result


def iter_mdtraj(
    trajectory: Trajectory,
    topology: Any = None,
    *,
    chunk: int | None = None,
    stride: int = 1,
    atoms: AtomSelection | None = None,
) -> Iterator[Any]:
    """Go through a stored trajectory as `mdtraj.Trajectory` objects of `chunk` frames each.

    The arguments and the errors are those of `Trajectory.iter_mdtraj`.
    """
    instance("trajectory", trajectory, Trajectory, "a Trajectory")
    for name, number in (("chunk", chunk), ("stride", stride)):
        if number is not None or name == "stride":
            whole(name, number)
    block = (trajectory.chunk_frames if chunk is None else chunk) * stride
    known = known_topology(trajectory._needed_topology() if topology is None else topology)

    def chunks() -> Iterator[Any]:
        for start in range(0, trajectory.n_frames, block):
            stop = min(start + block, trajectory.n_frames)
            yield to_mdtraj(trajectory, known, start=start, stop=stop, step=stride, atoms=atoms)

    return chunks()


def _chosen(trajectory: Trajectory, atoms: AtomSelection) -> NDArray[Any]:
    trajectory.read(0, 0, atoms=atoms)  # Refuses what is not there.
    picked = atoms if isinstance(atoms, slice) else np.asarray(atoms)
    none = not isinstance(picked, slice) and picked.size == 0
    chosen: NDArray[Any] = np.arange(trajectory.n_atoms)[slice(0) if none else picked]
    return chosen


def _read(
    trajectory: Trajectory, field: str, start: int | None, stop: int | None, step: int | None
) -> NDArray[Any] | None:
    if field not in trajectory.fields:
        return None
    return trajectory.read(start, stop, step, field=field)


def _set_cell(result: Any, box: NDArray[Any] | None, data_id: str) -> None:
    if box is None or not box[..., :3].any():
        return
    if box.shape[1:] == (3, 3):
        # Of vectors, mdtraj keeps lengths and angles.
        turned = is_turned(box)
        if turned.any():
            logger.warning("%s: frames have no unit cell where %s", data_id, TURNED)
            if turned.all():
                return
            box = np.where(turned[:, None, None], np.nan, box)
        result.unitcell_vectors = in_units_of(box, "angstroms", "nanometers").astype(np.float32)
    elif box.shape[1:] == (6,):
        result.unitcell_lengths = in_units_of(box[:, :3], "angstroms", "nanometers")
        result.unitcell_angles = box[:, 3:]
    else:
        raise InvalidArgumentError(
            f"the field 'box' has items of shape {box.shape[1:]}: expected (3, 3), three vectors, "
            "(6,), lengths and angles, or (3,), lengths"
        )
