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
    def cuda_env(self, gpu_indices: Iterable[SupportsIndex]) -> dict[str, str]: ...
    def _holds(self, task: str) -> bool: ...
    def _check_batch(
        self, task: str, batch_size: int, length: int | None = None, chunk: int | None = None
    ) -> None: ...
    def _budgets(self, task: str, gpu_indices: Iterable[SupportsIndex]) -> list[dict[str, Any]]: ...
    def __getnewargs_ex__(self) -> tuple[tuple[Any, ...], dict[str, Any]]: ...
