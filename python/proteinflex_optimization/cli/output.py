"""How the commands write: tables, counts and JSON, with no text that can steer a terminal."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from proteinflex_optimization._text import age, counted, one_line, printable, shown, size

__all__ = [
    "age",
    "counted",
    "one_line",
    "plain",
    "point_in_time",
    "print_json",
    "print_table",
    "printable",
    "shown",
    "size",
    "warn",
]


MAX_BITS = 2000
"""Of an integer that is written as one: Python writes these, whatever its limit of digits."""


def print_json(result: Any, indent: int | None = 2) -> None:
    """Print a result for scripts, as JSON that every reader takes."""
    print(json.dumps(plain(result), indent=indent, allow_nan=False), flush=True)


def plain(value: Any) -> Any:
    """Return a value as what JSON has.

    NaN and infinity become null, durations seconds, points in time ISO 8601, integers of very many
    digits and other classes text.
    """
    if isinstance(value, Mapping):
        return _object(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return value.isoformat()
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int) and value.bit_length() <= MAX_BITS:
        return value
    if isinstance(value, timedelta):
        return value.total_seconds()
    return _of_numpy(value)


def _object(value: Mapping[Any, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, item in value.items():
        name = key if isinstance(key, str) else shown(key)
        while not isinstance(key, str) and (name in value or name in found):
            name += f" ({type(key).__name__})"  # As of 1 beside "1".
        found[name] = plain(item)
    return found


def _of_numpy(value: Any) -> Any:
    """Return a number of NumPy as one of Python, and anything else as text."""
    import numpy as np  # Most commands print none.

    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, np.timedelta64):
        duration = value.item()
        # Months have no length, and nanoseconds no class of Python's.
        return plain(duration) if isinstance(duration, timedelta) else shown(value)
    if isinstance(value, (np.integer, np.floating)):
        return plain(int(value) if isinstance(value, np.integer) else float(value))
    return shown(value)


def point_in_time(seconds: float | None) -> datetime | None:
    """Return seconds since 1970 as what is printed as ISO 8601."""
    return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)


def print_table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]], right: str = "") -> None:
    """Print rows in columns, the last one as it comes.

    Parameters
    ----------
    header : tuple of str
        The titles.
    rows : iterable of tuple of str
        As many texts each.
    right : str
        A ``>`` in the place of each column that is aligned to the right.
    """
    lines = [tuple(map(printable, line)) for line in (header, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    widths[-1] = 0
    marks = right.ljust(len(header), "<")
    for line in lines:
        cells = zip(line, marks, widths, strict=True)
        print("  ".join(f"{text:{mark}{width}}" for text, mark, width in cells).rstrip())


def warn(text: str) -> None:
    """Print a line to standard error."""
    print(f"flexopt: {one_line(text)}", file=sys.stderr)
