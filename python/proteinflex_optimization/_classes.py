"""Values of a program's own classes: enum members, dataclasses and named tuples.

A file names the class of such a value, and a file may name anything. So nothing is imported for it:
a class is used where the program has registered it, or has imported its module by itself and defines
there what was stored; and of the class no code is run. Otherwise the value comes back as a
`TypedRecord`.
"""

from __future__ import annotations

import copyreg
import dataclasses
import enum
import sys
import types
from collections.abc import Mapping
from typing import Any

import numpy as np

from ._log import get_logger
from .errors import InvalidTypeError

KINDS = ("Enum", "dataclass", "namedtuple")

_registered: dict[tuple[str, str], type] = {}
_warned: set[str] = set()
_logger = get_logger(__name__)


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


def register_types(*classes: type) -> None:
    """Have stored values of these classes restored as such.

    Without, a value comes back as its class only where the program has imported the class's module
    already, and else as a `TypedRecord`: what is read never imports anything.

    Parameters
    ----------
    *classes : type
        Enums, dataclasses and named tuples.

    Raises
    ------
    InvalidTypeError
        A class is none of these, or is a built-in class as well.

    Examples
    --------
    >>> import enum
    >>> class Phase(enum.Enum):
    ...     FOLD = 1
    >>> register_types(Phase)
    """
    for one in classes:
        if not isinstance(one, type) or _kind(one) is None:
            raise InvalidTypeError(f"classes={one!r}: expected enums, dataclasses and named tuples")
        if _kind(one) == "dataclass":
            check_plain_base(one, f"classes={one!r}")
    _registered.update({(module_of(one), one.__qualname__): one for one in classes})


def module_of(value: Any) -> str:
    """Return the name of the module of a class or function, the same in every process of a program."""
    return same_everywhere(value.__module__)


def same_everywhere(module: str) -> str:
    """Return the name that a program's script has where it runs, also in workers.

    In a process that multiprocessing spawned, it has another one, and is found by either.
    """
    return "__main__" if module == "__mp_main__" else module


def reduce(value: Any, place: str) -> tuple[str, list[Any]] | None:
    """Return the kind of a value, and its class's module and name and its fields; else None.

    Raises
    ------
    InvalidTypeError
        Its class could not be found again.
    """
    if type(value) is TypedRecord:
        stored: list[Any] = [value.fields]
        if value.kind == "Enum":
            stored = [value.fields.get("name"), value.fields.get("value")]
        elif value.kind == "dataclass":
            stored = [value.fields, value.attributes]
        return value.kind, [value.module, value.name, *stored]
    kind = type(value)
    if isinstance(value, type):
        return None
    if isinstance(value, enum.Enum):
        # Their classes may have a `name` and a `value` of their own. A combination of flags is no member.
        name = value._name_ if value._name_ in kind._member_map_ else None
        return "Enum", [*_class_name(kind, place), name, value._value_ if name is None else None]
    if dataclasses.is_dataclass(value):
        check_plain_base(kind, place)
        fields = {}
        for field in dataclasses.fields(value):
            if not hasattr(value, field.name):
                raise InvalidTypeError(
                    f"{place} is a dataclass {kind.__qualname__} without a value for {field.name}: "
                    "expected one for each of its fields"
                )
            fields[field.name] = getattr(value, field.name)
        # What is in slots of its classes is stored too; `copyreg` knows how they are named.
        slots = copyreg._slotnames(kind)  # type: ignore[attr-defined]
        own = {name: getattr(value, name) for name in slots if hasattr(value, name)}
        beside = {k: v for k, v in (attributes(value) | own).items() if k not in fields}
        return "dataclass", [*_class_name(kind, place), fields, beside]
    if isinstance(value, tuple) and hasattr(kind, "_fields"):
        if len(kind._fields) != len(value):
            raise InvalidTypeError(
                f"{place} is a named tuple {kind.__qualname__} of {len(value)} items: expected one for "
                f"each of its {len(kind._fields)} fields"
            )
        fields = dict(zip(kind._fields, value, strict=True))
        return "namedtuple", [*_class_name(kind, place), fields]
    return None


def attributes(value: Any) -> dict[str, Any]:
    """Return what a value has beside its content."""
    if type(value) is TypedRecord:
        return value.attributes
    found: dict[str, Any] = getattr(value, "__dict__", {})
    if "__orig_class__" in found:
        # What `typing` notes of `Box[int](…)`, for no reader but itself.
        found = {name: own for name, own in found.items() if name != "__orig_class__"}
    return found


def restore(kind: str, content: list[Any]) -> Any:
    """Make the value that `reduce` reduced, without running any code of its class."""
    if kind == "Enum":
        module, name, member, value = content
        more: list[Any] = []
        if not isinstance(member, str | None):
            raise TypeError("expected the name of a member")
        fields = {"value": value} if member is None else {"name": member}
    else:
        module, name, fields, *more = content
    attributes: Any = more[0] if more else {}
    is_named = isinstance(module, str) and isinstance(name, str)
    if not (is_named and isinstance(fields, dict) and isinstance(attributes, dict)):
        raise TypeError("expected the names of a module and of a class, and fields")
    if not all(isinstance(field, str) for field in (*fields, *attributes)):
        raise TypeError("expected names of fields")
    module = same_everywhere(module)
    found = _find_class(module, name)
    if found is not None and _kind(found) == kind:
        made = _member(found, fields) if kind == "Enum" else _made(found, kind, fields, attributes)
        if made is not None:
            return made
    return TypedRecord(kind, module, name, fields, attributes)


def set_attributes(value: Any, added: dict[str, Any]) -> None:
    """Give a value what it has beside its content."""
    if type(value) is TypedRecord:
        value.attributes.update(added)
        return
    own = _own_dict(value)
    if isinstance(value, enum.Enum) or own is None:
        raise TypeError(f"a {type(value).__name__} has no attributes")
    own.update(added)


def check_plain_base(kind: type, place: str) -> None:
    """Refuse a dataclass that is a dict, a list, an int or an exception as well."""
    try:
        object.__new__(kind)
    except TypeError as error:
        raise InvalidTypeError(
            f"{place} is of the dataclass {kind.__qualname__}, which has content beside its fields: "
            f"expected one that derives from no built-in class ({error})"
        ) from error


def _class_name(kind: type, place: str) -> tuple[str, str]:
    """Return module and name of a class, if it can be found by them."""
    name = (module_of(kind), kind.__qualname__)
    if _find_class(*name) is not kind:
        raise InvalidTypeError(
            f"{place} is of class {'.'.join(name)}, which can't be found under this name: expected a "
            "class at the top level of a module, or one given to register_types"
        )
    return name


def _find_class(module: str, name: str) -> type | None:
    """Return the class of this name, if it is here already and defined there."""
    registered = _registered.get((module, name))
    if registered is not None:
        return registered
    found: Any = sys.modules.get(module)
    if not isinstance(found, types.ModuleType):
        return None
    # Looked up in their dicts alone: `getattr` would call a module's `__getattr__`, which may import,
    # or load a lazy module.
    within = types.ModuleType.__getattribute__(found, "__dict__")
    for part in name.split("."):
        found = within.get(part)
        if not isinstance(found, type):
            return None
        within = _namespace(found)
    own = within.get("__module__")
    is_defined_there = isinstance(own, str) and same_everywhere(own) == module
    return found if is_defined_there and found.__qualname__ == name else None


def _namespace(found: type) -> Mapping[str, Any]:
    """Return what is defined in a class itself, also where its metaclass says otherwise."""
    namespace: Mapping[str, Any] = type.__dict__["__dict__"].__get__(found)
    return namespace


def _bases(found: type) -> tuple[type, ...]:
    bases: tuple[type, ...] = type.__dict__["__mro__"].__get__(found)
    return bases


def _kind(found: type) -> str | None:
    """Return what a class is, if it is one whose values are stored by their fields."""
    bases = _bases(found)
    if enum.Enum in bases:
        return "Enum"
    if any("__dataclass_fields__" in _namespace(base) for base in bases):
        return "dataclass"
    if tuple in bases and isinstance(_inherited(found, "_fields"), tuple):
        return "namedtuple"
    return None


def _inherited(found: type, name: str) -> Any:
    """Return what the first base of a class has under a name, as it is there."""
    for base in _bases(found):
        if name in _namespace(base):
            return _namespace(base)[name]
    return None


def _member(found: type, fields: dict[str, Any]) -> Any:
    if set(fields) == {"name"}:
        return _namespace(found).get("_member_map_", {}).get(fields["name"])
    # A combination of flags is made by the library's own code, unless the class has replaced it.
    own = [_namespace(base).get("_missing_") for base in (enum.Flag, enum.IntFlag)]
    is_plain = (
        type(found) is enum.EnumMeta
        and enum.Flag in _bases(found)
        and _namespace(found).get("_member_type_") in (object, int)
        and _inherited(found, "_missing_") in own
    )
    if set(fields) != {"value"} or not is_plain or type(fields["value"]) is not int:
        return None
    try:
        return found(fields["value"])
    except ValueError:
        return None


def _made(found: type, kind: str, fields: dict[str, Any], attributes: dict[str, Any]) -> Any:
    """Make a whole dataclass or named tuple, or tell why its class, as it is now, allows none."""
    defaults, stored = _defaults(found, kind), attributes | fields
    unknown = [name for name in fields if name not in defaults]
    missing = [name for name in defaults if name not in stored]
    lacking = [name for name in missing if defaults[name] is dataclasses.MISSING]
    if unknown:
        return _warn_of_change(found, "no field", unknown)
    if lacking:
        return _warn_of_change(found, "a new field, without a plain default,", lacking)
    stored |= {name: defaults[name] for name in missing}
    if kind == "namedtuple":
        return tuple.__new__(found, [stored[name] for name in defaults])
    try:
        value: Any = object.__new__(found)
    except TypeError:
        return None
    own = _own_dict(value)
    for name, item in stored.items():
        slot = _inherited(found, name)
        if isinstance(slot, types.MemberDescriptorType):
            slot.__set__(value, item)
        elif own is not None:
            # Not by `setattr`: a property of this name would run, and a frozen class would refuse.
            own[name] = item
        else:
            return _warn_of_change(found, "no attribute", [name])
    return value


def _defaults(found: type, kind: str) -> dict[str, Any]:
    """Return the fields that a class has now, with their defaults; `MISSING` of those without."""
    if kind == "namedtuple":
        given = _inherited(found, "_field_defaults") or {}
        return {name: given.get(name, dataclasses.MISSING) for name in _inherited(found, "_fields")}
    # Asked of a plain object: the class may have a metaclass that acts.
    known = _inherited(found, "__dataclass_fields__")
    fields = dataclasses.fields(types.SimpleNamespace(__dataclass_fields__=known))  # type: ignore[arg-type]
    return {field.name: _default(field) for field in fields}


def _default(field: dataclasses.Field[Any]) -> Any:
    for plain in (list, dict, set):
        if field.default_factory is plain:
            return plain()
    # Any other factory is the program's code.
    return field.default


def _warn_of_change(found: type, what: str, names: list[str]) -> None:
    name = f"{_namespace(found)['__module__']}.{found.__qualname__}"
    text = f"{name} has changed since it was stored: it has {what} {', '.join(names)}"
    if text not in _warned:
        _warned.add(text)
        _logger.warning("%s. What was stored is a TypedRecord", text)


def _own_dict(value: Any) -> dict[str, Any] | None:
    """Return the attributes of a value, unless code of its class would be asked for them."""
    if not isinstance(_inherited(type(value), "__dict__"), types.GetSetDescriptorType):
        return None
    own: dict[str, Any] = object.__getattribute__(value, "__dict__")
    return own


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
