"""What every reporter tells OpenMM, in the form that its version knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from proteinflex_optimization.errors import InvalidArgumentError, InvalidTypeError

CONTENTS = ("positions", "velocities", "forces", "energy")
FIRST_WITH_DICT = (8, 2)
"""The first version of OpenMM that takes a dict; earlier ones take a tuple."""


def next_report(
    steps: int, include: Sequence[str] = (), periodic: bool | None = None
) -> dict[str, Any] | tuple[Any, ...]:
    """Describe the next report for `describeNextReport`.

    Parameters
    ----------
    steps : int
        Steps until then, 1 or more.
    include : sequence of str
        What the report needs, of `CONTENTS`.
    periodic : bool or None
        Whether molecules are moved into the periodic box; None: if the system is periodic.
    """
    from openmm import version

    if tuple(int(part) for part in version.short_version.split(".")[:2]) >= FIRST_WITH_DICT:
        return {"steps": steps, "periodic": periodic, "include": list(include)}
    return (steps, *(content in include for content in CONTENTS), periodic)


def steps_until(interval: int, step: int) -> int:
    """Return the steps from `step` to the next multiple of an interval, 1 or more."""
    return interval - step % interval


def checked_steps(name: str, value: Any) -> int:
    """Return a number of steps that was passed as an argument.

    Raises
    ------
    InvalidArgumentError
        It is no whole number, or less than 1.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise InvalidTypeError(
            f"{name}={value!r} is of type {type(value).__name__}: "
            "expected a whole number of steps, 1 or more"
        )
    if value < 1:
        raise InvalidArgumentError(
            f"{name}={value!r} is not valid: expected a whole number of steps, 1 or more"
        )
    return int(value)
