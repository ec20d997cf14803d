"""MDAnalysis reads and writes `.fxt` files, and what MDAnalysis reads can be cached.

Importing this package registers a reader and a writer of such files, in a cache or not, and a parser
of the topologies in them:

    universe = MDAnalysis.Universe("run.fxt")
    universe = MDAnalysis.Universe("protein.pdb", "run.fxt")
    universe.atoms.write("copy.fxt", frames="all")
    universe = to_universe(handler.open(key), "protein.pdb")
    key = import_trajectory(handler, "protein.pdb", "run.xtc", "protein1_md")
"""

from __future__ import annotations

import os
import reprlib
from typing import Any

from proteinflex_optimization._needed import needed

with needed("MDAnalysis", "formats"):
    import MDAnalysis

from proteinflex_optimization._arguments import instance
from proteinflex_optimization._log import get_logger
from proteinflex_optimization._packed import checked_path
from proteinflex_optimization.errors import InvalidArgumentError, InvalidTypeError
from proteinflex_optimization.integrations.mdanalysis.export import export_trajectory
from proteinflex_optimization.integrations.mdanalysis.imports import import_trajectory
from proteinflex_optimization.integrations.mdanalysis.parser import FXTParser
from proteinflex_optimization.integrations.mdanalysis.reader import (
    FXTReader,
    TrajectoryReadError,
    reader_arguments,
)
from proteinflex_optimization.integrations.mdanalysis.topology import (
    topology_from_mdanalysis,
    topology_to_mdanalysis,
    topology_to_universe,
)
from proteinflex_optimization.integrations.mdanalysis.topology_files import (
    is_clear,
    reason_of,
    topology_of_file,
    universe_of,
)
from proteinflex_optimization.integrations.mdanalysis.writer import FXTWriter
from proteinflex_optimization.topology import Topology
from proteinflex_optimization.trajectory import Trajectory

logger = get_logger()

__all__ = [
    "FXTParser",
    "FXTReader",
    "FXTWriter",
    "TrajectoryReadError",
    "export_trajectory",
    "import_trajectory",
    "to_universe",
    "topology_from_mdanalysis",
    "topology_of_file",
    "topology_to_mdanalysis",
    "topology_to_universe",
]


def to_universe(trajectory: Trajectory, topology: Any = None, **kwargs: Any) -> Any:
    """Return an `MDAnalysis.Universe` of a topology and a stored trajectory in Å.

    Parameters
    ----------
    trajectory : Trajectory
        From `DataHandler.open` or `open_trajectory`.
    topology : str or path or Topology
        Anything that MDAnalysis takes. Default: that of the entry.
    **kwargs
        For `MDAnalysis.Universe`.

    Raises
    ------
    InvalidArgumentError
        There is none, or it has another number of atoms.
    """
    instance("trajectory", trajectory, Trajectory, "a Trajectory")
    if topology is None:
        topology = topology_to_mdanalysis(trajectory._needed_topology())
    elif isinstance(topology, Topology):
        topology = topology_to_mdanalysis(topology)
    elif isinstance(topology, (str, os.PathLike)):
        topology = checked_path("topology", topology)
    boxes = trajectory._boxes(0, 0)
    if boxes is not None and boxes.shape[1:] not in ((3, 3), (6,)):
        logger.warning(
            "%s: its frames have no box in MDAnalysis, for 'box' has items of shape %s",
            trajectory.data_id,
            boxes.shape[1:],
        )
    name, arguments = reader_arguments(trajectory)

    def make(topology: Any, topology_format: Any) -> Any:
        return MDAnalysis.Universe(
            topology, name, topology_format=topology_format, **arguments, **kwargs
        )

    topology_format = kwargs.pop("topology_format", None)
    try:
        if isinstance(topology, str):
            return universe_of(topology, topology_format, make)
        return make(topology, topology_format)
    except Exception as error:
        if is_clear(error):
            raise
        if "number of atoms" in str(error):
            raise InvalidArgumentError(
                f"topology is not valid: expected one of {trajectory.n_atoms} atoms, as the trajectory "
                f"has ({error})"
            ) from error
        kind = InvalidTypeError if isinstance(error, TypeError) else InvalidArgumentError
        shown = repr(topology) if isinstance(topology, str) else reprlib.repr(topology)
        options = f" with {', '.join(kwargs)}" if kwargs else ""
        raise kind(
            f"topology={shown}{options} is not valid: expected one that MDAnalysis "
            f"takes. It says: {reason_of(error)}"
        ) from error
