"""Cached trajectories as `mdtraj.Trajectory`, and back.

    trajectory = to_mdtraj(handler.open(key), "protein.pdb")
    key = store_mdtraj(handler, trajectory, "protein1_md")
    key = store_mdtraj(handler, mdtraj.iterload("run.xtc", top="protein.pdb"), "protein1_md")

Importing this module registers `.fxt` files with mdtraj:

    trajectory = mdtraj.load("run.fxt", top="protein.pdb")

The cache has Å, as MDAnalysis and the other integrations; mdtraj has nm. mdtraj's own conversion is
used both ways, so numbers are those that its readers of files in Å give.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from proteinflex_optimization import _native
from proteinflex_optimization._arguments import instance, iterable, path_text, whole
from proteinflex_optimization._filesystem import refuse_other_than_a_file
from proteinflex_optimization._log import get_logger
from proteinflex_optimization._packed import check_streams
from proteinflex_optimization._topology_columns import build

try:
    import mdtraj
    from mdtraj.core.topology import Amide, Aromatic, Double, Single, Triple
    from mdtraj.formats.registry import FormatRegistry
    from mdtraj.utils import in_units_of
except ImportError as error:
    raise ImportError(
        'this needs mdtraj: install it with `pip install "proteinflex-optimization[mdtraj]"`'
    ) from error

from proteinflex_optimization.errors import InvalidArgumentError
from proteinflex_optimization.topology import Topology, of_structure_file
from proteinflex_optimization.trajectory import Trajectory, open_trajectory
from proteinflex_optimization.trajectory_file import create_trajectory

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from proteinflex_optimization._native import TrajectoryWriter
    from proteinflex_optimization.data_handler import DataHandler
    from proteinflex_optimization.trajectory_file import TrajectoryFileWriter
    from proteinflex_optimization.types import AtomSelection, Precision, Profile, StrPath

logger = get_logger()

BOND_TYPES = {float(kind): kind for kind in (Single, Double, Triple, Aromatic, Amide)}
"""mdtraj's types of bonds by their order."""

BLOCK_FRAMES = 64
"""Frames converted at a time while a trajectory is stored."""


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
        The topology has another number of atoms, or there is none; or ``box`` has another shape.
    """
    instance("trajectory", trajectory, Trajectory, "a Trajectory")
    known = _topology(trajectory._needed_topology() if topology is None else topology)
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
    frames = trajectory.read(start, stop, step, atoms=atoms).astype(np.float32, copy=False)
    result = mdtraj.Trajectory(
        in_units_of(frames, "angstroms", "nanometers", inplace=True),
        known,
        time=_read(trajectory, "time", start, stop, step),
    )
    _set_cell(result, trajectory._boxes(start, stop, step))
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
    known = _topology(trajectory._needed_topology() if topology is None else topology)

    def chunks() -> Iterator[Any]:
        for start in range(0, trajectory.n_frames, block):
            stop = min(start + block, trajectory.n_frames)
            yield to_mdtraj(trajectory, known, start=start, stop=stop, step=stride, atoms=atoms)

    return chunks()


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
        As for `DataHandler.store_trajectory`, in Å; None keeps every bit of the coordinates in Å (float32).
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
        They differ in their atoms, or in what they have beside coordinates, or there is none; then
        nothing is stored.

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


def load_fxt(
    filename: Any,
    top: Any = None,
    stride: int | None = None,
    atom_indices: Any = None,
    frame: int | None = None,
) -> Any:
    """Load a `.fxt` file; what `mdtraj.load` calls.

    Parameters
    ----------
    filename, top, stride, atom_indices, frame
        As of `mdtraj.load`. Without `top`, the topology that is in the file.

    Returns
    -------
    mdtraj.Trajectory
    """
    with FXTTrajectoryFile(filename) as file:
        if frame is not None:
            file.seek(frame)
        n_frames = None if frame is None else 1
        return file.read_as_traj(top, n_frames, stride, atom_indices)


class FXTTrajectoryFile:
    """A `.fxt` file as `mdtraj.open` and `mdtraj.iterload` want it.

    Parameters
    ----------
    filename : str or path
        The file.
    mode : str
        ``'r'``; `save_mdtraj` writes.
    force_overwrite : bool
        Without effect: mdtraj passes it.
    """

    distance_unit = "angstroms"

    def __init__(self, filename: Any, mode: str = "r", force_overwrite: bool = True) -> None:
        if mode != "r":
            raise InvalidArgumentError(
                f"mode={mode!r} is not valid: expected 'r'; save_mdtraj writes .fxt files"
            )
        path_text("filename", filename)
        self._trajectory = open_trajectory(filename)
        self._position = 0

    def read_as_traj(
        self,
        topology: Any,
        n_frames: int | None = None,
        stride: int | None = None,
        atom_indices: Any = None,
    ) -> Any:
        """Read the next `n_frames` of every `stride`-th frame, or all that are left."""
        start, step = self._position, stride or 1
        stop = len(self) if n_frames is None else min(start + n_frames * step, len(self))
        self._position = stop
        return to_mdtraj(
            self._trajectory, topology, start=start, stop=stop, step=step, atoms=atom_indices
        )

    def seek(self, offset: int, whence: int = 0) -> None:
        """Go to a frame, counted from the first, from here or from the end."""
        position = offset + (0, self._position, len(self))[whence]
        if not 0 <= position <= len(self):
            raise InvalidArgumentError(
                f"offset={offset} is not valid: expected a frame of {len(self)}"
            )
        self._position = position

    def tell(self) -> int:
        """Return the number of the next frame."""
        return self._position

    def close(self) -> None:
        """Do nothing: the file is closed with the last reference."""

    def __len__(self) -> int:
        return self._trajectory.n_frames

    def __enter__(self) -> FXTTrajectoryFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


FormatRegistry.register_loader(".fxt")(load_fxt)
FormatRegistry.register_fileobject(".fxt")(FXTTrajectoryFile)


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
            lengths = in_units_of(trajectory.unitcell_lengths, "nanometers", "angstroms")
            cell = np.concatenate([lengths, trajectory.unitcell_angles], axis=1)
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
            frames = in_units_of(trajectory.xyz[block], "nanometers", "angstroms")
            writer.append(frames.astype(np.float32, copy=False), **fields)
    if writer.n_frames == 0:
        raise InvalidArgumentError("trajectory has no frames: expected at least one")


def topology_from_mdtraj(source: Any) -> Topology:
    """Return what a topology of mdtraj says, but for serial numbers and formal charges.

    Parameters
    ----------
    source : mdtraj.Topology or mdtraj.Trajectory
        mdtraj has no insertion codes.
    """
    topology = _topology(source, "source")
    # By index, as coordinates are: iterating goes from residue to residue.
    chains = [topology.chain(index) for index in range(topology.n_chains)]
    residues = [topology.residue(index) for index in range(topology.n_residues)]
    atoms = [topology.atom(index) for index in range(topology.n_atoms)]
    bonds = list(topology.bonds)
    return Topology(
        [atom.name for atom in atoms],
        [_symbol(atom.element) for atom in atoms],
        [atom.residue.index for atom in atoms],
        [residue.name for residue in residues],
        [residue.resSeq for residue in residues],
        [residue.chain.index for residue in residues],
        [chain.chain_id or "" for chain in chains],
        segment_ids=[residue.segment_id or "" for residue in residues],
        bonds=[(bond.atom1.index, bond.atom2.index) for bond in bonds],
        bond_orders=[_order(bond) for bond in bonds],
    )


def topology_to_mdtraj(topology: Topology) -> Any:
    """Return an `mdtraj.Topology`, which has no insertion codes and no subchains.

    Raises
    ------
    InvalidArgumentError
        mdtraj does not know an element: it has none heavier than livermorium, and no tritium.
    """
    instance("topology", topology, Topology, "a Topology")
    made = mdtraj.Topology()
    names, segments = topology.residue_names.tolist(), topology.segment_ids.tolist()
    numbers = topology.residue_numbers.tolist()
    virtual, by_symbol = mdtraj.element.virtual, mdtraj.element.Element.getBySymbol
    build(
        topology,
        "mdtraj",
        lambda symbol: by_symbol(symbol) if symbol else virtual,
        lambda chain_id: made.add_chain(chain_id or None),
        lambda row, chain: made.add_residue(names[row], chain, numbers[row], segments[row]),
        made.add_atom,
        lambda one, two, order, n: made.add_bond(one, two, BOND_TYPES.get(order), n),
    )
    return made


def _kept(trajectory: Any, data_id: str) -> Topology | None:
    """Return the topology to be stored; what is in the way is logged."""
    if trajectory.topology is None:
        return None
    try:
        return topology_from_mdtraj(trajectory)
    except InvalidArgumentError as error:
        logger.warning("%s: left out: its topology: %s", data_id, error)
        return None


def _symbol(element: Any) -> str:
    return "" if element is None or element.atomic_number == 0 else str(element.symbol)


def _order(bond: Any) -> float:
    return float(bond.order or 0) if bond.type is None else float(bond.type)


def _topology(topology: Any, name: str = "topology") -> Any:
    if isinstance(topology, Topology):
        return topology_to_mdtraj(topology)
    if isinstance(topology, mdtraj.Topology):
        return topology
    if isinstance(topology, mdtraj.Trajectory):
        return topology.topology
    path = Path(path_text(name, topology))
    if path.exists():
        refuse_other_than_a_file(name, path)
        check_streams(name, path)
    try:
        return mdtraj.load_topology(str(path))
    except Exception as error:
        # Of what a file holds, or of a suffix that it does not know, mdtraj raises a bare OSError.
        has_number = isinstance(error, OSError) and error.errno is not None
        if has_number or isinstance(error, (ImportError, MemoryError)):
            raise
        reason = f"{type(error).__name__}: {error}"
        read = of_structure_file(path)
        if read is None:
            raise InvalidArgumentError(
                f"{name}={str(path)!r} is not valid: expected a topology that mdtraj can read. "
                f"It says: {reason}"
            ) from error
        logger.warning(
            "%s: the topology is as import_structure reads it; mdtraj does not: %s", path, reason
        )
        known = topology_to_mdtraj(read)
        known.create_standard_bonds()  # As mdtraj does when it reads a PDB file.
        return known


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


def _set_cell(result: Any, box: NDArray[Any] | None) -> None:
    if box is None or not box[..., :3].any():
        return
    if box.shape[1:] == (3, 3):
        result.unitcell_vectors = in_units_of(box, "angstroms", "nanometers").astype(np.float32)
    elif box.shape[1:] == (6,):
        result.unitcell_lengths = in_units_of(box[:, :3], "angstroms", "nanometers")
        result.unitcell_angles = box[:, 3:]
    else:
        raise InvalidArgumentError(
            f"the field 'box' has items of shape {box.shape[1:]}: expected (3, 3), three vectors, "
            "(6,), lengths and angles, or (3,), lengths"
        )
