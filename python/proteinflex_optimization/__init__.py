"""Caches, checkpoints, progress and GPU selection for long protein computations.

Four objects, each with its state in plain files, so that every process, host or later run that opens
the same directory sees the same truth:

`GPUManager`
    which GPUs, how much of them, which batch size; safe beside other jobs.
`DataHandler`
    a bounded, compressed, checksummed cache of structures and trajectories.
`ProgressTracker`
    hierarchical progress that is readable from another terminal and survives ``kill -9``.
`CheckpointManager`
    checkpoints that are whole or absent, and verified.

Importing this package loads neither torch, OpenMM nor a GPU driver; what needs one of them imports it
when it is used.
"""

# What the native module calls. Imported by it only when it is used, in some thread, it could be half
# imported in a child that is forked at that moment, and there for ever.
from proteinflex_optimization import _hooks as _hooks
from proteinflex_optimization._classes import register_types
from proteinflex_optimization._native import __version__
from proteinflex_optimization._typed_record import TypedRecord
from proteinflex_optimization.checkpoint import CheckpointManager
from proteinflex_optimization.data_handler import DataHandler
from proteinflex_optimization.errors import (
    CacheFullError,
    CacheKeyError,
    CheckpointError,
    CorruptDataError,
    GPUError,
    InsufficientGPUMemoryError,
    InternalError,
    InvalidArgumentError,
    InvalidTypeError,
    LockTimeoutError,
    ObjectChangedError,
    ProteinFlexError,
    RemoteError,
    ResumeError,
    UnknownTaskError,
    UnsupportedFormatError,
    WriterConflictError,
)
from proteinflex_optimization.gpu import GPUManager
from proteinflex_optimization.listing import list_trajectories
from proteinflex_optimization.progress import ProgressTracker, track
from proteinflex_optimization.remote.block_cache import BlockCache
from proteinflex_optimization.stop import StopRequest, StopRequested
from proteinflex_optimization.topology import Topology
from proteinflex_optimization.trajectory import Trajectory, open_trajectory
from proteinflex_optimization.trajectory_file import TrajectoryFileWriter, create_trajectory

__all__ = [
    "BlockCache",
    "CacheFullError",
    "CacheKeyError",
    "CheckpointError",
    "CheckpointManager",
    "CorruptDataError",
    "DataHandler",
    "GPUError",
    "GPUManager",
    "InsufficientGPUMemoryError",
    "InternalError",
    "InvalidArgumentError",
    "InvalidTypeError",
    "LockTimeoutError",
    "ObjectChangedError",
    "ProgressTracker",
    "ProteinFlexError",
    "RemoteError",
    "ResumeError",
    "StopRequest",
    "StopRequested",
    "Topology",
    "Trajectory",
    "TrajectoryFileWriter",
    "TypedRecord",
    "UnknownTaskError",
    "UnsupportedFormatError",
    "WriterConflictError",
    "__version__",
    "create_trajectory",
    "list_trajectories",
    "open_trajectory",
    "register_types",
    "track",
]
