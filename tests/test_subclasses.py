"""Subclasses of the four classes behave as those of any Python class."""

import copy
import pickle
import threading

import pytest
from proteinflex_optimization import CheckpointManager, DataHandler, GPUManager, ProgressTracker


class Checkpoints(CheckpointManager):
    def __init__(self, run, *, name="x"):
        self.name = name
        super().__init__(run / "checkpoints", 1)


class Cache(DataHandler):
    def __init__(self, run, *, name="x"):
        self.name = name
        super().__init__(run / "cache", precision=0.01)


class Progress(ProgressTracker):
    def __init__(self, run, *, name="x"):
        self.name = name
        super().__init__(7, run / "board", checkpoint_interval=60)


class GPUs(GPUManager):
    def __init__(self, run, *, name="x"):
        self.name = name
        super().__init__({"mine": 5}, state_dir=run / "gpus")


def test_what_is_passed_to_super_is_used(tmp_path):
    manager = Checkpoints(tmp_path)
    for number in range(3):
        manager.create_checkpoint(f"s{number}", {})
    assert [row["checkpoint_id"] for row in manager.list_checkpoints()] == ["s2"]
    assert Cache(tmp_path).cache_dir == tmp_path / "cache"
    with Progress(tmp_path) as tracker:
        tracker.start_task("t", "T", 7).update(7)
        assert tracker.checkpoint_dir == str(tmp_path / "board")
        assert tracker.get_progress()["total_steps"] == 7
    assert GPUs(tmp_path).required_memory == {"mine": 5}


@pytest.mark.parametrize("kind", [Checkpoints, Cache, Progress, GPUs])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_pickles_with_its_options_and_attributes(tmp_path, kind, protocol):
    made = kind(tmp_path, name="mine")
    for again in (pickle.loads(pickle.dumps(made, protocol)), copy.copy(made)):
        assert type(again) is kind
        assert again.name == "mine"
        if kind is GPUs:
            assert again.required_memory == {"mine": 5}
            assert again.state_dir == tmp_path / "gpus"
        elif kind is Cache:
            assert again.cache_dir == tmp_path / "cache"
        elif kind is Progress:
            assert again.checkpoint_dir == str(tmp_path / "board")
        else:
            for number in range(3):
                again.create_checkpoint(f"s{number}", {})
            assert len(again.list_checkpoints()) == 1


class Locked(DataHandler):
    def __init__(self, run):
        super().__init__(run)
        self.name, self.lock = "mine", threading.Lock()

    def __getstate__(self):
        return {"name": self.name}

    def __setstate__(self, state):
        self.name, self.lock = state["name"] + "!", threading.Lock()


def test_it_says_itself_what_is_pickled(tmp_path):
    again = pickle.loads(pickle.dumps(Locked(tmp_path)))
    assert (again.name, again.cache_dir) == ("mine!", tmp_path)


@pytest.mark.parametrize(
    ("kind", "use"),
    [
        (CheckpointManager, "latest"),
        (DataHandler, "keys"),
        (ProgressTracker, "get_progress"),
        (GPUManager, "get_available_gpus"),
    ],
)
def test_one_that_does_not_call_super_is_told(kind, use, capfd):
    class Forgetful(kind):
        def __init__(self, mine):
            pass

    with pytest.raises(RuntimeError, match="super"):
        getattr(Forgetful(1), use)()
    assert capfd.readouterr().err == ""
