"""What an object holds, by name, without what it only notes of that."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import struct
import types
from collections.abc import Mapping
from typing import Any

__all__ = ["attributes", "defined", "fields_of", "state_of"]

SPARSE_CACHES = ("_has_sorted_indices", "_has_canonical_format")
"""Attributes by which a sparse array of SciPy's remembers what was asked of it."""


def attributes(value: Any) -> dict[str, Any]:
    """Return what an object holds beside what its class is derived from, but caches of its own."""
    held = _without_caches(type(value), getattr(value, "__dict__", {}))
    for name, slot in _slots(type(value)).items():
        with contextlib.suppress(AttributeError):  # Not assigned yet.
            held[name] = slot.__get__(value)
    if isinstance(value, collections.defaultdict):
        held["default_factory"] = value.default_factory
    if hasattr(type(value), "n_sequence_fields"):  # As of `os.stat`: a tuple that has more.
        held |= value.__reduce__()[1][1]
    return held


def fields_of(value: Any) -> dict[str, Any] | None:
    """Return the attributes of an object that has no others; None where that can't be known."""
    fields = {}
    if dataclasses.is_dataclass(value):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    kind, slots = type(value), _slots(type(value))
    if _size_of_attributes(kind, len(slots)) < kind.__basicsize__:
        return None
    return fields | attributes(value) if fields or slots or hasattr(value, "__dict__") else None


def state_of(value: Any) -> Any:
    """Return what an object is stored by, where its class says that itself; else None."""
    kind = type(value)
    own = defined(kind, "__getstate__")
    # Since Python 3.11, every class has one. That of dataclasses knows of no attributes but fields.
    is_inherited = own in (None, vars(object).get("__getstate__"))
    if is_inherited or getattr(own, "__module__", None) == "dataclasses":
        return None
    with contextlib.suppress(Exception):  # It may refuse to be stored at all.
        state = value.__getstate__()
        return _without_caches(kind, state) if isinstance(state, dict) else state
    return None


def _without_caches(kind: type, held: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what follows from the other attributes, and is there once it was asked for."""
    left_out = SPARSE_CACHES if kind.__module__.partition(".")[0] == "scipy" else ()
    return {
        name: item
        for name, item in held.items()
        if not (name in left_out or isinstance(defined(kind, name), functools.cached_property))
    }


def defined(kind: type, name: Any) -> Any:
    """Return what a class or its bases have under a name, as it is there; None without."""
    return next((vars(base)[name] for base in kind.__mro__ if name in vars(base)), None)


def _slots(kind: type) -> dict[str, Any]:
    """Return what a class written in Python keeps in slots, by name."""
    bases = [base for base in reversed(kind.__mro__) if "__slots__" in vars(base)]
    found = [item for base in bases for item in vars(base).items()]
    return {name: slot for name, slot in found if isinstance(slot, types.MemberDescriptorType)}


def _size_of_attributes(kind: type, slots: int) -> int:
    """Return the bytes of an object that has nothing but attributes: compiled classes have more.

    The same as what `copy` and `pickle` go by for objects that have no way of their own.
    """
    # A dict or a list of weak references that Python keeps before the object has no offset above 0.
    pointers = slots + (kind.__dictoffset__ > 0) + (kind.__weakrefoffset__ > 0)
    return object.__basicsize__ + pointers * struct.calcsize("P")
