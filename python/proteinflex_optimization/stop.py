"""`StopRequest`: a signal or a time limit tells a job to stop, and it does so in order."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
import weakref
from collections.abc import Iterable
from datetime import datetime
from numbers import Real
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Protocol, TypeAlias

from . import _batch_system
from ._arguments import real
from ._log import get_logger
from ._signals import caught_signals, signal_numbers
from .errors import InvalidArgumentError, InvalidTypeError

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["StopRequest", "StopRequested"]

logger = get_logger()

Walltime: TypeAlias = float | datetime | Literal["auto"] | None

DEFAULT_SIGNALS = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGXCPU")
"""What ends a process that does not handle it, and is sent to ask for that: Ctrl-C; ``kill``,
``scancel``, preemption; what ``sbatch --signal`` is usually given and Grid Engine's warnings; LSF's
run limit; a limit of CPU time."""
POLL_SECONDS = 0.02
REFRESH_SECONDS = 600.0
"""How often the batch system is asked again for the end of the job."""
RECENT_SECONDS = 5.0
"""What was asked this recently is not asked again before the end is believed."""

# Counts on while the machine is suspended; Linux's `CLOCK_MONOTONIC` does not, others' does.
_STEADY_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class _Tracker(Protocol):
    def _trigger_hook(self) -> None: ...


class StopRequested(BaseException):
    """The job was asked to stop.

    Like `KeyboardInterrupt` it is no `Exception`, so that nothing on its way takes it for a failure:
    a task whose block it leaves stays unfinished, to be resumed.

    Attributes
    ----------
    reason : str
        As that of the `StopRequest`.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        """Say why."""
        return f"the job was asked to stop: {self.reason}"


class StopRequest:
    """Turns signals and the time limit of a job into a request that the job obeys at a safe point.

    Use it as a context manager: before the block nothing is noticed, and asking for it is a warning
    in the log. In the block, handlers of the signals note that one came and do
    nothing else; handlers that were there before are called too. A second Ctrl-C raises
    `KeyboardInterrupt`. At the end of the block the former handlers are back. Processes that are
    forked in the block get the former handlers, so they end as they would without this.

    Python lets the main thread alone handle signals. In other threads, as those of some notebooks,
    the time limit still works and signals do what they did before.

    Parameters
    ----------
    signals : iterable of str or int
        Names or numbers; by default SIGINT, SIGTERM, SIGUSR1, SIGUSR2 and SIGXCPU. A SIGINT that is
        ignored, as in background jobs of a shell script, stays ignored, and a signal that a library
        handles without Python stays with it.
    walltime : "auto", float, datetime.datetime or None
        When the job will be killed: ``"auto"`` is the end of this SLURM job, asked of SLURM now and
        every ten minutes, as a limit can be extended or lifted, and never outside of SLURM; a
        number is seconds from now, also those in which the machine is suspended, whatever becomes
        of its clock; None is never.
    margin : float
        Seconds before that at which the job is asked to stop: what its last checkpoint may take.

    Raises
    ------
    InvalidArgumentError
        A signal that is unknown or can't be handled, or a time that makes no sense.

    Examples
    --------
    >>> from proteinflex_optimization import StopRequest
    >>> with StopRequest(walltime=3600, margin=120) as stop:
    ...     for step in range(10):
    ...         if stop.requested:
    ...             break
    """

    def __init__(
        self,
        signals: Iterable[str | int] = DEFAULT_SIGNALS,
        walltime: Walltime = "auto",
        margin: float = 60.0,
    ) -> None:
        self._signals = signal_numbers(signals)
        self._walltime = walltime
        self._asks = False
        self._end = _end_of(walltime)
        self._margin = _seconds(margin, "margin")
        self._reason: str | None = None
        self._is_active = False
        self._process = os.getpid()
        self._previous: dict[signal.Signals, Any] = {}
        self._trackers: weakref.WeakSet[_Tracker] = weakref.WeakSet()
        # When there is something to look at, by `_now`: at once where it is asked before its block.
        self._next_look = -math.inf
        self._asked_at = -math.inf
        self._looking = threading.Lock()

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled: signals come to one process."""
        raise InvalidTypeError(
            "a StopRequest can't be pickled: it notices the signals of its own process; make one there"
        )

    @property
    def requested(self) -> bool:
        """Whether the job should stop. Costs next to nothing, and stays true once it is."""
        if self._reason is not None:
            return True
        return _now() >= self._next_look and self._look()

    @property
    def reason(self) -> str | None:
        """The name of the signal that came first, or ``"walltime"``; None while it should go on."""
        return self._reason if self.requested else None

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the job is killed, as far as that is known; None where it isn't."""
        _ = self.requested  # which asks again where that is due
        left = math.inf if self._end is None else self._end - self._clock()
        return None if left == math.inf else max(0.0, left)

    def check(self) -> None:
        """Stop here, where that was asked for.

        Raises
        ------
        StopRequested
            It was. Not an `Exception`: see there.
        """
        if self.requested:
            raise StopRequested(self._reason or "")

    def wait(self, timeout: float | None = None) -> bool:
        """Sleep until the job should stop, at most `timeout` seconds; returns whether it should."""
        end = math.inf if timeout is None else time.monotonic() + _seconds(timeout, "timeout")
        while not self.requested:
            left = end - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(left, POLL_SECONDS))
        return True

    def requeue(self) -> None:
        """Ask SLURM to run this job again (``scontrol requeue``).

        SLURM then ends what is left of it: save first. Of a job of several processes, one asks.

        Raises
        ------
        ProteinFlexError
            This is not a job of SLURM, or SLURM refuses, as for ``sbatch --no-requeue``; the message
            says why.
        """
        _batch_system.requeue()

    def __enter__(self) -> Self:
        """Listen to the signals, and find out when the job ends."""
        if self._is_active:
            raise InvalidArgumentError("this StopRequest is in use already; make another one")
        self._reason = None
        self._process = os.getpid()
        self._is_active = True
        self._asks = isinstance(self._walltime, str) and _batch_system.is_slurm_job()
        if self._asks:
            self._end = _batch_system.end_in_environment()
            if self._end is None or self._is_due():
                self._ask()
            if self._end is None:
                logger.warning(
                    "SLURM does not say when this job ends: it is asked again every %.0f s, and "
                    "until it answers nothing stops the job before its time limit",
                    REFRESH_SECONDS,
                )
        self._plan_look()
        if self._end is not None and self._is_due():
            logger.warning(
                "the job ends in %.0f s, and margin=%g s: it is asked to stop at once",
                max(0.0, self._end - self._clock()),
                self._margin,
            )
        if threading.current_thread() is threading.main_thread():
            self._listen()
        _active.append(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Restore the handlers that were there before, unless others were set meanwhile."""
        self._is_active = False
        _active[:] = [request for request in _active if request is not self]
        for number, previous in self._previous.items():
            # Blocks may end in another order than they began, as those of asyncio's tasks.
            for request in _active:
                if _is_ours(request._previous.get(number), self):
                    request._previous[number] = previous
            is_main = threading.current_thread() is threading.main_thread()
            if is_main and _is_ours(signal.getsignal(number), self):
                signal.signal(number, previous)
        # A handler that stays, as another thread can't restore it, or that one which was set
        # meanwhile goes on calling, passes on what comes.

    def __repr__(self) -> str:
        """Show whether and why it was requested, and how long is left."""
        left = self.seconds_left if self._is_active else None
        until = "" if left is None else f", {left:.0f} s left"
        return f"<StopRequest {self._reason or 'not requested'}{until}>"

    def _listen(self) -> None:
        caught = caught_signals()
        for number in self._signals:
            set_now = signal.getsignal(number)
            previous = self._former(number, set_now)
            self._previous.pop(number, None)
            if set_now is None or (not callable(set_now) and caught >> (number - 1) & 1):
                logger.warning("%s is handled outside of Python, and left alone", number.name)
            elif number != signal.SIGINT or previous != signal.SIG_IGN:
                self._previous[number] = previous
                signal.signal(number, self._handle)

    @staticmethod
    def _former(number: signal.Signals, handler: Any) -> Any:
        """Return a handler, instead of one that stayed after its block the one before it."""
        request = getattr(handler, "__self__", None)
        while isinstance(request, StopRequest) and request not in _active:
            handler = request._previous.get(number, signal.SIG_DFL)
            request = getattr(handler, "__self__", None)
        return handler

    def _handle(self, number: int, frame: FrameType | None) -> None:
        previous = self._previous.get(signal.Signals(number))
        if not self._is_active or os.getpid() != self._process:
            _pass_on(number, frame, previous)
            return
        is_first = self._reason is None
        if is_first:
            self._reason = signal.Signals(number).name
            for tracker in list(self._trackers):
                tracker._trigger_hook()
        is_ctrl_c = number == signal.SIGINT
        if callable(previous) and (not is_ctrl_c or previous is not signal.default_int_handler):
            previous(number, frame)
        elif is_ctrl_c and not is_first:
            raise KeyboardInterrupt

    def _notify(self, tracker: _Tracker) -> None:
        """Make the hook of a tracker due when a signal comes, and now where one came before."""
        self._trackers.add(tracker)
        if self.requested:
            tracker._trigger_hook()

    def _look(self) -> bool:
        """Compare the clock with the end of the job, and ask again for it where that is due."""
        if not self._looking.acquire(blocking=False):
            return self._reason is not None
        try:
            if self._next_look == -math.inf:
                self._next_look = math.inf
                logger.warning(
                    "a StopRequest is asked before its block begins, and notices neither signals nor "
                    "the time limit: use it as `with StopRequest() as stop:`"
                )
                return False
            if self._asks and _now() - self._asked_at > RECENT_SECONDS:
                self._ask()
            if self._is_due():
                self._next_look = math.inf
                if self._reason is None:
                    self._reason = "walltime"
            else:
                self._plan_look()
        finally:
            self._looking.release()
        return self._reason is not None

    def _clock(self) -> float:
        """Return the time by the clock of `_end`: a time of the day may be set, seconds pass."""
        return _now() if isinstance(self._walltime, Real) else time.time()

    def _is_due(self) -> bool:
        return self._end is not None and self._end - self._margin <= self._clock()

    def _ask(self) -> None:
        end = _batch_system.end_time()
        self._asked_at = _now()
        # What can't be asked at the moment is as it was.
        if end is not None:
            self._end = end

    def _plan_look(self) -> None:
        # Not only at the end: the limit may be changed until then, and the wall clock be set.
        left = math.inf if self._end is None else self._end - self._margin - self._clock()
        is_watched = self._asks or self._end is not None
        self._next_look = _now() + min(left, REFRESH_SECONDS) if is_watched else math.inf

    def _after_fork(self) -> None:
        """Give a forked child the handlers that its parent had before."""
        self._looking = threading.Lock()
        for number, previous in self._previous.items():
            if _is_ours(signal.getsignal(number), self):
                signal.signal(number, previous)


_active: list[StopRequest] = []
"""Those in whose blocks this process is, the latest last."""


def _after_fork() -> None:
    # The latest first: its former handler may be an earlier one's.
    for request in reversed(_active):
        request._after_fork()


os.register_at_fork(after_in_child=_after_fork)


def _is_ours(handler: object, request: StopRequest) -> bool:
    return handler == request._handle


def _pass_on(number: int, frame: FrameType | None, previous: Any) -> None:
    """Do what a handler that was there before does."""
    if callable(previous):
        previous(number, frame)
    elif previous != signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def _end_of(walltime: Any) -> float | None:
    """Return when that is, by the clock that it is meant by."""
    if walltime is None or (isinstance(walltime, str) and walltime == "auto"):
        return None
    if isinstance(walltime, datetime):
        try:
            return walltime.timestamp()
        except (OverflowError, ValueError):
            raise InvalidArgumentError(
                f"walltime={walltime!r}: expected a time that this machine's clock can have"
            ) from None
    if isinstance(walltime, str):
        raise InvalidArgumentError(
            f"walltime={walltime!r}: expected 'auto', seconds from now, a datetime or None"
        )
    expected = "'auto', a finite number of seconds from now, 0 or more, a datetime or None"
    return _now() + _seconds(walltime, "walltime", expected)


def _now() -> float:
    return time.clock_gettime(_STEADY_CLOCK)


def _seconds(
    value: Any, name: str, expected: str = "a finite number of seconds, 0 or more"
) -> float:
    return real(name, value, lambda seconds: 0 <= seconds < math.inf, expected)
