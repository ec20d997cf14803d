"""The memory peak of a block of code: on GPUs by torch's count, on the CPU by the kernel's.

Both keep one peak, which the beginning of each block sets back: the blocks that run meanwhile note
it before, so that a block may hold others, and threads may each have one.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import resource
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from proteinflex_optimization._memory_settings import CONTEXT_MB
from proteinflex_optimization.types import GPUBudget

_MIB = 1 << 20
Budgets = Callable[[], list[GPUBudget]]


class Meter(Protocol):
    """Something that began to measure when it was made."""

    def peak_mb(self) -> float:
        """Return the largest amount of memory in use since then; 0 where that can't be known."""
        ...


def meter_for(budgets: Budgets) -> Meter:
    """Begin to measure the GPUs that `budgets` lists, or the CPU where it lists none."""
    found = budgets()
    torch = sys.modules.get("torch")
    if found and torch is not None and torch.cuda.is_available():
        return GpuMeter(torch, budgets)
    return NoMeter() if found else HostMeter()


class GpuMeter:
    """The most that torch had reserved on one GPU, and what the process uses beside it."""

    def __init__(self, torch: Any, budgets: Budgets) -> None:
        self._torch = torch
        self._budgets = budgets
        # By index, of the time before the peak was last set back, in bytes.
        self._noted: dict[int, int] = {budget["index"]: 0 for budget in budgets()}
        with _begin(self):
            for index in self._noted:
                torch.cuda.reset_peak_memory_stats(index)

    def note(self) -> None:
        """Note the peaks so far, which are about to be set back."""
        for index in self._noted:
            self._noted[index] = self._reserved(index)

    def peak_mb(self) -> float:
        """Return the largest peak of all the GPUs."""
        cuda = self._torch.cuda
        peaks: list[float] = []
        for budget in self._budgets():
            index = budget["index"]
            cuda.synchronize(index)
            # The driver's number, where it has one, covers the context and other libraries.
            beside = budget["used_here"] - cuda.memory_reserved(index) / _MIB
            if budget["used_here"] == 0 or beside < 0:
                beside = CONTEXT_MB
            peak = self._reserved(index) / _MIB + beside
            peaks.append(min(peak, budget["memory_total"]))
        return max(peaks, default=0.0)

    def _reserved(self, index: int) -> int:
        return max(self._noted.get(index, 0), int(self._torch.cuda.max_memory_reserved(index)))


class HostMeter:
    """The largest resident size of this process above what it was at the beginning."""

    def __init__(self) -> None:
        self._noted = 0.0
        # What the allocator keeps of earlier blocks is no part of what there is before.
        with contextlib.suppress(AttributeError, OSError):
            ctypes.CDLL(None).malloc_trim(0)
        # Linux can forget the old peak; without that, only a new record shows.
        with _begin(self), contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        self._before = _resident_mb()

    def note(self) -> None:
        """Note the peak so far, which is about to be set back."""
        self._noted = max(self._noted, _peak_resident_mb())

    def peak_mb(self) -> float:
        """Return the growth; 0 where the process never grew beyond what it was before."""
        return max(max(self._noted, _peak_resident_mb()) - self._before, 0.0)


_running: weakref.WeakSet[GpuMeter | HostMeter] = weakref.WeakSet()
_lock = threading.RLock()


@contextlib.contextmanager
def _begin(meter: GpuMeter | HostMeter) -> Iterator[None]:
    """Set a peak back in this block, once those who measure it have noted it."""
    with _lock:
        for running in list(_running):
            running.note()
        yield
        _running.add(meter)


def _after_fork() -> None:
    global _lock
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_after_fork)


class NoMeter:
    """GPUs are used, and not through torch: no peak is known."""

    def peak_mb(self) -> float:
        """Return 0."""
        return 0.0


def release_caches() -> None:
    """Release what torch caches and no tensor uses."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _status_kb(name: str) -> float | None:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(name):
                return float(line.split()[1])
    return None


def _peak_resident_mb() -> float:
    # The kernel's own peak follows `clear_refs`; the one of getrusage never goes down.
    peak = _status_kb("VmHWM:")
    return (peak or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / 1024


def _resident_mb() -> float:
    resident = _status_kb("VmRSS:")
    return _peak_resident_mb() if resident is None else resident / 1024
