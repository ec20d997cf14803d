"""What the jobs use: checkpoints and caches beside them, and the GPUs of this machine."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from proteinflex_optimization.cli import entries, gpus
from proteinflex_optimization.cli.output import one_line, plain
from proteinflex_optimization.errors import ProteinFlexError

__all__ = ["checkpoints", "devices", "usage_of_caches"]

MAX_DIRECTORIES = 100
"""Directories of checkpoints, or caches, that are shown."""
NEWEST = 5
"""Checkpoints of a directory that are shown."""
SHOWN = ("checkpoint_id", "created_at", "size_bytes", "linked_bytes", "components", "problem")


def checkpoints(directories: Iterable[str]) -> dict[str, Any]:
    """Return the newest checkpoints of each directory, that with the newest one first.

    The rows are those of ``flexopt checkpoints ls --json``, without what can be long, and with points
    in time in seconds.
    """
    from proteinflex_optimization import CheckpointManager

    found: list[dict[str, Any]] = []
    for directory in directories:
        entry: dict[str, Any] = {"directory": directory, "error": None, "checkpoints": []}
        try:
            rows = CheckpointManager(directory, read_only=True).list_checkpoints()
        except (ProteinFlexError, OSError) as error:
            rows = []
            entry["error"] = one_line(str(error), "; ")
        entry["count"] = len(rows)
        entry["damaged"] = sum(row["problem"] == "damaged" for row in rows)
        # Files that checkpoints share take their space once.
        entry["size_bytes"] = sum(row["size_bytes"] - row["linked_bytes"] for row in rows)
        newest: list[Any] = [dict(row) for row in rows[::-1][:NEWEST]]
        for row in newest:
            row["created_at"] = _seconds(row["created_at"])
        entry["newest_at"] = max((row["created_at"] for row in newest), default=0.0)
        entry["checkpoints"] = [plain({key: row[key] for key in SHOWN}) for row in newest]
        found.append(entry)
    found.sort(key=lambda entry: -entry["newest_at"])
    return _limited(found)


def usage_of_caches(directories: Iterable[str]) -> dict[str, Any]:
    """Return how full each cache is, as ``flexopt cache stats --json`` prints it."""
    from proteinflex_optimization import DataHandler

    found: list[dict[str, Any]] = []
    for directory in directories:
        try:
            stats = entries.stats_of_directory(DataHandler(directory, read_only=True))
            found.append({**stats, "cache_dir": directory, "error": None})
        except (ProteinFlexError, OSError) as error:
            found.append({"cache_dir": directory, "error": one_line(str(error), "; ")})
    return _limited(found)


def devices() -> dict[str, Any]:
    """Return the GPUs as ``flexopt gpus --json`` prints them, with the names of users.

    Without a driver there are none; ``error`` says why they can't be read.
    """
    from proteinflex_optimization import GPUManager

    try:
        manager = GPUManager()
        found = manager.get_available_gpus()
    except (ProteinFlexError, OSError) as error:
        return {"error": one_line(str(error), "; "), "gpus": [], "users": {}}
    holders = {held["user"] for gpu in found for held in gpu["reservations"]}
    users = {str(number): gpus.user_name(number) for number in holders}
    return {"error": None, "users": users, **plain(gpus.report(manager, found))}


def _seconds(moment: Any) -> float:
    """Return a point in time in seconds since 1970: a browser has a clock of these."""
    return moment.timestamp() if isinstance(moment, datetime) else float(moment)


def _limited(found: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "directories": found[:MAX_DIRECTORIES],
        "left_out": max(len(found) - MAX_DIRECTORIES, 0),
    }
