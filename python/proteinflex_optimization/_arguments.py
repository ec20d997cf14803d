"""Arguments of another type than they should have: an error that names them, before anything is done."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from numbers import Real
from typing import Any

import numpy as np

from ._native import expand_home
from .errors import InvalidArgumentError, InvalidTypeError

__all__ = [
    "callback",
    "flag",
    "instance",
    "iterable",
    "path_text",
    "real",
    "renamed",
    "text",
    "whole",
]


def path_text(name: str, value: Any) -> str:
    """Return the text of a path, where a leading ``~`` is a home directory; bytes are one, as for `open`.

    Raises
    ------
    InvalidArgumentError
        It is empty, or a URL, or no file can have it. One of another type is an `InvalidTypeError`.
    """
    try:
        text = os.fsdecode(value)
    except TypeError:
        raise _wrong(name, value, "a str or path") from None
    try:
        is_path = bool(text) and b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        is_path = False
    if not is_path:
        raise InvalidArgumentError(
            f"{name}={text!r} is not valid: expected a path that a file can have"
        )
    return expand_home(name, text)


def text(name: str, value: Any) -> str:
    """Return what is a str."""
    if not isinstance(value, str):
        raise _wrong(name, value, "a str")
    return value


def flag(name: str, value: Any) -> bool:
    """Return what is True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise _wrong(name, value, "True or False")
    return bool(value)


def whole(name: str, value: Any, least: int = 1) -> int:
    """Return a whole number that is not below the least one."""
    expected = f"a whole number, {least} or more"
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise _wrong(name, value, expected)
    if value < least:
        raise InvalidArgumentError(f"{name}={value!r} is not valid: expected {expected}")
    return int(value)


def real(name: str, value: Any, is_valid: Callable[[float], bool], expected: str) -> float:
    """Return a number, which is no bool, and of which something more is true."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise _wrong(name, value, expected)
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not is_valid(found):
        raise InvalidArgumentError(f"{name}={value!r} is not valid: expected {expected}")
    return found


def callback(name: str, value: Any) -> None:
    """Refuse what can't be called; None stands for no function."""
    if value is not None and not callable(value):
        raise _wrong(name, value, "a function, or None")


def instance(name: str, value: Any, kind: type[Any] | tuple[type[Any], ...], expected: str) -> None:
    """Refuse what is not an instance of a class."""
    if not isinstance(value, kind):
        raise _wrong(name, value, expected)


def iterable(name: str, value: Any, expected: str) -> Iterable[Any]:
    """Return what can be iterated over."""
    if not isinstance(value, Iterable):
        raise _wrong(name, value, expected)
    return value


@contextmanager
def renamed(name: str, own: str) -> Iterator[None]:
    """Say by its own name which argument is wrong, where the function that is called has another one."""
    try:
        yield
    except (InvalidArgumentError, InvalidTypeError) as error:
        if not str(error).startswith((f"{name}=", f"{name} ")):
            raise
        raise type(error)(f"{own}{str(error).removeprefix(name)}") from error


def _wrong(name: str, value: Any, expected: str) -> InvalidTypeError:
    return InvalidTypeError(
        f"{name}={value!r} is of type {type(value).__name__}: expected {expected}"
    )
