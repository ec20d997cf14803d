"""What a checkpoint holds is told without reading its arrays and without running any code of it."""

import collections
import dataclasses
import datetime
import json
import os
import pathlib
import pickle
import subprocess
import sys

import numpy as np
import pytest
from proteinflex_optimization import CheckpointManager, CorruptDataError
from proteinflex_optimization.cli import main


@pytest.fixture
def manager(tmp_path):
    return CheckpointManager(tmp_path)


def rows_of(manager, state, **options):
    path = manager.create_checkpoint("one", {"state": state}, **options)
    return {row["path"]: row for row in manager.outline(path)["state"]}


def test_arrays_and_small_values_are_listed_by_their_place(manager):
    rows = rows_of(
        manager,
        {
            "positions": np.zeros((7, 3), np.float32),
            "structured": np.zeros(2, [("a", "<i4"), ("b", "<f8")]),
            "nested": {"lr": 0.001, 3: [1, np.ones(2)], ("a", 1): None},
            "long": "x" * 100_000,
            "bytes": b"y" * 100_000,
            "list": list(range(100)),
            "ordered": collections.OrderedDict(a=True),
            "empty": {},
        },
    )
    assert rows["positions"]["dtype"] == "float32"
    assert rows["positions"]["shape"] == (7, 3)
    assert rows["positions"]["bytes"] == 84
    assert rows["structured"]["bytes"] == 24
    assert rows["nested.lr"]["value"] == "0.001"
    assert rows["nested[3][0]"]["value"] == "1"
    assert rows["nested[3][1]"]["shape"] == (2,)
    assert rows["nested[('a', 1)]"]["type"] == "NoneType"
    assert (rows["long"]["type"], rows["long"]["bytes"]) == ("str", 100_000)
    assert (rows["bytes"]["type"], rows["bytes"]["bytes"]) == ("bytes", 100_000)
    assert rows["list"]["value"].startswith("100 values: [0, 1, 2")
    assert rows["ordered.a"]["value"] == "True"
    assert rows["empty"]["value"] == "empty"


def test_values_of_classes_that_are_stored_as_long_texts_and_bytes_are_outlined(manager):
    dtype = np.dtype([(f"field_{number:05d}", "f4") for number in range(3000)])
    zone = datetime.timezone(datetime.timedelta(hours=1), "x" * 100_000)
    state = {
        "pickle": np.poly1d(np.arange(20_000.0)),
        "bytearray": bytearray(100_000),
        "path": pathlib.Path("x" * 100_000),
        "dtype": dtype,
        "time": datetime.time(1, tzinfo=zone),
    }
    rows = rows_of(manager, state, allow_pickle=True)
    assert list(rows) == list(state)
    assert rows["pickle"]["type"] == "pickle"
    assert rows["pickle"]["bytes"] > 160_000
    assert (rows["bytearray"]["type"], rows["bytearray"]["bytes"]) == ("bytearray", 100_000)
    assert (rows["path"]["type"], rows["path"]["bytes"]) == ("Path", 100_000)
    assert rows["dtype"]["type"] == "dtype"
    assert rows["time"]["value"] == "01:00:00+01:00"


def test_arrays_that_a_container_has_as_attributes_are_listed(manager):
    state = collections.OrderedDict(x=np.zeros(3))
    state.x, state.more, state.version = np.zeros(4), {"y": np.zeros(5)}, 1
    path = manager.create_checkpoint("one", {"state": {"od": state}})
    rows = [(row["path"], row["shape"]) for row in manager.outline(path)["state"]]
    assert rows == [("od.x", (3,)), ("od.x", (4,)), ("od.more.y", (5,))]


@pytest.mark.torch
def test_tensors_are_listed_and_torch_is_not_needed(manager, tmp_path):
    torch = pytest.importorskip("torch")
    model = torch.nn.Linear(4, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(4)).sum().backward()
    optimizer.step()
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "half": torch.zeros(3, dtype=torch.bfloat16),
        "eighth": torch.zeros(3, dtype=torch.float8_e4m3fn),
        "mask": torch.zeros(3, dtype=torch.bool),
        "complex": torch.zeros(2, dtype=torch.complex64),
        "device": torch.device("cpu"),
    }
    rows = rows_of(manager, state)
    weight = rows["model.weight"]
    assert (weight["type"], weight["dtype"], weight["shape"]) == ("tensor", "float32", (2, 4))
    assert rows["optimizer.state[0].exp_avg"]["bytes"] == 32
    assert rows["half"]["bytes"] == 6
    assert (rows["eighth"]["bytes"], rows["mask"]["bytes"]) == (3, 3)
    assert rows["complex"]["bytes"] == 16
    assert rows["device"]["value"] == "cpu"
    code = (
        "import sys; from proteinflex_optimization.cli import main; "
        "status = main(sys.argv[1:]); assert 'torch' not in sys.modules; sys.exit(status)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code, "checkpoints", "show", str(tmp_path), "one"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "tensor float32 2 × 4, 32 B" in shown.stdout


@pytest.mark.torch
def test_types_of_less_than_a_byte_have_a_size(manager):
    torch = pytest.importorskip("torch")
    names = {"bits1x8": 3, "bits2x4": 3, "bits4x2": 3, "bits8": 3, "bits16": 6}
    state = {name: torch.empty(3, dtype=getattr(torch, name)) for name in names}
    rows = rows_of(manager, state)
    assert {name: row["bytes"] for name, row in rows.items()} == names


Point = collections.namedtuple("Point", "x y")


@dataclasses.dataclass(frozen=True)
class Frozen:
    values: tuple


def test_sets_of_values_of_classes_are_outlined(manager):
    state = {
        "points": {Point(1, 2), Point(1, 3)},
        "frozen": frozenset([Frozen((1, 2))]),
        "nested": {(7, Point(8, 9))},
        "plain": {5},
    }
    rows = rows_of(manager, state)
    assert sorted(rows[f"points[{index}].y"]["value"] for index in range(2)) == ["2", "3"]
    assert rows["frozen[0].values"]["value"] == "[1, 2]"
    assert rows["nested[0][1].x"]["value"] == "8"
    assert (rows["plain"]["type"], rows["plain"]["value"]) == ("set", "[5]")


@dataclasses.dataclass
class Settings:
    steps: int
    weights: object


class Executed:
    def __reduce__(self):
        return os._exit, (7,)


def test_classes_are_named_and_pickles_never_loaded(manager, monkeypatch):
    # Under a name that can be imported now, and not later.
    monkeypatch.setitem(sys.modules, "mine", type(sys)("mine"))
    sys.modules["mine"].Settings = Settings
    monkeypatch.setattr(Settings, "__module__", "mine")
    state = {"settings": Settings(5, np.ones(3)), "pickled": Executed()}
    path = manager.create_checkpoint("one", {"state": state}, allow_pickle=True)
    monkeypatch.delitem(sys.modules, "mine")
    rows = {row["path"]: row for row in manager.outline(path)["state"]}
    assert rows["settings.steps"]["value"] == "5"
    assert rows["settings.weights"]["shape"] == (3,)
    assert rows["pickled"]["type"] == "pickle"
    assert rows["pickled"]["bytes"] == len(pickle.dumps(Executed(), protocol=5))


def test_arrays_are_not_read_and_damaged_values_are_not_shown(manager, tmp_path, capsys):
    path = manager.create_checkpoint("one", {"state": {"x": np.arange(1000), "step": 12345}})
    arrays = tmp_path / "one" / "state.safetensors"
    content = bytearray(arrays.read_bytes())
    content[-1] ^= 1
    arrays.write_bytes(content)
    assert manager.outline(path)["state"][0]["shape"] == (1000,)
    values = tmp_path / "one" / "values"
    content = bytearray(values.read_bytes())
    place = bytes(content).index((12345).to_bytes(2, "big"))
    content[place] ^= 1
    values.write_bytes(content)
    with pytest.raises(CorruptDataError):
        manager.outline(path)
    assert main(["checkpoints", "show", str(tmp_path), "one"]) == 1
    assert "values" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (10**5000, "value"),
        (np.zeros(1, "M8")[0], "value"),
        ([10**5000, 1], "value"),
        ({10**5000: 1}, "value[… (Exceeds the limit"),
        ({("a", 10**5000): 1}, "value[… (Exceeds the limit"),
    ],
    ids=["int", "datetime64", "list", "key", "key in a tuple"],
)
def test_a_value_without_a_text_hides_no_other(manager, capsys, value, place):
    rows = rows_of(manager, {"value": value, "step": 5})
    assert rows["step"]["value"] == "5"
    assert any(path.startswith(place) for path in rows)
    path = manager.create_checkpoint("two", {"x": 1}, metadata={"note": value, "seed": 6})
    assert manager.outline(path)["x"][0]["value"] == "1"
    for name, seen in (("one", "int 5\n"), ("two", "seed: 6\n")):
        assert main(["checkpoints", "show", str(manager.base_dir), name]) == 0
        assert seen in capsys.readouterr().out
        assert main(["checkpoints", "show", str(manager.base_dir), name, "--json"]) == 0
        json.loads(capsys.readouterr().out)
