"""Which trajectories a simulation goes on with, and where these were when it was saved.

Kept beside the simulation, so that a reporter that is appended to it knows by itself what has to be
stored already, and what is another's.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Restored:
    """The step at which a simulation was saved, and the frames of its trajectories up to there."""

    step: int
    n_frames: dict[str, int]


_restored: weakref.WeakKeyDictionary[Any, Restored] = weakref.WeakKeyDictionary()
_written: weakref.WeakKeyDictionary[Any, set[tuple[Path, str]]] = weakref.WeakKeyDictionary()


def remember(simulation: Any, restored: Restored) -> None:
    """Keep this with a simulation for as long as it lives."""
    _restored[simulation] = restored


def frames_when_saved(simulation: Any, step: int) -> dict[str, int]:
    """Return how many frames each trajectory had when the simulation was saved at this step.

    None of them where the simulation was not restored at this step.
    """
    restored = _restored.get(simulation)
    return {} if restored is None or restored.step != step else restored.n_frames


def restored_with(reporter: Any) -> list[Any]:
    """Return the restored simulations that a reporter was appended to."""
    return [
        simulation
        for simulation in list(_restored)
        if any(one is reporter for one in simulation.reporters)
    ]


def remember_trajectory(simulation: Any, cache_dir: Path, data_id: str) -> None:
    """Keep that a simulation writes this trajectory."""
    _written.setdefault(simulation, set()).add((cache_dir, data_id))


def goes_on_with(simulation: Any, cache_dir: Path, data_id: str) -> bool:
    """Whether a simulation was saved with this trajectory, or has written it before."""
    restored = _restored.get(simulation)
    return (restored is not None and data_id in restored.n_frames) or (
        (cache_dir, data_id) in _written.get(simulation, ())
    )
