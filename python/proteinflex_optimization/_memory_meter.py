"""The memory peak of a block of code: on GPUs by torch's count, on the CPU by the kernel's."""

from __future__ import annotations

import contextlib
import gc
import resource
import sys
from collections.abc import Callable
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
        for budget in budgets():
            torch.cuda.reset_peak_memory_stats(budget["index"])

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
            peak = cuda.max_memory_reserved(index) / _MIB + beside
            peaks.append(min(peak, budget["memory_total"]))
        return max(peaks, default=0.0)


class HostMeter:
    """The largest resident size of this process above what it was at the beginning."""

    def __init__(self) -> None:
        # Linux can forget the old peak; without that, only a new record shows.
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        self._before = _resident_mb()

    def peak_mb(self) -> float:
        """Return the growth; 0 where the process never grew beyond what it was before."""
        return max(_peak_resident_mb() - self._before, 0.0)


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
