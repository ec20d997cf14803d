"""Pickling of objects that are opened again, also of subclasses whose `__init__` takes other arguments."""

from __future__ import annotations

from typing import Any, TypeVar

Class = TypeVar("Class")


def reopen(
    kind: type[Class], base: type, arguments: tuple[Any, ...], options: dict[str, Any]
) -> Class:
    """Make an object of a class by the `__init__` of a class of this package.

    What a subclass adds are attributes, which pickle sets afterwards.
    """
    made = kind.__new__(kind)
    base.__init__(made, *arguments, **options)  # type: ignore[misc]
    return made


def attributes(instance: object, *own: str) -> dict[str, Any] | None:
    """Return what a subclass has added; `own` are the names of what the class has itself."""
    return {name: value for name, value in vars(instance).items() if name not in own} or None
