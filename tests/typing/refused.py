"""Mistakes that a type checker has to find, one on each line that is marked.

`make lint` checks this file with mypy and basedpyright. A mark that hides no error is an error itself,
so the check fails where a mistake is let through. Nothing here is run.
"""

from __future__ import annotations

from proteinflex_optimization import CheckpointManager, DataHandler, GPUManager, ProgressTracker


def cache(handler: DataHandler) -> None:
    """Structures and trajectories."""
    handler.get_cache_stats()["usage_percnt"]  # type: ignore[typeddict-item]
    handler.get_cache_stats()["usage_percent"].upper()  # type: ignore[attr-defined]
    handler.get_cache_stats()["memory"]["gpu"]  # type: ignore[typeddict-item]
    handler.info("key")["kind"] = "structur"  # type: ignore[typeddict-item]
    handler.keys("trajectories")  # type: ignore[arg-type]
    handler.key_for("id", kind="frames")  # type: ignore[arg-type]
    handler.store_trajectory({}, "id", profile="smallest")  # type: ignore[arg-type]
    handler.store_structure([1, 2], "id")  # type: ignore[arg-type]
    handler.open("key").read(atoms="CA")  # type: ignore[arg-type]
    handler.open(1)  # type: ignore[arg-type]
    handler.get_or_compute("id", lambda: 1)  # type: ignore[arg-type, return-value]
    handler.memoize(kind="frames")  # type: ignore[call-overload]
    DataHandler(b"directory")  # type: ignore[arg-type]


def checkpoints(manager: CheckpointManager) -> None:
    """Checkpoints."""
    manager.list_checkpoints()[0]["created"]  # type: ignore[typeddict-item]
    manager.verify("path")["files"][0]["size"]  # type: ignore[typeddict-item]
    manager.latest().upper()  # type: ignore[union-attr]
    manager.create_checkpoint("id", "state")  # type: ignore[arg-type]


def progress(tracker: ProgressTracker) -> None:
    """Progress."""
    tracker.get_progress()["eta"]  # type: ignore[typeddict-item]
    tracker.get_progress()["rate"] + 1.0  # type: ignore[operator]
    tracker.get_progress()["status"] = "done"  # type: ignore[typeddict-item]
    tracker.start_task("id", "name", "many")  # type: ignore[arg-type]


def gpus(manager: GPUManager) -> None:
    """GPUs."""
    manager.get_available_gpus()[0]["memory"]  # type: ignore[typeddict-item]
    manager.reservations()[0]["gpu"]  # type: ignore[typeddict-item]
    manager.plan_batches("fold", [10], [0])[0]["size"]  # type: ignore[typeddict-item]
    manager.optimize_memory_usage("fold", [0])["unset"]  # type: ignore[typeddict-item]
