"""Structured dtypes as text, and back: names, titles, formats and offsets, so that padding is kept too."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from .errors import InvalidTypeError


def describe(dtype: np.dtype[Any]) -> str:
    """Text from which `parse` makes the same dtype; it begins with ``{`` or ``[``.

    Raises
    ------
    InvalidTypeError
        A field has a title that is not text, or the items are of a class of the program's own.
    """
    return json.dumps(_described(dtype), separators=(",", ":"))


def parse(description: str) -> np.dtype[Any]:
    """Make the dtype that `describe` described.

    Raises
    ------
    ValueError
        The text is not such a description.
    """
    try:
        dtype: np.dtype[Any] = np.dtype(_parsed(json.loads(description)))
    except SyntaxError as error:  # NumPy parses some texts as Python.
        raise ValueError(str(error)) from error
    if dtype.hasobject:
        raise ValueError("a stored dtype never holds objects")
    return dtype


def _described(dtype: np.dtype[Any]) -> Any:
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return [_described(base), list(shape)]
    if dtype.names is None or dtype.fields is None:
        return dtype.str
    fields = [dtype.fields[name] for name in dtype.names]
    titles = [field[2] if len(field) > 2 else None for field in fields]
    for name, title in zip(dtype.names, titles, strict=True):
        if not isinstance(title, (str, type(None))):
            raise InvalidTypeError(
                f"the field {name!r} of {dtype} has the title {title!r}: expected a text or none"
            )
    return {
        "names": list(dtype.names),
        "formats": [_described(field[0]) for field in fields],
        "offsets": [field[1] for field in fields],
        "itemsize": dtype.itemsize,
        **({"titles": titles} if any(title is not None for title in titles) else {}),
        **_item_type(dtype),
    }


def _item_type(dtype: np.dtype[Any]) -> dict[str, str]:
    """Tell what items are, where they are more than their fields: a record, or a number with named parts."""
    if dtype.type is np.void:
        return {}
    if dtype.type is np.record:
        return {"type": "record"}
    if np.dtype(dtype.str).type is dtype.type:
        return {"type": dtype.str}
    raise InvalidTypeError(
        f"{dtype} is a dtype of the class {dtype.type.__qualname__}: expected one of NumPy's own classes"
    )


def _parsed(description: Any) -> Any:
    if isinstance(description, list):
        base, shape = description
        return (np.dtype(_parsed(base)), tuple(shape))
    if isinstance(description, dict):
        kind = description.pop("type", None)
        formats = [_parsed(item) for item in description["formats"]]
        fields: Any = {**description, "formats": formats}
        if kind is None:
            return fields
        return (np.record if kind == "record" else str(kind), np.dtype(fields))
    return str(description)
