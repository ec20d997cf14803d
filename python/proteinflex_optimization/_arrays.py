"""Structured dtypes, from the lists that JSON makes of their field descriptions."""

from __future__ import annotations

from typing import Any


def dtype_from_list(fields: list[Any]) -> list[Any]:
    """Turn nested lists into the nested tuples that `numpy.dtype` takes."""
    described: list[Any] = []
    for name, kind, *shape in fields:
        named = tuple(name) if isinstance(name, list) else name
        nested = dtype_from_list(kind) if isinstance(kind, list) else kind
        described.append((named, nested, *(tuple(lengths) for lengths in shape)))
    return described
