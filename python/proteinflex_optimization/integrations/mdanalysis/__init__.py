"""MDAnalysis reads and writes `.fxt` files, and what MDAnalysis reads can be cached.

Importing this package registers a reader and a writer of such files, in a cache or not:

    universe = MDAnalysis.Universe("protein.pdb", "run.fxt")
    universe.atoms.write("copy.fxt", frames="all")
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
    FXTReader,
    TrajectoryReadError,
)
from proteinflex_optimization.integrations.mdanalysis.writer import FXTWriter

if TYPE_CHECKING:
    from proteinflex_optimization.trajectory import Trajectory

__all__ = [
    "FXTReader",
    "FXTWriter",
    "TrajectoryReadError",
    "export_trajectory",
    "import_trajectory",
    "to_universe",
]


def to_universe(trajectory: Trajectory, topology: Any, **kwargs: Any) -> Any:
    """Return an `MDAnalysis.Universe` of a topology and a stored trajectory in Å.

    Parameters
    ----------
    trajectory : Trajectory
        From `DataHandler.open` or `open_trajectory`.
    topology : str or path or Topology
        Anything that MDAnalysis takes.
    **kwargs
        For `MDAnalysis.Universe`.
    """
    return MDAnalysis.Universe(topology, str(trajectory.path), format="FXT", **kwargs)
