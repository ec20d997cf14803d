"""Jobs that the batch system has yet to run: what is watched is not over before them."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from typing import Any

from proteinflex_optimization._batch_system import are_queued
from proteinflex_optimization.cli.output import warn

__all__ = ["Queue"]

PAUSE = 15.0
"""Seconds between two questions: the controller has others to serve."""


class Queue:
    """SLURM's queue, as far as the jobs of some boards are in it."""

    def __init__(self) -> None:
        self._asked = -math.inf
        self._has_more = False

    def has_more(self, batches: Iterable[Mapping[str, Any] | None]) -> bool:
        """Tell whether SLURM runs one of these jobs, or another task of their arrays, later.

        Parameters
        ----------
        batches : iterable of dict or None
            The batch system's facts of jobs that are known, as boards keep them.

        Returns
        -------
        bool
            False also where there is no SLURM here, or it does not answer.
        """
        if time.monotonic() - self._asked >= PAUSE:
            jobs = {
                batch["array_job_id"] or batch["job_id"]
                for batch in batches
                if batch is not None and batch["system"] == "slurm"
            }
            before, self._has_more = self._has_more, bool(jobs) and are_queued(sorted(jobs))
            self._asked = time.monotonic()
            if self._has_more and not before:
                warn("no job is at work; waiting for those that SLURM has in its queue")
        return self._has_more
