"""The documented import path: the same objects as in `proteinflex_optimization`."""

from proteinflex_optimization import (
    CheckpointManager,
    DataHandler,
    GPUManager,
    ProgressTracker,
    StopRequest,
    StopRequested,
)

__all__ = [
    "CheckpointManager",
    "DataHandler",
    "GPUManager",
    "ProgressTracker",
    "StopRequest",
    "StopRequested",
]
