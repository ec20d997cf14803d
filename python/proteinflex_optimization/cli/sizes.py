"""Sizes as people write them, which always have a unit."""

from __future__ import annotations

import math
import re

from proteinflex_optimization.errors import InvalidArgumentError

UNITS = {
    "B": 1,
    **{f"{prefix}B": 1000**power for power, prefix in enumerate("kMGT", 1)},
    **{f"{prefix}iB": 1024**power for power, prefix in enumerate("KMGT", 1)},
}
_BY_LOWER_CASE = {unit.lower(): factor for unit, factor in UNITS.items()}


def parse_size(text: str, argument: str, whole: int | None = None) -> int:
    """Return the bytes of a size such as ``50GB``, ``4 GiB`` or ``80%``.

    Parameters
    ----------
    text : str
        A number and its unit: B, kB, MB, GB, TB (powers of 1000), KiB, MiB, GiB, TiB (powers of
        1024) or %. Upper and lower case are the same.
    argument : str
        What the text was given for, for the message.
    whole : int, optional
        The bytes that 100 % are; without, ``%`` is refused.

    Raises
    ------
    InvalidArgumentError
        It is not a size, or has no unit: 5 might be bytes as well as GB.
    """
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([A-Za-z]+|%)\s*", text)
    unit = match.group(2).lower() if match else ""
    factor = whole / 100 if unit == "%" and whole is not None else _BY_LOWER_CASE.get(unit)
    size = float(match.group(1)) * factor if match and factor is not None else math.inf
    if not math.isfinite(size):
        share = "" if whole is None else ", or a part of the limit such as 80%"
        raise InvalidArgumentError(
            f"{argument}={text!r} is not valid: expected a number with its unit, such as 500MB, 50GB "
            f"(powers of 1000) or 4GiB (powers of 1024){share}"
        )
    return int(size)
