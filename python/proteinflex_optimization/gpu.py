"""Which GPUs to use, how much of them, and how large a batch may be."""

from __future__ import annotations

import builtins
import contextlib
import errno
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from proteinflex_optimization import _memory_settings, _native
from proteinflex_optimization._log import get_logger
from proteinflex_optimization._memory_meter import meter_for, release_caches
from proteinflex_optimization._reopen import attributes, reopen
from proteinflex_optimization.errors import (
    GPUError,
    InsufficientGPUMemoryError,
    InvalidTypeError,
    ProteinFlexError,
)
from proteinflex_optimization.types import MemoryReport, StrPath

__all__ = ["GPUManager"]

_logger = get_logger()
_Result = TypeVar("_Result")
# Python 3.10 has none.
_GROUP: Any = getattr(builtins, "BaseExceptionGroup", ())
# Errors that may quote what others say: keys, modules, expected messages.
_QUOTING = (AssertionError, ImportError, LookupError)


class GPUManager(_native.GPUManager):
    """Finds GPUs, reserves their memory across all processes of the machine, and sizes batches.

    The driver is not queried before the first method call, and nothing is written before the first
    reservation or observation.

    Parameters
    ----------
    required_memory : dict of str to int, optional
        The memory that each task needs, in MB (MiB, as ``nvidia-smi`` prints). By default
        ``{'prediction': 16000, 'dynamics': 8000}``.
    prefer_single_gpu : bool
        Give a task one GPU where one suffices, rather than every GPU that can hold it.
    state_dir : path, optional
        Where reservations and observed memory peaks are kept; processes that are to see each other
        must name the same. By default ``$PROTEINFLEX_GPU_STATE_DIR``, else one directory for all
        users of the machine, and one per user for what was observed.
    safety_margin : float
        The part of a GPU's memory, 0 to below 1, that batches leave free.
    poll_interval : float, optional
        Seconds, 0.1 or more. A background thread then queries the driver that often, from the first
        ``get_available_gpus`` on, which returns the latest result without waiting. By default there
        is no such thread. Reservations and batches always query the driver.

    Raises
    ------
    InvalidArgumentError
        An argument has the wrong type or makes no sense; the message names it.
    """

    def __init__(
        self,
        required_memory: Mapping[str, float] | None = None,
        prefer_single_gpu: bool = False,
        *,
        state_dir: StrPath | None = None,
        safety_margin: float = 0.05,
        poll_interval: float | None = None,
    ) -> None:
        super().__init__(
            required_memory,
            prefer_single_gpu,
            state_dir=state_dir,
            safety_margin=safety_margin,
            poll_interval=poll_interval,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the arguments."""
        return reopen, (type(self), GPUManager, *self._arguments()), self.__getstate__()

    def __getstate__(self) -> dict[str, Any] | None:
        """Return what a subclass has added."""
        return attributes(self)

    def _repr_html_(self) -> str:
        """Show in a notebook which GPUs there are, and what is reserved on them."""
        from proteinflex_optimization._html import gpus

        try:
            return gpus(self.get_available_gpus())
        except GPUError as error:
            return gpus((), str(error))

    @contextlib.contextmanager
    def reserve(
        self, task: str, *, max_gpus: int | None = None, timeout: float | None = 0
    ) -> Iterator[list[int]]:
        """Hold GPUs for a task inside a ``with`` block.

        A reservation that the task had before is kept, and stays after the block.

        Parameters
        ----------
        task : str
            One of the tasks in ``required_memory``.
        max_gpus : int, optional
            How many GPUs at most.
        timeout : float or None
            Seconds to wait for memory; None: as long as it takes.

        Yields
        ------
        list of int
            The indices, best first; empty where there is no NVIDIA driver.
        """
        was_held = self._holds(task)
        indices = self.wait_for_gpus(task, timeout, max_gpus=max_gpus)
        try:
            yield indices
        finally:
            if not was_held:
                self.release_gpus(task)

    def optimize_memory_usage(self, task: str, gpu_indices: Sequence[int]) -> MemoryReport:
        """Apply what keeps a task within its memory, and report what was set and what was not.

        torch's memory limit per GPU (what is reserved for the task, else what is free), torch's
        allocator while that is still possible, and the release of torch's unused cache. Nothing
        that changes results is ever set, nor anything of other processes. Calling it again changes
        nothing more. torch is used only where it is imported already.

        Parameters
        ----------
        task : str
            One of the tasks in ``required_memory``.
        gpu_indices : sequence of int
            The GPUs, as `allocate_gpus` returns them.

        Returns
        -------
        dict
            ``task``; ``gpu_indices``; ``set``, a list of dicts with ``what``, ``value`` and
            ``why``; ``not_set``, a list of dicts with ``what`` and ``why``; ``openmm``, a dict with
            ``platform`` and ``properties`` as ``openmm.app.Simulation`` takes them.

        Raises
        ------
        UnknownTaskError
            The task is not in ``required_memory``.
        InvalidArgumentError
            An index is not one of a visible GPU, or is named twice.
        """
        return _memory_settings.apply_limits(task, self._budgets(task, gpu_indices))

    @contextlib.contextmanager
    def measure(
        self,
        task: str,
        batch_size: int,
        length: int | None = None,
        *,
        chunk: int | None = None,
        gpu_indices: Sequence[int] | None = None,
    ) -> Iterator[None]:
        """Observe the memory peak of a ``with`` block, and remember it.

        On GPUs it is the most that torch had reserved, and what the driver counts beside that (the
        CUDA context). On the CPU it is the growth of the process's largest resident size. A block
        that fails is not remembered, unless it ran out of memory, which is. Where what was observed
        can't be written, the log has a warning, and the block's work is kept.

        Parameters
        ----------
        task, batch_size, length, chunk
            As of `observe`.
        gpu_indices : sequence of int, optional
            The GPUs that the block runs on, or none for the CPU. By default those that torch uses.
        """
        # Everything is checked before the work is done.
        batch_size = self._check_batch(task, batch_size, length, chunk)
        indices = _torch_indices() if gpu_indices is None else _listed(gpu_indices)
        meter = meter_for(lambda: self._budgets(task, indices))
        try:
            yield
        except Exception as error:
            if _is_out_of_memory(error):
                with _or_warn(task):
                    self.observe_out_of_memory(
                        task, batch_size, length, chunk=chunk, gpu_indices=indices
                    )
            raise
        with _or_warn(task):
            peak = meter.peak_mb()
            if peak > 0:
                self.observe(task, batch_size, peak, length, chunk=chunk, gpu_indices=indices)

    def run_with_oom_backoff(
        self,
        function: Callable[[int], _Result],
        task: str,
        gpu_indices: Sequence[int],
        *,
        batch_size: int | None = None,
        length: int | None = None,
        chunk: int | None = None,
    ) -> _Result:
        """Call a function with a batch size, and with half of it each time that memory runs out.

        Errors that say so are recognised whether they come from torch, the CUDA driver, cuBLAS,
        cuDNN, cuFFT, cuSOLVER, cuSPARSE, JAX, OpenMM (CUDA and OpenCL), NCCL or Python, also where
        another error was raised from one, or a group holds one. Each failure is remembered for
        later runs; where it can't be written, the log has a warning.

        Parameters
        ----------
        function : callable
            Called as ``function(batch_size)``.
        task : str
            One of the tasks in ``required_memory``.
        gpu_indices : sequence of int
            The GPUs that it runs on; empty: the CPU.
        batch_size : int, optional
            Where to begin; by default `get_optimal_batch_size`.
        length, chunk : int, optional
            As of `get_optimal_batch_size`.

        Returns
        -------
        object
            What the function returned.

        Raises
        ------
        InsufficientGPUMemoryError
            Not even one item fits; the function's own error is its cause.
        """
        if not callable(function):
            raise InvalidTypeError(
                f"function={function!r} is not a callable that takes a batch size"
            )
        indices = _listed(gpu_indices)
        if batch_size is None:
            batch_size = self.get_optimal_batch_size(task, indices, length=length, chunk=chunk)
        batch_size = self._check_batch(task, batch_size, length, chunk)
        if indices:
            self._budgets(task, indices)  # Each is one of a visible GPU.
        while True:
            try:
                return function(batch_size)
            except Exception as error:
                if not _is_out_of_memory(error):
                    raise
                failure = error
                # A traceback holds the frames, and they hold the tensors.
                for linked in _linked(failure):
                    linked.__traceback__ = linked.__context__ = None
            with _or_warn(task):
                self.observe_out_of_memory(
                    task, batch_size, length, chunk=chunk, gpu_indices=indices
                )
            release_caches()
            if batch_size <= 1:
                raise InsufficientGPUMemoryError(
                    f"one item of {task} does not fit into the memory of "
                    f"{_named(indices)}: {str(failure) or type(failure).__name__}"
                ) from failure
            _logger.warning(
                "%s ran out of memory with a batch of %d; trying %d",
                task,
                batch_size,
                batch_size // 2,
            )
            batch_size //= 2


@contextlib.contextmanager
def _or_warn(task: str) -> Iterator[None]:
    """Observe after the work: what only makes the next batch size better must not cost it."""
    try:
        yield
    except (OSError, ProteinFlexError) as error:
        _logger.warning("what a batch of %s has needed is not remembered: %s", task, error)


def _linked(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, those that it was raised from, and those of a group."""
    seen: set[int] = set()
    pending = [error]
    while pending:
        linked = pending.pop()
        if id(linked) in seen:
            continue
        seen.add(id(linked))
        yield linked
        if linked.__cause__ is not None:
            pending.append(linked.__cause__)
        if isinstance(linked, _GROUP):
            pending.extend(linked.exceptions)


def _is_out_of_memory(error: Exception) -> bool:
    return any(map(_says_out_of_memory, _linked(error)))


def _says_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, _QUOTING):
        return False
    try:
        message = str(error)
    except Exception:
        # An exception that can't be printed passes through as it is.
        message = ""
    message = message.encode(errors="replace").decode()
    # A subclass of torch's error, or NumPy's of Python's, means the same.
    return any(_native.is_out_of_memory(kind.__name__, message) for kind in type(error).__mro__)


def _listed(gpu_indices: Iterable[int]) -> list[int]:
    """Read the indices once: they are used more than once, and an iterator can be read once."""
    if isinstance(gpu_indices, str | bytes) or not hasattr(gpu_indices, "__iter__"):
        raise InvalidTypeError(
            f"gpu_indices={gpu_indices!r} is not valid: expected a list of GPU indices, such as "
            "allocate_gpus returns"
        )
    return list(gpu_indices)


def _torch_indices() -> list[int]:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    return [torch.cuda.current_device()]


def _named(gpu_indices: Sequence[int]) -> str:
    if not gpu_indices:
        return "this machine"
    return "GPU " + ", ".join(str(index) for index in gpu_indices)
