"""Quantities with units (of openmm.unit and pint) as the plain numbers that are stored.

NumPy makes an array of either by dropping the unit, so nothing may reach it before this.
"""

from __future__ import annotations

import re
import sys
from typing import Any

import numpy as np

from ._overflow import overflow, refuse_infinite
from .errors import InvalidArgumentError, InvalidTypeError

UNITS = {
    "frames": "angstrom",
    "positions": "angstrom",
    "box": "angstrom",
    "cell": "angstrom",
    "velocities": "angstrom/ps",
    "forces": "kJ/mol/nm",
    "time": "ps",
    "energy": "kJ/mol",
    "potential": "kJ/mol",
    "kinetic": "kJ/mol",
}
"""The unit of each field whose dimension its name tells."""

BOXES = ("box", "cell")
"""Fields that may also be three lengths and three angles."""

LONG_NAMES = {"kJ": "kilojoule", "mol": "mole", "nm": "nanometer", "ps": "picosecond"}

PLAIN = "a plain numpy.ndarray; subclasses such as masked arrays would lose what they add"


def without_units(value: Any, name: str, in_blocks: bool = False) -> Any:
    """Return a quantity, or a list of them, as plain numbers in the unit of the field `name`.

    Arrays of xarray, h5py and Zarr become NumPy's, unless they are read `in_blocks`.
    Anything else is returned as it is.

    Raises
    ------
    InvalidArgumentError
        It has another dimension than the field, or nothing tells the field's unit; or it is an array
        that notes another unit.
    InvalidTypeError
        It is a quantity of an array that is more than its items.
    """
    labelled, classes = _classes(LABELLED), _classes(QUANTITIES)
    if not (labelled or classes):
        return value
    if isinstance(value, labelled) and not in_blocks:
        check_notes(value, name)
        inner = unlabelled(value)
        return without_units(inner, name) if has_units(inner) else np.asarray(inner)
    lists, kinds = _items(value)
    if any(issubclass(kind, labelled) for kind in kinds):
        for one in lists:
            for item in one:
                if isinstance(item, labelled):
                    check_notes(item, name)
    if not any(issubclass(kind, classes) for kind in kinds):
        return value
    try:
        return _plain(value, name, classes)
    except RecursionError as error:
        raise InvalidArgumentError(
            f"{name} can't be made an array: its lists are nested too deeply"
        ) from error


def has_units(value: Any) -> bool:
    """Whether it is a quantity, or a list with one anywhere in it."""
    return _has_units(unlabelled(value), _classes(QUANTITIES))


def unlabelled(value: Any) -> Any:
    """Return what is in a `DataArray` of xarray, which may be a quantity; anything else as it is."""
    is_labelled = isinstance(value, _classes(XARRAY))
    return value.data if is_labelled else value


def refuse_subclasses(value: Any, name: str) -> None:
    """Refuse arrays that are more than their items, also in lists.

    Raises
    ------
    InvalidTypeError
        There is one.
    """
    for kind in _items(value)[1]:
        if issubclass(kind, np.ndarray) and kind not in (np.ndarray, np.memmap):
            raise InvalidTypeError(f"{name} is of type {kind.__name__}: expected {PLAIN}")


def measured(value: Any) -> tuple[Any, str] | None:
    """Return the number of a quantity, which is None of a unit, and the name of its unit; else None."""
    number: Any = None
    unit: Any = value
    if isinstance(value, _classes(QUANTITIES)):
        number, unit = _bare(unit), unit.units if hasattr(value, "magnitude") else unit.unit
    elif not isinstance(value, _classes(UNIT_CLASSES)):
        return None
    return number, unit.get_name() if hasattr(unit, "get_name") else format(unit, "D")


QUANTITIES = (("openmm.unit", "Quantity"), ("pint", "Quantity"))
UNIT_CLASSES = (("openmm.unit", "Unit"), ("pint", "Unit"))
XARRAY = (("xarray", "DataArray"),)
LABELLED = (*XARRAY, ("h5py", "Dataset"), ("zarr", "Array"))
"""Arrays whose unit, if any, is a note beside their numbers."""
PACKED = {"scale_factor": 1, "add_offset": 0, "_FillValue": np.nan, "missing_value": np.nan}
"""Notes by which numbers are others than the stored ones, and with what they are not."""
NANS = ("NaN", "AAAAAAAA+H8=")
"""How Zarr's notes have it, the second by xarray."""


def _classes(named: tuple[tuple[str, str], ...]) -> tuple[type, ...]:
    """Return those of the classes that there are; whoever has an object has imported its module."""
    modules = ((sys.modules.get(module), name) for module, name in named)
    return tuple(getattr(module, name) for module, name in modules if hasattr(module, name))


def _items(value: Any) -> tuple[list[Any], set[type]]:
    """Return a list and all lists in it, each once (what is not a list, in one); and the types in them."""
    if type(value) not in (list, tuple):
        return [(value,)], {type(value)}
    found, seen = [value], {id(value)}
    kinds: set[type] = set()
    for one in found:  # Grows: no recursion, for lists may be nested deeply, or hold themselves.
        here = set(map(type, one))  # Most lists are of numbers, and may be long.
        kinds |= here
        if list in here or tuple in here:
            inner = {id(item): item for item in one if type(item) in (list, tuple)}
            found += [inner[key] for key in inner if key not in seen]
            seen.update(inner)
    return found, kinds


def _has_units(value: Any, classes: tuple[type, ...]) -> bool:
    return any(issubclass(kind, classes) for kind in _items(value)[1])


def check_notes(array: Any, name: str) -> None:
    """Refuse an array whose notes say that its numbers are others, or in another unit than the field's.

    Raises
    ------
    InvalidArgumentError
        It names the note.
    """
    for note, plain in PACKED.items():
        value = array.attrs.get(note, plain)
        if not _is_plain(value, plain):
            raise InvalidArgumentError(
                f"{name} with {note}={value!r} in its attributes is not valid: expected numbers as they "
                "are, such as those that xarray makes of them"
            )
    noted = array.attrs.get("units", array.attrs.get("unit"))
    unit = UNITS.get(name)
    if noted is None or unit is None:
        return
    text = noted.decode(errors="replace") if isinstance(noted, bytes) else str(noted)
    cell = f"{unit}, degree" if name in BOXES and array.shape[-1:] == (6,) else unit
    if _spelled(text) not in (_spelled(unit), _spelled(cell)):
        raise InvalidArgumentError(
            f"{name} in {text!r}, as its attributes say, is not valid: expected numbers in {unit}"
        )


def _is_plain(value: Any, plain: float) -> bool:
    number = np.nan if isinstance(value, str) and value in NANS else value
    try:
        return np.array_equal(np.atleast_1d(number).astype(float), [plain], equal_nan=True)
    except (TypeError, ValueError):
        return False


def _spelled(unit: str) -> str:
    """Return one spelling of a unit, of those that files have: 'Å/ps', 'Angstrom ps-1'."""
    unit = re.sub(r"[ .*]\s*(\w+)(?:\^|\*\*)?-1", r"/\1", unit.strip())
    parts = (
        part.strip().translate({0xC5: "angstrom", 0x212B: "angstrom"}) for part in unit.split("/")
    )
    return "/".join(LONG_NAMES.get(part, part.lower().removesuffix("s")) for part in parts)


def _plain(value: Any, name: str, classes: tuple[type, ...]) -> Any:
    if isinstance(value, classes):
        number = _converted(value, name)
        if name in BOXES and np.shape(number)[-1:] == (6,):
            raise _no_cell(name, "six numbers of one unit, but three of them are angles")
        return number
    if name in BOXES and _is_cell(value, classes):
        return np.array(
            [_converted(item, name) for item in value[:3]]
            + [_degrees(item, name, classes) for item in value[3:]]
        )
    if type(value) in (list, tuple) and all(_has_units(item, classes) for item in value):
        numbers = [_plain(item, name, classes) for item in value]
        try:
            return np.array(numbers)
        except ValueError as error:
            raise InvalidArgumentError(f"{name} can't be made an array: {error}") from error
    raise InvalidArgumentError(
        f"{name} is not valid: it has numbers with and without units; expected one or the other"
    )


def _is_cell(value: Any, classes: tuple[type, ...]) -> bool:
    """Whether it is a list of six numbers, with units at least where they are lengths."""
    return (
        type(value) in (list, tuple)
        and len(value) == 6
        and all(isinstance(item, classes) and np.ndim(_bare(item)) == 0 for item in value[:3])
        and all(np.ndim(_bare(item)) == 0 for item in value[3:] if isinstance(item, classes))
    )


def _degrees(angle: Any, name: str, classes: tuple[type, ...]) -> float:
    try:
        if not _has_units(angle, classes):
            return float(angle)
        is_pint = hasattr(angle, "magnitude")
        if angle.unitless if is_pint else angle.unit.is_dimensionless():
            return float(_bare(angle))  # To pint it would be radians.
        return float(angle.to("degree").magnitude if is_pint else _of_openmm(angle, "degree"))
    except (AttributeError, TypeError, ValueError) as error:
        raise _no_cell(name, f"{angle} where an angle should be") from error


def _bare(quantity: Any) -> Any:
    return quantity.magnitude if hasattr(quantity, "magnitude") else quantity._value


def _no_cell(name: str, found: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"{name} is not valid: it has {found}; expected plain numbers in angstrom and degrees, "
        "a list of three lengths and three angles with their units, lengths only, or vectors"
    )


def _converted(quantity: Any, name: str) -> Any:
    # A dimensionless quantity is a plain number, whatever it is for.
    unit = UNITS.get(name, "dimensionless")
    is_pint = hasattr(quantity, "magnitude")
    refuse_subclasses(_bare(quantity), name)
    try:
        with overflow() as noticed:
            number = quantity.to(unit).magnitude if is_pint else _of_openmm(quantity, unit)
    except (TypeError, ValueError) as error:
        known = ", ".join(f"{field} ({of})" for field, of in UNITS.items())
        expected = f"a unit that converts to {unit}" if name in UNITS else "plain numbers, without"
        raise InvalidArgumentError(
            f"{name} in {quantity.units if is_pint else quantity.unit} is not valid: expected "
            f"{expected}; these fields have a unit: {known}"
        ) from error
    if noticed:
        given = quantity.units if is_pint else quantity.unit
        refuse_infinite(f"{name} in {given}", name, number)
    return float(number) if np.ndim(number) == 0 else np.asarray(number)


def _of_openmm(quantity: Any, unit: str) -> Any:
    units = sys.modules["openmm.unit"]
    numerator, *denominators = (
        getattr(units, LONG_NAMES.get(part, part)) for part in unit.split("/")
    )
    for denominator in denominators:
        numerator = numerator / denominator
    if not quantity.unit.is_compatible(numerator):
        raise TypeError("the dimensions differ")
    # The factor at once: converting a list of vectors item by item takes seconds.
    factor = quantity.unit.conversion_factor_to(numerator)
    return np.asarray(quantity.value_in_unit(quantity.unit)) * factor
