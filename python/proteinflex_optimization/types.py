"""What the package takes and returns, for annotations: literals, unions and the keys of every dict.

At run time each ``TypedDict`` is an ordinary `dict`. Memory of GPUs is in MB (MiB, as ``nvidia-smi``
prints), other sizes are in bytes, durations in seconds. Points in time are
`datetime` objects in UTC, but for ``updated`` of progress, which is in seconds since 1970.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from types import EllipsisType
from typing import Any, Literal, SupportsIndex, TypeAlias, TypedDict

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ArrayInfo",
    "AtomSelection",
    "Batch",
    "BatchFacts",
    "CacheStats",
    "CacheVerification",
    "CheckpointInfo",
    "CheckpointVerification",
    "CleanupReport",
    "ComputeMode",
    "DamagedEntry",
    "EntryInfo",
    "EntryKind",
    "FileVerification",
    "FrameSelection",
    "GPUBudget",
    "GPUHolder",
    "GPUInfo",
    "GPUMemory",
    "GPUProcess",
    "GPUStatus",
    "MemoryReport",
    "MemoryUse",
    "OpenMMPlatform",
    "Precision",
    "Profile",
    "ProgressInfo",
    "ProgressSummary",
    "Reservation",
    "Setting",
    "SkippedSetting",
    "State",
    "StoredData",
    "StrPath",
    "StructureData",
    "TaskInfo",
    "TaskStatus",
    "TransferredEntry",
    "UnfinishedTrajectory",
    "UpstreamStats",
    "ValueInfo",
]

# --- arguments ---

StrPath: TypeAlias = str | os.PathLike[str]
"""A path."""

EntryKind: TypeAlias = Literal["structure", "trajectory"]
"""What an entry of the cache is."""

Precision: TypeAlias = float | dict[str, float]
"""The spacing that coordinates may be rounded to, or that of each field by its name."""

Profile: TypeAlias = Literal["default", "archive"]
"""How a trajectory is compressed: fast to read, or smallest."""

AtomSelection: TypeAlias = slice | SupportsIndex | Sequence[int] | NDArray[Any]
"""Which atoms: indices, a mask or a slice, as NumPy indexes an axis."""

FrameSelection: TypeAlias = (
    SupportsIndex
    | slice
    | EllipsisType
    | Sequence[int]
    | Sequence[bool]
    | NDArray[Any]
    | tuple[Any, ...]
)
"""What indexes a trajectory, as NumPy indexes an array of (n_frames, n_atoms, 3)."""

# --- data of the user's own ---

StoredData: TypeAlias = dict[str, Any]
"""What an entry of the cache holds, by the names it was stored under.

A value is a `numpy.ndarray` of the dtype and shape it was stored with, a number, of NumPy's classes as
well, a bool, a str, bytes, a path, a date, time or duration, a range or None, or a list, tuple, set or
dict of such values. Tensors come back as arrays.
"""

State: TypeAlias = dict[str, Any]
"""The components of a checkpoint by name: each a state as it was saved, tensors included."""

# --- the cache ---


class ArrayInfo(TypedDict):
    """One array of an entry."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class EntryInfo(TypedDict):
    """What is known of an entry without reading its data.

    ``precision``: the spacing that each field was rounded to; a field that is not there kept every bit.
    """

    key: str
    data_id: str
    kind: EntryKind
    created: datetime
    last_used: datetime
    raw_bytes: int
    stored_bytes: int
    saved_percent: float
    n_frames: int | None
    n_atoms: int | None
    n_residues: int | None
    n_chains: int | None
    has_topology: bool
    metadata: dict[str, Any]
    arrays: list[ArrayInfo]
    precision: dict[str, float]
    pinned: bool


class UnfinishedTrajectory(TypedDict):
    """A trajectory that is being written or waits to be resumed.

    ``writer`` and ``host``: the process that is writing it, and its machine; None where none is.
    """

    key: str
    data_id: str | None
    n_frames: int | None
    stored_bytes: int
    last_written: datetime
    writer: int | None
    host: str | None


class GPUMemory(TypedDict):
    """Memory of one GPU, of all processes."""

    index: int | None
    used: int
    total: int


class MemoryUse(TypedDict):
    """Memory of this process, and of the GPUs it sees."""

    resident_bytes: int
    mapped_bytes: int
    gpus: list[GPUMemory]


class UpstreamStats(TypedDict):
    """What a handler has seen of an upstream.

    ``url``: without credentials, or the path; ``hits``: entries that it gave, ``bytes`` of files in
    all; ``misses``: what was not found there; ``errors``: failures and damaged entries;
    ``available``: false while it is left alone because it does not work.
    """

    url: str
    hits: int
    misses: int
    errors: int
    bytes: int
    available: bool


class TransferredEntry(TypedDict):
    """An entry that was sent or fetched.

    ``url``: its object; ``copied``: false where the same content was there already.
    """

    key: str
    url: str
    bytes: int
    copied: bool


class CacheStats(TypedDict):
    """How full a cache is; ``hits`` to ``corrupt`` count what this object has seen."""

    usage_percent: float
    used_bytes: int
    max_bytes: int
    entries: int
    structures: int
    trajectories: int
    unfinished: int
    raw_bytes: int
    saved_percent: float
    pinned_bytes: int
    quarantined: int
    hits: int
    misses: int
    evictions: int
    corrupt: int
    cache_dir: str
    memory: MemoryUse
    upstream: list[UpstreamStats]


class CleanupReport(TypedDict):
    """How many files of each kind were removed."""

    temporary: int
    quarantined: int
    unfinished: int
    pins: int


class DamagedEntry(TypedDict):
    """An entry that could not be read back."""

    key: str
    reason: str


class CacheVerification(TypedDict):
    """What reading entries back has shown."""

    checked: int
    ok: bool
    damaged: list[DamagedEntry]


class _StructureArrays(TypedDict):
    positions: NDArray[np.float32]
    atom_names: NDArray[np.str_]
    elements: NDArray[np.str_]
    residue_index: NDArray[np.int32]
    residue_names: NDArray[np.str_]
    residue_numbers: NDArray[np.int32]
    insertion_codes: NDArray[np.str_]
    chains: NDArray[np.str_]
    is_polymer: NDArray[np.bool_]
    sequences: dict[str, str]
    n_models: int


class StructureData(_StructureArrays, total=False):
    """A structure as plain arrays; the keys of its own are there where the source has them.

    Factors, pLDDT and ``cell`` of all models have a row for each where theirs differ.
    """

    altlocs: NDArray[np.str_]
    b_factors: NDArray[np.float32]
    occupancies: NDArray[np.float32]
    plddt: NDArray[np.float32]
    residue_b_factors: NDArray[np.float32]
    segment_ids: NDArray[np.str_]
    cell: NDArray[np.float64]


# --- jobs of batch systems ---


class BatchFacts(TypedDict):
    """A job of a batch system (``system``: ``slurm``, ``pbs``, ``lsf`` or ``sge``).

    ``array_job_id`` and ``array_index`` are None outside of an array, ``restart_count`` where the
    system doesn't tell how often the job was requeued.
    """

    system: str
    job_id: str
    array_job_id: str | None
    array_index: int | None
    node: str
    restart_count: int | None


# --- checkpoints ---


class CheckpointInfo(TypedDict):
    """One checkpoint of a directory; ``valid``: manifest whole, files there with their sizes.

    ``batch``: the job of a batch system that made it. ``problem``: why it can't be loaded, None where
    it is valid; ``newer``: a newer version of this package made it.
    """

    checkpoint_id: str
    path: str
    created_at: datetime
    size_bytes: int
    linked_bytes: int
    components: list[str]
    metadata: dict[str, Any]
    batch: BatchFacts | None
    valid: bool
    problem: Literal["damaged", "newer", "unreadable"] | None


class FileVerification(TypedDict):
    """One file of a checkpoint; ``reason`` is None where it is whole."""

    name: str
    bytes: int
    ok: bool
    reason: str | None


class CheckpointVerification(TypedDict):
    """What reading a checkpoint back has shown; ``saved_as``: the id in its manifest."""

    ok: bool
    saved_as: str | None
    files: list[FileVerification]


class ValueInfo(TypedDict):
    """One value of a checkpoint, by its place in its component.

    ``type`` is ``tensor``, ``array`` or the name of a Python type; tensors and arrays have ``dtype``
    and ``shape``, small plain values ``value``. What does not apply is None.
    """

    path: str
    type: str
    dtype: str | None
    shape: tuple[int, ...] | None
    bytes: int | None
    value: str | None


# --- progress ---

TaskStatus: TypeAlias = Literal["pending", "running", "stopped", "completed", "failed"]


class TaskInfo(TypedDict):
    """One task. ``percent`` is None where its length is unknown; ``rate`` is in steps per second.

    ``completed`` and ``total`` are its own steps. A task is ``"stopped"`` where it is unfinished and
    every process that worked on it is gone. ``batch``: the job of a batch system that started it last.
    """

    name: str
    parent: str | None
    status: TaskStatus
    percent: float | None
    completed: int
    total: int | None
    message: str | None
    elapsed_seconds: float
    eta_seconds: float | None
    rate: float | None
    children: list[str]
    metadata: dict[str, Any] | None
    batch: BatchFacts | None


class _Progress(TypedDict):
    percent: float
    completed_steps: int
    total_steps: int
    elapsed_seconds: float
    eta_seconds: float | None
    rate: float | None
    message: str | None
    status: TaskStatus
    reason: str | None
    current_task: str | None
    alive: bool
    batch: BatchFacts | None
    updated: float | None
    stalled: bool
    hosts: list[str]


class ProgressInfo(_Progress):
    """A whole job; its tasks by id.

    ``reason`` names the tasks that failed or stopped where ``status`` is one of these;
    ``current_task`` is the running task that advanced last; ``batch`` is the job of a batch system
    that came last; ``updated`` is when anything was last updated, in seconds since 1970, and
    ``stalled`` whether that is unusually long ago; ``hosts`` are names, the one that was active
    last first.
    """

    tasks: dict[str, TaskInfo]


class ProgressSummary(_Progress):
    """A whole job without its tasks: how many there are of each status.

    ``batch`` is the job of the first task that has failed or stopped, where one has.
    """

    task_counts: dict[TaskStatus, int]


# --- GPUs ---

GPUStatus: TypeAlias = Literal["ok", "denied", "lost", "unreadable"]
ComputeMode: TypeAlias = Literal["shared", "exclusive", "prohibited"]


class GPUProcess(TypedDict):
    """A process that uses a GPU; its memory where the driver tells it."""

    pid: int
    memory: int | None


class _Holder(TypedDict):
    task: str
    pid: int
    user: int
    command: str
    created: datetime


class GPUHolder(_Holder):
    """Who has reserved memory of one GPU, and how much of it."""

    memory: int


class Reservation(_Holder):
    """A reservation; its memory of each GPU by UUID."""

    memory: dict[str, int]


class GPUInfo(TypedDict):
    """One GPU or MIG instance. One that can't be used has a ``status`` and ``reason``, no memory."""

    index: int | None
    name: str
    uuid: str
    pci_bus_id: str
    compute_capability: tuple[int, int]
    memory_total: int
    memory_free: int
    memory_reserved_by_others: int
    memory_reserved_here: int
    memory_unreserved: int
    utilization: int | None
    processes: list[GPUProcess]
    reservations: list[GPUHolder]
    status: GPUStatus
    reason: str | None
    obstacle: str | None
    compute_mode: ComputeMode
    is_mig: bool
    parent_uuid: str | None
    unified_memory: bool
    age: float


class Batch(TypedDict):
    """Items, as places in ``lengths``, that one GPU works on at a time; ``gpu`` None: the CPU."""

    items: list[int]
    length: int
    gpu: int | None


class GPUBudget(TypedDict):
    """What this process may use of one GPU for a task."""

    index: int
    uuid: str
    memory_total: int
    budget: int
    reserved: int
    used_here: int


class Setting(TypedDict):
    """Something that was set."""

    what: str
    value: Any
    why: str


class SkippedSetting(TypedDict):
    """Something that was left as it is."""

    what: str
    why: str


class OpenMMPlatform(TypedDict):
    """The name and properties of a platform, as ``openmm.app.Simulation`` takes them."""

    platform: str
    properties: dict[str, str]


class MemoryReport(TypedDict):
    """What was set so that a task keeps within its memory, and what was not."""

    task: str
    gpu_indices: list[int]
    set: list[Setting]
    not_set: list[SkippedSetting]
    openmm: OpenMMPlatform
