"""Every kind of state comes back exactly as it was, and what can't be stored is named."""

import argparse
import collections
import contextlib
import dataclasses
import datetime
import enum
import math
import pickle
import random
import threading
import zoneinfo
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proteinflex_optimization import (
    CheckpointError,
    CheckpointManager,
    DataHandler,
    InvalidArgumentError,
    InvalidTypeError,
)


class Phase(enum.Enum):
    FOLD = "fold"
    RELAX = 2


class Flags(enum.Flag):
    A = 1
    B = 2


class Level(enum.IntEnum):
    LOW = 1


@dataclasses.dataclass(frozen=True)
class Frozen:
    step: int
    positions: np.ndarray
    extra: dict = dataclasses.field(default_factory=dict)


Pair = collections.namedtuple("Pair", ["first", "second"])


@pytest.fixture
def manager(tmp_path):
    return CheckpointManager(tmp_path / "checkpoints")


def round_trip(manager, state, **options):
    path = manager.create_checkpoint("one", {"state": state}, **options)
    return manager.load_checkpoint(path, **options)["state"]


def same(found, stored):
    if type(found) is not type(stored):
        return False
    if isinstance(stored, np.ndarray):
        return (
            found.dtype == stored.dtype
            and found.shape == stored.shape
            and found.flags.f_contiguous == stored.flags.f_contiguous
            and found.tobytes("A") == stored.tobytes("A")
        )
    if isinstance(stored, np.generic):
        return found.dtype == stored.dtype and found.tobytes() == stored.tobytes()
    if isinstance(stored, complex):
        return np.complex128(found).tobytes() == np.complex128(stored).tobytes()
    if isinstance(stored, float):
        return np.float64(found).tobytes() == np.float64(stored).tobytes()
    if isinstance(stored, dict):
        return len(found) == len(stored) and all(
            same(a, b) and same(found[a], stored[b]) for a, b in zip(found, stored, strict=True)
        )
    if isinstance(stored, list | tuple | collections.deque):
        return len(found) == len(stored) and all(map(same, found, stored))
    if dataclasses.is_dataclass(stored):
        return all(same(getattr(found, k), v) for k, v in vars(stored).items())
    return found == stored


VALUES = {
    "none": None,
    "bools": [True, False, 1, 0],
    "integers": [0, -1, 2**63 - 1, -(2**63), 2**64 - 1, 2**64, -(2**127), 10**100],
    "pcg64": np.random.default_rng(7).bit_generator.state,
    "legacy": np.random.RandomState(7).get_state(),
    "python_random": random.Random(7).getstate(),
    "floats": [0.0, -0.0, math.nan, math.inf, -math.inf, 5e-324, 0.1],
    "complex": complex(math.nan, -0.0),
    "text": ["", "α", "\ud800x", "x" * 70_000, "\0"],
    "bytes": [b"", bytes(range(256)), b"y" * 70_000],
    "containers": {"l": [1, [2]], "t": (1, (2,), ()), "s": {1, "a"}, "f": frozenset({(1, 2)})},
    "keys": {"a": 1, 1: 2, 2.5: 3, None: 4, (1, "x", (None,)): 5, b"b": 6, False: 7},
    "ordered": collections.OrderedDict([("b", 1), ("a", 2)]),
    "default": collections.defaultdict(list, {"a": [1]}),
    "deque": collections.deque([1, 2, 3], maxlen=5),
    "counter": collections.Counter("abca"),
    "dates": [
        datetime.date(2026, 1, 2),
        datetime.datetime(2026, 1, 2, 3, 4, 5, 678901),
        datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc),
        datetime.datetime(2026, 10, 25, 2, 30, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"), fold=1),
        datetime.time(1, 2, 3),
        datetime.timedelta(-1, 5, 7),
    ],
    "paths": [Path("/scratch/run"), Path("relative")],
    "enums": [Phase.FOLD, Phase.RELAX, Flags.A | Flags.B, Level.LOW],
    "dataclass": Frozen(3, np.arange(4.0), {"a": (1,)}),
    "namedtuple": Pair(1, np.ones(2)),
    "scalars": [
        np.float32(1.5),
        np.int8(-3),
        np.bool_(True),
        np.datetime64("2026-01-01", "D"),
        np.complex64(1j),
        np.str_("abc"),
        np.float16("nan"),
    ],
    "scalars that are empty or end with NUL": [
        np.str_(""),
        np.str_("ab\0"),
        np.str_("\ud800\0\0"),
        np.bytes_(b""),
        np.bytes_(b"ab\0\0"),
        np.void(b"ab\0"),
        np.zeros(1, "V0")[0],
        np.zeros(1, [])[0],
        np.zeros(1, [("a", "S0"), ("b", "f4", (0,))])[0],
        np.array([(b"a", "b", 1)], [("a", "S3"), ("b", "U2"), ("c", ">f4")])[0],
    ],
    "dtype": [np.dtype("f4"), np.dtype([("a", "i4"), ("b", "f8", (2,))])],
    "range": range(3, 10, 2),
    "bytearray": bytearray(b"abc"),
    "empty": [{}, [], (), set(), frozenset(), ""],
}


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("mmap", [True, False])
def test_plain_values_are_loaded_as_they_were_saved(manager, name, mmap):
    path = manager.create_checkpoint("one", {"state": VALUES[name]})
    found = manager.load_checkpoint(path, mmap=mmap)["state"]
    assert same(found, VALUES[name]), found


ARRAYS = [
    np.arange(6).astype(dtype).reshape(2, 3)
    for dtype in ("?", "i1", "u2", "i4", "u8", "f2", "f4", "f8", "c8", "c16", "g", ">f4", ">i8")
] + [
    np.array([np.nan, -np.nan, np.inf, -0.0], "f4"),
    np.array([0x7FF8000000000123], "u8").view("f8"),
    np.array(["2026-01-01", "NaT"], "M8[us]"),
    np.array([1, 2], "m8[h]"),
    np.array(["CA", "übung"]),
    np.array([b"ab", b"c"]),
    np.array([(1, 2.5)], [("i", "i4"), ("f", "f8")]),
    np.zeros(3, np.dtype([("a", "i1"), ("b", "f8")], align=True)),
    np.zeros(2, [(("position along x", "x"), "f4"), ("y", [(("", "z"), "f8")])]),
    np.zeros((2, 0, 3)),
    np.zeros(3, "V0"),
    np.zeros(3, []),
    np.zeros(3, [("a", "S0"), ("b", "f4")]),
    np.ndarray((2, 3), "U0"),
    np.ndarray((), "S0"),
    np.array(3.5),
    np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1).copy(),
]


@pytest.mark.parametrize("mmap", [True, False])
def test_arrays_of_every_dtype(manager, mmap):
    path = manager.create_checkpoint("one", {"state": ARRAYS})
    found = manager.load_checkpoint(path, mmap=mmap)["state"]
    for array, stored in zip(found, ARRAYS, strict=True):
        assert same(array, stored), (array, stored)


PARTS = np.dtype(("<i4", [("lo", "<i2"), ("hi", "<i2")]))


@pytest.mark.parametrize(
    "dtype",
    [
        PARTS,
        np.dtype((np.record, [("x", "<i4"), ("y", "<f8")])),
        np.dtype([("a", PARTS), ("b", np.dtype((np.record, [("c", PARTS, (2,))])))]),
    ],
    ids=["numbers with named parts", "records", "nested"],
)
def test_items_that_are_more_than_their_fields_keep_their_class(manager, tmp_path, dtype):
    stored = np.frombuffer(bytes(range(5 * dtype.itemsize)), dtype)
    handler = DataHandler(tmp_path / "cache")
    for found in (
        round_trip(manager, stored),
        handler.load_data(handler.store_structure({"x": stored}, "s"))["x"],
    ):
        assert repr(found.dtype) == repr(dtype)
        assert found.tobytes() == stored.tobytes()
        assert type(found[3]) is type(stored[3])
    assert repr(round_trip(manager, dtype)) == repr(dtype)


def test_items_of_a_class_of_the_program_s_own_are_refused(manager):
    class Theirs(np.record):
        pass

    with pytest.raises(InvalidTypeError, match="a dtype of the class .*Theirs"):
        round_trip(manager, np.zeros(2, (Theirs, [("x", "<i4")])))


def test_strided_arrays_keep_their_values(manager):
    stored = np.arange(100).reshape(10, 10)[::2, ::-3]
    np.testing.assert_array_equal(round_trip(manager, stored), stored)


def test_the_same_array_twice_is_one_array_again(manager):
    array = np.zeros(10)
    found = round_trip(manager, {"a": array, "b": array})
    found["a"][0] = 1
    assert found["b"][0] == 1


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.complex_numbers(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers() | st.none(), inner, max_size=4)
    ),
    max_leaves=30,
)


@given(PLAIN)
@settings(deadline=None, max_examples=60)
def test_any_plain_tree(tmp_path_factory, state):
    manager = CheckpointManager(tmp_path_factory.mktemp("checkpoints"))
    found = round_trip(manager, state)
    assert repr(found) == repr(state)


def test_components_keep_their_order_and_can_be_loaded_alone(manager):
    path = manager.create_checkpoint("x", {"b": 1, "a/..": np.arange(3), "": {"x": 2}})
    assert list(manager.load_checkpoint(path)) == ["b", "a/..", ""]
    assert list(manager.load_checkpoint(path, components=["a/.."])) == ["a/.."]
    with pytest.raises(InvalidArgumentError, match="components='c'|components=\"c\""):
        manager.load_checkpoint(path, components=["c"])


class Unknown:
    """Nothing that can be stored."""


class Named(Pair):
    """A named tuple with attributes."""


@dataclasses.dataclass
class Settings(dict):
    """A dict with fields, as Hugging Face's outputs are."""

    width: int = 4


@dataclasses.dataclass
class Rows(list):
    n: int = 0


@dataclasses.dataclass
class FailedError(Exception):
    code: int = 0


class Slotted:
    __slots__ = ("__hidden", "extra")

    def hide(self, value):
        self.__hidden = value

    def hidden(self):
        return self.__hidden


@dataclasses.dataclass
class OfSlotted(Slotted):
    field: int = 0


class Celsius(np.float64):
    """A NumPy scalar of a class of its own."""


class Unit(np.ndarray):
    """A NumPy array of a class of its own."""


class Zone(datetime.tzinfo):
    """A time zone of a class of its own."""

    def utcoffset(self, moment):
        return datetime.timedelta(hours=1)


def double(value):
    return 2 * value


def with_attributes(value, **attributes):
    vars(value).update(attributes)
    return value


def test_attributes_of_containers_come_back(manager):
    stored = {
        "ordered": with_attributes(collections.OrderedDict(a=1), _metadata={"": {"version": 2}}),
        "counter": with_attributes(collections.Counter("ab"), note=np.arange(3)),
        "named": with_attributes(Named(1, 2), unit="nm"),
        "without": collections.OrderedDict(a=1),
    }
    found = round_trip(manager, stored)
    for name, value in stored.items():
        assert type(found[name]) is type(value)
        assert found[name] == value
        assert vars(found[name]).keys() == vars(value).keys()
    assert found["ordered"]._metadata == {"": {"version": 2}}
    assert found["counter"].note.tolist() == [0, 1, 2]
    assert found["named"].unit == "nm"


def test_attributes_of_an_ordered_dict_come_back_from_the_cache(tmp_path):
    handler = DataHandler(tmp_path)
    ordered = with_attributes(collections.OrderedDict(a=1), source="file")
    key = handler.store_structure({"x": np.arange(3), "ordered": ordered}, "one")
    assert handler.load_data(key)["ordered"].source == "file"


def test_slots_of_a_dataclass_s_bases_come_back(manager):
    stored = OfSlotted(3)
    stored.hide([1])
    stored.extra = "x"
    found = round_trip(manager, stored)
    assert (found.field, found.hidden(), found.extra) == (3, [1], "x")


@dataclasses.dataclass
class Parent:
    child: object


@pytest.mark.parametrize(
    ("state", "place"),
    [
        (Unknown(), r"component_states\['state'\]="),
        ({"a": [1, Unknown()]}, r"component_states\['state'\]\['a'\]\[1\]"),
        ({"a": (np.array([None]),)}, r"\['a'\]\[0\]"),
        ({Unknown(): 1}, "a key of component_states"),
        ({"f": lambda: 1}, r"\['f'\]"),
        ({"m": np.ma.masked_array([1], [True])}, r"\['m'\]"),
        (Parent(Unknown()), r"\['state'\]"),
        (collections.defaultdict(lambda: 1), "factory"),
        ({"i": type("Sub", (int,), {})(3)}, r"\['i'\]"),
        ({"d": Settings(2)}, r"\['d'\]"),
        ({"l": Rows(2)}, r"\['l'\]"),
        ({"e": FailedError(2)}, r"\['e'\]"),
        ({"c": Settings}, r"\['c'\]"),
        ({"c": Celsius(3)}, r"\['c'\]"),
        ({"u": np.zeros(3).view(Unit)}, r"\['u'\]"),
        ({"r": np.rec.array([(1,)], [("a", "i4")])[0]}, r"\['r'\]"),
        (with_attributes(collections.OrderedDict(), f=double), r"\['f'\]"),
    ],
)
def test_an_unsupported_value_is_named_and_nothing_is_written(manager, state, place):
    with pytest.raises(InvalidTypeError, match=place) as raised:
        manager.create_checkpoint("one", {"state": state})
    assert isinstance(raised.value, TypeError)
    assert manager.list_checkpoints() == []
    assert [path.name for path in manager.base_dir.iterdir()] == []


@pytest.mark.parametrize(
    ("make", "place"),
    [
        (lambda value: Frozen(1, value), "['positions']"),
        (lambda value: Pair(1, value), "['second']"),
        (lambda value: collections.deque([0, value]), "[1]"),
        (lambda value: collections.defaultdict(list, a=value), "['a']"),
        (lambda value: collections.OrderedDict(a=[value]), "['a'][0]"),
        (lambda value: Pair(1, collections.deque([[value]])), "['second'][0][0]"),
    ],
)
def test_places_and_names_of_arrays_are_those_of_the_values(manager, make, place):
    with pytest.raises(InvalidTypeError) as raised:
        manager.create_checkpoint("one", {"state": {"v": make(object())}})
    assert str(raised.value).startswith(f"component_states['state']['v']{place}=<object")
    safetensors = pytest.importorskip("safetensors.numpy")
    path = manager.create_checkpoint("one", {"state": {"v": make(np.ones(2))}})
    name = "v" + place.replace("']", "").replace("]", "").replace("['", ".").replace("[", ".")
    assert list(safetensors.load_file(Path(path, "state.safetensors"))) == [name]


def test_a_time_zone_with_rules_of_its_own_is_refused(manager):
    class Theirs(zoneinfo.ZoneInfo):
        pass

    with Path(zoneinfo.TZPATH[0], "Asia/Tokyo").open("rb") as file:
        own = zoneinfo.ZoneInfo.from_file(file, key="Europe/Berlin")
    for zone in (own, Theirs("Europe/Berlin")):
        with pytest.raises(
            InvalidTypeError, match=r"component_states\['state'\]\[0\] has the time zone"
        ):
            round_trip(manager, [datetime.datetime(2026, 1, 1, tzinfo=zone)])
    alone = datetime.time(1, tzinfo=zoneinfo.ZoneInfo.no_cache("Europe/Berlin"))
    assert round_trip(manager, alone).tzinfo.key == "Europe/Berlin"


def test_a_cycle_and_absurd_depth_are_refused(manager):
    cycle = []
    cycle.append(cycle)
    deep = []
    for _ in range(100_000):
        deep = [deep]
    for state in (cycle, deep):
        with pytest.raises(InvalidArgumentError, match="contains itself"):
            manager.create_checkpoint("one", {"state": state})
    deep = []
    for _ in range(300):
        deep = [deep]
    assert round_trip(manager, deep) == deep


def test_pickle_only_where_both_sides_ask_for_it(manager):
    state = {"slice": slice(1, 2)}
    with pytest.raises(InvalidTypeError, match="allow_pickle"):
        manager.create_checkpoint("one", {"state": state})
    path = manager.create_checkpoint("one", {"state": state}, allow_pickle=True)
    with pytest.raises(CheckpointError, match="allow_pickle=True"):
        manager.load_checkpoint(path)
    assert manager.load_checkpoint(path, allow_pickle=True)["state"] == state


def test_pickle_stores_anything_that_pickle_can(manager):
    stored = {
        "class": Frozen,
        "function": double,
        "namespace": argparse.Namespace(a=1, b=np.arange(3)),
        "dict of fields": Settings(2),
        "exception": ValueError("x"),
        "subclass": type(Level.LOW)(1),
        "masked": np.ma.masked_array([1, 2], [True, False]),
        "scalar": Celsius(3),
        "objects": np.array([None, {"a": 1}]),
        "factory": collections.defaultdict(double, a=1),
        "keys": {frozenset({1}): 2, Phase.FOLD: 3, np.int64(4): 5},
        "generator": np.random.default_rng(3),
        "zone": datetime.datetime(2026, 1, 1, tzinfo=Zone()),
    }
    for name, value in stored.items():
        with pytest.raises(InvalidTypeError) if name != "subclass" else contextlib.nullcontext():
            manager.create_checkpoint("one", {"state": value})
        found = round_trip(manager, {name: value}, allow_pickle=True)[name]
        assert pickle.dumps(found) == pickle.dumps(value), name
    found = round_trip(manager, stored, allow_pickle=True)
    assert found["class"] is Frozen
    assert found["function"](3) == 6
    assert found["masked"].mask.tolist() == [True, False]


def test_an_object_that_two_pickled_ones_hold_is_one_after_loading(manager):
    generator = np.random.default_rng(3)
    first = argparse.Namespace(generator=generator, data=bytes(100_000))
    second = argparse.Namespace(generator=generator, first=first)
    stored = {"first": first, "between": np.arange(3), "second": second, "generator": generator}
    for _ in range(2):  # Also of what was loaded.
        found = round_trip(manager, stored, allow_pickle=True)
        assert found["second"].first is found["first"]
        assert found["first"].generator is found["second"].generator is found["generator"]
        assert found["first"].data == first.data
        stored = found


def test_what_even_pickle_refuses_is_named(manager):
    for value in (lambda: 1, threading.Lock(), (x for x in ())):
        with pytest.raises(InvalidTypeError, match=r"\['state'\]\['a'\].*pickle"):
            manager.create_checkpoint("one", {"state": {"a": value}}, allow_pickle=True)
    assert manager.list_checkpoints() == []


def test_a_class_that_is_gone_is_named(manager, monkeypatch):
    path = manager.create_checkpoint("one", {"state": Phase.FOLD})
    monkeypatch.delattr(f"{__name__}.Phase")
    found = manager.load_checkpoint(path)["state"]
    assert (found.module, found.name, found["name"]) == (__name__, "Phase", "FOLD")


@pytest.mark.parametrize("bad", ["", "..", "a/b", ".hidden", "x" * 193, "a\0b", 5, None])
def test_ids_that_could_mislead_a_path_are_refused(manager, bad):
    with pytest.raises(InvalidArgumentError, match="checkpoint_id"):
        manager.create_checkpoint(bad, {"state": 1})
    assert manager.list_checkpoints() == []


@pytest.mark.parametrize("name", ["run 1 (best) #3", "modèle", "a[b]*?", "~x", "x" * 192])
def test_an_id_is_any_name_that_can_be_read(manager, name):
    path = manager.create_checkpoint(name, {"state": 1})
    manager.create_checkpoint(name, {"state": 2})
    assert manager.latest() == path
    assert [row["checkpoint_id"] for row in manager.list_checkpoints()] == [name]
    assert manager.load_checkpoint(name) == {"state": 2}
    manager.delete(name)
    assert manager.list_checkpoints() == []


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"max_checkpoints": 0}, "max_checkpoints=0"),
        ({"max_checkpoints": 1.5}, "max_checkpoints=1.5"),
        ({"max_checkpoints": True}, "max_checkpoints=True"),
        ({"base_dir": ""}, "base_dir"),
        ({"base_dir": 5}, "base_dir=5"),
    ],
)
def test_constructor_arguments_are_checked(tmp_path, arguments, named):
    with pytest.raises(InvalidArgumentError, match=named):
        CheckpointManager(**{"base_dir": tmp_path, **arguments})


@pytest.mark.parametrize("states", [None, [1], {1: 2}])
def test_states_are_a_dict_of_names(manager, states):
    with pytest.raises(InvalidTypeError, match="component_states"):
        manager.create_checkpoint("x", states)
