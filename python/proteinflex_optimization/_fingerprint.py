"""A digest of a value by what it holds, the same in every process and on every host.

Values that compare equal and are of different types (``1``, ``1.0`` and ``True``) have different
digests. What has no content that can be told is refused, for a digest of its address or of its
``repr`` would make results appear or vanish at random.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
import enum
import functools
import hashlib
import inspect
import os
import pathlib
import stat
import struct
import types
from collections.abc import Collection, Mapping
from typing import Any, Literal

import numpy as np

from . import _native
from ._states import _is_tensor
from .errors import InvalidTypeError

__all__ = ["Paths", "enclosed", "fingerprint", "of_function"]

Paths = Literal["content", "mtime"]

PIECE = 1 << 20
"""Bytes of a file or array that are read at a time."""
MAX_DEPTH = 100


def fingerprint(value: Any, place: str, paths: Paths) -> bytes:
    """Return 16 bytes that stand for a value.

    Parameters
    ----------
    value
        Plain values, containers of them, NumPy arrays, tensors, trajectories, dates, paths, enums,
        dataclasses, functions, classes, and objects of classes that are written in Python.
    place : str
        Where the value is, for messages.
    paths : {'content', 'mtime'}
        Whether a path stands for the bytes of its file, or for its name, size and time of
        modification.

    Raises
    ------
    InvalidTypeError
        Its content can't be told.
    """
    return _Fingerprint(paths).of(value, place, ())


def of_function(function: types.FunctionType, ignore: Collection[str], paths: Paths) -> bytes:
    """Return 16 bytes for what a function does: its source and what it encloses, but `ignore`.

    Its defaults are among the arguments of a call.
    """
    return _Fingerprint(paths).of_function(function, ignore)


def enclosed(function: types.FunctionType) -> dict[str, Any]:
    """Return the variables of other functions that a function uses."""
    if not function.__closure__:
        return {}
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__, strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:
            # Not assigned yet.
            continue
    return found


class _Fingerprint:
    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def of(self, value: Any, place: str, above: tuple[int, ...]) -> bytes:
        if id(value) in above or len(above) > MAX_DEPTH:
            raise InvalidTypeError(
                f"{place} contains itself, or more than {MAX_DEPTH} values in one another; "
                "pass something plainer"
            )
        return self._digest(self._parts(value, place, (*above, id(value))))

    def _digest(self, parts: list[Any]) -> bytes:
        digest = hashlib.blake2b(digest_size=16)
        for part in parts:
            # Each with its length, so that no two lists of parts make the same bytes.
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part)
        return digest.digest()

    def _parts(self, value: Any, place: str, above: tuple[int, ...]) -> list[Any]:
        kind = type(value)
        name = f"{kind.__module__}.{kind.__qualname__}".encode()
        if value is None or value is ... or value is NotImplemented:
            return [name]
        if kind is int:
            return [name, hex(value).encode()]
        if kind in (bool, float, complex, datetime.timedelta):
            return [name, repr(value).encode()]
        if kind in (datetime.date, datetime.time, datetime.datetime):
            zone, fold = getattr(value, "tzinfo", None), getattr(value, "fold", 0)
            return [name, value.isoformat().encode(), f"{fold} {zone}".encode()]
        if kind is str:
            return [name, value.encode("utf-8", "surrogatepass")]
        if kind in (bytes, bytearray):
            return [name, value]
        if isinstance(value, np.ndarray):
            # A subclass may have more, such as a unit; where a map comes from makes no difference.
            more = {} if kind in (np.ndarray, np.memmap, np.ma.MaskedArray) else _attributes(value)
            return [name, *_array(value, place), *self._pairs(more, place, above)]
        if isinstance(value, np.generic):
            return [name, *_array(np.asarray(value), place)]
        if _is_tensor(value):
            return [name, *self._tensor(value, place)]
        if isinstance(value, pathlib.PurePath):
            return [b"path", *self._path(value, place)]
        if isinstance(value, enum.Enum):
            return [name, value.name.encode() if value.name else repr(value.value).encode()]
        if isinstance(value, _native.Trajectory):
            return [name, value.content_id.encode(), self.of(value.metadata, place, above)]
        if isinstance(value, type):
            return [b"class", f"{value.__module__}.{value.__qualname__}".encode()]
        return [name, *self._composed(value, place, above)]

    def _composed(self, value: Any, place: str, above: tuple[int, ...]) -> list[Any]:
        """Return the parts of a value that consists of others."""
        parts: list[Any]
        if isinstance(value, (list, tuple)):
            parts = [self.of(item, f"{place}[{n}]", above) for n, item in enumerate(value)]
            return [b"items", *parts, *self._pairs(_attributes(value), place, above)]
        if isinstance(value, (set, frozenset)):
            parts = sorted(self.of(item, f"an item of {place}", above) for item in value)
            return [b"set", *parts, *self._pairs(_attributes(value), place, above)]
        if isinstance(value, Mapping):
            parts = self._pairs(value, place, above)
            return [b"pairs", *parts, *self._pairs(_attributes(value), place, above)]
        if isinstance(value, (range, slice)):
            return [b"slice", repr((value.start, value.stop, value.step)).encode()]
        if isinstance(value, functools.partial):
            parts = [value.func, value.args, value.keywords]
            return [self.of(part, place, above) for part in parts]
        if isinstance(value, types.MethodType):
            parts = [value.__func__, value.__self__]
            return [self.of(part, place, above) for part in parts]
        if isinstance(value, types.FunctionType):
            return self._function(value, place, above)
        if isinstance(value, functools._lru_cache_wrapper):
            return [self.of(value.__wrapped__, place, above)]
        if isinstance(value, types.BuiltinFunctionType) and isinstance(
            value.__self__, types.ModuleType
        ):
            return [f"{value.__module__}.{value.__qualname__}".encode()]
        if isinstance(value, np.ufunc):
            return [value.__name__.encode()]
        fields = _fields(value)
        if fields is None:
            raise InvalidTypeError(
                f"{place}, of type {type(value).__qualname__}, has no content that can be told; "
                "pass plain values, arrays or paths, or name it in ignore=[…] where the "
                "result does not depend on it"
            )
        return self._pairs(fields, place, above)

    def _pairs(self, pairs: Mapping[Any, Any], place: str, above: tuple[int, ...]) -> list[Any]:
        """Return the parts of a mapping, in its order, on which a result may depend."""
        parts = []
        for key, item in pairs.items():
            parts += [self.of(key, f"a key of {place}", above)]
            parts += [self.of(item, f"{place}[{key!r}]", above)]
        return parts

    def of_function(self, function: types.FunctionType, ignore: Collection[str]) -> bytes:
        place = function.__qualname__
        parts = self._source(function)
        parts += self._variables(function, enclosed(function), ignore, place, (id(function),))
        return self._digest(parts)

    def _function(
        self, function: types.FunctionType, place: str, above: tuple[int, ...]
    ) -> list[Any]:
        # Among its attributes is what it wraps.
        variables = {**enclosed(function), **_defaults(function), **vars(function)}
        return self._source(function) + self._variables(function, variables, (), place, above)

    def _variables(
        self,
        function: types.FunctionType,
        variables: Mapping[str, Any],
        ignore: Collection[str],
        place: str,
        above: tuple[int, ...],
    ) -> list[Any]:
        parts: list[Any] = []
        for name, item in variables.items():
            is_itself = callable(item) and inspect.unwrap(item) is function
            if name not in ignore and not is_itself:
                parts += [name.encode(), self.of(item, f"{name!r}, which {place} uses,", above)]
        return parts

    def _source(self, function: types.FunctionType) -> list[Any]:
        parts: list[Any] = [f"{function.__module__}.{function.__qualname__}".encode()]
        try:
            # Of its code: of a function that wraps another, the source would be that one's.
            parts.append(inspect.getsource(function.__code__).encode())
        except (OSError, TypeError):
            # Typed at a prompt of Python.
            return parts + self._code(function.__code__)
        # Two of them may stand in the same lines.
        is_lambda = function.__name__ == "<lambda>"
        return parts + self._code(function.__code__) if is_lambda else parts

    def _code(self, code: types.CodeType) -> list[Any]:
        parts: list[Any] = [code.co_code, repr(code.co_names).encode()]
        for value in code.co_consts:
            if isinstance(value, types.CodeType):
                parts += self._code(value)
            else:
                parts.append(self.of(value, f"a constant of {code.co_name}", ()))
        return parts

    def _tensor(self, value: Any, place: str) -> list[Any]:
        if value.layout.__repr__() != "torch.strided":
            raise InvalidTypeError(
                f"{place} is a tensor of layout {value.layout}: pass a dense one"
            )
        plain = value.detach().cpu().contiguous()
        shape = repr((str(plain.dtype), tuple(plain.shape))).encode()
        # By its bytes: NumPy lacks bfloat16.
        import torch

        return [shape, memoryview(plain.reshape(-1).view(torch.uint8).numpy())]

    def _path(self, path: pathlib.PurePath, place: str) -> list[Any]:
        with open(path, "rb", opener=_open_at_once) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise InvalidTypeError(f"{place} is no file with a content: {str(path)!r}")
            if self._paths == "mtime":
                known = (str(pathlib.Path(path).absolute()), found.st_size, found.st_mtime_ns)
                return [repr(known).encode()]
            digest = hashlib.blake2b(digest_size=16)
            while piece := file.read(PIECE):
                digest.update(piece)
        # The suffix of a file may say what its bytes mean.
        return [path.name.encode("utf-8", "surrogateescape"), digest.digest()]


def _open_at_once(path: str, flags: int) -> int:
    """Open a file; a pipe without waiting for its other end."""
    return os.open(path, flags | os.O_NONBLOCK)


def _array(value: np.ndarray[Any, Any], place: str) -> list[Any]:
    if value.dtype.hasobject:
        raise InvalidTypeError(f"{place} is an array of objects: pass one of numbers or texts")
    if isinstance(value, np.ma.MaskedArray):
        mask = np.ascontiguousarray(np.ma.getmaskarray(value))
        return [*_array(np.asarray(value.filled(0)), place), mask.reshape(-1).view(np.uint8).data]
    shape = repr((value.dtype.descr, value.shape)).encode()
    plain = np.ascontiguousarray(value)
    return [shape, plain.reshape(-1).view(np.uint8).data if plain.size else b""]


def _defaults(function: types.FunctionType) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not each.empty}


def _attributes(value: Any) -> dict[str, Any]:
    """Return what an object holds beside what its class is derived from."""
    held = dict(getattr(value, "__dict__", {}))
    if isinstance(value, collections.defaultdict):
        held["default_factory"] = value.default_factory
    return held


def _fields(value: Any) -> dict[str, Any] | None:
    """Return the attributes of an object that has no others; None where that can't be known."""
    fields = {}
    if dataclasses.is_dataclass(value):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    kind = type(value)
    slots = {name for base in kind.__mro__ for name in _slots(base)}
    if not slots <= fields.keys() or _size_of_attributes(kind, len(slots)) < kind.__basicsize__:
        return None
    return fields | _attributes(value) if fields or hasattr(value, "__dict__") else None


def _slots(kind: type) -> set[str]:
    slots = vars(kind).get("__slots__", ())
    names = {slots} if isinstance(slots, str) else set(slots)
    return names - {"__dict__", "__weakref__"}


def _size_of_attributes(kind: type, slots: int) -> int:
    """Return the bytes of an object that has nothing but attributes: compiled classes have more.

    The same as what `copy` and `pickle` go by for objects that have no way of their own.
    """
    # A dict or a list of weak references that Python keeps before the object has no offset above 0.
    pointers = slots + (kind.__dictoffset__ > 0) + (kind.__weakrefoffset__ > 0)
    return object.__basicsize__ + pointers * struct.calcsize("P")
