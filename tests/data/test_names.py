"""Entries are found by key, by the beginning of a key and by id; a cache is a mapping of keys."""

from pathlib import Path

import numpy as np
import pytest
from models.optimization import CheckpointManager, DataHandler
from proteinflex_optimization.errors import (
    CacheKeyError,
    CheckpointError,
    InvalidArgumentError,
)


@pytest.fixture
def handler(tmp_path: Path) -> DataHandler:
    return DataHandler(tmp_path / "cache", durable=False)


def store(handler: DataHandler, data_id: str, n_frames: int = 3) -> str:
    return handler.store_trajectory({"frames": np.ones((n_frames, 4, 3), np.float32)}, data_id)


@pytest.mark.parametrize("name", ["run1", "key", "beginning"])
def test_every_method_takes_an_id_or_the_beginning_of_a_key(handler, name):
    key = store(handler, "run1")
    name = {"run1": "run1", "key": key, "beginning": key[:6]}[name]
    assert name in handler
    assert handler.load_data(name)["frames"].shape == (3, 4, 3)
    assert handler[name]["frames"].shape == (3, 4, 3)
    assert handler.open(name).key == key
    assert handler.info(name)["key"] == key
    assert handler.verify(name)["checked"] == 1
    handler.pin(name)
    assert handler.info(key)["pinned"]
    handler.unpin(name)
    assert not handler.info(key)["pinned"]
    handler.remove(name)
    assert len(handler) == 0


def test_an_id_of_two_kinds_is_refused_where_either_can_be_meant(handler):
    trajectory = store(handler, "p1")
    structure = handler.store_structure({"x": 1}, "p1")
    for method in (handler.load_data, handler.info, handler.remove, handler.pin, handler.verify):
        with pytest.raises(InvalidArgumentError, match=f"{structure}.*{trajectory}"):
            method("p1")
    assert "p1" in handler
    assert len(handler) == 2
    # What can only be a trajectory is one.
    assert handler.open("p1").key == trajectory


def test_an_ambiguous_beginning_lists_the_candidates(handler):
    keys = [store(handler, f"run{number}") for number in range(40)]
    beginnings = [key[:3] for key in keys]
    twice = next(start for start in beginnings if beginnings.count(start) > 1)
    with pytest.raises(InvalidArgumentError) as caught:
        handler.remove(twice)
    assert [key for key in keys if key in str(caught.value)] == [
        key for key in keys if key.startswith(twice)
    ]
    assert len(handler) == 40


@pytest.mark.parametrize("name", ["run", "run11", "t-", "t", "", "T-0", "t-*", "../entries"])
def test_the_beginning_of_an_id_and_other_text_name_nothing(handler, name):
    key = store(handler, "run1")
    for method in (handler.load_data, handler.remove, handler.info, handler.open):
        with pytest.raises(CacheKeyError):
            method(name)
    assert name not in handler
    assert key in handler


def test_an_id_that_looks_like_the_beginning_of_a_key_is_an_id_first(handler):
    key = store(handler, "run1")
    named = store(handler, key[:5], n_frames=7)
    assert handler.info(key[:5])["key"] == named


def test_a_cache_is_a_mapping_that_is_true_even_when_it_is_empty(handler):
    assert len(handler) == 0
    assert list(handler) == []
    assert bool(handler)
    keys = {store(handler, "a"), store(handler, "b")}
    assert len(handler) == 2
    assert set(handler) == keys
    assert {key: value["frames"].shape for key, value in ((k, handler[k]) for k in handler)} == (
        dict.fromkeys(keys, (3, 4, 3))
    )
    with pytest.raises(KeyError):
        handler["c"]


def test_the_lengths_of_entries_are_known_without_loading_them(handler):
    store(handler, "run", n_frames=5)
    positions = np.zeros((9, 3), np.float32)
    names = np.array(["ALA", "GLY"])
    handler.store_structure({"positions": positions, "residue_names": names}, "one")
    handler.store_structure({"positions": positions[None], "residue_numbers": [1, 2]}, "all")
    handler.store_structure({"score": 1.0}, "other")

    def lengths(name: str) -> tuple:
        info = handler.info(name)
        return info["n_frames"], info["n_atoms"], info["n_residues"]

    assert lengths("run") == (5, 4, None)
    assert lengths("one") == (None, 9, 2)
    assert lengths("all") == (None, 9, None)
    assert lengths("other") == (None, None, None)


def test_checkpoints_are_found_by_id_and_by_path(tmp_path, monkeypatch):
    manager = CheckpointManager(tmp_path / "checkpoints")
    path = manager.create_checkpoint("step-10", {"state": {"x": 1}})
    other = CheckpointManager(tmp_path / "other")
    elsewhere = other.create_checkpoint("step-20", {"state": {"x": 2}})
    assert manager.load_checkpoint("step-10") == {"state": {"x": 1}}
    assert manager.load_checkpoint(path) == {"state": {"x": 1}}
    assert manager.load_checkpoint(elsewhere) == {"state": {"x": 2}}
    assert manager.verify("step-10")["ok"]
    monkeypatch.chdir(tmp_path / "other")
    assert manager.load_checkpoint("step-20") == {"state": {"x": 2}}
    # The beginning of an id is often the id of another checkpoint, which may be gone.
    for method in (manager.load_checkpoint, manager.verify, manager.delete):
        with pytest.raises(CheckpointError, match="step-10"):
            method("step-1")
    manager.delete(Path(path))
    assert manager.list_checkpoints() == []
    with pytest.raises(InvalidArgumentError):
        manager.delete(elsewhere)
