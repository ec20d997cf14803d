"""The main job: from a structure to its flexibility, by way of real molecular dynamics.

Everything that the four classes are for happens in it, on a CPU, in about two minutes: a structure and
a trajectory are cached, progress can be watched from another terminal, and a run that is interrupted or
killed goes on from its last checkpoint. `pipeline` is the place to start reading.
"""

from .pipeline import run
from .settings import Settings

__all__ = ["Settings", "run"]
