"""A request to stop that is obeyed within a second, whatever the job is doing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from proteinflex_optimization import StopRequest

Result = TypeVar("Result")

GRACE_SECONDS = 0.8
"""For the job to come to a safe point. What does not, has nothing to save: all that counts is durable
already, and is where a killed job would go on."""
POLL_SECONDS = 0.05


class InterruptedRunError(Exception):
    """The run was asked to stop; what it did so far is safe.

    Attributes
    ----------
    is_abandoned : bool
        Whether a thread is still at work that could not be stopped, and ends with the process.
    """

    def __init__(self, message: str, *, is_abandoned: bool = False) -> None:
        super().__init__(message)
        self.is_abandoned = is_abandoned


class StagedStop(StopRequest):
    """A `StopRequest` that tells where it stopped a job, and waits no longer than a second for it.

    A second Ctrl-C ends the wait for it at once.
    """

    stage = "at the beginning"
    """Where the job is, for the message."""

    def check(self) -> None:
        """Stop here, where that was asked for.

        Raises
        ------
        InterruptedRunError
            It was.
        """
        if self.requested:
            raise InterruptedRunError(self._message())

    def run(self, job: Callable[[], Result]) -> Result:
        """Run a job; returns what it returns, or raises what it raises.

        In the main thread, which is the one that gets signals, the job has a thread of its own.

        Raises
        ------
        InterruptedRunError
            It was asked to stop.
        """
        if threading.current_thread() is not threading.main_thread():
            return job()
        worker = _Worker(job)
        worker.start()
        try:
            while worker.is_alive() and not self.requested:
                worker.join(POLL_SECONDS)
            end = time.monotonic() + GRACE_SECONDS
            while worker.is_alive() and time.monotonic() < end:
                worker.join(POLL_SECONDS)
        except KeyboardInterrupt:
            raise InterruptedRunError(self._message(), is_abandoned=True) from None
        if worker.is_alive():
            raise InterruptedRunError(self._message(), is_abandoned=True)
        return worker.result()

    def _message(self) -> str:
        return f"stopped {self.stage} ({self.reason}); the same command goes on from there"


class _Worker(threading.Thread, Generic[Result]):
    """A thread that keeps what its job returned or raised."""

    def __init__(self, job: Callable[[], Result]) -> None:
        super().__init__(name="flexopt demo", daemon=True)
        self._job = job
        self._returned: list[Result] = []
        self._raised: BaseException | None = None

    def run(self) -> None:
        try:
            self._returned.append(self._job())
        except BaseException as error:
            self._raised = error

    def result(self) -> Result:
        if self._raised is not None:
            raise self._raised
        return self._returned[0]
