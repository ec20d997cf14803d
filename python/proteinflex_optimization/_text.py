"""Text that can be shown anywhere: on a terminal, in a log line, as a metric's label; sizes, ages."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

__all__ = [
    "PROBLEMS",
    "age",
    "counted",
    "encodable",
    "id_of_job",
    "one_line",
    "printable",
    "shown",
    "size",
]

PROBLEMS = {
    "damaged": "damaged",
    "newer": "of a newer version",
    "unreadable": "can't be read",
}
"""Why a checkpoint or an entry can't be loaded, as it is shown."""


def printable(text: str) -> str:
    """Return text with escapes for all that is neither a visible character nor a space.

    Names, ids, messages and paths are written by others. In them may be what moves a terminal's
    cursor, ends a line, or changes the direction of what follows.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def encodable(text: str, encoding: str) -> str:
    """Return text with the escapes with which it is written in an encoding, so that these are measured."""
    return text.encode(encoding, "backslashreplace").decode(encoding)


def shown(value: Any, show: Callable[[Any], str] = str) -> str:
    """Return a value as text; of one that has none, such as an int of 5000 digits, the reason."""
    try:
        return show(value)
    except (ValueError, OverflowError) as error:
        return f"… ({error})"


def one_line(text: str, separator: str = " ") -> str:
    """Return the lines of a text beside each other, printable."""
    return printable(separator.join(line.strip() for line in text.splitlines() if line.strip()))


def id_of_job(batch: Mapping[str, Any]) -> str:
    """Return the id that means one job: ``1200_17`` in an array, whose last job has the array's own id.

    PBS's has the index itself: ``1200[17].server``.
    """
    job_id = batch["job_id"] or ""
    if batch["array_job_id"] is None or batch["array_index"] is None or "[" in job_id:
        return job_id
    return f"{batch['array_job_id']}_{batch['array_index']}"


def counted(count: int, singular: str, plural: str | None = None) -> str:
    """Return how many there are of something, as ``1 file`` and ``2 files``."""
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"


def size(count: float) -> str:
    """Format bytes by powers of 1000: ``704 B``, ``1.2 kB``, ``53.0 GB``."""
    if count < 1000:
        return f"{count:.0f} B"
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if round(count, 1) < 1000:
            return f"{count:.1f} {unit}"
    return f"{count / 1000:.1f} TB"


def age(since: datetime | float) -> str:
    """Format the time since a point, or seconds since 1970: ``3 min``, ``2 d``."""
    since = since.timestamp() if isinstance(since, datetime) else since
    seconds = max(0.0, time.time() - since)
    for limit, unit, text in ((60, 1, "s"), (3600, 60, "min"), (86400, 3600, "h")):
        if round(seconds / unit) * unit < limit:
            return f"{seconds / unit:.0f} {text}"
    return f"{seconds / 86400:.0f} d"
