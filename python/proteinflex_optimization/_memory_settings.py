"""Limits that keep a task within its memory: which are applied, which are skipped, and why."""

from __future__ import annotations

import gc
import os
import sys
from typing import Any

from proteinflex_optimization.types import (
    GPUBudget,
    MemoryReport,
    OpenMMPlatform,
    Setting,
    SkippedSetting,
)

_ALLOCATOR_VARIABLES = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF")
_ALLOCATOR_SETTING = "expandable_segments:True"
# What a CUDA context takes beside torch's own allocations, until it has been measured.
CONTEXT_MB = 600


class Report:
    """What was applied and what was skipped."""

    def __init__(self) -> None:
        self.set: list[Setting] = []
        self.not_set: list[SkippedSetting] = []

    def applied(self, what: str, value: Any, why: str) -> None:
        """Note something that is now set."""
        self.set.append({"what": what, "value": value, "why": why})

    def skipped(self, what: str, why: str) -> None:
        """Note something that was left as it is."""
        self.not_set.append({"what": what, "why": why})


def apply_limits(task: str, budgets: list[GPUBudget]) -> MemoryReport:
    """Apply the limits that these GPUs allow.

    Parameters
    ----------
    task : str
        The task.
    budgets : list of dict
        What `GPUManager._budgets` returns for each GPU.

    Returns
    -------
    dict
        See `GPUManager.optimize_memory_usage`.
    """
    report = Report()
    indices = [budget["index"] for budget in budgets]
    if not budgets:
        report.skipped("torch", "no GPU is used: there is nothing to set")
    else:
        _apply_to_torch(report, budgets)
        report.skipped("openmm memory limit", "OpenMM has none; choose a smaller system or GPU")
    gc.collect()
    return {
        "task": task,
        "gpu_indices": indices,
        "set": report.set,
        "not_set": report.not_set,
        "openmm": openmm_properties(indices),
    }


def openmm_properties(indices: list[int]) -> OpenMMPlatform:
    """Return the OpenMM platform for these GPUs, and its properties, ready to use."""
    if not indices:
        return {"platform": "CPU", "properties": {}}
    device_index = ",".join(str(index) for index in indices)
    # Mixed is what OpenMM advises for GPUs; the precision of a running simulation is not changed.
    properties = {"DeviceIndex": device_index, "Precision": "mixed"}
    return {"platform": "CUDA", "properties": properties}


def _apply_to_torch(report: Report, budgets: list[GPUBudget]) -> None:
    torch = sys.modules.get("torch")
    has_started = torch is not None and torch.cuda.is_initialized()
    _set_allocator(report, has_started)
    if torch is None:
        report.skipped(
            "torch memory limit",
            "torch is not imported yet; import it and ask again, or it stays without a limit",
        )
        return
    if not torch.cuda.is_available():
        reason = "this torch was built without CUDA"
        if getattr(torch.version, "cuda", None) is not None:
            reason = "torch finds no usable CUDA device"
        report.skipped("torch memory limit", reason)
        return
    for budget in budgets:
        _limit(report, torch, budget)
    torch.cuda.empty_cache()
    report.applied("torch cache", "released", "unused cached blocks went back to the driver")
    _report_precision(report, torch)


def _set_allocator(report: Report, has_started: bool) -> None:
    what = "torch allocator"
    for variable in _ALLOCATOR_VARIABLES:
        if variable in os.environ:
            if os.environ[variable] == _ALLOCATOR_SETTING:
                report.applied(what, f"{variable}={_ALLOCATOR_SETTING}", "it was set already")
            else:
                report.skipped(what, f"{variable} is set to {os.environ[variable]!r}")
            return
    if has_started:
        report.skipped(what, "too late: torch reads it once, when it first uses CUDA")
        return
    os.environ[_ALLOCATOR_VARIABLES[0]] = _ALLOCATOR_SETTING
    why = "less memory is lost between blocks of different sizes"
    report.applied(what, f"{_ALLOCATOR_VARIABLES[0]}={_ALLOCATOR_SETTING}", why)


def _limit(report: Report, torch: Any, budget: GPUBudget) -> None:
    what = f"torch memory limit of cuda:{budget['index']}"
    allowed = budget["reserved"] or budget["budget"]
    # torch's limit counts its own allocations only, so the context's share is taken off.
    allowed = max(allowed - CONTEXT_MB, 1)
    fraction = min(allowed / budget["memory_total"], 1.0)
    try:
        torch.cuda.set_per_process_memory_fraction(fraction, budget["index"])
        torch.cuda.reset_peak_memory_stats(budget["index"])
    except (RuntimeError, AssertionError, ValueError) as error:
        report.skipped(what, f"torch refused: {error}")
        return
    source = "what is reserved for the task" if budget["reserved"] else "what is free"
    report.applied(what, fraction, f"{allowed} MB, {source}; memory outside torch is not limited")


def _report_precision(report: Report, torch: Any) -> None:
    """Say what would save memory or time and change results: never set here."""
    if not torch.backends.cuda.matmul.allow_tf32:
        report.skipped("TF32", "it would be faster and changes results; set it yourself")
    if torch.cuda.is_bf16_supported():
        report.skipped(
            "bfloat16", "it would halve activations and changes results; set it yourself"
        )
