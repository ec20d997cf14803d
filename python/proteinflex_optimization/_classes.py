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
from collections.abc import Iterable, Mapping
from typing import Any

from ._log import get_logger
from ._typed_record import TypedRecord
from .errors import InvalidTypeError

_registered: dict[tuple[str, str], type] = {}
_warned: set[str] = set()
_logger = get_logger(__name__)


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
        Its class could not be found again, or it could not be made again.
    """
    if isinstance(value, type):
        return None
    if type(value) is TypedRecord:
        kind, names = value.kind, (value.module, value.name)
        fields, beside = value.fields, value.attributes
    else:
        found = _kind(type(value))
        if found is None:
            return None
        kind, names = found, _class_name(type(value), place)
        fields, beside = _PARTS[kind](value, place)
    # The fields of a record may have been changed since it was made.
    wrong = _wrong_names(kind, fields, beside)
    if wrong is None and type(value) is not TypedRecord:
        wrong = _difference(value, kind, fields, beside)
    if wrong is not None:
        raise InvalidTypeError(
            f"{place} is of the {kind} {names[1]}, and could not be loaded again: it has {wrong}"
        )
    if kind == "Enum":
        return kind, [*names, fields.get("name"), fields.get("value")]
    # What a named tuple has beside its fields is stored as that of other containers.
    return kind, [*names, fields, beside] if kind == "dataclass" else [*names, fields]


def _parts_of_enum(value: Any, place: str) -> tuple[dict[str, Any], dict[str, Any]]:
    # Their classes may have a `name` and a `value` of their own. A combination of flags is no member.
    is_member = value._name_ in type(value)._member_map_
    return {"name": value._name_} if is_member else {"value": value._value_}, {}


def _parts_of_dataclass(value: Any, place: str) -> tuple[dict[str, Any], dict[str, Any]]:
    kind = type(value)
    check_plain_base(kind, place)
    fields = {}
    for name in _defaults(kind, "dataclass"):
        if not hasattr(value, name):
            raise InvalidTypeError(
                f"{place} is a dataclass {kind.__qualname__} without a value for {name}: "
                "expected one for each of its fields"
            )
        fields[name] = getattr(value, name)
    # What is in slots of its classes is stored too; `copyreg` knows how they are named.
    slots = copyreg._slotnames(kind)  # type: ignore[attr-defined]
    own = {name: getattr(value, name) for name in slots if hasattr(value, name)}
    return fields, {k: v for k, v in (attributes(value) | own).items() if k not in fields}


def _parts_of_namedtuple(value: Any, place: str) -> tuple[dict[str, Any], dict[str, Any]]:
    names, items = _inherited(type(value), "_fields"), list(tuple.__iter__(value))
    if not len(set(names)) == len(names) == len(items):
        raise InvalidTypeError(
            f"{place} is a named tuple {type(value).__qualname__} of {len(items)} items: expected one "
            f"for each of its {len(set(names))} fields"
        )
    return dict(zip(names, items, strict=True)), attributes(value)


_PARTS = {
    "Enum": _parts_of_enum,
    "dataclass": _parts_of_dataclass,
    "namedtuple": _parts_of_namedtuple,
}


def _wrong_names(kind: str, fields: dict[str, Any], attributes: dict[str, Any]) -> str | None:
    """Tell what is wrong with the names of fields, for they could not be read again; else None."""
    for name in (*fields, *attributes):
        if type(name) is not str:
            return f"a field or attribute that is named {name!r}: expected names of type str"
    if kind != "Enum":
        return None
    is_named = type(fields.get("name", "")) is str
    if list(fields) in (["name"], ["value"]) and is_named and not attributes:
        return None
    return f"the fields {fields!r}: expected the name of a member, or the value of a combination of flags"


def _difference(
    value: Any, kind: str, fields: dict[str, Any], attributes: dict[str, Any]
) -> str | None:
    """Tell why a value of these fields would be read as another one; else None."""
    found = type(value)
    try:
        made = _member(found, fields) if kind == "Enum" else _made(found, kind, fields, attributes)
    except _DiffersError as error:
        return str(error)
    is_same = made is value if kind == "Enum" else type(made) is found
    return None if is_same else "more in it than its fields tell"


def attributes(value: Any) -> dict[str, Any]:
    """Return what a value has beside its content."""
    if type(value) is TypedRecord:
        return value.attributes
    found = _own_dict(value) or {}
    if "__orig_class__" in found:
        # What `typing` notes of `Box[int](…)`, for no reader but itself.
        found = {name: own for name, own in found.items() if name != "__orig_class__"}
    return found


def restore(kind: str, content: list[Any]) -> Any:
    """Make the value that `reduce` reduced, without running any code of its class."""
    more: list[Any] = []
    if kind == "Enum":
        module, name, member, value = content
        fields = {"value": value} if member is None else {"name": member}
    else:
        module, name, fields, *more = content
    attributes: Any = more[0] if more else {}
    is_named = isinstance(module, str) and isinstance(name, str)
    if not (is_named and isinstance(fields, dict) and isinstance(attributes, dict)):
        raise TypeError("expected the names of a module and of a class, and fields")
    wrong = _wrong_names(kind, fields, attributes)
    if wrong is not None:
        raise TypeError(wrong)
    module = same_everywhere(module)
    found = _find_class(module, name)
    if found is not None and _kind(found) == kind:
        try:
            return (
                _member(found, fields) if kind == "Enum" else _made(found, kind, fields, attributes)
            )
        except _DiffersError as error:
            _warn_of_change(found, error)
    return TypedRecord(kind, module, name, fields, attributes)


def with_attributes(value: Any, added: dict[str, Any]) -> Any:
    """Give a value what it has beside its content."""
    found = type(value)
    if found is not TypedRecord and _kind(found) == "namedtuple" and _own_dict(value) is None:
        _warn_of_change(found, _DiffersError("no attribute", map(str, added)))
        fields = dict(zip(_inherited(found, "_fields"), value, strict=True))
        value = TypedRecord("namedtuple", module_of(found), found.__qualname__, fields)
    own = value.attributes if type(value) is TypedRecord else _own_dict(value)
    if own is None or isinstance(value, enum.Enum):
        raise TypeError(f"a {found.__name__} has no attributes")
    own.update(added)
    return value


class _DiffersError(Exception):
    """A class, as it is now, does not allow a value that was stored."""

    def __init__(self, what: str, names: Iterable[str]) -> None:
        super().__init__(f"{what} {', '.join(names)}")


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
    if type(name[0]) is not str or _find_class(*name) is not kind:
        raise InvalidTypeError(
            f"{place} is of class {'.'.join(map(str, name))}, which can't be found under this name: "
            "expected a class at the top level of a module, or one given to register_types"
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
    if "name" in fields:
        members = _namespace(found).get("_member_map_", {})
        if fields["name"] not in members:
            raise _DiffersError("no member", [fields["name"]])
        return members[fields["name"]]
    # A combination of flags is made by the library's own code, unless the class has replaced it.
    own = [_namespace(base).get("_missing_") for base in (enum.Flag, enum.IntFlag)]
    is_plain = (
        type(found) is enum.EnumMeta
        and enum.Flag in _bases(found)
        and _namespace(found).get("_member_type_") in (object, int)
        and _inherited(found, "_missing_") in own
    )
    value = fields["value"]
    if not is_plain or type(value) is not int:
        raise _DiffersError(
            "flags of a metaclass or a _missing_ of its own, such as", [repr(value)]
        )
    try:
        return found(value)
    except ValueError as error:
        raise _DiffersError("no flags", [repr(value)]) from error


def _made(found: type, kind: str, fields: dict[str, Any], attributes: dict[str, Any]) -> Any:
    """Make a whole dataclass or named tuple.

    Raises
    ------
    _DiffersError
        Its class, as it is now, allows none.
    """
    defaults, stored = _defaults(found, kind), attributes | fields
    unknown = [name for name in fields if name not in defaults]
    missing = [name for name in defaults if name not in stored]
    lacking = [name for name in missing if defaults[name] is dataclasses.MISSING]
    if unknown:
        raise _DiffersError("no field", unknown)
    if lacking:
        raise _DiffersError("a new field, without a plain default,", lacking)
    stored |= {name: defaults[name] for name in missing}
    if kind == "namedtuple":
        return tuple.__new__(found, [stored[name] for name in defaults])
    try:
        value: Any = object.__new__(found)
    except TypeError as error:
        raise _DiffersError("a base that is no plain class:", [str(error)]) from error
    own = _own_dict(value)
    for name, item in stored.items():
        slot = _inherited(found, name)
        if isinstance(slot, types.MemberDescriptorType):
            slot.__set__(value, item)
        elif own is not None:
            # Not by `setattr`: a property of this name would run, and a frozen class would refuse.
            own[name] = item
        else:
            raise _DiffersError("no attribute", [name])
    return value


def _defaults(found: type, kind: str) -> dict[str, Any]:
    """Return the fields that a class has now, with their defaults; `MISSING` of those without."""
    if kind == "namedtuple":
        given = _inherited(found, "_field_defaults")
        given = given if isinstance(given, dict) else {}
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


def _warn_of_change(found: type, difference: _DiffersError) -> None:
    name = f"{_namespace(found)['__module__']}.{found.__qualname__}"
    text = f"{name} has changed since it was stored: it has {difference}"
    if text not in _warned:
        _warned.add(text)
        _logger.warning("%s. What was stored is a TypedRecord", text)


def _own_dict(value: Any) -> dict[str, Any] | None:
    """Return the attributes of a value, unless code of its class would be asked for them."""
    if not isinstance(_inherited(type(value), "__dict__"), types.GetSetDescriptorType):
        return None
    own: dict[str, Any] = object.__getattribute__(value, "__dict__")
    return own
