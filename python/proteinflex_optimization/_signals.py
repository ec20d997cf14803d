"""Signals as arguments name them, and which of them the process handles."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable
from pathlib import Path

from .errors import InvalidArgumentError, InvalidTypeError

_UNCATCHABLE = {signal.SIGKILL, signal.SIGSTOP}
# Of the instruction at which they happen, which is done again when the handler returns.
_SYNCHRONOUS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL}


def signal_numbers(signals: Iterable[str | int]) -> tuple[signal.Signals, ...]:
    """Return the signals that an argument names, each once."""
    if isinstance(signals, str) or not isinstance(signals, Iterable):
        raise InvalidTypeError(
            f"signals={signals!r}: expected several names or numbers, such as "
            "('SIGTERM', 'SIGUSR1')"
        )
    numbers = []
    for given in signals:
        try:
            if isinstance(given, str):
                name = given.upper()
                number = signal.Signals[name if name.startswith("SIG") else f"SIG{name}"]
            else:
                number = signal.Signals(given)
        except (KeyError, ValueError, TypeError):
            raise InvalidArgumentError(
                f"signals: {given!r} is not a signal: expected names or numbers, such as 'SIGTERM'"
            ) from None
        if number in _UNCATCHABLE or number in _SYNCHRONOUS:
            raise InvalidArgumentError(f"signals: {number.name} can't be a request to stop")
        numbers.append(number)
    return tuple(dict.fromkeys(numbers))


def caught_signals() -> int:
    """Return a bit for each signal that the process handles: Python knows none that are set in C."""
    try:
        status = Path("/proc/self/status").read_text(errors="replace")
    except OSError:
        return 0
    found = re.search("^SigCgt:\\s*([0-9a-f]+)$", status, re.MULTILINE)
    return int(found[1], 16) if found else 0
