"""Notices boxes that MDAnalysis's readers turn: of vectors they keep lengths and angles.

The readers of a dozen formats make these by one function of MDAnalysis, and keep nothing else. So this
module lets that function, in all modules that have imported it, note what it was given; what it returns
is the same.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from MDAnalysis.lib import mdamath

from proteinflex_optimization._cells import is_turned

_noticed = threading.local()


@contextmanager
def turned_boxes() -> Iterator[list[Any]]:
    """Yield a list, which is empty as long as this thread makes no lengths and angles of a turned box."""
    before = getattr(_noticed, "boxes", None)
    _noticed.boxes = []
    try:
        yield _noticed.boxes
    finally:
        _noticed.boxes = before


def _watch(lengths_and_angles: Any) -> Any:
    @functools.wraps(lengths_and_angles)
    def watched(x: Any, y: Any, z: Any) -> Any:
        noticed = getattr(_noticed, "boxes", None)
        if noticed is not None and is_turned([x, y, z]):
            noticed.append((x, y, z))
        return lengths_and_angles(x, y, z)

    return watched


_original = mdamath.triclinic_box
_watched = _watch(_original)
for _name, _module in list(sys.modules.items()):
    if _name.startswith("MDAnalysis.") and getattr(_module, "triclinic_box", None) is _original:
        _module.triclinic_box = _watched  # type: ignore[attr-defined]
