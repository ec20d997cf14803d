"""`flexopt doctor`: whether this very file system keeps the promises that the formats rely on."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import mmap
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from proteinflex_optimization.cli.commands import add_command
from proteinflex_optimization.cli.directories import check_directory
from proteinflex_optimization.cli.output import print_json, size
from proteinflex_optimization.errors import ProteinFlexError

CLOCK_SKEW_SECONDS = 5.0


def add_parser(subparsers: Any) -> None:
    """Add this command."""
    parser = add_command(
        subparsers,
        "doctor",
        "check that a directory's file system does what is relied on",
        "flexopt doctor",
        "flexopt doctor /scratch/me --json",
        description="Try, in a temporary directory inside DIR, each thing that caches, checkpoints "
        "and progress files ask of a file system.",
    )
    parser.add_argument("directory", nargs="?", type=Path, default=Path(), metavar="DIR")
    parser.add_argument("--json", action="store_true", help="for scripts")
    parser.set_defaults(func=run)


def run(options: argparse.Namespace) -> int:
    """Run every check; 0 where nothing that is needed is missing."""
    directory: Path = options.directory
    with _scratch(directory) as scratch:
        results = [_tried(name, needed, check, scratch) for name, needed, check in CHECKS]
    usage = shutil.disk_usage(directory)
    broken = [result for result in results if not result["ok"] and result["needed"]]
    if options.json:
        report = {"directory": str(directory), "free_bytes": usage.free, "checks": results}
        print_json(report)
    else:
        for result in results:
            mark = "ok  " if result["ok"] else ("FAIL" if result["needed"] else "no  ")
            print(
                f"{mark} {result['name']}" + (f": {result['detail']}" if result["detail"] else "")
            )
        print(f"{size(usage.free)} free of {size(usage.total)}")
        if broken:
            print(f"{directory} does not keep what it must: use a directory on another file system")
    return 1 if broken else 0


@contextlib.contextmanager
def _scratch(directory: Path) -> Iterator[Path]:
    check_directory(directory)
    try:
        path = Path(tempfile.mkdtemp(prefix=".flexopt-doctor-", dir=directory))
    except FileNotFoundError:
        raise ProteinFlexError(f"there is no directory {directory}: make it first") from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ProteinFlexError(f"nothing can be written in {directory}: {reason}") from error
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _tried(name: str, needed: bool, check: Callable[[Path], str], scratch: Path) -> dict[str, Any]:
    try:
        return {"name": name, "needed": needed, "ok": True, "detail": check(scratch)}
    except (OSError, AssertionError, ValueError) as error:
        return {"name": name, "needed": needed, "ok": False, "detail": str(error)}


def _expect(condition: bool, otherwise: str) -> None:
    if not condition:
        raise AssertionError(otherwise)


def _rename_replaces(scratch: Path) -> str:
    old, new = scratch / "old", scratch / "new"
    old.write_text("old")
    new.write_text("new")
    with old.open() as reader:
        new.replace(old)
        _expect(reader.read() == "old", "an open file changed when another was renamed over it")
    _expect(old.read_text() == "new", "the renamed file is not there")
    return ""


def _sync(scratch: Path) -> str:
    started = time.perf_counter()
    with (scratch / "synced").open("wb") as file:
        file.write(b"x" * 4096)
        file.flush()
        os.fsync(file.fileno())
    descriptor = os.open(scratch, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return f"{1e3 * (time.perf_counter() - started):.1f} ms for 4 KiB"


def _mapped_after_unlink(scratch: Path) -> str:
    path = scratch / "mapped"
    path.write_bytes(b"data" * 1024)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        path.unlink()
        _expect(view[-4:] == b"data", "a mapped file changed when it was removed")
    return ""


def _shared_mapping(scratch: Path) -> str:
    path = scratch / "shared"
    path.write_bytes(bytes(4096))
    with (
        path.open("r+b") as one,
        path.open("r+b") as other,
        mmap.mmap(one.fileno(), 4096) as writer,
        mmap.mmap(other.fileno(), 4096) as reader,
    ):
        writer[0:4] = b"seen"
        _expect(reader[0:4] == b"seen", "one mapping does not see what another wrote")
    return ""


def _reserved_space(scratch: Path) -> str:
    with (scratch / "reserved").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 1 << 20)
    return ""


def _locks_exclude(scratch: Path) -> str:
    path = scratch / "lock"
    with path.open("w") as one, path.open("w") as other:
        fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return ""
        raise AssertionError("two holders got the same exclusive lock")


def _touch_moves_time(scratch: Path) -> str:
    path = scratch / "touched"
    path.write_text("")
    os.utime(path, (0, 0))
    path.touch()
    skew = abs(time.time() - path.stat().st_mtime)
    _expect(skew < CLOCK_SKEW_SECONDS, f"the file server's clock differs by {skew:.0f} s")
    return ""


def _many_names(scratch: Path) -> str:
    free = os.statvfs(scratch).f_favail
    _expect(free == 0 or free > 1000, f"only {free} more files fit")
    return ""


CHECKS: tuple[tuple[str, bool, Callable[[Path], str]], ...] = (
    ("rename replaces a file in one step", True, _rename_replaces),
    ("files and directories can be synced", True, _sync),
    ("a removed file stays readable where it is mapped", True, _mapped_after_unlink),
    ("mappings of one file share their memory", True, _shared_mapping),
    ("disk space can be reserved", False, _reserved_space),
    ("locks exclude", False, _locks_exclude),
    ("a touch moves a file's time, and clocks agree", False, _touch_moves_time),
    ("there is room for more files", True, _many_names),
)
