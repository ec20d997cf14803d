"""What the tests of caches behind a cache share: caches to be found there, and sources that fail."""

import logging
import threading
from pathlib import Path

import numpy as np
from proteinflex_optimization import DataHandler
from proteinflex_optimization.remote.directory_store import DirectoryStore

FRAMES = np.random.default_rng(7).normal(0, 9, (40, 30, 3)).astype(np.float32)
FOREVER = 1000.0
"""Seconds after which pytest has long ended a test."""


def upstream_at(directory: Path, ids=("run",), frames=FRAMES) -> Path:
    """Make a cache with a trajectory for each id, and a structure."""
    handler = DataHandler(directory, durable=False)
    for data_id in ids:
        handler.store_trajectory({"frames": frames, "note": data_id}, data_id, {"of": data_id})
    handler.store_structure({"positions": FRAMES[0]}, "crystal")
    return directory


def state_of(directory: Path) -> dict[str, tuple[int, ...]]:
    """Return what a change of anything in a directory changes."""
    found = {path: path.lstat() for path in [directory, *directory.rglob("*")]}
    return {
        str(path): (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        for path, stat in found.items()
    }


def send(bucket, directory: Path, prefix: str) -> None:
    """Copy a cache directory into a bucket, as `aws s3 sync` does."""
    for path in directory.rglob("*"):
        if path.is_file():
            bucket.put(f"{prefix}/{path.relative_to(directory).as_posix()}", path.read_bytes())


def warnings_of(caplog) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]


class Source:
    """A source that behaves as told."""

    url = "test://tier"

    def __init__(self, directory: Path | None = None, seconds: float = 0.0, error=None) -> None:
        self.directory, self.seconds, self.error = directory, seconds, error
        self.heads = self.reads = 0
        self.released = threading.Event()

    def head(self, name):
        self.heads += 1
        return self._ask().head(name)

    def read(self, *request):
        self.reads += 1
        return self._ask().read(*request)

    def list(self, prefix=""):
        return iter(())

    def _ask(self):
        self.released.wait(self.seconds)
        if self.error is not None:
            raise self.error
        return DirectoryStore(self.directory)
