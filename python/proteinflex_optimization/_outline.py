"""What a checkpoint holds, told from its plain values: no array is read, and nothing is restored.

The native walk that makes a state gives an `Outline` in place of each array, and calls `Outliner` in
place of `Restorer`: so a class of the user's own is named and never imported, a pickle never loaded.
"""

from __future__ import annotations

import collections
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ._states import RESTORERS
from ._text import shown
from ._typed_record import KINDS
from .errors import CorruptDataError
from .types import ValueInfo

MAX_ITEMS = 16
"""Plain values of a list that are shown."""
MAX_TEXT = 200
"""Characters of a value that are shown."""
PLAIN = (bool, int, float, complex, str, bytes, type(None))


# Compared by identity, and so hashable as items of sets, whatever it holds.
@dataclass(frozen=True, eq=False)
class Outline:
    """What is known of a value that is not restored."""

    type: str
    dtype: str | None = None
    shape: tuple[int, ...] | None = None
    bytes: int | None = None
    value: str | None = None
    children: Any = None


@dataclass(frozen=True, eq=False)
class Attributed:
    """A value, and what it has beside its content."""

    value: Any
    attributes: dict[str, Any]


def outlined(kind: str, dtype: np.dtype[Any] | None, shape: list[int] | None, size: int) -> Outline:
    """Describe an array, or a long text or long bytes that have neither dtype nor shape."""
    name = None if dtype is None else str(dtype)
    return Outline(kind, name, None if shape is None else tuple(shape), size)


class Outliner:
    """Describes values of classes; takes the place of `Restorer`.

    Parameters
    ----------
    storages : list
        The memory of tensors: pairs of outlined array and first byte.
    device, allow_pickle
        Not used.
    path : str
        The file that is read, for messages.
    """

    def __init__(self, storages: list[Any], device: Any, allow_pickle: bool, path: str) -> None:
        self._storages = storages
        self._path = path

    def restore(self, tag: str, content: Any) -> Any:
        """Describe the value that `Reducer.reduce` reduced."""
        try:
            return self._outline(tag, content)
        except (TypeError, ValueError, LookupError, AttributeError, OverflowError) as error:
            raise CorruptDataError(
                f"{self._path}: a value of kind {tag!r} can't be read ({error})"
            ) from error

    def _outline(self, tag: str, content: Any) -> Any:
        if tag == "torch.Tensor":
            dtype, shape = str(content[1]), tuple(content[2])
            # Its own bytes, also where it shares memory with others.
            return Outline("tensor", dtype, shape, math.prod(shape) * _item_size(dtype))
        if isinstance(content, Outline):
            # A long text or long bytes, which are not read.
            return replace(content, type=tag)
        if tag == "pickle":
            pickled, numbers = content
            own = pickled.bytes if isinstance(pickled, Outline) else len(pickled)
            # With the memory of its tensors.
            return Outline("pickle", bytes=own + sum(self._storages[n][0].bytes for n in numbers))
        if tag == "Enum":
            module, name, member, value = content
            return Outline(f"{module}.{name}", value=shown(value if member is None else member))
        if tag == "attributes":
            return Attributed(*content)
        if tag in KINDS:
            module, name, fields, *attributes = content
            children = {name: item for part in (fields, *attributes) for name, item in part.items()}
            return Outline(f"{module}.{name}", children=children)
        if tag in ("datetime", "time") and isinstance(content[2], list):
            # A fixed offset, of which the name may be long as well.
            offset, name = content[2][:3], content[2][3]
            content[2] = [*offset, "…" if isinstance(name, Outline) else name]
        if tag in RESTORERS:
            return RESTORERS[tag](content)
        if tag in ("torch.Size", "torch.dtype", "torch.device"):
            return Outline(tag, value=str(content))
        return Outline(tag, children=content)


def rows(value: Any) -> list[ValueInfo]:
    """List a value and what it holds, in its order."""
    return list(_rows(value, ""))


def _rows(value: Any, path: str) -> Iterator[ValueInfo]:
    kind, content = type(value).__name__, value
    if isinstance(value, Attributed):
        yield from _rows(value.value, path)
        # Of what is beside its content, such as versions of modules, the arrays alone.
        for name, item in value.attributes.items():
            yield from (row for row in _rows(item, _joined(path, name)) if row["shape"] is not None)
        return
    if isinstance(value, Outline):
        if value.children is None:
            yield _row(path, value.type, value.value, value.dtype, value.shape, value.bytes)
            return
        kind, content = value.type, value.children
    if isinstance(content, Mapping):
        for key, item in content.items():
            yield from _rows(item, _joined(path, key))
        if not content:
            yield _row(path, kind, "empty")
    elif isinstance(content, (list, tuple, collections.deque, set, frozenset)):
        yield from _listed(list(content), kind, path)
    else:
        yield _row(path, kind, _shortened(shown(content)))


def _listed(items: list[Any], kind: str, path: str) -> Iterator[ValueInfo]:
    if not all(isinstance(item, PLAIN) for item in items):
        for index, item in enumerate(items):
            yield from _rows(item, f"{path}[{index}]")
        return
    count = f"{len(items)} values: " if len(items) > MAX_ITEMS else ""
    yield _row(path, kind, count + _shortened(shown(items[:MAX_ITEMS])))


def _row(
    path: str,
    kind: str,
    value: str | None,
    dtype: str | None = None,
    shape: tuple[int, ...] | None = None,
    size: int | None = None,
) -> ValueInfo:
    return {
        "path": path,
        "type": kind,
        "dtype": dtype,
        "shape": shape,
        "bytes": size,
        "value": value,
    }


def _joined(path: str, key: Any) -> str:
    if not isinstance(key, str):
        return f"{path}[{shown(key, repr)}]"
    return f"{path}.{key}" if path else key


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}… ({len(text)} characters)"


def _item_size(dtype: str) -> int:
    """Bytes of an item of a torch dtype, by its name: ``bfloat16``, ``bits1x8``, ``bool``."""
    # The first number is the bits: complex64 is named by both of its floats, and what has less than
    # a byte takes one.
    bits = re.search(r"\d+", dtype)
    return max(int(bits[0]) // 8, 1) if bits else 1
