import os
from collections.abc import Iterable, Mapping
from typing import Any, SupportsIndex

from typing_extensions import disjoint_base

__version__: str

# --- gpu ---
def is_out_of_memory(class_name: str, message: str) -> bool: ...

@disjoint_base
class GPUManager:
    def __new__(
        cls,
        required_memory: Mapping[str, float] | None = None,
        prefer_single_gpu: bool = False,
        *,
        state_dir: str | os.PathLike[str] | None = None,
        safety_margin: float = 0.05,
    ) -> GPUManager: ...
    @property
    def required_memory(self) -> dict[str, int]: ...
    @property
    def prefer_single_gpu(self) -> bool: ...
    @property
    def safety_margin(self) -> float: ...
    @property
    def state_dir(self) -> os.PathLike[str] | None: ...
    def get_available_gpus(self) -> list[dict[str, Any]]: ...
    def allocate_gpus(self, task: str, *, max_gpus: int | None = None) -> list[int]: ...
    def wait_for_gpus(
        self, task: str, timeout: float | None, *, max_gpus: int | None = None
    ) -> list[int]: ...
    def release_gpus(self, task: str | None = None) -> None: ...
    def reservations(self) -> list[dict[str, Any]]: ...
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
    ) -> list[dict[str, Any]]: ...
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

# --- progress ---

class ProgressTracker:
    def __new__(
        cls,
        total_steps: int | None = 100,
        checkpoint_dir: str | os.PathLike[str] | None = None,
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
    ) -> TaskHandle: ...
    def update_task(self, task_id: str, steps: int = 1, message: str | None = None) -> None: ...
    def complete_task(self, task_id: str) -> None: ...
    def fail_task(self, task_id: str, message: str | None = None) -> None: ...
    def get_progress(self) -> dict[str, Any]: ...
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
    def __new__(cls, directory: str | os.PathLike[str]) -> Self: ...
    def get_progress(self) -> dict[str, Any]: ...
    @property
    def directory(self) -> str: ...
