"""Paths are bytes: a directory whose name is no text works like any other."""

import os
import pickle

import numpy as np
import pytest
from proteinflex_optimization import (
    CheckpointManager,
    DataHandler,
    GPUManager,
    ProgressTracker,
)
from proteinflex_optimization.cli import main


@pytest.fixture
def place(tmp_path):
    """A directory whose name is Latin-1, as older programs make them, with a tab in it."""
    path = tmp_path / os.fsdecode(b"r\xe9sultats\t\xff")
    path.mkdir()
    return path


def again(thing):
    return pickle.loads(pickle.dumps(thing))


def test_a_directory_whose_name_is_no_text_works_everywhere(place, capsys):
    handler = DataHandler(place / "cache", enable_compression=False, precision=0.01, durable=False)
    key = handler.store_trajectory({"frames": np.ones((5, 4, 3), np.float32)}, "md")
    assert handler.cache_dir == place / "cache"
    for one in (again(handler), again(again(handler))):
        assert type(one) is DataHandler
        assert one.cache_dir == place / "cache"
        assert one.keys() == [key]
    assert again(handler.open(key)).cache_dir == place / "cache"
    with again(handler).trajectory_writer("other") as writer:
        writer.append(np.zeros((3, 4, 3), np.float32))
    assert len(handler.open("other")) == 3

    manager = CheckpointManager(place / "checkpoints", max_checkpoints=1, keep_every=2)
    path = manager.create_checkpoint("one", {"a": np.arange(3)})
    assert os.path.isdir(path)
    assert again(manager).latest() == path
    assert type(again(manager)) is CheckpointManager
    again(manager).create_checkpoint("two", {"a": np.arange(4)})
    again(manager).create_checkpoint("three", {"a": np.arange(5)})
    assert [row["checkpoint_id"] for row in manager.list_checkpoints()] == ["two", "three"]

    with ProgressTracker(checkpoint_dir=place / "run") as tracker:
        again(tracker.start_task("md", "Dynamics", 10)).update(3)
        assert again(tracker).get_progress()["completed_steps"] == 3
    reader = ProgressTracker.attach(place / "run")
    assert reader.directory == str(place / "run")
    assert again(reader).get_progress()["completed_steps"] == 3

    gpus = GPUManager(state_dir=place / "gpus")
    assert again(gpus).state_dir == place / "gpus"

    for thing in (handler, manager, reader):
        assert "\\xe9sultats\\x09\\xff" in repr(thing) or "r\\xe9sultats\\t\\xff" in repr(thing)
    for arguments in (
        ["cache", "ls", "--dir", place / "cache"],
        ["checkpoints", "ls", place / "checkpoints"],
        ["watch", place / "run", "--once"],
        ["doctor", place],
    ):
        main([str(argument) for argument in arguments])
        shown = capsys.readouterr()
        shown.out.encode()
        assert "Traceback" not in shown.err


def test_options_survive_pickling(tmp_path):
    handler = DataHandler(tmp_path / "cache", enable_compression=False)
    plain = again(handler)
    key = plain.store_structure({"x": np.zeros(100_000)}, "zeros")
    assert plain.info(key)["stored_bytes"] > 800_000
    looking = DataHandler(tmp_path / "cache", read_only=True)
    with pytest.raises(ValueError, match="read_only"):
        again(looking).remove(key)
    manager = again(CheckpointManager(tmp_path / "checkpoints"))
    manager.create_checkpoint("a", {"x": 1})
    looking = again(CheckpointManager(tmp_path / "checkpoints", read_only=True))
    with pytest.raises(Exception, match="read_only"):
        looking.delete("a")


def test_an_error_names_the_path_by_its_bytes(place):
    with pytest.raises(FileNotFoundError) as caught:
        ProgressTracker.attach(place / "missing")
    assert os.fsencode(caught.value.filename).startswith(os.fsencode(place))
