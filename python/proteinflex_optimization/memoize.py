"""`DataHandler.memoize`: what a function returns, kept in the cache by its arguments."""

from __future__ import annotations

import functools
import inspect
import operator
import re
import sys
import types
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, SupportsIndex, TypeVar, cast

import numpy as np

from ._arguments import iterable, real, text
from ._classes import module_of
from ._fingerprint import (
    Counted,
    Paths,
    enclosed,
    fingerprint,
    of_enclosed,
    of_function,
    signature,
)
from .errors import InvalidArgumentError, InvalidTypeError
from .types import EntryKind

if TYPE_CHECKING:
    from .data_handler import DataHandler

__all__ = ["Memoized", "checked_options", "memoized"]

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

VERSION = b"3"
"""Of how keys are made: another one makes another key of the same call."""
RESULT = "result"
"""The name in the entry of what a function returned that is not a trajectory."""
STORED = re.compile(rf"^(structure_data\['{RESULT}'\]|trajectory_data)")
"""What errors of storing call what a function returned."""


class Memoized(Counted, Generic[Parameters, Result]):
    """A function whose results are kept in a cache; made by `DataHandler.memoize`."""

    def __init__(
        self,
        function: types.FunctionType,
        handler: DataHandler,
        kind: EntryKind,
        ignore: frozenset[str],
        paths: Paths,
        timeout: float | None = None,
        source: bytes | None = None,
    ) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self._qualname = function.__qualname__
        self._name = f"{module_of(function)}.{self._qualname}"
        self._handler = handler
        self._kind: EntryKind = kind
        self._ignore = ignore
        self._paths: Paths = paths
        self._timeout = timeout
        # Now: an edit of its file changes nothing of the function that runs.
        self._source = of_function(function) if source is None else source

    def __call__(self, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        """Return what is stored for these arguments, else call the function and store it."""
        has_returned = False

        def compute() -> dict[str, Any]:
            nonlocal has_returned
            found = self._function(*args, **kwargs)
            has_returned = True
            if self._kind == "structure":
                return {RESULT: found}
            return cast("dict[str, Any]", found)

        data_id = self._data_id(args, kwargs)
        try:
            stored = self._handler.get_or_compute(
                data_id,
                compute,
                kind=self._kind,
                metadata={"function": self._name},
                timeout=self._timeout,
            )
        except InvalidArgumentError as error:
            if has_returned:
                why = STORED.sub(RESULT, str(error))
                error.args = (f"the result of {self._name} can't be stored: {why}",)
            raise
        _make_read_only(stored)
        return cast("Result", stored[RESULT] if self._kind == "structure" else stored)

    def key_for(self, *args: Parameters.args, **kwargs: Parameters.kwargs) -> str:
        """Return the key under which the result for these arguments is or would be stored."""
        return self._handler.key_for(self._data_id(args, kwargs), self._kind)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """Bind it to an instance, as any function of a class."""
        return self if instance is None else BoundMemoized(self, instance)

    def __repr__(self) -> str:
        """Show which function it is of."""
        return f"<Memoized {self._name}>"

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        """Pickle by name, or with the function, which picklers such as joblib's take by value."""
        name, function = self._qualname, self._function
        if _found(self.__module__, name) is self:
            if module_of(self) != "__main__" or operator.index(protocol) < 4:
                return name  # As protocols below 4 lack names of more than one part.
            function = self._named
        options = (
            self._handler,
            self._kind,
            self._ignore,
            self._paths,
            self._timeout,
            self._source,
        )
        return _unpickled, (function, name, *options)

    def _counts_by(self) -> Any:
        # Not by where its results are kept.
        return self._kind, self._function

    @property
    def _named(self) -> Any:
        """The function under a name that leads to it: pickle finds it there, and its own leads here."""
        own = self._function
        named = types.FunctionType(
            own.__code__, own.__globals__, own.__name__, own.__defaults__, own.__closure__
        )
        functools.update_wrapper(named, own)
        named.__dict__ = dict(own.__dict__)  # It wraps what that wraps.
        named.__kwdefaults__ = own.__kwdefaults__
        named.__module__, named.__qualname__ = module_of(own), f"{self._qualname}._named"
        # One for all threads: pickle asks whether it is what it finds.
        return self.__dict__.setdefault("_copy", named)

    @functools.cached_property
    def _signature(self) -> inspect.Signature:
        # When it is called: of a function that uses itself, defaults are unpickled last.
        return signature(self._function)

    def _data_id(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        given = {
            name: fingerprint(value, f"argument {name!r} of {self._name}", self._paths)
            for name, value in bound.arguments.items()
            if name not in self._ignore
        }
        used = of_enclosed(self._function, self._ignore, self._paths)
        call = (VERSION, self._source, used, given)
        return f"{self._name}-{fingerprint(call, self._name, self._paths).hex()}"


class BoundMemoized:
    """A memoized method of an object; what `types.MethodType` is of a function, and has its key."""

    def __init__(self, memoized: Memoized[Any, Any], instance: Any) -> None:
        functools.update_wrapper(self, memoized, updated=())
        self.__self__ = instance
        self.__func__ = memoized
        # Tells the signature, without the first parameter.
        self.__wrapped__ = types.MethodType(memoized, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it with its object."""
        return self.__func__(self.__self__, *args, **kwargs)

    def key_for(self, *args: Any, **kwargs: Any) -> str:
        """Return the key under which the result for these arguments is or would be stored."""
        return self.__func__.key_for(self.__self__, *args, **kwargs)

    def __eq__(self, other: object) -> bool:
        """Compare as methods do: each access makes a new one."""
        return isinstance(other, BoundMemoized) and self.__wrapped__ == other.__wrapped__

    def __hash__(self) -> int:
        """Return that of the method."""
        return hash(self.__wrapped__)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as a method of its object."""
        return getattr, (self.__self__, self.__func__._function.__name__)

    def __repr__(self) -> str:
        """Show which method it is, and of which object."""
        return f"<{self.__func__!r} of {self.__self__!r}>"


def _make_read_only(value: Any) -> None:
    """Refuse changes of all arrays in it: whether they are views of a file depends on how it was stored."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
        elif isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, (list, tuple)):
            waiting += value


def _found(module: str, name: str) -> Any:
    """Return what has a qualified name in a module, if anything."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def _unpickled(function: types.FunctionType, name: str, *options: Any) -> Memoized[Any, Any]:
    """Return the memoized function that has this name, if the function is its own; else make one."""
    found = _found(function.__module__, name)
    if isinstance(found, Memoized) and found._named is function:
        return found
    function.__qualname__ = name
    return Memoized(function, *options)


def checked_options(
    kind: EntryKind, ignore: Iterable[str], paths: Paths, timeout: float | None
) -> tuple[EntryKind, frozenset[str], Paths, float | None]:
    """Check what is known before there is a function."""
    if kind not in ("structure", "trajectory"):
        raise InvalidArgumentError(f"kind={kind!r} is not valid: 'structure' or 'trajectory'")
    if paths not in ("content", "mtime"):
        raise InvalidArgumentError(f"paths={paths!r} is not valid: 'content' or 'mtime'")
    names = (
        [ignore] if isinstance(ignore, str) else iterable("ignore", ignore, "names of parameters")
    )
    ignored = frozenset(text("ignore", name) for name in names)
    if timeout is not None:
        expected = "a number of seconds, 0 or more, or None"
        timeout = real("timeout", timeout, lambda seconds: seconds >= 0, expected)
    return kind, ignored, paths, timeout


def memoized(
    function: Any,
    handler: DataHandler,
    kind: EntryKind,
    ignored: frozenset[str],
    paths: Paths,
    timeout: float | None,
) -> Memoized[Any, Any]:
    """Check what was asked for, and make the function that is cached."""
    if not inspect.isfunction(function):
        raise InvalidTypeError(
            f"function={function!r}: expected a function that was made by def, below any "
            "@staticmethod, @classmethod or @property"
        )
    if function.__name__ == "<lambda>":
        raise InvalidArgumentError(
            "function=<lambda> is not valid: its results could not be told from those of another "
            "one; give it a name with def"
        )
    returns = "a generator" if inspect.isgeneratorfunction(function) else None
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        returns = "what is awaited"
    if returns:
        raise InvalidArgumentError(
            f"function={function.__qualname__} is not valid: it returns {returns}, which is used up "
            "once; return a list, an array or a dict"
        )
    names = [*signature(function).parameters, *enclosed(function)]
    for name in ignored.difference(names):
        raise InvalidArgumentError(
            f"ignore={name!r} is not valid: {function.__qualname__} has "
            f"{', '.join(names) or 'no parameters'}"
        )
    return Memoized(function, handler, kind, ignored, paths, timeout)
