"""Ctrl-C and SIGTERM that are answered within a second, whatever the job is doing."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Generic, TypeVar

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


class StopRequest:
    """Turns the first Ctrl-C or SIGTERM into a request that the job obeys at its next safe point.

    A second one ends the wait for it at once.
    """

    def __init__(self) -> None:
        self.stage = "at the beginning"
        """Where the job is, for the message."""
        self._requested_at: float | None = None
        self._is_urgent = False
        self._previous: dict[signal.Signals, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether the job should stop."""
        return self._requested_at is not None

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
            A signal came.
        """
        if threading.current_thread() is not threading.main_thread():
            return job()
        worker = _Worker(job)
        worker.start()
        while worker.is_alive():
            worker.join(POLL_SECONDS)
            if self._requested_at is not None and worker.is_alive():
                waited = time.monotonic() - self._requested_at
                if self._is_urgent or waited > GRACE_SECONDS:
                    raise InterruptedRunError(self._message(), is_abandoned=True)
        return worker.result()

    def _message(self) -> str:
        return f"stopped {self.stage}; the same command goes on from there"

    def __enter__(self) -> StopRequest:
        """Listen, where signals can be listened to: in the main thread."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._request)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Restore the signal handlers."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self._requested_at is not None:
            self._is_urgent = True
        else:
            self._requested_at = time.monotonic()


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
