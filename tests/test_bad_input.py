"""Bad input to each documented method: a typed error that names argument and value, nothing written."""

import functools
import math
import os
import re
from pathlib import Path

import numpy as np
import pytest
from proteinflex_optimization import (
    CacheKeyError,
    CheckpointError,
    CheckpointManager,
    DataHandler,
    GPUManager,
    InvalidArgumentError,
    InvalidTypeError,
    ProgressTracker,
    UnknownTaskError,
    create_trajectory,
    open_trajectory,
)

FRAMES = np.zeros((4, 5, 3), np.float32)


@pytest.fixture
def handler(tmp_path):
    return DataHandler(tmp_path / "cache")


def files(directory):
    return sorted(
        str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()
    )


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"max_cache_size": 0}, "max_cache_size=0"),
        ({"max_cache_size": -1.5}, "max_cache_size=-1.5"),
        ({"max_cache_size": math.nan}, "max_cache_size=nan"),
        ({"max_cache_size": math.inf}, "max_cache_size=inf"),
        ({"max_cache_size": "100"}, "max_cache_size='100'"),
        ({"max_cache_size": True}, "max_cache_size=True"),
        ({"cache_dir": ""}, "cache_dir=''"),
        ({"cache_dir": 5}, "cache_dir=5"),
        ({"cache_dir": "a\0b"}, "cache_dir="),
        ({"precision": 0}, "precision=0"),
        ({"precision": -0.1}, "precision=-0.1"),
        ({"precision": math.nan}, "precision=nan"),
        ({"precision": "0.1"}, "precision='0.1'"),
        ({"precision": {"frame": 0.1}}, "'frame'"),
        ({"profile": "fast"}, "profile='fast'"),
        ({"enable_compression": "archive"}, "enable_compression='archive'.*True or False"),
        ({"verify": None}, "verify=None"),
        ({"durable": 1}, "durable=1"),
        ({"read_only": "no"}, "read_only='no'"),
    ],
)
def test_a_wrong_option_of_a_cache_is_named_and_no_directory_is_made(tmp_path, arguments, named):
    directory = tmp_path / "cache"
    with pytest.raises(InvalidArgumentError, match=named):
        DataHandler(**{"cache_dir": directory, **arguments})
    assert not directory.exists()


@pytest.mark.parametrize(
    ("data", "data_id", "named"),
    [
        (None, "x", "structure_data=None"),
        ([1], "x", r"structure_data=\[1\]"),
        ({1: 2}, "x", "a key of structure_data"),
        ({"a": np.array([None])}, "x", r"structure_data\['a'\]"),
        ({"a": {"b": [object()]}}, "x", r"structure_data\['a'\]\['b'\]\[0\]"),
        ({"a": 1}, "", "data_id=''"),
        ({"a": 1}, 5, "data_id=5"),
        ({"a": 1}, "x" * (2 << 20), "data_id="),
    ],
)
def test_a_wrong_structure_is_named_and_nothing_is_stored(handler, data, data_id, named):
    before = files(handler.cache_dir)
    with pytest.raises(InvalidArgumentError, match=named):
        handler.store_structure(data, data_id)
    assert files(handler.cache_dir) == before
    assert handler.keys() == []


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ({}, "'frames'"),
        ({"frames": None}, r"trajectory_data\['frames'\]=None"),
        ({"frames": 5}, r"trajectory_data\['frames'\]=5"),
        ({"frames": []}, r"trajectory_data\['frames'\]"),
        ({"frames": np.zeros((4, 5))}, r"\['frames'\].*shape \[4, 5\]"),
        ({"frames": np.zeros((4, 5, 2))}, r"\['frames'\].*shape \[4, 5, 2\]"),
        ({"frames": np.zeros((4, 5, 3), int)}, r"\['frames'\].*dtype"),
        ({"frames": np.zeros((4, 5, 3), np.float16)}, r"\['frames'\].*dtype"),
        ({"frames": FRAMES.astype(object)}, r"frames"),
        ({"frames": FRAMES, "time": np.arange(3)}, r"\['time'\].*4 values, one per frame"),
        ({"frames": FRAMES, "velocities": np.zeros((4, 6, 3))}, r"\['velocities'\]"),
        ({"frames": [FRAMES, np.zeros((2, 6, 3), np.float32)]}, r"\['frames'\]"),
        ({"frames": iter(FRAMES), "time": np.arange(3)}, r"\['time'\].*4 values, one per frame"),
        ({"frames": iter(FRAMES), "velocities": FRAMES[:3]}, r"\['velocities'\].*shape of frames"),
        ({"frames": iter(FRAMES), "time": [1.0, 2.0]}, r"\['time'\].*4 values, one per frame"),
        ({"frames": iter(FRAMES), "x": np.array([None] * 4)}, "x.*not of objects"),
        ({"frames": FRAMES, "extra": object()}, r"trajectory_data\['extra'\]"),
    ],
)
def test_a_wrong_trajectory_is_named_and_nothing_is_stored(handler, data, named):
    before = files(handler.cache_dir)
    with pytest.raises(InvalidArgumentError, match=named):
        handler.store_trajectory(data, "x")
    assert files(handler.cache_dir) == before
    assert handler.keys() == []


def test_an_option_of_a_wrong_type_is_named_and_nothing_is_changed(handler, tmp_path):
    manager = CheckpointManager(tmp_path / "checkpoints")
    manager.create_checkpoint("a", {"a": 1})
    trajectory = handler.open(handler.store_trajectory({"frames": FRAMES}, "t"))
    pending = manager.create_checkpoint_async("a", {"a": 1})
    manager.wait()
    before = files(tmp_path)
    make = functools.partial(CheckpointManager, tmp_path / "others")
    for call, option, value in [
        (functools.partial(handler.trajectory_writer, "w"), "resume", 1),
        (functools.partial(handler.trajectory_writer, "w"), "overwrite", None),
        (handler.cleanup, "dry_run", 1),
        (functools.partial(handler.key_for, "t"), "kind", 5),
        (handler.keys, "kind", 5),
        (functools.partial(handler.get_or_compute, "x", dict), "kind", None),
        (functools.partial(handler.get_or_compute, "x", dict), "timeout", "1"),
        (trajectory.read, "field", 5),
        (trajectory.iter_chunks, "field", None),
        (functools.partial(DataHandler, tmp_path / "others"), "profile", None),
        (ProgressTracker, "auto_checkpoint", None),
        (ProgressTracker, "checkpoint_interval", None),
        (ProgressTracker().start_task("a", "A", 1).update, "steps", None),
        (GPUManager, "prefer_single_gpu", None),
        (GPUManager, "safety_margin", None),
        (make, "max_checkpoints", None),
        (make, "auto_cleanup", 1),
        (make, "link_unchanged", "yes"),
        (make, "durable", None),
        (make, "read_only", 0),
        (functools.partial(manager.load_checkpoint, "a"), "mmap", "r"),
        (functools.partial(manager.load_checkpoint, "a"), "verify", None),
        (functools.partial(manager.load_checkpoint, "a"), "allow_pickle", 1),
        (functools.partial(manager.create_checkpoint, "b", {}), "allow_pickle", 1),
        (functools.partial(manager.create_checkpoint_async, "b", {}), "allow_pickle", 1),
        (pending.result, "timeout", "1"),
    ]:
        with pytest.raises(InvalidTypeError, match=f"{option}={value!r} is of type"):
            call(**{option: value})
    assert files(tmp_path) == before
    # NumPy's are as good.
    assert handler.cleanup(dry_run=np.True_)["temporary"] == 0


@pytest.mark.parametrize("metadata", [5, {"a": np.zeros(3)}, {"a": object()}, {"a": "x" * 10**6}])
def test_metadata_that_can_not_be_stored_is_refused(handler, metadata):
    with pytest.raises(InvalidArgumentError, match="metadata"):
        handler.store_structure({"a": 1}, "x", metadata)
    assert handler.keys() == []


@pytest.mark.parametrize("key", ["", "nothing", "t-" + "0" * 32, "../../etc/passwd", "t-\0"])
def test_a_key_that_is_not_there_is_a_key_error(handler, key):
    with pytest.raises(CacheKeyError, match="nothing is stored under") as raised:
        handler.load_data(key)
    assert isinstance(raised.value, KeyError)


def test_a_key_of_a_wrong_type_is_named(handler):
    with pytest.raises(InvalidTypeError, match="cache_key=5"):
        handler.load_data(5)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"total_steps": -1}, "total_steps=-1"),
        ({"total_steps": 1.5}, "total_steps=1.5"),
        ({"total_steps": "10"}, "total_steps='10'"),
        ({"checkpoint_interval": 0}, "checkpoint_interval=0"),
        ({"checkpoint_dir": 5}, "checkpoint_dir=5"),
    ],
)
def test_a_wrong_option_of_a_tracker_is_named(arguments, named):
    with pytest.raises(InvalidArgumentError, match=named):
        ProgressTracker(**arguments)


def test_a_wrong_argument_about_a_task_is_named_and_no_task_is_changed():
    tracker = ProgressTracker()
    with pytest.raises(InvalidArgumentError, match="total_steps=-5"):
        tracker.start_task("a", "A", -5)
    with pytest.raises(InvalidArgumentError, match="task_id=5"):
        tracker.start_task(5, "A", 5)
    with pytest.raises(UnknownTaskError, match="nobody"):
        tracker.start_task("a", "A", 5, parent_task="nobody")
    with pytest.raises(UnknownTaskError, match="nobody"):
        tracker.update_task("nobody")
    tracker.start_task("a", "A", 5)
    with pytest.raises(InvalidArgumentError, match="steps=-1"):
        tracker.update_task("a", -1)
    with pytest.raises(InvalidArgumentError, match='as task "a" was started'):
        tracker.start_task("a", "B", 5)
    assert list(tracker.get_progress()["tasks"]) == ["a"]


def test_a_wrong_argument_about_a_checkpoint_is_named_and_none_is_written(tmp_path):
    manager = CheckpointManager(tmp_path)
    with pytest.raises(InvalidArgumentError, match="checkpoint_id="):
        manager.create_checkpoint("../x", {})
    with pytest.raises(InvalidTypeError, match=r"component_states\['a'\]"):
        manager.create_checkpoint("x", {"a": object()})
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        manager.load_checkpoint(tmp_path / "nothing")
    with pytest.raises(InvalidTypeError, match="checkpoint_path=5"):
        manager.load_checkpoint(5)
    assert manager.list_checkpoints() == []


def test_a_wrong_option_of_a_gpu_manager_is_named(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    for required in ({"a": -1}, {"a": "16GB"}, {"a": math.nan}, {"a": True}, {5: 1}):
        with pytest.raises(InvalidArgumentError, match="required_memory"):
            GPUManager(required_memory=required)
    with pytest.raises(InvalidArgumentError, match="safety_margin=2"):
        GPUManager(safety_margin=2)
    manager = GPUManager(required_memory={"prediction": 100})
    for call in (manager.allocate_gpus, lambda task: manager.get_optimal_batch_size(task, [])):
        with pytest.raises(UnknownTaskError, match="prediction"):
            call("folding")
    with pytest.raises(InvalidArgumentError, match="gpu_indices"):
        manager.optimize_memory_usage("prediction", [7])


@pytest.mark.parametrize(
    "value", [math.inf, math.nan, 1e300, 10**400], ids=["inf", "nan", "1e300", "int"]
)
def test_the_error_for_a_number_says_which_would_do(handler, tmp_path, monkeypatch, value):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    manager = GPUManager(required_memory={"fold": 100})
    shown = re.escape(repr(value)[:80])
    for call, argument, expected in (
        (
            lambda: DataHandler(tmp_path / "a", max_cache_size=value),
            "max_cache_size",
            "1e-9 to 9e9",
        ),
        (lambda: handler.prune(value), "max_size", "0 to 1e12"),
        (lambda: GPUManager(required_memory={"a": value}), '\\["a"\\]', r"up to 2\*\*53"),
        (lambda: GPUManager(poll_interval=value), "poll_interval", "0 to 1e19, or None"),
        (lambda: manager.wait_for_gpus("fold", value), "timeout", "0 to 1e19, or None"),
        (lambda: ProgressTracker(checkpoint_interval=value), "checkpoint_interval", "1e-9 to 1e19"),
    ):
        with pytest.raises(InvalidArgumentError, match=f"{argument}={shown}.*{expected}"):
            call()
    if value != 1e300:
        for precision in (value, {"frames": value}):
            with pytest.raises(InvalidArgumentError, match=f"precision.*{shown}.*positive, finite"):
                DataHandler(tmp_path / "a", precision=precision)


@pytest.mark.parametrize(
    ("variable", "wrong"),
    [
        ("PROTEINFLEX_NUM_THREADS", ["0", "-1", "4x", "1.5", "20000"]),
        ("PROTEINFLEX_DECODED_MB", ["-1", "x"]),
    ],
)
def test_a_wrong_environment_variable_is_named(variable, wrong, handler, tmp_path, monkeypatch):
    with create_trajectory(tmp_path / "a.fxt") as writer:
        writer.append(FRAMES)
    CheckpointManager(tmp_path / "checkpoints").create_checkpoint("a", {"a": 1})
    before = files(tmp_path)
    opening = [
        lambda: DataHandler(tmp_path / "other"),
        lambda: DataHandler(handler.cache_dir, read_only=True),
        lambda: open_trajectory(tmp_path / "a.fxt"),
    ]
    if variable == "PROTEINFLEX_NUM_THREADS":
        opening += [
            lambda: CheckpointManager(tmp_path / "others"),
            lambda: CheckpointManager(tmp_path / "checkpoints", read_only=True),
            lambda: create_trajectory(tmp_path / "b.fxt"),
        ]
    for value in wrong:
        monkeypatch.setenv(variable, value)
        for call in opening:
            with pytest.raises(InvalidArgumentError, match=f'^{variable}="{value}" is not valid'):
                call()
    assert files(tmp_path) == before
    monkeypatch.setenv(variable, "")
    for call in opening:
        call()


def test_the_cache_is_where_the_variables_say_and_a_relative_place_is_ignored(
    tmp_path, monkeypatch
):
    monkeypatch.delenv("PROTEINFLEX_CACHE_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for place, expected in (("caches", "home/.cache"), (str(tmp_path / "caches"), "caches")):
        monkeypatch.setenv("XDG_CACHE_HOME", place)
        assert DataHandler().cache_dir == tmp_path / expected / "proteinflex"


@pytest.mark.parametrize("home", ["", "home"])
def test_a_home_that_is_no_absolute_path_is_not_taken_for_one_here(tmp_path, monkeypatch, home):
    for variable in ("CACHE_DIR", "GPU_STATE_DIR"):
        monkeypatch.delenv(f"PROTEINFLEX_{variable}", raising=False)
    for variable in ("XDG_CACHE_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", home)
    with pytest.raises(InvalidArgumentError, match="cache_dir=None.*nor HOME"):
        DataHandler()
    shared = Path("/tmp") / f"proteinflex-peaks-{os.geteuid()}"
    before = set(shared.glob("*"))
    GPUManager({"no home": 1}).observe("no home", 1, 1, gpu_indices=[])
    for path in set(shared.glob("*")) - before:
        path.unlink()
    assert list(tmp_path.iterdir()) == []


def test_a_default_cache_that_can_not_be_made_says_how_to_choose_another(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(file))
    monkeypatch.delenv("PROTEINFLEX_CACHE_DIR", raising=False)
    hint = "for the default cache directory; choose another by cache_dir= or PROTEINFLEX_CACHE_DIR"
    with pytest.raises(FileExistsError, match=hint) as raised:
        DataHandler()
    assert raised.value.filename == str(file)
    monkeypatch.setenv("PROTEINFLEX_CACHE_DIR", str(file / "own"))
    for chosen in (None, file / "own"):
        with pytest.raises(OSError, match=str(file)) as raised:
            DataHandler(chosen)
        assert hint not in str(raised.value)


def test_too_many_arguments_name_the_class_that_was_called(tmp_path):
    with pytest.raises(TypeError, match=r"^DataHandler\.__init__\(\) takes"):
        DataHandler(tmp_path, 50, True, 0.001)
