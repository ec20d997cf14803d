"""What can be saved can be loaded: an object that would not come back is refused, with its place."""

import collections
import dataclasses
import enum

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proteinflex_optimization import (
    CheckpointManager,
    InvalidTypeError,
    TypedRecord,
    register_types,
)


@dataclasses.dataclass
class Settings:
    kelvin: float = 300.0


@dataclasses.dataclass
class Slotted:
    __slots__ = ("kelvin",)
    kelvin: float


class Renamed(collections.namedtuple("Renamed", "a b")):
    """Has attributes, as its class says nothing of slots."""


class Doubled(tuple):
    _fields = ("a", "a")


class Numbered(tuple):
    _fields = (1, 2)


class Undefaulted(tuple):
    _fields = ("a", "b")
    _field_defaults = 5


class Listed(tuple):
    _fields = frozenset("ab")


class Plain(enum.Flag):
    R = 1
    W = 2


class WithMissing(enum.Flag):
    R = 1
    W = 2

    @classmethod
    def _missing_(cls, value):
        return super()._missing_(value)


class Meta(enum.EnumMeta):
    pass


class WithMeta(enum.Flag, metaclass=Meta):
    R = 1
    W = 2


class Elsewhere(enum.Enum):
    A = 1


# Found by what is no name of a module.
Elsewhere.__module__ = 5
register_types(Elsewhere)

NAMES = st.one_of(
    st.sampled_from(["name", "value", "kelvin", "a", ""]), st.integers(0, 2), st.none()
)
DICTS = st.dictionaries(NAMES, st.one_of(st.integers(), st.text(max_size=3)), max_size=2)
KINDS = st.sampled_from(["Enum", "dataclass", "namedtuple"])


def with_attributes(value, added):
    vars(value).update(added)
    return value


OBJECTS = st.one_of(
    st.builds(with_attributes, st.builds(Settings), DICTS),
    st.builds(with_attributes, st.builds(Renamed, st.integers(), st.none()), DICTS),
    st.builds(with_attributes, st.builds(collections.OrderedDict, DICTS), DICTS),
    st.builds(Slotted, st.integers()),
    st.builds(TypedRecord, KINDS, st.just("lib"), st.just("Thing"), DICTS, DICTS),
    st.sampled_from([Doubled, Numbered, Undefaulted, Listed]).map(lambda kind: kind((1, 2))),
    st.sampled_from([Plain.R, Plain.R | Plain.W, WithMissing.R, WithMissing.R | WithMissing.W]),
    st.sampled_from([WithMeta.R, WithMeta.R | WithMeta.W, WithMeta(0), Elsewhere.A]),
)


@settings(max_examples=150, deadline=None)
@given(OBJECTS)
def test_an_object_is_refused_or_comes_back(tmp_path_factory, value):
    manager = CheckpointManager(tmp_path_factory.mktemp("odd"), durable=False)
    try:
        path = manager.create_checkpoint("one", {"state": value})
    except InvalidTypeError:
        return
    found = manager.load_checkpoint(path)["state"]
    assert type(found) is type(value)
    assert found == value
    assert getattr(found, "__dict__", None) == getattr(value, "__dict__", None)


def test_an_attribute_whose_name_is_no_text_is_refused(tmp_path):
    manager = CheckpointManager(tmp_path)
    with pytest.raises(InvalidTypeError, match=r"\['settings'\] is of the dataclass .* named 0"):
        manager.create_checkpoint(
            "one", {"run": {"settings": with_attributes(Settings(), {0: "x"})}}
        )
    assert manager.list_checkpoints() == []


@pytest.mark.parametrize(
    ("kind", "fields", "attributes"),
    [
        ("namedtuple", {1: 2}, {}),
        ("dataclass", {"a": 1}, {("x",): 2}),
        ("Enum", {"name": "A", "value": 2}, {}),
        ("Enum", {"label": "A"}, {}),
        ("Enum", {"name": "A"}, {"x": 1}),
        ("Enum", {"name": 5}, {}),
        ("Enum", {}, {}),
    ],
)
def test_a_record_that_is_no_value_of_its_kind_is_refused(tmp_path, kind, fields, attributes):
    value = TypedRecord(kind, "lib", "Thing", fields, attributes)
    with pytest.raises(InvalidTypeError, match=r"component_states\['state'\] is of the "):
        CheckpointManager(tmp_path).create_checkpoint("one", {"state": value})


def test_attributes_that_a_named_tuple_may_no_longer_have_stay_with_its_record(
    tmp_path, monkeypatch
):
    manager = CheckpointManager(tmp_path)
    path = manager.create_checkpoint("one", {"s": with_attributes(Renamed(1, 2), {"note": "x"})})
    slotted = type("Renamed", (Renamed.__bases__[0],), {"__slots__": (), "__module__": __name__})
    monkeypatch.setitem(globals(), "Renamed", slotted)
    found = manager.load_checkpoint(path)["s"]
    fields = {"a": 1, "b": 2}
    assert found == TypedRecord("namedtuple", __name__, "Renamed", fields, {"note": "x"})
