"""Values of classes that are more than plain data: reduced to plain data, and restored.

The native walk over a state calls `Reducer` for each value that it does not know. Nothing is executed
when a state is read, except the constructors below; a class is only ever looked up to make an `Enum`
member, a dataclass or a named tuple of it. Pickle is used where both sides ask for it by name.
"""

from __future__ import annotations

import collections
import datetime
import pathlib
import pickle
import sys
import zoneinfo
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _arrays, _classes, _pickles
from ._typed_record import KINDS
from ._units import refuse_subclasses, without_units
from .errors import CheckpointError, CorruptDataError, InvalidTypeError, ProteinFlexError

if TYPE_CHECKING:
    from ._tensors import Storages, Tensors

FACTORIES: dict[str, Callable[[], Any] | None] = {
    "None": None,
    **{kind.__name__: kind for kind in (bool, dict, float, int, list, set, str, tuple)},
}


WITH_ATTRIBUTES = frozenset({"Counter", "OrderedDict", "namedtuple", "torch.Tensor"})
"""Kinds of values that may have attributes of their own, as `Module.state_dict()` has."""


class Reducer:
    """Reduces values to plainer ones, for one state that is being stored.

    Parameters
    ----------
    checkpoint : bool
        Whether values are restored as they were. In a cache, tensors become arrays and classes of
        the user's own are refused.
    allow_pickle : bool
        Whether values of unknown classes are pickled.
    """

    def __init__(self, checkpoint: bool, allow_pickle: bool) -> None:
        self._checkpoint = checkpoint
        self._allow_pickle = allow_pickle
        self._storages: Storages | None = None
        self._pickler: _pickles.Pickler | None = None

    def reduce(
        self, value: Any, place: str, keys: list[str]
    ) -> tuple[str | None, Any, dict[str, Any] | None] | None:
        """Return a tag, plainer content and attributes beside it, or None.

        Without a tag the content is the value in another form. None means that the value can't be
        stored.
        """
        try:
            found = self._reduce(value, place, keys)
        except InvalidTypeError:
            if not self._allow_pickle:
                raise
            found = None
        if found is not None:
            tag, content = found
            has_attributes = tag in WITH_ATTRIBUTES
            return tag, content, _classes.attributes(value) or None if has_attributes else None
        return ("pickle", self._pickled(value, place, keys), None) if self._allow_pickle else None

    def _reduce(self, value: Any, place: str, keys: list[str]) -> tuple[str | None, Any] | None:
        if _is_of_torch(value) or is_tensor(value):
            return self._torch(value, place, keys)
        standard = _standard(value, place)
        if standard is not None or not self._checkpoint:
            return standard
        return _classes.reduce(value, place)

    def storages(self) -> list[tuple[Any, int, str | None, list[str]]]:
        """Return the memory of all tensors met: array, its first byte, its item type, its name."""
        return [] if self._storages is None else self._storages.arrays()

    def _torch(self, value: Any, place: str, keys: list[str]) -> tuple[str | None, Any] | None:
        from . import _tensors

        if not self._checkpoint:
            array = _tensors.as_array(value, place)
            return None if array is None else (None, array)
        return self._memory().reduce(value, place, keys)

    def _memory(self) -> Storages:
        from . import _tensors

        if self._storages is None:
            self._storages = _tensors.Storages()
        return self._storages

    def _pickled(self, value: Any, place: str, keys: list[str]) -> list[Any]:
        if self._pickler is None:
            has_torch = sys.modules.get("torch") is not None
            self._pickler = _pickles.Pickler(self._memory() if has_torch else None)
        return self._pickler.pickled(value, place, keys)


class Restorer:
    """Restores values, for one state that is being read.

    Parameters
    ----------
    storages : list
        The memory of tensors: pairs of array and first byte.
    device : str, torch.device, dict, callable or None
        Where tensors go, as the ``map_location`` of ``torch.load``; None for where they were.
    allow_pickle : bool
        Whether pickles are loaded.
    path : str
        The file that is read, for messages.
    """

    def __init__(self, storages: list[Any], device: Any, allow_pickle: bool, path: str) -> None:
        self._storages = storages
        self._device = device
        # A `torch.device` can be called, too.
        if callable(device) and not _is_of_torch(device):
            self._device = _OfCaller(device)
        self._allow_pickle = allow_pickle
        self._path = path
        self._tensors: Tensors | None = None
        self._unpickler = _pickles.Unpickler(self._device, path)

    def restore(self, tag: str, content: Any) -> Any:
        """Make the value that `Reducer.reduce` reduced."""
        try:
            if tag.startswith("torch."):
                return self._torch(tag, content)
            if tag == "pickle":
                return self._pickle(content)
            if tag in KINDS:
                return _classes.restore(tag, content)
            return RESTORERS[tag](content)
        except ProteinFlexError:
            raise
        except (TypeError, ValueError, LookupError, AttributeError, OverflowError) as error:
            if error is getattr(self._device, "error", None):
                raise
            # Content as it was stored raises none of these. Neither does a full device, which is no
            # damage of the file.
            raise CorruptDataError(
                f"{self._path}: a value of kind {tag!r} can't be restored ({error})"
            ) from error

    def _torch(self, tag: str, content: Any) -> Any:
        return self._memory().restore(tag, content)

    def _memory(self) -> Tensors:
        try:
            from ._tensors import Tensors
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            raise CheckpointError(
                f"{self._path} holds torch tensors: pip install 'proteinflex-optimization[torch]'"
            ) from error
        if self._tensors is None:
            self._tensors = Tensors(self._storages, self._device)
        return self._tensors

    def _pickle(self, content: Any) -> Any:
        if not self._allow_pickle:
            raise CheckpointError(
                f"{self._path} holds pickled values, which can run any code when they are loaded: "
                "pass allow_pickle=True (in Lightning: weights_only=False) if you trust its source"
            )
        pickled, numbers = content
        return self._unpickler.unpickled(pickled, self._memory() if numbers else None)


class _OfCaller:
    """The function that a caller gave as ``device=``: what it raises is no damage of a file."""

    def __init__(self, function: Callable[[Any, str], Any]) -> None:
        self._function = function
        self.error: Exception | None = None

    def __call__(self, storage: Any, location: str) -> Any:
        try:
            return self._function(storage, location)
        except Exception as error:
            self.error = error
            raise


class PlainRestorer(Restorer):
    """Restores values where no tensor can be: in the cache, and in metadata."""

    def _torch(self, tag: str, content: Any) -> Any:
        raise TypeError("tensors are stored in checkpoints only")


def _is_of_torch(value: Any) -> bool:
    # The module of a class may be anything.
    return str(type(value).__module__).split(".")[0] == "torch"


def is_tensor(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _standard(value: Any, place: str) -> tuple[str, Any] | None:
    """Reduce a value of the standard library's, or a NumPy dtype."""
    kind = type(value)
    if kind in (collections.OrderedDict, collections.Counter):
        return kind.__name__, dict(value)
    if kind is collections.defaultdict:
        return "defaultdict", [_factory_name(value, place), dict(value)]
    if kind is collections.deque:
        return "deque", [value.maxlen, list(value)]
    if kind is bytearray:
        return "bytearray", bytes(value)
    if kind is range:
        return "range", [value.start, value.stop, value.step]
    if kind is datetime.datetime:
        plain = value.replace(tzinfo=None, fold=0).isoformat()
        return "datetime", [plain, value.fold, _zone(value.tzinfo, place)]
    if kind is datetime.date:
        return "date", value.isoformat()
    if kind is datetime.time:
        plain = value.replace(tzinfo=None, fold=0).isoformat()
        return "time", [plain, value.fold, _zone(value.tzinfo, place)]
    if kind is datetime.timedelta:
        return "timedelta", [value.days, value.seconds, value.microseconds]
    if isinstance(value, pathlib.PurePath) and kind.__module__.split(".")[0] == "pathlib":
        return ("Path" if isinstance(value, pathlib.Path) else kind.__name__), str(value)
    if isinstance(value, np.dtype) and not value.hasobject:
        return "dtype", _arrays.describe(value)
    return None


def _factory_name(value: collections.defaultdict[Any, Any], place: str) -> str:
    for name, factory in FACTORIES.items():
        if factory is value.default_factory:
            return name
    raise InvalidTypeError(
        f"{place} is a defaultdict whose factory is {value.default_factory!r}: expected one of "
        f"{', '.join(FACTORIES)}"
    )


def _zone(zone: datetime.tzinfo | None, place: str) -> Any:
    if zone is None:
        return None
    if type(zone) is zoneinfo.ZoneInfo and _is_of_its_key(zone):
        return zone.key
    if type(zone) is datetime.timezone:
        offset = zone.utcoffset(None)
        return [offset.days, offset.seconds, offset.microseconds, zone.tzname(None)]
    raise InvalidTypeError(
        f"{place} has the time zone {zone!r}: expected None, a datetime.timezone or a "
        "zoneinfo.ZoneInfo(key)"
    )


def _is_of_its_key(zone: zoneinfo.ZoneInfo) -> bool:
    """Tell whether a zone is the system's of its name: one made by `from_file` has rules of its own."""
    try:
        zone.__reduce__()
    except pickle.PicklingError:
        return False
    return True


def _zone_of(content: Any) -> datetime.tzinfo | None:
    if content is None:
        return None
    if isinstance(content, str):
        return _zone_named(content)
    days, seconds, microseconds, name = content
    offset = datetime.timedelta(days, seconds, microseconds)
    plain = datetime.timezone(offset)
    return plain if plain.tzname(None) == name else datetime.timezone(offset, name)


def _zone_named(key: str) -> datetime.tzinfo:
    """Return a time zone of the system, or of the package ``tzdata`` if the program has imported it."""
    # Without a file, `ZoneInfo` would import that package and one below it that the key names.
    is_of_system = any(pathlib.Path(folder, key).is_file() for folder in zoneinfo.TZPATH)
    if is_of_system or "tzdata" in sys.modules:
        return zoneinfo.ZoneInfo(key)
    raise CheckpointError(
        f"the time zone {key!r} of a stored value is not on this system: install the system's time "
        "zones, or import tzdata first"
    )


def _restore_datetime(content: list[Any]) -> datetime.datetime:
    text, fold, zone = content
    return datetime.datetime.fromisoformat(text).replace(fold=fold, tzinfo=_zone_of(zone))


def _restore_time(content: list[Any]) -> datetime.time:
    text, fold, zone = content
    return datetime.time.fromisoformat(text).replace(fold=fold, tzinfo=_zone_of(zone))


RESTORERS: dict[str, Callable[[Any], Any]] = {
    "attributes": lambda content: _classes.with_attributes(*content),
    "OrderedDict": collections.OrderedDict,
    "Counter": collections.Counter,
    "defaultdict": lambda content: collections.defaultdict(FACTORIES[content[0]], content[1]),
    "deque": lambda content: collections.deque(content[1], content[0]),
    "bytearray": bytearray,
    "range": lambda content: range(*content),
    "datetime": _restore_datetime,
    "date": datetime.date.fromisoformat,
    "time": _restore_time,
    "timedelta": lambda content: datetime.timedelta(*content),
    "Path": pathlib.Path,
    "PurePosixPath": pathlib.PurePosixPath,
    "PureWindowsPath": pathlib.PureWindowsPath,
    "dtype": _arrays.parse,
}


def array_of(value: Any, name: str) -> Any:
    """Return per-frame data as an array: a tensor, a quantity, a list of numbers or of rows.

    Raises
    ------
    InvalidTypeError
        It is not one of these.
    """
    value = without_units(value, name)
    if is_tensor(value):
        from . import _tensors

        return _tensors.as_array(value, name)
    refuse_subclasses(value, name)
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InvalidTypeError(f"{name} can't be made an array: {error}") from error
    if array.dtype.hasobject:
        raise InvalidTypeError(
            f"{name} is of type {type(value).__name__}: expected an array of numbers"
        )
    return array
