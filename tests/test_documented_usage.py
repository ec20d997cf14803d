"""The four usage examples of the documented API, call for call."""

import numpy as np
import pytest
from models.optimization import CheckpointManager, DataHandler, GPUManager, ProgressTracker


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    """The same answers on machines with and without a GPU."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def test_the_documented_calls_of_a_gpu_manager_work_without_a_gpu():
    gpu_manager = GPUManager(required_memory={"prediction": 16000, "dynamics": 8000})

    available_gpus = gpu_manager.get_available_gpus()
    assert available_gpus == []

    prediction_gpus = gpu_manager.allocate_gpus("prediction")
    assert prediction_gpus == []

    gpu_manager.optimize_memory_usage("prediction", prediction_gpus)
    batch_size = GPUManager(required_memory={"prediction": 10}).get_optimal_batch_size(
        "prediction", prediction_gpus
    )
    assert isinstance(batch_size, int)
    assert batch_size >= 1


def test_the_documented_calls_of_a_cache_give_back_what_was_stored(tmp_path):
    random = np.random.default_rng(1)
    coordinates = random.normal(size=(50, 3)).astype(np.float32)
    confidence_scores = random.uniform(0, 100, 50)
    trajectory_frames = random.normal(size=(20, 50, 3)).astype(np.float32)
    time_steps = np.arange(20) * 2.0

    data_handler = DataHandler(
        cache_dir=str(tmp_path / "cache"), max_cache_size=100.0, enable_compression=True
    )

    structure_key = data_handler.store_structure(
        structure_data={"positions": coordinates, "plddt": confidence_scores},
        data_id="protein1",
        metadata={"resolution": "high"},
    )
    trajectory_key = data_handler.store_trajectory(
        trajectory_data={"frames": trajectory_frames, "time": time_steps},
        data_id="protein1_md",
        metadata={"timestep": 2.0},
    )

    structure = data_handler.load_data(structure_key)
    trajectory = data_handler.load_data(trajectory_key)
    assert list(structure) == ["positions", "plddt"]
    assert list(trajectory) == ["frames", "time"]
    for found, stored in (
        (structure["positions"], coordinates),
        (structure["plddt"], confidence_scores),
        (trajectory["frames"], trajectory_frames),
        (trajectory["time"], time_steps),
    ):
        assert found.dtype == stored.dtype
        assert found.tobytes() == stored.tobytes()

    stats = data_handler.get_cache_stats()
    assert 0 < stats["usage_percent"] < 1


def test_the_documented_calls_of_a_tracker_tell_the_progress(tmp_path):
    tracker = ProgressTracker(
        total_steps=100, checkpoint_dir=str(tmp_path / "checkpoints"), auto_checkpoint=True
    )
    tracker.start_task(task_id="protein1", task_name="Protein Analysis", total_steps=3)
    tracker.start_task(
        task_id="prediction",
        task_name="Structure Prediction",
        total_steps=100,
        parent_task="protein1",
    )
    tracker.update_task(task_id="prediction", steps=10, message="Processing MSA")

    progress = tracker.get_progress()
    # 10 of 100 steps of one of 3 steps of a task that has 3 of the pipeline's 100 steps.
    assert progress["percent"] == pytest.approx(0.1)
    assert progress["total_steps"] == 100
    assert progress["message"] == "Processing MSA"
    assert progress["tasks"]["protein1"]["children"] == ["prediction"]
    assert progress["tasks"]["prediction"]["parent"] == "protein1"
    assert progress["tasks"]["prediction"]["percent"] == pytest.approx(10.0)
    assert progress["tasks"]["prediction"]["message"] == "Processing MSA"


def test_the_documented_calls_about_checkpoints_give_back_the_states(tmp_path):
    states = {
        "structure": {"positions": np.eye(3)},
        "dynamics": {"step": 1000, "velocities": np.zeros((4, 3), np.float32)},
        "analysis": {"rmsf": [0.5, 0.7]},
        "progress": {"percent": 12.5},
    }
    checkpoint_manager = CheckpointManager(
        base_dir=str(tmp_path / "checkpoints"), max_checkpoints=5
    )
    checkpoint_path = checkpoint_manager.create_checkpoint(
        checkpoint_id="analysis_1", component_states=states
    )

    checkpoints = checkpoint_manager.list_checkpoints()
    assert [checkpoint["checkpoint_id"] for checkpoint in checkpoints] == ["analysis_1"]
    assert checkpoints[0]["path"] == checkpoint_path

    loaded = checkpoint_manager.load_checkpoint(checkpoint_path)
    assert list(loaded) == ["structure", "dynamics", "analysis", "progress"]
    np.testing.assert_array_equal(loaded["structure"]["positions"], np.eye(3))
    assert loaded["dynamics"]["step"] == 1000
    assert loaded["analysis"] == {"rmsf": [0.5, 0.7]}
    assert loaded["progress"] == {"percent": 12.5}
