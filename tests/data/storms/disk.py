"""Disks that are full or read-only."""

from __future__ import annotations

import contextlib
import errno
import json
import resource
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from proteinflex_optimization import DataHandler

from .values import (
    LOST,
    WRONG,
    check,
    compare,
    directory,
    structure,
)

STORM = Path(__file__).parents[1] / "storm.py"


def disk() -> dict[str, int]:
    """Fill a small disk, run out of files, and make a disk read-only."""
    if subprocess.run(["unshare", "-Urm", "true"], capture_output=True).returncode == 0:
        command = ["unshare", "-Urm", sys.executable, str(STORM), "small_disk"]
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return limited_files()


def small_disk() -> dict[str, int]:
    """As `disk`, where this process may mount one."""
    done: Counter = Counter({WRONG: 0, LOST: 0})
    with directory() as path:
        for options, reason in (("size=2m", "disk full"), ("nr_inodes=400", "out of files")):
            mount("-t", "tmpfs", "-o", options, "none", str(path))
            handler = DataHandler(path, enable_compression=False)
            stored, full = [], 0
            for number in range(500):
                try:
                    stored.append(handler.store_structure(structure(number, 1), str(number)))
                except OSError as error:
                    expect(error, errno.ENOSPC)
                    full += 1
                    if full == 5:
                        break
            assert full == 5
            done[reason] += full
            for key in stored:
                if key in handler:
                    check(handler.load_data(key), done)
                else:
                    done[LOST] += 1
            assert not list(path.glob("entries/*/.*.tmp"))
            for key in stored[: len(stored) // 2]:
                handler.remove(key)
            again = handler.store_structure(structure(1, 2), "again")
            check(handler.load_data(again), done)
            done["entries looked at after it"] += len(stored)
            mount("-o", "remount,ro", str(path))
            reader = DataHandler(path)
            for key in set(reader.keys()):
                check(reader.load_data(key), done)
                done["read from a read-only disk"] += 1
            assert reader.get_cache_stats()["entries"] == len(reader.keys())
            for refused in (
                lambda reader=reader: reader.store_structure({"x": 1}, "x"),
                lambda reader=reader: reader.remove(reader.keys()[0]),
                lambda reader=reader: reader.pin(reader.keys()[0]),
                lambda reader=reader: reader.trajectory_writer("x"),
            ):
                try:
                    refused()
                    raise AssertionError("changed a read-only disk")
                except OSError as error:
                    expect(error, errno.EROFS)
                    done["refused by a read-only disk"] += 1
            subprocess.run(["umount", "-l", str(path)], check=True)
    return dict(done)


def expect(error: OSError, number: int) -> None:
    """Check which error it was."""
    if error.errno != number:
        raise error


def mount(*arguments: str) -> None:
    """Mount something in this process's own name space."""
    subprocess.run(["mount", *arguments], check=True)


def limited_files() -> dict[str, int]:
    """As a full disk, where none can be mounted: no file may grow beyond 100 kB."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    done: Counter = Counter({WRONG: 0, LOST: 0})
    with directory() as path:
        handler = DataHandler(path, enable_compression=False)
        key = handler.store_structure({"x": np.zeros(100)}, "small")
        for number in range(20):
            with contextlib.suppress(OSError):
                handler.store_structure({"x": np.zeros(100_000 + number)}, str(number))
                raise AssertionError("wrote beyond the limit of the system")
            done["files that could not grow"] += 1
        done[LOST] += handler.keys() != [key]
        compare(handler.load_data(key)["x"], np.zeros(100), done)
    return dict(done)
