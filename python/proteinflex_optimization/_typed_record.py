"""`TypedRecord`, which stands for a stored value whose class is not here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

KINDS = ("Enum", "dataclass", "namedtuple")


class TypedRecord:
    """A stored value of a class that is not here: its class's name, and its fields.

    It compares equal to another with the same names and fields, and is stored again as what it was.

    Attributes
    ----------
    kind : {'Enum', 'dataclass', 'namedtuple'}
        What the class is.
    module, name : str
        Where it is defined, and its qualified name there.
    fields : dict
        Names and values, in their order; of an enum member ``name``, or ``value`` for a combination of
        flags.
    attributes : dict
        What a dataclass or named tuple has beside its fields.
    """

    __slots__ = ("attributes", "fields", "kind", "module", "name")

    def __init__(
        self,
        kind: str,
        module: str,
        name: str,
        fields: Mapping[str, Any],
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        if kind not in KINDS:
            raise ValueError(f"kind={kind!r}: expected one of {', '.join(KINDS)}")
        self.kind = kind
        self.module = str(module)
        self.name = str(name)
        self.fields = dict(fields)
        self.attributes = dict(attributes or {})

    def __getitem__(self, field: str) -> Any:
        return self.fields[field]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TypedRecord):
            return NotImplemented
        return _parts(self)[:3] == _parts(other)[:3] and _equal(_parts(self)[3:], _parts(other)[3:])

    def __hash__(self) -> int:
        # Fields may be arrays and dicts, which have none.
        return hash((self.kind, self.module, self.name))

    def __reduce__(self) -> tuple[Any, ...]:
        return TypedRecord, _parts(self)

    def __repr__(self) -> str:
        name = f"{self.module}.{self.name}"
        # A file may name anything, also what a terminal takes for a command.
        shown = name if name.isprintable() else repr(name)
        fields = ", ".join(f"{_plain(key)}={value!r}" for key, value in self.fields.items())
        return f"<{self.kind} {shown}: {fields}>" if fields else f"<{self.kind} {shown}>"


def _parts(record: TypedRecord) -> tuple[Any, ...]:
    return record.kind, record.module, record.name, record.fields, record.attributes


def _plain(key: str) -> str:
    return key if key.isprintable() else repr(key)


def _equal(one: Any, other: Any) -> bool:
    """Compare values that may hold arrays."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        if type(one) is not type(other):
            return False
        return one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and type(one) is type(other):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other)
