"""Trajectories in nglview's widget for notebooks.

open_trajectory("run.fxt").view()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proteinflex_optimization._needed import needed

with needed("nglview", "nglview"):
    import nglview

from proteinflex_optimization._integrations import integration

if TYPE_CHECKING:
    from proteinflex_optimization.trajectory import Trajectory


def view(trajectory: Trajectory, topology: Any) -> Any:
    """Return a widget that shows a trajectory, and reads a frame when it shows it.

    The arguments and the errors are those of `Trajectory.view`.
    """
    universe = integration("mdanalysis").to_universe(trajectory, topology)
    return nglview.show_mdanalysis(universe.atoms)
