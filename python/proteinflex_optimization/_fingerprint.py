"""A digest of a value by what it holds, the same in every process and on every host.

Values that compare equal and are of different types (``1``, ``1.0`` and ``True``) have different
digests. What has no content that can be told is refused, for a digest of its address or of its
``repr`` would make results appear or vanish at random.
"""

from __future__ import annotations

import datetime
import enum
import functools
import hashlib
import inspect
import os
import pathlib
import pickle
import stat
import sys
import types
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal

import numpy as np

from . import _native
from ._arrays import describe
from ._classes import module_of
from ._held import attributes, defined, fields_of, state_of
from ._states import is_tensor
from ._units import measured
from .errors import InvalidTypeError

__all__ = [
    "Counted",
    "Paths",
    "enclosed",
    "fingerprint",
    "of_enclosed",
    "of_function",
    "signature",
]

Paths = Literal["content", "mtime"]

PIECE = 1 << 20
"""Bytes that are read or hashed at a time: in between, signal handlers run."""
X87_BYTES = 10
"""Of an extended number of x86; those behind them are padding."""
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


def of_function(function: types.FunctionType) -> bytes:
    """Return 16 bytes for what a function does, without its defaults and what it encloses."""
    fingerprints = _Fingerprint("content")
    return fingerprints._digest(fingerprints._source(function))


def of_enclosed(function: types.FunctionType, ignore: Collection[str], paths: Paths) -> bytes:
    """Return 16 bytes for the variables of other functions that a function uses, but `ignore`."""
    fingerprints = _Fingerprint(paths)
    used, place = enclosed(function), function.__qualname__
    return fingerprints._digest(fingerprints._variables(used, ignore, place, (id(function),)))


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


def signature(function: types.FunctionType) -> inspect.Signature:
    """Return what a function itself takes: not what it wraps, nor what its attributes say of it."""
    bare = types.FunctionType(function.__code__, {}, closure=function.__closure__)
    bare.__defaults__, bare.__kwdefaults__ = function.__defaults__, function.__kwdefaults__
    return inspect.signature(bare)


class Counted(ABC):
    """What says itself by which values it counts."""

    @abstractmethod
    def _counts_by(self) -> Any:
        """Return those values."""


class _Fingerprint:
    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def of(self, value: Any, place: str, above: tuple[int, ...]) -> bytes:
        if id(value) in above and (hasattr(value, "__code__") or hasattr(value, "__wrapped__")):
            # A function that calls itself, also by what wraps it: by how far above it is.
            return self._digest([b"above", str(above[::-1].index(id(value))).encode()])
        if id(value) in above or len(above) > MAX_DEPTH:
            raise InvalidTypeError(
                f"{place} contains itself, or more than {MAX_DEPTH} values in one another; pass "
                "something plainer, such as arrays or Topology.of(…), or name it in ignore=[…] where "
                "the result does not depend on it"
            )
        return self._digest(self._parts(value, place, (*above, id(value))))

    def _digest(self, parts: list[Any]) -> bytes:
        digest = hashlib.blake2b(digest_size=16)
        for part in parts:
            # Each with its length, so that no two lists of parts make the same bytes.
            digest.update(len(part).to_bytes(8, "little"))
            for start in range(0, len(part), PIECE):
                digest.update(memoryview(part)[start : start + PIECE])
        return digest.digest()

    def _parts(self, value: Any, place: str, above: tuple[int, ...]) -> list[Any]:
        kind = type(value)
        name = f"{module_of(kind)}.{kind.__qualname__}".encode()
        if value is None or value is ... or value is NotImplemented:
            return [name]
        if kind is int:
            return [name, hex(value).encode()]
        if kind in (bool, float, complex, datetime.timedelta):
            return [name, repr(value).encode()]
        if kind in (datetime.date, datetime.time, datetime.datetime):
            zone, fold = getattr(value, "tzinfo", None), getattr(value, "fold", 0)
            digits = f"{value.isoformat()} {fold}".encode()
            return [name, digits, self.of(zone, f"the time zone of {place}", above)]
        if isinstance(value, datetime.tzinfo):
            return [name, self.of(_told_of_zone(value, place), place, above)]
        # An array of one would lack the null characters at its end.
        if kind in (str, np.str_):
            return [name, value.encode("utf-8", "surrogatepass")]
        if kind in (bytes, bytearray, np.bytes_):
            return [name, value]
        if isinstance(value, np.ndarray):
            # A subclass may have more, such as a unit; where a map comes from makes no difference.
            more = {} if kind in (np.ndarray, np.memmap, np.ma.MaskedArray) else attributes(value)
            return [name, *_array(value, place), *self._pairs(more, place, above)]
        if isinstance(value, np.generic):
            return [name, *_array(np.asarray(value), place)]
        if is_tensor(value):
            more = {} if name.startswith(b"torch.") else attributes(value)
            return [name, *self._tensor(value, place), *self._pairs(more, place, above)]
        if isinstance(value, pathlib.PurePath):
            try:
                return [b"path", *self._path(value, place)]
            except IsADirectoryError:
                raise _no_file(value, place) from None
            except OSError as error:
                told = f"{error.strerror} ({place})"
                raise type(error)(error.errno, told, str(value)) from error
        if isinstance(value, enum.Enum):
            return [name, repr(value._name_).encode(), self.of(value._value_, place, above)]
        if isinstance(value, _native.Trajectory):
            return [name, value._version().encode()]
        if isinstance(value, type):
            return [b"class", f"{module_of(value)}.{value.__qualname__}".encode()]
        return [name, *self._composed(value, place, above)]

    def _composed(self, value: Any, place: str, above: tuple[int, ...]) -> list[Any]:
        """Return the parts of a value that consists of others."""
        parts: list[Any]
        if isinstance(value, (list, tuple)):
            parts = [self.of(item, f"{place}[{n}]", above) for n, item in enumerate(value)]
            # Of a named tuple: a result may depend on which is which.
            names = defined(type(value), "_fields") if isinstance(value, tuple) else None
            named = repr(names).encode() if isinstance(names, tuple) else b""
            return [b"items", *parts, named, self._more(value, place, above)]
        if isinstance(value, (set, frozenset)):
            parts = sorted(self.of(item, f"an item of {place}", above) for item in value)
            return [b"set", *parts, self._more(value, place, above)]
        if isinstance(value, Mapping):
            parts = self._pairs(value, place, above)
            return [b"pairs", *parts, self._more(value, place, above)]
        if isinstance(value, (range, slice)):
            parts = [value.start, value.stop, value.step]
            return [self.of(part, place, above) for part in parts]
        if isinstance(value, functools.partial):
            parts = [value.func, value.args, value.keywords]
            parts = [self.of(part, place, above) for part in parts]
            return [*parts, self._more(value, place, above)]
        if isinstance(value, types.MethodType):
            parts = [value.__func__, value.__self__]
            return [self.of(part, place, above) for part in parts]
        if isinstance(value, types.FunctionType):
            return self._function(value, place, above)
        if isinstance(value, functools._lru_cache_wrapper):
            # Among its attributes is what it wraps.
            held = {name: vars(value)[name] for name in vars(value) if name != "cache_parameters"}
            return self._pairs(held, place, above)
        if isinstance(value, Counted):
            return [self.of(value._counts_by(), place, above)]
        if isinstance(value, types.BuiltinFunctionType) and isinstance(
            value.__self__, types.ModuleType
        ):
            return [f"{value.__module__}.{value.__qualname__}".encode()]
        if isinstance(value, np.ufunc) and (module := _module_of(value)):
            return [f"{module}.{value.__name__}".encode()]
        if (quantity := measured(value)) is not None:
            number, unit = quantity
            return [unit.encode(), self.of(number, place, above)]
        fields = fields_of(value)
        if fields is None:
            raise InvalidTypeError(
                f"{place}, of type {type(value).__qualname__}, has no content that can be told; "
                "pass plain values, arrays or paths, or name it in ignore=[…] where the "
                "result does not depend on it"
            )
        parts = self._pairs(fields, place, above)
        # Also where it is less: what has no content, such as an open file, was met just now.
        state = state_of(value)
        return parts if state is None else [self.of(state, place, above)]

    def _more(self, value: Any, place: str, above: tuple[int, ...]) -> bytes:
        """Return one part for what a value holds beside its items, so that neither is taken for the other."""
        return self._digest(self._pairs(attributes(value), place, above))

    def _pairs(self, pairs: Mapping[Any, Any], place: str, above: tuple[int, ...]) -> list[Any]:
        """Return the parts of a mapping, in its order, on which a result may depend."""
        parts = []
        for key, item in pairs.items():
            parts += [self.of(key, f"a key of {place}", above)]
            parts += [self.of(item, f"{place}[{key!r}]", above)]
        return parts

    def _function(
        self, function: types.FunctionType, place: str, above: tuple[int, ...]
    ) -> list[Any]:
        # Among its attributes is what it wraps. Apart, for one of them may have another's name.
        groups = (enclosed(function), _defaults(function), vars(function))
        parts = [self._digest(self._variables(each, (), place, above)) for each in groups]
        return self._source(function) + parts

    def _variables(
        self,
        variables: Mapping[str, Any],
        ignore: Collection[str],
        place: str,
        above: tuple[int, ...],
    ) -> list[Any]:
        parts: list[Any] = []
        for name, item in variables.items():
            if name not in ignore:
                parts += [name.encode(), self.of(item, f"{place}: {name}", above)]
        return parts

    def _source(self, function: types.FunctionType) -> list[Any]:
        parts: list[Any] = [f"{module_of(function)}.{function.__qualname__}".encode()]
        # Of its code: of a function that wraps another, the source would be that one's.
        source = _source_of(function.__code__)
        if source is not None:
            parts.append(source)
        # Two lambdas may stand in the same lines.
        if source is None or function.__name__ == "<lambda>":
            parts += self._code(function.__code__)
        return parts

    def _code(self, code: types.CodeType) -> list[Any]:
        names = (code.co_names, code.co_varnames, code.co_cellvars, code.co_freevars)
        takes = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
        handlers = getattr(code, "co_exceptiontable", b"")  # Since Python 3.11.
        parts: list[Any] = [code.co_code, handlers, repr((names, takes)).encode()]
        for value in code.co_consts:
            if isinstance(value, types.CodeType):
                parts += self._code(value)
            else:
                parts.append(self.of(value, f"a constant of {code.co_name}", ()))
        return parts

    def _tensor(self, value: Any, place: str) -> list[Any]:
        if value.is_quantized or repr(value.layout) != "torch.strided":
            kind = "quantized tensor" if value.is_quantized else f"tensor of layout {value.layout}"
            raise InvalidTypeError(f"{place} is a {kind}: pass a dense one")
        import torch

        try:
            plain = value.detach().cpu().resolve_conj().resolve_neg().contiguous()
            shape = repr((str(plain.dtype), tuple(plain.shape))).encode()
            # By its bytes: NumPy lacks bfloat16.
            flat = plain.as_strided((plain.numel(),), (1,))  # One number may have any stride.
            return [shape, _content(flat.view(torch.uint8).numpy())]
        except RuntimeError as error:
            # Nested, or without data.
            raise InvalidTypeError(
                f"{place} is a tensor whose values can't be read ({error}): pass a dense one"
            ) from error

    def _path(self, path: pathlib.PurePath, place: str) -> list[Any]:
        with open(path, "rb", opener=_open_at_once) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise _no_file(path, place)
            if self._paths == "mtime":
                known = (str(pathlib.Path(path).absolute()), found.st_size, found.st_mtime_ns)
                return [repr(known).encode()]
            digest = hashlib.blake2b(digest_size=16)
            while piece := file.read(PIECE):
                digest.update(piece)
        # The suffix of a file may say what its bytes mean.
        return [path.name.encode("utf-8", "surrogateescape"), digest.digest()]


def _no_file(path: pathlib.PurePath, place: str) -> InvalidTypeError:
    return InvalidTypeError(
        f"{place} is not a file with a content: {str(path)!r}; pass a file, or a str for its name alone"
    )


def _open_at_once(path: str, flags: int) -> int:
    """Open a file; a pipe without waiting for its other end."""
    return os.open(path, flags | os.O_NONBLOCK)


def _array(value: np.ndarray[Any, Any], place: str) -> list[Any]:
    if value.dtype.hasobject:
        raise InvalidTypeError(f"{place} is an array of objects: pass one of numbers or texts")
    if isinstance(value, np.ma.MaskedArray):
        # Of a view: an array remembers the fill value that it was asked for.
        held = (value.data, np.ma.getmask(value), value.view().fill_value)
        parts = [part for each in held for part in _array(np.asarray(each), place)]
        return [*parts, repr(value.hardmask).encode()]
    value = np.asarray(value)
    shape = repr((describe(value.dtype), value.shape)).encode()
    # By their fields: what is between these is no content.
    fields = [part for name in value.dtype.names or () for part in _array(value[name], place)]
    return [shape, *(fields or [_content(value)])]


def _content(value: np.ndarray[Any, Any]) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for piece in _pieces(value):
        digest.update(piece)
    return digest.digest()


def _pieces(value: np.ndarray[Any, Any]) -> Iterator[memoryview]:
    """Yield the bytes of an array in order, without the padding of its numbers."""
    if value.nbytes > PIECE and value.ndim:
        rows = max(1, PIECE * len(value) // value.nbytes)
        for start in range(0, len(value), rows):
            yield from _pieces(value[start] if rows == 1 else value[start : start + rows])
    elif value.nbytes:
        plain = np.ascontiguousarray(value).reshape(-1)
        if plain.dtype.char in "gG" and np.finfo(np.longdouble).nmant == 63:
            native = plain.astype(plain.dtype.newbyteorder("=")).view(np.longdouble)
            padded = native.view(np.uint8).reshape(native.size, -1)
            plain = np.ascontiguousarray(padded[:, :X87_BYTES]).reshape(-1)
        yield plain.view(np.uint8).data


@functools.lru_cache(maxsize=1024)
def _source_of(code: types.CodeType) -> bytes | None:
    """Return the source of a function where it is what runs: the file may have been edited since."""
    try:
        source = inspect.getsource(code)
        lines, _ = inspect.findsource(code)
        pending: list[Any] = [compile("".join(lines), code.co_filename, "exec", dont_inherit=True)]
    except (OSError, TypeError, ValueError, SyntaxError):
        return None  # Typed at a prompt of Python, or broken by an edit.
    while pending:
        found = pending.pop()
        if found == code:
            return source.encode("utf-8", "surrogatepass")
        pending += [each for each in found.co_consts if isinstance(each, types.CodeType)]
    return None


def _module_of(value: np.ufunc) -> str | None:
    """Return where a ufunc is found by its name: those of `np.frompyfunc` are not told by theirs."""
    modules = ("numpy", "numpy.strings", "numpy.linalg", "scipy.special")
    for name in modules:
        if getattr(sys.modules.get(name), value.__name__, None) is value:
            return name
    return None


def _told_of_zone(zone: datetime.tzinfo, place: str) -> Any:
    """Return what a time zone is pickled by, beside its class: its name may be that of another one."""
    try:
        told = zone.__reduce_ex__(2)
    except (TypeError, pickle.PicklingError) as error:
        raise InvalidTypeError(
            f"{place} has no content that can be told ({error}): pass one by its key, such as "
            "ZoneInfo('Europe/Berlin')"
        ) from error
    return told if isinstance(told, str) else told[1:]


def _defaults(function: types.FunctionType) -> dict[str, Any]:
    parameters = signature(function).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not each.empty}
