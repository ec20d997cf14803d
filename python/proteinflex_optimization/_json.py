"""Plain values as JSON."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["held_by_json"]


def held_by_json(items: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return what JSON holds as it is, but for tuples, which become lists, and the names of the rest."""
    kept, left_out = {}, []
    for name, value in items.items():
        try:
            again = json.loads(json.dumps(value, allow_nan=False))
            is_kept = bool(again == (list(value) if isinstance(value, tuple) else value))
        except (TypeError, ValueError):
            is_kept = False
        if is_kept:
            kept[name] = value
        else:
            left_out.append(name)
    return kept, left_out
