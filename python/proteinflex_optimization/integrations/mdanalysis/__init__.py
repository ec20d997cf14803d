"""MDAnalysis reads cached trajectories, and what MDAnalysis reads can be cached.

Importing this package registers a reader for the files of cache entries:

    universe = to_universe(handler.open(key), "protein.pdb")
    key = import_trajectory(handler, "protein.pdb", "run.xtc", "protein1_md")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

try:
    import MDAnalysis
except ImportError as error:
    raise ImportError(
        'this needs MDAnalysis: install it with `pip install "proteinflex-optimization[formats]"`'
    ) from error

from proteinflex_optimization.integrations.mdanalysis.export import export_trajectory
from proteinflex_optimization.integrations.mdanalysis.imports import import_trajectory
from proteinflex_optimization.integrations.mdanalysis.reader import (
    CachedTrajectoryReader,
    TrajectoryReadError,
    path_of,
)

if TYPE_CHECKING:
    from proteinflex_optimization.trajectory import Trajectory

__all__ = [
    "CachedTrajectoryReader",
    "TrajectoryReadError",
    "export_trajectory",
    "import_trajectory",
    "path_of",
    "to_universe",
]


def to_universe(trajectory: Trajectory, topology: Any, **kwargs: Any) -> Any:
    """Return an `MDAnalysis.Universe` of a topology and a stored trajectory in Å.

    Parameters
    ----------
    trajectory : Trajectory
        From `DataHandler.open`.
    topology : str or path or Topology
        Anything that MDAnalysis takes.
    **kwargs
        For `MDAnalysis.Universe`.
    """
    return MDAnalysis.Universe(topology, str(path_of(trajectory)), format="FXT", **kwargs)
