"""The types of `proteinflex_optimization.types` are those of the values that the package returns."""

import importlib.util
import typing
from pathlib import Path

import numpy as np
import pytest
import typeguard
from proteinflex_optimization import (
    CheckpointManager,
    DataHandler,
    GPUManager,
    ProgressTracker,
    types,
)

TYPED_DICTS = [kind for name in types.__all__ if typing.is_typeddict(kind := getattr(types, name))]


def check(value, expected):
    """Every key and every item: `typeguard` alone looks at the first one only."""
    strategy = typeguard.CollectionCheckStrategy.ALL_ITEMS
    typeguard.check_type(value, expected, collection_check_strategy=strategy)


@pytest.fixture
def handler(tmp_path):
    return DataHandler(tmp_path / "cache", durable=False)


@pytest.fixture
def key(handler):
    data = {
        "frames": np.zeros((5, 3, 3), np.float32),
        "time": np.arange(5.0),
        "names": np.array(["N", "CA", "C"]),
    }
    return handler.store_trajectory(data, "md", {"force_field": "amber"})


@pytest.fixture
def without_gpus(monkeypatch):
    """No GPU, whatever driver other tests have loaded into this process."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def test_the_user_script_runs(tmp_path, without_gpus):
    specification = importlib.util.spec_from_file_location(
        "user_script", Path(__file__).with_name("user_script.py")
    )
    script = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(script)
    script.main(tmp_path)


@pytest.mark.parametrize("kind", TYPED_DICTS, ids=lambda kind: kind.__name__)
def test_a_dict_without_its_keys_or_with_others_is_refused(kind):
    """What keeps the tests below from passing on anything."""
    for value in ({}, dict.fromkeys([*kind.__annotations__, "unknown"], 0)):
        with pytest.raises(typeguard.TypeCheckError):
            check(value, kind)


def test_the_description_of_an_entry_is_as_its_type_says(handler, key):
    check(handler.info(key), types.EntryInfo)
    structure = handler.store_structure({"positions": np.zeros(3)}, "s")
    handler.pin(structure)
    check(handler.info(structure), types.EntryInfo)


def test_the_statistics_of_a_cache_are_as_their_type_says(handler, key):
    check(handler.get_cache_stats(), types.CacheStats)


def test_the_verification_of_whole_and_damaged_entries_is_as_its_type_says(handler, key):
    check(handler.verify(), types.CacheVerification)
    (file,) = Path(handler.cache_dir).glob("entries/*/*.fxt")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.chmod(0o600)
    file.write_bytes(content)
    report = handler.verify(key)
    check(report, types.CacheVerification)
    assert report["damaged"]


def test_the_report_of_a_cleanup_is_as_its_type_says(handler, key):
    check(handler.cleanup(), types.CleanupReport)


def test_directories_are_of_the_documented_types(handler, key, tmp_path):
    assert isinstance(handler.cache_dir, Path)
    assert isinstance(handler.open(key).cache_dir, Path)
    assert isinstance(CheckpointManager(tmp_path / "checkpoints").base_dir, Path)
    assert isinstance(GPUManager(state_dir=tmp_path).state_dir, Path)
    assert isinstance(ProgressTracker(checkpoint_dir=tmp_path / "run").checkpoint_dir, str)


def test_descriptions_of_whole_and_damaged_checkpoints_are_as_their_types_say(tmp_path):
    manager = CheckpointManager(tmp_path, durable=False)
    path = manager.create_checkpoint("whole", {"model": {"w": np.zeros(9)}}, metadata={"a": 1})
    check(manager.verify(path), types.CheckpointVerification)
    broken = Path(manager.create_checkpoint("broken", {"model": {"w": np.ones(9)}}))
    (arrays,) = broken.glob("*.safetensors")
    arrays.chmod(0o600)
    arrays.write_bytes(bytes(arrays.stat().st_size))
    report = manager.verify(broken)
    check(report, types.CheckpointVerification)
    assert not report["ok"]
    (broken / "manifest.json").write_text("{")
    rows = manager.list_checkpoints()
    check(rows, list[types.CheckpointInfo])
    assert {row["checkpoint_id"]: row["valid"] for row in rows} == {"whole": True, "broken": False}


def test_progress_is_as_its_types_say_in_all_states_of_a_task(tmp_path):
    with ProgressTracker(checkpoint_dir=tmp_path) as tracker:
        check(tracker.get_progress(), types.ProgressInfo)
        tracker.start_task("open", "Unknown length", None)
        tracker.start_task("part", "Part", 3, "open", metadata={"sequence": "MKV"})
        tracker.update_task("part", 1, "recycle 1")
        tracker.start_task("failed", "Failed", 2)
        tracker.fail_task("failed", "no such file")
        tracker.start_task("done", "Done", 2)
        tracker.complete_task("done")
        found = tracker.get_progress()
        check(found, types.ProgressInfo)
        statuses = {task["status"] for task in found["tasks"].values()}
        assert statuses == {"running", "failed", "completed"}
        check(ProgressTracker.attach(tmp_path).get_progress(), types.ProgressInfo)
        check(ProgressTracker.attach(tmp_path).get_summary(), types.ProgressSummary)


def test_a_memory_report_without_a_gpu_is_as_its_type_says(tmp_path, without_gpus):
    manager = GPUManager({"fold": 100}, state_dir=tmp_path)
    check(manager.optimize_memory_usage("fold", []), types.MemoryReport)
    check(manager.plan_batches("fold", [10, 20], []), list[types.Batch])


def test_what_is_read_of_a_structure_file_is_as_its_type_says(tmp_path):
    structures = pytest.importorskip("proteinflex_optimization.integrations.structures")
    file = tmp_path / "one.pdb"
    file.write_text(
        "CRYST1   10.000   10.000   10.000  90.00  90.00  90.00 P 1           1\n"
        "ATOM      1  CA AALA A   1       1.000   2.000   3.000  0.60 10.00           C\n"
        "ATOM      2  CA BALA A   1       1.500   2.000   3.000  0.40 12.00           C\n"
    )
    check(structures.read_structure(file), types.StructureData)
    check(structures.read_structure(file, altlocs="all", plddt=True), types.StructureData)
