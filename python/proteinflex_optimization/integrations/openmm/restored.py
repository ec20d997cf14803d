"""Where the reporters of a restored simulation were when it was saved.

Kept beside the simulation, so that a reporter that is appended to it knows by itself what has to be
stored already.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Restored:
    """The step at which a simulation was saved, and the frames of its trajectories up to there."""

    step: int
    n_frames: dict[str, int]


_restored: weakref.WeakKeyDictionary[Any, Restored] = weakref.WeakKeyDictionary()


def remember(simulation: Any, restored: Restored) -> None:
    """Keep this with a simulation for as long as it lives."""
    _restored[simulation] = restored


def frames_when_saved(simulation: Any, step: int) -> dict[str, int]:
    """Return how many frames each trajectory had when the simulation was saved at this step.

    None of them where the simulation was not restored at this step.
    """
    restored = _restored.get(simulation)
    return {} if restored is None or restored.step != step else restored.n_frames
