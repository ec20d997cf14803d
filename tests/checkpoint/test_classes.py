"""Values of a program's own classes come back without importing or running anything."""

from __future__ import annotations

import collections
import copy
import dataclasses
import enum
import pickle
import subprocess
import sys
import types
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import pytest
from proteinflex_optimization import (
    CheckpointManager,
    CorruptDataError,
    InvalidTypeError,
    TypedRecord,
    _classes,
    register_types,
)
from proteinflex_optimization._fingerprint import fingerprint
from proteinflex_optimization._states import PlainRestorer, Restorer

SOURCE = """
import dataclasses, enum, pathlib, typing
pathlib.Path(__file__).with_name("imported").touch()
class Phase(enum.Enum):
    FOLD = 1
class Mode(enum.Flag):
    A = 1
    B = 2
@dataclasses.dataclass
class Settings:
    steps: int
    weights: object = None
class Pair(typing.NamedTuple):
    first: int
    second: int
"""


Value = TypeVar("Value")


@dataclasses.dataclass
class Box(Generic[Value]):
    value: Value


@pytest.fixture
def manager(tmp_path: Path) -> CheckpointManager:
    return CheckpointManager(tmp_path / "checkpoints")


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A module of the user's, which a checkpoint's values are of."""
    (tmp_path / "theirs.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "theirs", raising=False)
    import theirs

    yield theirs
    sys.modules.pop("theirs", None)


def values(module: types.ModuleType) -> list[Any]:
    return [
        module.Phase.FOLD,
        module.Mode.A | module.Mode.B,
        module.Settings(5, [1.5]),
        module.Pair(1, 2),
        {module.Phase.FOLD},
    ]


def load(manager: CheckpointManager, path: str) -> Any:
    return manager.load_checkpoint(path)["state"]


def test_a_class_that_is_imported_is_used(manager, module):
    path = manager.create_checkpoint("one", {"state": values(module)})
    assert load(manager, path) == values(module)
    assert [type(value) for value in load(manager, path)] == [
        type(value) for value in values(module)
    ]


def test_a_class_that_is_not_imported_comes_back_as_a_record_and_is_not_imported(
    manager, module, tmp_path
):
    stored = values(module)
    path = manager.create_checkpoint("one", {"state": stored})
    del sys.modules["theirs"]
    (tmp_path / "imported").unlink()
    found = load(manager, path)
    assert "theirs" not in sys.modules
    assert not (tmp_path / "imported").exists()
    assert found[0] == TypedRecord("Enum", "theirs", "Phase", {"name": "FOLD"})
    assert found[1]["value"] == 3
    assert found[2].fields == {"steps": 5, "weights": [1.5]}
    assert found[3].fields == {"first": 1, "second": 2}
    assert found[4] == {found[0]}
    assert repr(found[2]) == "<dataclass theirs.Settings: steps=5, weights=[1.5]>"
    # Stored again, and read where the class is known, it is what it was.
    again = manager.create_checkpoint("two", {"state": found})
    assert load(manager, again) == found
    sys.modules["theirs"] = module
    assert load(manager, again) == stored


def test_a_class_that_is_registered_is_used_wherever_it_is_defined(manager):
    class Phase(enum.Enum):
        FOLD = 1

    with pytest.raises(InvalidTypeError, match="register_types"):
        manager.create_checkpoint("one", {"state": Phase.FOLD})
    register_types(Phase)
    path = manager.create_checkpoint("one", {"state": Phase.FOLD})
    assert load(manager, path) is Phase.FOLD


@pytest.mark.parametrize("wrong", [int, dict, 5, type("Dict", (dict,), {}), types.SimpleNamespace])
def test_only_classes_whose_fields_are_stored_can_be_registered(wrong):
    with pytest.raises(InvalidTypeError, match="classes="):
        register_types(wrong)


class Labelled(enum.Enum):
    """Its members have names and values of their own for people."""

    FOLD = 1
    BIND = 2

    @property
    def name(self):
        return "a phase"

    value = name


class LabelledMode(enum.Flag):
    A = 1
    B = 2

    @property
    def name(self):
        return "a mode"

    value = name


def test_members_whose_classes_have_names_of_their_own_come_back(manager):
    members = [*Labelled, *LabelledMode, LabelledMode.A | LabelledMode.B]
    assert load(manager, manager.create_checkpoint("one", {"state": members})) == members
    assert len({fingerprint(member, "member", "content") for member in members}) == len(members)


ACTS: list[str] = []
"""What code of a class has run."""


class Meta(enum.EnumMeta):
    def __call__(cls, *arguments: Any, **options: Any) -> Any:
        ACTS.append("metaclass")
        return super().__call__(*arguments, **options)


class Acting(enum.Flag):
    A = 1

    @classmethod
    def _missing_(cls, value: object) -> Any:
        ACTS.append("missing")
        return cls.A


class Called(enum.Flag, metaclass=Meta):
    A = 1


@dataclasses.dataclass
class Active:
    plain: int = 0

    def __post_init__(self) -> None:
        ACTS.append("init")

    def __new__(cls, *_: Any) -> Any:
        ACTS.append("new")
        return object.__new__(cls)

    def __setattr__(self, name: str, value: Any) -> None:
        ACTS.append("setattr")
        object.__setattr__(self, name, value)

    def __setstate__(self, state: Any) -> None:
        ACTS.append("setstate")

    @property
    def prop(self) -> int:
        return 0

    @prop.setter
    def prop(self, value: int) -> None:
        ACTS.append("property")


class Made(NamedTuple):
    first: int = 0


class OfMade(Made):
    def __new__(cls, *items: Any) -> Any:
        ACTS.append("new")
        return super().__new__(cls, *items)

    @classmethod
    def _make(cls, items: Any) -> Any:
        ACTS.append("make")
        return super()._make(items)


@pytest.mark.parametrize(
    ("kind", "name", "fields"),
    [
        ("Enum", "Acting", {"value": 6}),
        ("Enum", "Called", {"value": 1}),
        ("Enum", "Called", {"name": "B"}),
        ("Enum", "Active", {"name": "plain"}),
        ("dataclass", "Active", {"plain": 1}),
        ("dataclass", "Active", {"plain": 1, "prop": 2}),
        ("dataclass", "Made", {"first": 2}),
        ("dataclass", "Path", {"first": 2}),
        ("namedtuple", "OfMade", {"first": 2}),
        ("namedtuple", "OfMade", {"other": 2}),
        ("namedtuple", "pytest", {"other": 2}),
        ("Enum", "Any", {"name": "plain"}),
    ],
)
def test_no_code_of_a_class_runs_and_what_is_no_such_class_is_a_record(kind, name, fields):
    restorer = Restorer([], None, False, "file")
    ACTS.clear()
    # What is beside the fields is named as a property of the class.
    stored = [fields.get("name"), fields.get("value")] if kind == "Enum" else [fields, {"prop": 2}]
    stored = stored[:1] if kind == "namedtuple" else stored
    found = restorer.restore(kind, [__name__, name, *stored])
    assert ACTS == []
    if (kind, name, len(fields)) == ("dataclass", "Active", 1):
        assert vars(found) == {"plain": 1, "prop": 2}
    elif fields == {"first": 2} and name == "OfMade":
        assert (type(found), tuple(found)) == (OfMade, (2,))
    else:
        beside = {"prop": 2} if kind == "dataclass" else {}
        assert found == TypedRecord(kind, __name__, name, fields, beside)


def test_a_module_that_would_import_when_it_is_asked_is_not_asked(monkeypatch):
    lazy = types.ModuleType("lazy")

    def ask(name: str) -> Any:
        raise AssertionError(name)

    lazy.__getattr__ = ask
    monkeypatch.setitem(sys.modules, "lazy", lazy)
    found = Restorer([], None, False, "file").restore("Enum", ["lazy", "E", "A", None])
    assert found == TypedRecord("Enum", "lazy", "E", {"name": "A"})


@pytest.mark.parametrize(
    ("tag", "content"),
    [
        ("Enum", ["m", "E", {"name": "A"}]),
        ("Enum", ["m", "E", 5, None]),
        ("dataclass", ["m", "E", ["A"]]),
        ("dataclass", [1, "E", {}]),
        ("namedtuple", ["m", "E", {1: 2}]),
        ("attributes", [5, {"a": 1}]),
        ("attributes", [enum.Flag, {"a": 1}]),
        ("unheard of", []),
        ("torch.Tensor", []),
        ("dtype", '{"names":["a"],"formats":[",f4"],"offsets":[0],"itemsize":4}'),
    ],
)
def test_what_no_class_is_stored_as_is_damage(tag, content):
    with pytest.raises(CorruptDataError, match="file: a value of kind"):
        PlainRestorer([], None, False, "file").restore(tag, content)


CHANGED = """
import dataclasses, typing
@dataclasses.dataclass(slots={slots})
class Settings:
    {fields}
class Pair(typing.NamedTuple):
    {fields}
"""
AFTER = {
    "kelvin: float; seed: int = 1": (300.0, 7),
    "seed: int = 1; kelvin: float = 0": (7, 300.0),
    "kelvin: float; seed: int = 1; unit: str = 'ps'": (300.0, 7, "ps"),
    "kelvin: float": "it has no field seed",
    "kelvin: float; random: int": "it has no field seed",
    "kelvin: float; seed: int; steps: int": "it has a new field, without a plain default, steps",
}
"""Fields that a class of `kelvin` and `seed` has now: the values of all of them, or why it is a record."""


@pytest.mark.parametrize("slots", [False, True])
@pytest.mark.parametrize("after", AFTER)
def test_a_class_whose_fields_have_changed_is_whole_or_a_record(
    manager, module, after, slots, caplog, monkeypatch
):
    monkeypatch.setattr(_classes, "_warned", set())

    def define(fields: str) -> None:
        source = CHANGED.format(slots=slots, fields=fields.replace("; ", "\n    "))
        exec(source, vars(module))

    define("kelvin: float; seed: int = 1")
    stored = [module.Settings(300.0, 7), module.Pair(300.0, 7)]
    path = manager.create_checkpoint("one", {"state": stored})
    define(after)
    settings, pair = load(manager, path)
    expected = AFTER[after]
    if isinstance(expected, tuple):
        assert (settings, pair) == (module.Settings(*expected), module.Pair(*expected))
        assert (type(settings), type(pair)) == (module.Settings, module.Pair)
        assert not caplog.records
    else:
        fields = {"kelvin": 300.0, "seed": 7}
        assert settings == TypedRecord("dataclass", "theirs", "Settings", fields)
        assert pair == TypedRecord("namedtuple", "theirs", "Pair", fields)
        assert expected in caplog.text
        # It is stored again as it was.
        define("kelvin: float; seed: int = 1")
        again = manager.create_checkpoint("two", {"state": [settings, pair]})
        assert load(manager, again) == [module.Settings(300.0, 7), module.Pair(300.0, 7)]


def test_a_changed_class_is_told_once(manager, module, caplog, monkeypatch):
    monkeypatch.setattr(_classes, "_warned", set())
    path = manager.create_checkpoint("one", {"state": [module.Settings(1), module.Settings(2)]})
    exec("@dataclasses.dataclass\nclass Settings:\n    n_steps: int", vars(module))
    load(manager, path)
    (record,) = caplog.records
    assert record.getMessage() == (
        "theirs.Settings has changed since it was stored: it has no field steps, weights. "
        "What was stored is a TypedRecord"
    )


def test_new_fields_are_filled_by_plain_factories_alone(manager, module):
    path = manager.create_checkpoint("one", {"state": [module.Settings(1), module.Settings(2)]})
    source = "@dataclasses.dataclass\nclass Settings:\n    steps: int\n    weights: object\n"
    source += "    kept: list = dataclasses.field(default_factory={factory})"
    exec(source.format(factory="list"), vars(module))
    one, other = load(manager, path)
    assert one.kept == other.kept == []
    assert one.kept is not other.kept
    # It would run code of the program.
    module.ACTS = ACTS
    exec(source.format(factory="lambda: ACTS.append('made')"), vars(module))
    ACTS.clear()
    assert all(isinstance(value, TypedRecord) for value in load(manager, path))
    assert ACTS == []


def test_what_a_dataclass_has_beside_its_fields_stays_apart_from_them(manager, module):
    stored = module.Settings(1)
    stored.note = "x"
    path = manager.create_checkpoint("one", {"state": stored})
    exec("@dataclasses.dataclass\nclass Settings:\n    n_steps: int", vars(module))
    record = load(manager, path)
    assert (record.fields, record.attributes) == ({"steps": 1, "weights": None}, {"note": "x"})
    again = manager.create_checkpoint("two", {"state": record})
    exec("@dataclasses.dataclass\nclass Settings:\n    steps: int; weights: int", vars(module))
    assert vars(load(manager, again)) == {"steps": 1, "weights": None, "note": "x"}


def test_a_dataclass_that_lacks_a_field_is_refused_when_it_is_stored(manager, module):
    stored = module.Settings(1)
    del stored.steps
    with pytest.raises(InvalidTypeError, match="Settings without a value for steps"):
        manager.create_checkpoint("one", {"state": stored})


def test_attributes_are_not_set_on_members_that_the_program_shares():
    restorer = Restorer([], None, False, "file")
    shared = restorer.restore("Enum", [__name__, "Acting", "A", None])
    assert shared is Acting.A
    with pytest.raises(CorruptDataError):
        restorer.restore("attributes", [shared, {"_value_": 5}])
    assert Acting.A.value == 1


def test_records_compare_copy_and_pickle():
    record = TypedRecord("dataclass", "m", "Settings", {"x": np.arange(3), "y": {"z": [1]}})
    assert record == copy.deepcopy(record) == pickle.loads(pickle.dumps(record))
    assert record != TypedRecord("dataclass", "m", "Settings", {"x": np.arange(4), "y": {"z": [1]}})
    assert record != TypedRecord("dataclass", "m", "Other", record.fields)
    assert len({record, copy.copy(record)}) == 1
    assert record != 5
    assert "\x1b" not in repr(TypedRecord("dataclass", "m\x1b[2J", "E", {"n\x1b": "v\x1b"}))


def test_a_named_tuple_s_attributes_stay_with_its_record(manager, module):
    named = type("Named", (module.Pair,), {"__module__": "theirs"})
    module.Named = named
    value = named(1, 2)
    value.unit = "nm"
    path = manager.create_checkpoint("one", {"state": value})
    del module.Named
    record = load(manager, path)
    assert record.attributes == {"unit": "nm"}
    again = manager.create_checkpoint("two", {"state": record})
    module.Named = named
    assert load(manager, again).unit == "nm"


def test_a_planted_module_is_not_imported_by_the_command_line(manager, module, tmp_path):
    stored = collections.OrderedDict(phase=module.Phase.FOLD)
    manager.create_checkpoint("one", {"state": stored})
    (tmp_path / "imported").unlink()
    for command in (["checkpoints", "ls"], ["checkpoints", "verify"], ["checkpoints", "show"]):
        name = ["one"] if command[1] != "ls" else []
        done = subprocess.run(
            [sys.executable, "-m", "proteinflex_optimization", *command, "checkpoints", *name],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert not (tmp_path / "imported").exists()


def test_a_generic_dataclass_comes_back_however_it_was_made(manager: CheckpointManager):
    boxes = [Box(3), Box[int](3)]
    path = manager.create_checkpoint("one", {"boxes": boxes})
    assert manager.load_checkpoint(path)["boxes"] == boxes


SCRIPT = """
import dataclasses, enum, multiprocessing, sys
from proteinflex_optimization import CheckpointManager

class Phase(enum.Enum):
    NPT = 1

@dataclasses.dataclass
class Settings:
    step: int

class Plain:
    def __eq__(self, other):
        return type(self) is type(other)

def state():
    return {"phase": Phase.NPT, "settings": Settings(3), "plain": Plain()}

def save(name):
    CheckpointManager(sys.argv[1]).create_checkpoint(name, state(), allow_pickle=True)

def loads(name):
    found = CheckpointManager(sys.argv[1]).load_checkpoint(name, allow_pickle=True)
    return found == state() and found["phase"] is Phase.NPT

if __name__ == "__main__":
    save("script")
    with multiprocessing.get_context(sys.argv[2]).Pool(1) as pool:
        pool.apply(save, ["worker"])
        print(pool.apply(loads, ["script"]), pool.apply(loads, ["worker"]))
    # As it is in a later run that makes no processes.
    sys.modules.pop("__mp_main__")
    print(loads("worker"))
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_classes_of_a_script_are_the_same_in_the_processes_that_it_spawns(tmp_path, method):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, script, tmp_path / "checkpoints", method]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert run.stdout.split() == ["True"] * 3, run.stderr
