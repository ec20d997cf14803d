"""Cached trajectories as `mdtraj.Trajectory`, and back.

    trajectory = to_mdtraj(handler.open(key), "protein.pdb")
    key = store_mdtraj(handler, trajectory, "protein1_md")
    key = store_mdtraj(handler, mdtraj.iterload("run.xtc", top="protein.pdb"), "protein1_md")

Importing this module registers `.fxt` files with mdtraj:

    trajectory = mdtraj.load("run.fxt")  # Where it holds its topology; else with top="protein.pdb".

The cache has Å, as MDAnalysis and the other integrations; mdtraj has nm. mdtraj's own conversion is
used both ways, so numbers are those that its readers of files in Å give.
"""

from proteinflex_optimization._needed import needed

with needed("mdtraj", "mdtraj"):
    import mdtraj  # noqa: F401

from .files import FXTTrajectoryFile, load_fxt
from .frames import iter_mdtraj, to_mdtraj
from .store import save_mdtraj, store_mdtraj
from .topology import topology_from_mdtraj, topology_to_mdtraj

__all__ = [
    "FXTTrajectoryFile",
    "iter_mdtraj",
    "load_fxt",
    "save_mdtraj",
    "store_mdtraj",
    "to_mdtraj",
    "topology_from_mdtraj",
    "topology_to_mdtraj",
]
