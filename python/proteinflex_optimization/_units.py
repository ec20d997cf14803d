"""Quantities with units (of openmm.unit and pint) as the plain numbers that are stored.

NumPy makes an array of either by dropping the unit, so nothing may reach it before this.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from .errors import InvalidArgumentError

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


def without_units(value: Any, name: str) -> Any:
    """Return a quantity, or a list of them, as plain numbers in the unit of the field `name`.

    Anything else is returned as it is.

    Raises
    ------
    InvalidArgumentError
        It has another dimension than the field, or nothing tells the field's unit.
    """
    classes = _quantity_classes()
    if not classes or not _has_units(value, classes):
        return value
    return _plain(value, name, classes)


def measured(value: Any) -> tuple[Any, str] | None:
    """Return the number of a quantity, which is None of a unit, and the name of its unit; else None."""
    number: Any = None
    unit: Any = value
    if isinstance(value, _quantity_classes()):
        number, unit = _bare(unit), unit.units if hasattr(value, "magnitude") else unit.unit
    elif not isinstance(value, _quantity_classes("Unit")):
        return None
    return number, unit.get_name() if hasattr(unit, "get_name") else format(unit, "D")


def _quantity_classes(name: str = "Quantity") -> tuple[type, ...]:
    """Return the classes of quantities; whoever has one has imported its module."""
    modules = (sys.modules.get(module) for module in ("openmm.unit", "pint"))
    return tuple(getattr(module, name) for module in modules if hasattr(module, name))


def _has_units(value: Any, classes: tuple[type, ...]) -> bool:
    if type(value) in (list, tuple):
        # Most lists are of numbers, and may be long: looked at by their types, once each.
        examples = {type(item): item for item in value}
        return any(_has_units(item, classes) for item in examples.values())
    return isinstance(value, classes)


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
        return np.array([_plain(item, name, classes) for item in value])
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
    try:
        number = quantity.to(unit).magnitude if is_pint else _of_openmm(quantity, unit)
    except (TypeError, ValueError) as error:
        known = ", ".join(f"{field} ({of})" for field, of in UNITS.items())
        expected = f"a unit that converts to {unit}" if name in UNITS else "plain numbers, without"
        raise InvalidArgumentError(
            f"{name} in {quantity.units if is_pint else quantity.unit} is not valid: expected "
            f"{expected}; these fields have a unit: {known}"
        ) from error
    return float(number) if np.ndim(number) == 0 else np.asarray(number)


def _of_openmm(quantity: Any, unit: str) -> Any:
    units = sys.modules["openmm.unit"]
    long_names = {"kJ": "kilojoule", "mol": "mole", "nm": "nanometer", "ps": "picosecond"}
    numerator, *denominators = (
        getattr(units, long_names.get(part, part)) for part in unit.split("/")
    )
    for denominator in denominators:
        numerator = numerator / denominator
    if not quantity.unit.is_compatible(numerator):
        raise TypeError("the dimensions differ")
    # The factor at once: converting a list of vectors item by item takes seconds.
    factor = quantity.unit.conversion_factor_to(numerator)
    return np.asarray(quantity.value_in_unit(quantity.unit)) * factor
