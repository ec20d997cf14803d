"""Cached trajectories as `mdtraj.Trajectory`, and back.

    trajectory = to_mdtraj(handler.open(key), "protein.pdb")
    key = store_mdtraj(handler, trajectory, "protein1_md")

The cache has Å, as MDAnalysis and the other integrations; mdtraj has nm. mdtraj's own conversion is
used both ways, so numbers are those that its readers of files in Å give.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from proteinflex_optimization._log import get_logger

try:
    import mdtraj
    from mdtraj.core.topology import Amide, Aromatic, Double, Single, Triple
    from mdtraj.utils import in_units_of
except ImportError as error:
    raise ImportError(
        'this needs mdtraj: install it with `pip install "proteinflex-optimization[mdtraj]"`'
    ) from error

from proteinflex_optimization.errors import InvalidArgumentError
from proteinflex_optimization.topology import Topology

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from proteinflex_optimization.data_handler import DataHandler
    from proteinflex_optimization.trajectory import Trajectory
    from proteinflex_optimization.types import AtomSelection, Precision, Profile

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
        each frame; the unit cell where ``box`` is stored, as three vectors or as lengths and angles,
        NaN in frames that have none. There is no place for velocities, forces, other fields, and
        what belongs to no frame.

    Raises
    ------
    InvalidArgumentError
        The topology has another number of atoms, or there is none; or ``box`` has another shape.
    """
    known = _topology(trajectory._needed_topology() if topology is None else topology)
    if known.n_atoms != trajectory.n_atoms:
        raise InvalidArgumentError(
            f"topology has {known.n_atoms} atoms: expected {trajectory.n_atoms}, as the trajectory"
        )
    if atoms is not None:
        # A topology keeps its order.
        atoms = np.unique(_chosen(trajectory, atoms))
        known = known.subset(atoms)
    frames = trajectory.read(start, stop, step, atoms=atoms).astype(np.float32, copy=False)
    result = mdtraj.Trajectory(
        in_units_of(frames, "angstroms", "nanometers", inplace=True),
        known,
        time=_read(trajectory, "time", start, stop, step),
    )
    _set_cell(result, _read(trajectory, "box", start, stop, step))
    return result


def store_mdtraj(
    handler: DataHandler,
    trajectory: Any,
    data_id: str,
    metadata: dict[str, Any] | None = None,
    *,
    precision: Precision | None = None,
    profile: Profile | None = None,
) -> str:
    """Store an `mdtraj.Trajectory`.

    Parameters
    ----------
    handler : DataHandler
        The cache.
    trajectory : mdtraj.Trajectory
        Frames in nm, as mdtraj has them.
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

    Notes
    -----
    Where a file has no times, or mdtraj does not read them, as of DCD, it counts frames in integers.
    These are left out, which is logged.
    """
    has_time = np.asarray(trajectory.time).dtype.kind == "f"
    if not has_time:
        logger.warning("%s: left out: time, for it counts frames in integers", data_id)
    cell = None
    if trajectory.unitcell_lengths is not None:
        lengths = in_units_of(trajectory.unitcell_lengths, "nanometers", "angstroms")
        cell = np.concatenate([lengths, trajectory.unitcell_angles], axis=1)
    with handler.trajectory_writer(
        data_id,
        metadata,
        precision=precision,
        profile=profile,
        overwrite=True,
        structure=_kept(trajectory, data_id),
    ) as writer:
        for start in range(0, trajectory.n_frames, BLOCK_FRAMES):
            block = slice(start, start + BLOCK_FRAMES)
            fields = {"time": np.asarray(trajectory.time[block])} if has_time else {}
            if cell is not None:
                fields["box"] = cell[block]
            frames = in_units_of(trajectory.xyz[block], "nanometers", "angstroms")
            writer.append(frames.astype(np.float32, copy=False), **fields)
    return str(writer.key)


def topology_from_mdtraj(source: Any) -> Topology:
    """Return what a topology of mdtraj says, but for serial numbers and formal charges.

    Parameters
    ----------
    source : mdtraj.Topology or mdtraj.Trajectory
        mdtraj has no insertion codes.
    """
    topology = _topology(source)
    chains, residues, atoms = list(topology.chains), list(topology.residues), list(topology.atoms)
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
    made = mdtraj.Topology()
    residues: list[Any] = []
    chain, last = None, None
    for name, number, segment, index in zip(
        topology.residue_names.tolist(),
        topology.residue_numbers.tolist(),
        topology.segment_ids.tolist(),
        topology.chain_index.tolist(),
        strict=True,
    ):
        if index != last:
            # One that goes on after another is a chain again: mdtraj has residues in their order.
            chain, last = made.add_chain(str(topology.chain_ids[index]) or None), index
        residues.append(made.add_residue(name, chain, number, segment))
    elements = {symbol: _element(symbol) for symbol in np.unique(topology.elements).tolist()}
    atoms = [
        made.add_atom(name, elements[symbol], residues[index])
        for name, symbol, index in zip(
            topology.names.tolist(),
            topology.elements.tolist(),
            topology.residue_index.tolist(),
            strict=True,
        )
    ]
    for (first, second), order in zip(
        topology.bonds.tolist(), topology.bond_orders.tolist(), strict=True
    ):
        whole = int(order) if order in (1, 2, 3) else None
        made.add_bond(atoms[first], atoms[second], BOND_TYPES.get(order), whole)
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


def _element(symbol: str) -> Any:
    if symbol == "":
        return mdtraj.element.virtual
    try:
        return mdtraj.element.Element.getBySymbol(symbol)
    except KeyError:
        raise InvalidArgumentError(
            f"the topology has the element {symbol!r}, which mdtraj does not know"
        ) from None


def _order(bond: Any) -> float:
    return float(bond.order or 0) if bond.type is None else float(bond.type)


def _topology(topology: Any) -> Any:
    if isinstance(topology, Topology):
        return topology_to_mdtraj(topology)
    if isinstance(topology, mdtraj.Topology):
        return topology
    if isinstance(topology, mdtraj.Trajectory):
        return topology.topology
    return mdtraj.load_topology(str(topology))


def _chosen(trajectory: Trajectory, atoms: AtomSelection) -> NDArray[Any]:
    trajectory.read(0, 0, atoms=atoms)  # Refuses what is not there.
    chosen: NDArray[Any] = np.arange(trajectory.n_atoms)[
        atoms if isinstance(atoms, slice) else np.asarray(atoms)
    ]
    return chosen


def _read(
    trajectory: Trajectory, field: str, start: int | None, stop: int | None, step: int | None
) -> NDArray[Any] | None:
    if field not in trajectory.fields:
        return None
    return trajectory.read(start, stop, step, field=field)


def _set_cell(result: Any, box: NDArray[Any] | None) -> None:
    if box is None or not box.any():
        return
    if box.shape[1:] == (3, 3):
        result.unitcell_vectors = in_units_of(box, "angstroms", "nanometers").astype(np.float32)
    elif box.shape[1:] == (6,):
        result.unitcell_lengths = in_units_of(box[:, :3], "angstroms", "nanometers")
        result.unitcell_angles = box[:, 3:]
    else:
        raise InvalidArgumentError(
            f"the field 'box' has items of shape {box.shape[1:]}: expected (3, 3), three vectors, or "
            "(6,), lengths and angles"
        )
