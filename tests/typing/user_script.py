"""The whole public API as a user's script has it.

`make lint` checks it with mypy and basedpyright, and `test_types.py` runs it. Where a checker sees
another type than `assert_type` names, it reports an error; it also does where it sees `Any`.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from proteinflex_optimization import (
    CacheKeyError,
    CheckpointManager,
    DataHandler,
    GPUManager,
    InsufficientGPUMemoryError,
    ProgressTracker,
    Trajectory,
    UnknownTaskError,
)
from proteinflex_optimization.progress import ProgressReader, TaskHandle
from proteinflex_optimization.types import (
    ArrayInfo,
    Batch,
    CacheStats,
    CacheVerification,
    CheckpointInfo,
    CheckpointVerification,
    CleanupReport,
    DamagedEntry,
    EntryInfo,
    FileVerification,
    GPUInfo,
    GPUMemory,
    MemoryReport,
    ProgressInfo,
    Reservation,
    StoredData,
    TaskInfo,
    TaskStatus,
)
from typing_extensions import assert_type


def cache(directory: Path) -> None:
    """Structures and trajectories."""
    handler = DataHandler(directory, 1.0, precision=0.001, profile="default", durable=False)
    assert_type(handler.cache_dir, Path)
    structure_key = handler.store_structure({"positions": np.zeros((3, 3))}, "s", {"source": "x"})
    frames = np.zeros((4, 3, 3), np.float32)
    key = handler.store_trajectory(
        {"frames": frames, "time": np.arange(4.0)}, "t", precision=0.01, profile="archive"
    )
    assert_type(key, str)
    assert_type(handler.load_data(structure_key), StoredData)
    positions: NDArray[np.float64] = handler.load_data(structure_key)["positions"]
    assert positions.shape == (3, 3)
    with handler.trajectory_writer("written", {"run": 1}, resume=True) as writer:
        writer.append(frames[0], time=0.0)
        writer.append(frames, time=np.arange(1.0, 5.0))
        writer.flush()
        writer.truncate(3)
        assert_type(writer.read("time"), NDArray[Any])
        assert_type(writer.n_frames, int)
    trajectory = handler.open(writer.key)
    assert_type(trajectory, Trajectory)
    read(trajectory)
    assert_type(handler.keys("trajectory"), list[str])
    info = handler.info(key)
    assert_type(info, EntryInfo)
    assert_type(info["kind"], Literal["structure", "trajectory"])
    assert_type(info["saved_percent"], float)
    assert_type([array["shape"] for array in info["arrays"]], list[tuple[int, ...]])
    array: ArrayInfo = info["arrays"][0]
    assert array["name"]
    handler.pin(key)
    handler.unpin(key)
    stats = handler.get_cache_stats()
    assert_type(stats, CacheStats)
    assert_type(stats["usage_percent"], float)
    gpus: list[GPUMemory] = stats["memory"]["gpus"]
    assert_type([gpu["used"] for gpu in gpus], list[int])
    report = handler.verify()
    assert_type(report, CacheVerification)
    damaged: list[DamagedEntry] = report["damaged"]
    assert not damaged

    @handler.memoize
    def radius(frames: NDArray[Any], scale: float = 1.0) -> float:
        return float(frames.max()) * scale

    assert_type(handler.get_or_compute("s2", lambda: {"x": 1}, kind="structure"), StoredData)
    assert_type(radius(frames, scale=2.0), float)

    @handler.memoize(kind="trajectory", ignore=["verbose"], paths="mtime")
    def simulate(steps: int, verbose: bool = False) -> dict[str, Any]:
        return {"frames": frames}

    assert_type(simulate(5)["frames"], Any)
    assert_type(simulate.key_for(5, verbose=True), str)
    cleaned = handler.cleanup()
    assert_type(cleaned, CleanupReport)
    assert_type(cleaned["temporary"], int)
    try:
        handler.remove(handler.key_for("absent", kind="structure"))
    except CacheKeyError as error:
        assert_type(str(error), str)
    assert_type(handler.prune(0.5), int)
    assert_type(handler.clear(), int)


def read(trajectory: Trajectory) -> None:
    """Frames."""
    assert_type(trajectory.shape, tuple[int, int, int])
    assert_type(trajectory[0], NDArray[Any])
    assert_type(trajectory[0:2], NDArray[Any])
    assert_type(trajectory[::2, [0, 1]], NDArray[Any])
    assert_type(trajectory.read(0, 2, atoms=[0, 2]), NDArray[Any])
    assert_type(trajectory.read(atoms=np.array([True, False, True]), field="frames"), NDArray[Any])
    assert_type(trajectory.time, NDArray[Any] | None)
    for chunk in trajectory.iter_chunks(2):
        assert_type(chunk, NDArray[Any])
    for frame in trajectory:
        assert_type(frame, NDArray[Any])
    assert_type(np.asarray(trajectory), NDArray[Any])


def checkpoints(directory: Path) -> None:
    """Checkpoints."""
    manager = CheckpointManager(directory, max_checkpoints=2, keep_every=10, durable=False)
    path = manager.create_checkpoint("a", {"model": {"step": 1}}, metadata={"loss": 0.5})
    assert_type(path, str)
    pending = manager.create_checkpoint_async("b", {"model": {"step": 2}})
    assert_type(pending.result(timeout=60.0), str)
    assert_type(pending.done(), bool)
    latest = manager.latest()
    assert_type(latest, str | None)
    if latest is not None:
        assert manager.load_checkpoint(latest, components=["model"])["model"] == {"step": 2}
        report = manager.verify(latest)
        assert_type(report, CheckpointVerification)
        files: list[FileVerification] = report["files"]
        assert_type([file["reason"] for file in files], list[str | None])
    rows = manager.list_checkpoints()
    assert_type(rows, list[CheckpointInfo])
    assert_type(rows[0]["components"], list[str])
    assert_type(rows[0]["created_at"], datetime)
    manager.delete("a")
    manager.wait()
    manager.release_memory()


def progress(directory: Path, manager: CheckpointManager) -> None:
    """Progress."""
    with ProgressTracker(10, directory, checkpoint_interval=60.0, display=False) as tracker:
        tracker.checkpoint_with(manager, lambda: {"model": {"step": 3}})
        handle = tracker.start_task("fold", "Folding", 5, metadata={"sequence": "MKV"})
        assert_type(handle, TaskHandle)
        with handle as task:
            task.update(2, "recycle 2")
        tracker.start_task("part", "Part", None, parent_task="fold")
        tracker.update_task("part", 1)
        tracker.complete_task("part")
        for number in tracker.track(range(3), "loop", "Loop"):
            assert_type(number, int)
        try:
            tracker.fail_task("absent", "no such task")
        except UnknownTaskError as error:
            assert_type(str(error), str)
        found = tracker.get_progress()
        assert_type(found, ProgressInfo)
        assert_type(found["eta_seconds"], float | None)
        described: TaskInfo = found["tasks"]["fold"]
        assert_type(described["percent"], float | None)
        status: TaskStatus = described["status"]
        assert status == "completed"
        reader = ProgressTracker.attach(directory)
        assert_type(reader, ProgressReader)
        assert_type(reader.get_progress()["alive"], bool)
        tracker.finish()


def gpus(directory: Path) -> None:
    """GPUs, on a machine with or without them."""
    manager = GPUManager({"fold": 100}, prefer_single_gpu=True, state_dir=directory)
    for gpu in manager.get_available_gpus():
        assert_type(gpu, GPUInfo)
        assert_type(gpu["compute_capability"], tuple[int, int])
        assert_type(gpu["status"], Literal["ok", "denied", "lost", "unreadable"])
        assert_type([process["memory"] for process in gpu["processes"]], list[int | None])
    try:
        with manager.reserve("fold", max_gpus=1, timeout=0) as indices:
            assert_type(indices, list[int])
            assert_type(manager.get_optimal_batch_size("fold", indices, length=10), int)
            plan = manager.plan_batches("fold", [10, 20], indices)
            assert_type(plan, list[Batch])
            assert_type(plan[0]["gpu"], int | None)
            report = manager.optimize_memory_usage("fold", indices)
            assert_type(report, MemoryReport)
            assert_type(report["openmm"]["properties"], dict[str, str])
            assert_type([setting["why"] for setting in report["not_set"]], list[str])
            with manager.measure("fold", 1, length=10, gpu_indices=indices):
                pass
            manager.observe("fold", 1, 50.0, length=10, gpu_indices=indices)
            assert_type(manager.run_with_oom_backoff(float, "fold", indices, length=10), float)
            assert_type(manager.cuda_env(indices), dict[str, str])
    except InsufficientGPUMemoryError:
        pass
    assert_type(manager.reservations(), list[Reservation])
    manager.release_gpus()


def main(directory: Path) -> None:
    """Everything, in a directory."""
    cache(directory / "cache")
    checkpoints(directory / "checkpoints")
    progress(directory / "progress", CheckpointManager(directory / "checkpoints"))
    gpus(directory / "gpus")
