from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, SupportsIndex, final

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray
from typing_extensions import Self, disjoint_base

from proteinflex_optimization.types import (
    AtomSelection,
    Batch,
    CacheStats,
    CacheVerification,
    CheckpointInfo,
    CheckpointVerification,
    CleanupReport,
    EntryInfo,
    EntryKind,
    FrameSelection,
    GPUBudget,
    GPUInfo,
    Profile,
    ProgressInfo,
    Reservation,
    State,
    StoredData,
    StrPath,
    UnfinishedTrajectory,
)

__all__ = [
    "CheckpointManager",
    "DataHandler",
    "GPUManager",
    "PendingCheckpoint",
    "ProgressReader",
    "ProgressTracker",
    "TaskHandle",
    "Trajectory",
    "TrajectoryWriter",
    "_SharedCheckpoint",
    "__version__",
    "_panic_for_tests",
    "is_out_of_memory",
]

__version__: str

def _panic_for_tests(detached: bool) -> None: ...

# --- checkpoint ---

@disjoint_base
class CheckpointManager:
    def __new__(
        cls,
        base_dir: StrPath,
        max_checkpoints: int = 5,
        auto_cleanup: bool = True,
        *,
        keep_every: int | None = None,
        link_unchanged: bool = True,
        durable: bool = True,
        read_only: bool = False,
    ) -> Self: ...
    @property
    def base_dir(self) -> Path: ...
    def create_checkpoint(
        self,
        checkpoint_id: str,
        component_states: dict[str, Any],
        *,
        metadata: dict[str, Any] | None = None,
        allow_pickle: bool = False,
    ) -> str: ...
    def create_checkpoint_async(
        self,
        checkpoint_id: str,
        component_states: dict[str, Any],
        *,
        metadata: dict[str, Any] | None = None,
        allow_pickle: bool = False,
    ) -> PendingCheckpoint: ...
    def load_checkpoint(
        self,
        checkpoint_path: StrPath,
        *,
        components: Iterable[str] | None = None,
        mmap: bool = True,
        device: Any = None,
        verify: bool = True,
        allow_pickle: bool = False,
    ) -> State: ...
    def list_checkpoints(self) -> list[CheckpointInfo]: ...
    def latest(self) -> str | None: ...
    def verify(self, checkpoint_path: StrPath) -> CheckpointVerification: ...
    def _outline(self, checkpoint_path: StrPath) -> dict[str, Any]: ...
    def delete(self, checkpoint_id: StrPath) -> None: ...
    def wait(self) -> None: ...
    def release_memory(self) -> None: ...
    def _begin(self, checkpoint_id: str) -> _SharedCheckpoint: ...
    def _write_components(
        self,
        directory: StrPath,
        rank: int,
        component_states: dict[str, Any],
        metadata: dict[str, Any] | None,
        allow_pickle: bool,
    ) -> bytes: ...
    def _publish(self, shared: _SharedCheckpoint, partials: Sequence[bytes]) -> str: ...

@final
class _SharedCheckpoint:
    @property
    def directory(self) -> Path | None: ...
    def abandon(self) -> None: ...

@final
class PendingCheckpoint:
    def result(self, timeout: float | None = None) -> str: ...
    def done(self) -> bool: ...

# --- data ---

@disjoint_base
class DataHandler:
    def __new__(
        cls,
        cache_dir: StrPath | None = None,
        max_cache_size: float = 100.0,
        enable_compression: bool = True,
        *,
        precision: float | None = None,
        profile: Profile = "default",
        verify: bool = True,
        durable: bool = True,
        read_only: bool = False,
    ) -> Self: ...
    @property
    def cache_dir(self) -> Path: ...
    def store_structure(
        self,
        structure_data: dict[str, Any],
        data_id: str,
        metadata: dict[str, Any] | None = None,
    ) -> str: ...
    def store_trajectory(
        self,
        trajectory_data: dict[str, Any],
        data_id: str,
        metadata: dict[str, Any] | None = None,
        *,
        precision: float | None = None,
        profile: Profile | None = None,
    ) -> str: ...
    def load_data(self, cache_key: str) -> StoredData: ...
    def trajectory_writer(
        self,
        data_id: str,
        metadata: dict[str, Any] | None = None,
        *,
        precision: float | None = None,
        profile: Profile | None = None,
        resume: bool = False,
        overwrite: bool = False,
    ) -> TrajectoryWriter: ...
    def key_for(self, data_id: str, kind: EntryKind = "trajectory") -> str: ...
    def __contains__(self, key: object, /) -> bool: ...
    def __getitem__(self, key: str, /) -> StoredData: ...
    def __len__(self) -> int: ...
    def __bool__(self) -> bool: ...
    def __iter__(self) -> Iterator[str]: ...
    def keys(self, kind: EntryKind | None = None) -> list[str]: ...
    def info(self, key: str) -> EntryInfo: ...
    def remove(self, key: str) -> None: ...
    def pin(self, key: str) -> None: ...
    def unpin(self, key: str) -> None: ...
    def cleanup(self, *, dry_run: bool = False) -> CleanupReport: ...
    def unfinished(self) -> list[UnfinishedTrajectory]: ...
    def clear(self) -> int: ...
    def prune(self, max_size: float) -> int: ...
    def verify(self, key: str | None = None) -> CacheVerification: ...
    def get_or_compute(
        self,
        data_id: str,
        function: Callable[[], dict[str, Any]],
        *,
        kind: EntryKind = "structure",
        metadata: dict[str, Any] | None = None,
        timeout: float | None = None,
    ) -> StoredData: ...
    # `memory` lacks its `gpus` here; the class that everyone uses adds them.
    def get_cache_stats(self) -> CacheStats: ...

@disjoint_base
class Trajectory:
    def __new__(cls, handler: DataHandler, key: str) -> Self: ...
    def __len__(self) -> int: ...
    @property
    def shape(self) -> tuple[int, int, int]: ...
    @property
    def n_frames(self) -> int: ...
    @property
    def n_atoms(self) -> int: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def time(self) -> NDArray[Any] | None: ...
    @property
    def metadata(self) -> dict[str, Any]: ...
    @property
    def fields(self) -> list[str]: ...
    @property
    def key(self) -> str: ...
    @property
    def data_id(self) -> str: ...
    @property
    def cache_dir(self) -> Path: ...
    @property
    def content_id(self) -> str: ...
    @property
    def raw_bytes(self) -> int: ...
    @property
    def stored_bytes(self) -> int: ...
    @property
    def chunk_frames(self) -> int: ...
    def iter_chunks(
        self, n_frames: int | None = None, *, field: str = "frames"
    ) -> Iterator[NDArray[Any]]: ...
    def read(
        self,
        start: int | None = None,
        stop: int | None = None,
        step: int | None = None,
        atoms: AtomSelection | None = None,
        field: str = "frames",
        out: NDArray[Any] | None = None,
    ) -> NDArray[Any]: ...
    def _frames_in_place(
        self, start: int, stop: int, field: str = "frames"
    ) -> NDArray[Any] | None: ...
    # A single number where all three axes are indexed by one.
    def __getitem__(self, index: FrameSelection, /) -> NDArray[Any]: ...
    def __array__(
        self, dtype: DTypeLike | None = None, copy: bool | None = None
    ) -> NDArray[Any]: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class TrajectoryWriter:
    def append(self, frames: ArrayLike, **per_frame: ArrayLike) -> None: ...
    def flush(self) -> None: ...
    def read(self, field: str = "frames") -> NDArray[Any]: ...
    def truncate(self, n_frames: int) -> None: ...
    @property
    def n_frames(self) -> int: ...
    @property
    def fields(self) -> list[str]: ...
    @property
    def key(self) -> str: ...
    def close(self) -> str: ...
    def suspend(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...

# --- gpu ---

def is_out_of_memory(class_name: str, message: str) -> bool: ...

@disjoint_base
class GPUManager:
    def __new__(
        cls,
        required_memory: Mapping[str, float] | None = None,
        prefer_single_gpu: bool = False,
        *,
        state_dir: StrPath | None = None,
        safety_margin: float = 0.05,
        poll_interval: float | None = None,
    ) -> Self: ...
    @property
    def required_memory(self) -> dict[str, int]: ...
    @property
    def prefer_single_gpu(self) -> bool: ...
    @property
    def safety_margin(self) -> float: ...
    @property
    def poll_interval(self) -> float | None: ...
    @property
    def state_dir(self) -> Path | None: ...
    def get_available_gpus(self) -> list[GPUInfo]: ...
    def allocate_gpus(self, task: str, *, max_gpus: int | None = None) -> list[int]: ...
    def wait_for_gpus(
        self, task: str, timeout: float | None, *, max_gpus: int | None = None
    ) -> list[int]: ...
    def release_gpus(self, task: str | None = None) -> None: ...
    def reservations(self) -> list[Reservation]: ...
    def get_optimal_batch_size(
        self,
        task: str,
        gpu_indices: Iterable[SupportsIndex],
        *,
        length: int | None = None,
        chunk: int | None = None,
    ) -> int: ...
    def plan_batches(
        self,
        task: str,
        lengths: Iterable[SupportsIndex],
        gpu_indices: Iterable[SupportsIndex],
        *,
        chunk: int | None = None,
    ) -> list[Batch]: ...
    def observe(
        self,
        task: str,
        batch_size: int,
        peak_mb: float,
        length: int | None = None,
        *,
        chunk: int | None = None,
        gpu_indices: Iterable[SupportsIndex] | None = None,
    ) -> None: ...
    def observe_out_of_memory(
        self,
        task: str,
        batch_size: int,
        length: int | None = None,
        *,
        chunk: int | None = None,
        gpu_indices: Iterable[SupportsIndex] | None = None,
    ) -> None: ...
    def cuda_env(self, gpu_indices: Iterable[SupportsIndex]) -> dict[str, str]: ...
    def _holds(self, task: str) -> bool: ...
    def _check_batch(
        self, task: str, batch_size: int, length: int | None = None, chunk: int | None = None
    ) -> int: ...
    def _budgets(self, task: str, gpu_indices: Iterable[SupportsIndex]) -> list[GPUBudget]: ...
    def __getnewargs_ex__(self) -> tuple[tuple[Any, ...], dict[str, Any]]: ...

# --- progress ---

@disjoint_base
class ProgressTracker:
    def __new__(
        cls,
        total_steps: int | None = 100,
        checkpoint_dir: StrPath | None = None,
        auto_checkpoint: bool = True,
        checkpoint_interval: float = 300,
        *,
        display: bool | None = None,
    ) -> Self: ...
    def start_task(
        self,
        task_id: str,
        task_name: str,
        total_steps: int | None,
        parent_task: str | None = None,
        *,
        metadata: dict[str, Any] | None = None,
    ) -> TaskHandle: ...
    def update_task(self, task_id: str, steps: int = 1, message: str | None = None) -> None: ...
    def complete_task(self, task_id: str) -> None: ...
    def fail_task(self, task_id: str, message: str | None = None) -> None: ...
    def get_progress(self) -> ProgressInfo: ...
    def finish(self) -> None: ...
    def close(self) -> None: ...
    @property
    def checkpoint_dir(self) -> str | None: ...
    def _set_hook(self, hook: Callable[[], None], interval: float) -> None: ...
    def _task(self, task_id: str) -> TaskHandle: ...
    def _after_fork(self) -> None: ...

@final
class TaskHandle:
    def update(self, steps: int = 1, message: str | None = None) -> None: ...
    def complete(self) -> None: ...
    def fail(self, message: str | None = None) -> None: ...
    @property
    def task_id(self) -> str: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class ProgressReader:
    def __new__(cls, directory: StrPath) -> Self: ...
    def get_progress(self) -> ProgressInfo: ...
    @property
    def directory(self) -> str: ...
