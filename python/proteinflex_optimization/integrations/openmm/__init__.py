"""OpenMM simulations that survive restarts: reporters of frames, checkpoints and progress.

simulation = load_latest(checkpoints) or make_simulation()
with TrajectoryReporter(handler, "protein1_md", 1000) as frames:
    simulation.reporters += [frames, CheckpointReporter(checkpoints, 10_000)]
    simulation.step(1_000_000 - simulation.currentStep)
"""

from .checkpoint import CheckpointReporter
from .progress import ProgressReporter
from .run import PortableStateWarning, load_latest, load_run, save_run
from .topology import topology_from_openmm, topology_to_openmm
from .trajectory import TrajectoryReporter

__all__ = [
    "CheckpointReporter",
    "PortableStateWarning",
    "ProgressReporter",
    "TrajectoryReporter",
    "load_latest",
    "load_run",
    "save_run",
    "topology_from_openmm",
    "topology_to_openmm",
]
