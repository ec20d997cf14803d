"""The parser by which MDAnalysis reads topologies in `.fxt` files; importing this module registers it."""

from __future__ import annotations

from typing import Any

from MDAnalysis.core.topology import Topology
from MDAnalysis.topology.base import TopologyReaderBase

from proteinflex_optimization.integrations.mdanalysis.topology import topology_to_mdanalysis
from proteinflex_optimization.trajectory import open_trajectory


class FXTParser(TopologyReaderBase):  # type: ignore[misc]
    """Reads the topology that a trajectory was stored with, for MDAnalysis.

    Where it has none there are atoms, and nothing is known of them.
    """

    format = "FXT"

    def parse(self, **kwargs: Any) -> Topology:
        """Return the topology of the file."""
        trajectory = open_trajectory(self.filename)
        if trajectory.topology is None:
            return Topology(trajectory.n_atoms, 1, 1)
        return topology_to_mdanalysis(trajectory.topology)
