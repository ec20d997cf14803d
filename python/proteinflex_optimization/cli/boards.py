"""The boards of many jobs: finding them below directories, and looking at all of them at once.

The same search finds the caches and checkpoints of these jobs, for the page in the browser.
"""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from proteinflex_optimization.cli.output import one_line, plain
from proteinflex_optimization.errors import ProteinFlexError

if TYPE_CHECKING:
    from proteinflex_optimization.progress import ProgressReader

__all__ = [
    "PROBLEMS",
    "STATES",
    "Boards",
    "Found",
    "find",
    "is_over",
    "mean_percent",
    "of_one_job",
    "summarize",
]

Record = dict[str, Any]

MARKER = ".progress"
"""What the directory of a board has in it."""
CACHE_TAG = "CACHEDIR.TAG"
"""What marks a cache, below which no job has its directory."""
CACHE_FOLDERS = frozenset(("entries", "locks"))
"""What a cache of this package has in it, tagged or not."""
CHECKPOINT_LOCK, MANIFEST = ".lock", "manifest.json"
"""What a directory of checkpoints has in it, and what is in each checkpoint."""
MANIFEST_MARK = b'"proteinflex-checkpoint"'
"""What a manifest begins with, where a copy of the directory has lost the lock's file."""
MAX_ENTRIES = 200_000
MAX_SECONDS = 3.0
"""How far boards are looked for: files and folders, and time."""
PAUSE = 2.0
PAUSE_FACTOR = 10
"""Seconds between two searches, at least, and how many times as long as the last one took."""
THREADS = 16
"""Boards that are looked at at once: on a network file system most of the time is waiting."""

PROBLEMS = ("failed", "stopped", "stalled", "unreadable")
STATES = (*PROBLEMS, "running", "pending", "completed")
"""What a board may be, in the order in which they are shown."""


class Found(NamedTuple):
    """The paths that were found, each once, and what could not be looked at."""

    boards: list[str]
    caches: list[str]
    checkpoints: list[str]
    notes: list[str]


def find(directories: Iterable[str]) -> Found:
    """Find the boards, caches and checkpoints in and below directories, breadth first.

    Links are not followed, and neither hidden folders nor caches are entered.

    Parameters
    ----------
    directories : iterable of str
        Where to begin.

    Returns
    -------
    Found
        Directories of boards, of caches and of checkpoints.
    """
    pending = deque((directory, os.path.realpath(directory)) for directory in directories)
    boards: dict[str, str] = {}
    caches: list[str] = []
    locked: set[str] = set()
    checkpoints: dict[str, str] = {}
    visited: set[str] = set()
    denied: list[str] = []
    notes: list[str] = []
    looked, deadline = 0, time.monotonic() + MAX_SECONDS
    while pending:
        path, real = pending.popleft()
        if real in visited:
            continue
        visited.add(real)
        below: list[tuple[str, str]] = []
        is_cache = False
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    looked += 1
                    if entry.name == MARKER:
                        boards.setdefault(real, path)
                    elif entry.name == CACHE_TAG:
                        is_cache = True
                    elif entry.name == CHECKPOINT_LOCK:
                        locked.add(real)
                    elif entry.name == MANIFEST:
                        above = os.path.dirname(real)  # noqa: PTH120
                        if above not in checkpoints and (above in locked or _is_manifest(entry)):
                            checkpoints[above] = str(Path(path).parent)
                    elif not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False):
                        below.append((entry.path, f"{real}/{entry.name}"))
                    elif looked > MAX_ENTRIES:
                        break
        except PermissionError:
            denied.append(path)
        except OSError:
            continue  # It is gone by now, or its file system is.
        if CACHE_FOLDERS.issubset(os.path.basename(inner) for _, inner in below):  # noqa: PTH119
            caches.append(path)
        if not is_cache:
            pending.extend(below)
        if looked > MAX_ENTRIES or time.monotonic() > deadline:
            notes.append(
                f"stopped looking for boards after {looked:,} files and folders, in "
                f"{one_line(path)}; name directories that are nearer to them"
            )
            break
    if denied:
        more = f" and {len(denied) - 1} more" if len(denied) > 1 else ""
        notes.append(f"permissions deny a look into {one_line(denied[0])}{more}")
    return Found(
        sorted(boards.values(), key=natural),
        sorted(caches, key=natural),
        sorted(checkpoints.values(), key=natural),
        notes,
    )


def _is_manifest(entry: os.DirEntry[str]) -> bool:
    if not entry.is_file(follow_symlinks=False):
        return False  # A pipe would never be opened.
    try:
        with open(entry.path, "rb") as file:  # noqa: PTH123
            return MANIFEST_MARK in file.read(200)
    except OSError:
        return False  # Removed meanwhile, or another user's.


def natural(text: str) -> list[tuple[bool, int, str]]:
    """Return a key that sorts ``run-9`` before ``run-10``."""
    parts = re.split(r"(\d{1,18})", text)
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]


class Boards:
    """All boards in and below some directories; new ones are found, and those that go are left out.

    Parameters
    ----------
    directories : iterable of str
        Where to look.
    """

    def __init__(self, directories: Iterable[str]) -> None:
        self._directories = list(directories)
        self._readers: dict[str, ProgressReader | None] = {}
        self._next_search = 0.0
        self._pool = ThreadPoolExecutor(THREADS, "flexopt-watch")
        self.found = Found([], [], [], [])

    def __enter__(self) -> Boards:
        """Use as a context manager, which ends its threads."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def look(self) -> list[Record]:
        """Return a flat record of each board: those with a problem first, else by name."""
        self._search()
        found = self._records()
        if not found and self._readers:
            # All are gone: removed, or renamed while their jobs run on.
            self._next_search = 0.0
            self._search()
            found = self._records()
        return sorted(found, key=lambda record: STATES.index(record["status"]))

    @property
    def notes(self) -> list[str]:
        """What the last search could not look at."""
        return self.found.notes

    def tasks_of(self, path: str) -> Record:
        """Return the progress of one of the boards with all its tasks; an error as `attach` has."""
        return of_one_job(self._reader(path).get_progress())

    def progress(self) -> dict[str, dict[str, Any]]:
        """Return the progress of each board without its tasks, by its absolute directory."""
        return {
            str(Path(record["directory"]).absolute()): {
                **{key: value for key, value in record.items() if key != "tasks"},
                "status": "running" if record["status"] == "stalled" else record["status"],
                "stalled": record["status"] == "stalled",
                "hosts": [record["host"]] if record["host"] else [],
                "batch": record,
            }
            for record in self.look()
        }

    def _records(self) -> list[Record]:
        records = self._pool.map(self._look, list(self._readers))
        return [record for record in records if record is not None]

    def _search(self) -> None:
        began = time.monotonic()
        if began < self._next_search:
            return
        self.found = find(self._directories)
        self._readers = {path: self._readers.get(path) for path in self.found.boards}
        took = time.monotonic() - began
        self._next_search = time.monotonic() + max(PAUSE, PAUSE_FACTOR * took)

    def _reader(self, path: str) -> ProgressReader:
        from proteinflex_optimization.progress import ProgressTracker

        reader = self._readers[path]
        if reader is None:
            reader = self._readers[path] = ProgressTracker.attach(path)
        return reader

    def _look(self, path: str) -> Record | None:
        try:
            return _record(path, self._reader(path).get_summary())
        except FileNotFoundError:
            return None  # Nothing was counted there yet, or it was removed.
        except (ProteinFlexError, OSError) as error:
            return _record(path, None, one_line(str(error), "; "))


def _record(path: str, progress: Mapping[str, Any] | None, reason: str | None = None) -> Record:
    """Make a flat record of a board; one that can't be read has the same keys."""
    known: Mapping[str, Any] = progress or {"status": "unreadable", "reason": reason}
    counts = known.get("task_counts", {})
    batch = known.get("batch") or {}
    hosts = known.get("hosts") or [None]
    status = "stalled" if known.get("stalled") else known["status"]
    kept = ("percent", "completed_steps", "total_steps", "elapsed_seconds", "eta_seconds", "rate")
    return {
        "directory": path,
        "status": status,
        "reason": known["reason"],
        **{key: known.get(key) for key in kept},
        "alive": known.get("alive", False),
        "updated": known.get("updated"),
        "current_task": known.get("current_task"),
        "message": known.get("message"),
        "tasks": sum(counts.values()),
        **{f"tasks_{name}": counts.get(name, 0) for name in ("failed", "stopped", "completed")},
        "host": batch.get("node") or hosts[0],
        "batch_system": batch.get("system"),
        **{
            key: batch.get(key)
            for key in ("job_id", "array_job_id", "array_index", "restart_count")
        },
    }


def of_one_job(progress: Mapping[str, Any]) -> Record:
    """Return the progress of one job as it is printed for scripts: failed tasks first."""
    failed = [
        {"task": task, "name": data["name"], "reason": data["message"]}
        for task, data in progress["tasks"].items()
        if data["status"] == "failed"
    ]
    return dict(plain({"failed": failed, **progress}))


def mean_percent(records: Iterable[Mapping[str, Any]]) -> float | None:
    """Return how far the boards are together, each with the same weight; None where unknown."""
    known = [record["percent"] for record in records if record["percent"] is not None]
    return sum(known) / len(known) if known else None


def summarize(records: list[Record]) -> dict[str, int]:
    """Count the boards of each state, in the order in which they are shown."""
    counts = dict.fromkeys(STATES, 0)
    for record in records:
        counts[record["status"]] += 1
    return {state: count for state, count in counts.items() if count}


def is_over(records: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether no process is at work on any of them."""
    return all(
        record["status"] in ("completed", "stopped") or not record["alive"] for record in records
    )
