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
def test_every_method_that_looks_takes_an_id_or_the_beginning_of_a_key(handler, name):
    key = store(handler, "run1")
    is_whole = name != "beginning"
    name = {"run1": "run1", "key": key, "beginning": key[:8]}[name]
    assert (name in handler) is is_whole
    assert handler.load_data(name)["frames"].shape == (3, 4, 3)
    assert handler[name]["frames"].shape == (3, 4, 3)
    assert handler.open(name).key == key
    assert handler.info(name)["key"] == key
    assert handler.verify(name)["checked"] == 1
    handler.pin(name)
    assert handler.info(key)["pinned"]
    handler.unpin(name)
    assert not handler.info(key)["pinned"]
    if not is_whole:
        with pytest.raises(CacheKeyError, match="a whole one is expected"):
            handler.remove(name)
    assert len(handler) == 1
    handler.remove(name if is_whole else key)
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
    ids: dict[str, str] = {}
    for number in range(100_000):
        beginning = handler.key_for(f"run{number}")[:8]
        if beginning in ids:
            break
        ids[beginning] = f"run{number}"
    keys = [store(handler, data_id) for data_id in (ids[beginning], f"run{number}")]
    other = store(handler, "other")
    with pytest.raises(InvalidArgumentError) as caught:
        handler.info(beginning)
    assert all(key in str(caught.value) for key in keys)
    assert other not in str(caught.value)


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
    named = store(handler, key[:8], n_frames=7)
    assert handler.info(key[:8])["key"] == named


@pytest.mark.parametrize("length", [3, 5, 8, 33])
def test_an_id_that_is_gone_never_means_another_entry_to_those_who_remove_or_ask(handler, length):
    key = store(handler, "the only copy of a long run")
    name = key[:length]
    store(handler, name)
    handler.remove(name)
    with pytest.raises(CacheKeyError):
        handler.remove(name)
    assert name not in handler
    assert list(handler) == [key]


def test_a_short_id_that_is_gone_means_no_other_entry_at_all(handler):
    key = store(handler, "run1")
    for name in (key[:3], key[:7]):
        for method in (handler.load_data, handler.open, handler.info, handler.verify, handler.pin):
            with pytest.raises(CacheKeyError, match="6 digits at least"):
                method(name)


def test_an_id_of_the_form_of_a_key_is_refused_before_anything_is_stored_or_computed(handler):
    source = store(handler, "run1")
    unknown = "s-" + "0123456789abcdef" * 2
    frames = {"frames": np.ones((1, 4, 3), np.float32)}

    def compute():
        pytest.fail("it is computed")

    for name in (source, unknown):
        for call in (
            lambda name=name: handler.store_structure({"x": 1}, name),
            lambda name=name: handler.store_trajectory(frames, name),
            lambda name=name: handler.trajectory_writer(name, resume=True),
            lambda name=name: handler.get_or_compute(name, compute),
        ):
            with pytest.raises(InvalidArgumentError, match=r"data_id=.*form of a key"):
                call()
    assert list(handler) == [source]
    assert store(handler, f"{source} without water") in handler


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
