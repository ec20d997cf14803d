"""Trajectories as `xarray.Dataset`, with named dimensions, coordinates and units.

dataset = open_trajectory("run.fxt").to_xarray()
dataset.positions.sel(xyz="z").mean("atom")
"""

from __future__ import annotations

import importlib.util
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from proteinflex_optimization._needed import needed

with needed("xarray", "xarray"):
    import xarray

from proteinflex_optimization._arguments import instance
from proteinflex_optimization._integrations import integration
from proteinflex_optimization._json import held_by_json
from proteinflex_optimization._log import get_logger
from proteinflex_optimization.trajectory import Trajectory

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proteinflex_optimization.topology import Topology

logger = get_logger()

UNITS = {
    "time": "ps",
    "frames": "angstrom",
    "velocities": "angstrom/ps",
    "forces": "kJ/mol/nm",
}
"""What the integrations store; of ``box`` it follows from its shape."""

RESERVED = (
    "time",
    "atom",
    "xyz",
    "box_vector",
    "box_parameter",
    "atom_name",
    "residue_name",
    "residue_number",
    "chain_id",
)
"""Names of dimensions and coordinates, which no variable can have."""

BOX_PARAMETERS = ("a", "b", "c", "alpha", "beta", "gamma")


def to_xarray(trajectory: Trajectory) -> xarray.Dataset:
    """Return all per-frame fields of a trajectory as a dataset.

    What it has is said by `Trajectory.to_xarray`. Attributes: ``data_id``, ``content_id`` and, as JSON
    text, ``metadata``. Metadata that JSON can't hold and arrays that belong to no frame are left out, and
    logged.
    """
    instance("trajectory", trajectory, Trajectory, "a Trajectory")
    variables: dict[str, Any] = {}
    coordinates: dict[str, Any] = {"xyz": list("xyz"), "atom": np.arange(trajectory.n_atoms)}
    for field in trajectory.fields:
        item = trajectory.read(0, 0, field=field).shape[1:]
        name = _name(field, trajectory.fields, variables)
        dimensions, units = _dimensions(field, name, item, trajectory.n_atoms)
        attributes = {"units": units} if units else {}
        if field == "time" and item == ():
            coordinates["time"] = ("time", trajectory.read(field=field), attributes)
            continue
        if dimensions[-1] == "box_parameter":
            coordinates["box_parameter"] = list(BOX_PARAMETERS)
        variables[name] = (dimensions, _array(trajectory, field), attributes)
    if trajectory.topology is not None:
        coordinates |= _atoms(trajectory.topology)
    metadata, not_plain = held_by_json(trajectory.metadata)
    if not_plain:
        logger.warning("%s: left out of metadata: %s", trajectory.data_id, ", ".join(not_plain))
    attributes = {"data_id": trajectory.data_id, "content_id": trajectory.content_id}
    attributes["metadata"] = json.dumps(metadata)
    beside = [n for n, v in trajectory._beside_frames().items() if isinstance(v, np.ndarray)]
    if beside:
        logger.warning("%s: left out, of no frame: %s", trajectory.data_id, ", ".join(beside))
    return xarray.Dataset(variables, coordinates, attributes)


def _atoms(topology: Topology) -> dict[str, Any]:
    residue = topology.residue_index
    columns = {
        "atom_name": topology.names,
        "residue_name": topology.residue_names[residue],
        "residue_number": topology.residue_numbers[residue],
        "chain_id": topology.chain_ids[topology.chain_index[residue]],
    }
    return {name: ("atom", column) for name, column in columns.items()}


def _name(field: str, fields: list[str], used: Iterable[str]) -> str:
    """Return the name of the variable: neither that of a dimension, nor a path as of netCDF's groups."""
    name = "positions" if field == "frames" and "positions" not in fields else field
    name = name.replace("/", "_")
    while name in RESERVED or name in used or (name != field and name in fields):
        name += "_"
    return name


def _dimensions(
    field: str, name: str, item: tuple[int, ...], n_atoms: int
) -> tuple[tuple[str, ...], str]:
    units = UNITS.get(field, "")
    if field in ("frames", "velocities", "forces"):
        return ("time", "atom", "xyz"), units
    if field == "box" and item == (3, 3):
        return ("time", "box_vector", "xyz"), "angstrom"
    if field == "box" and item == (6,):
        return ("time", "box_parameter"), "angstrom, degree"
    if field == "box" and item == (3,):
        return ("time", "box_length"), "angstrom"
    rest = tuple(f"{name}_{axis}" for axis in range(1, len(item) + 1))
    if item and item[0] == n_atoms:
        rest = ("atom", *rest[1:])
    return ("time", *rest), units


def _array(trajectory: Trajectory, field: str) -> Any:
    if importlib.util.find_spec("dask") is None:
        return trajectory.read(field=field)
    return integration("dask").to_dask(trajectory, field)
