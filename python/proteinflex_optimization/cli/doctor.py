"""`flexopt doctor`: what this very file system does, and what that means for this package."""

from __future__ import annotations

import argparse
import contextlib
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from proteinflex_optimization.cli.commands import add_command
from proteinflex_optimization.cli.directories import check_directory, expanded_path
from proteinflex_optimization.cli.filesystem_checks import CHECKS, Check, Place, UnknownError
from proteinflex_optimization.cli.mounts import mount_of
from proteinflex_optimization.cli.output import print_json, printable, warn
from proteinflex_optimization.errors import ProteinFlexError


def add_parser(subparsers: Any) -> None:
    """Add this command."""
    parser = add_command(
        subparsers,
        "doctor",
        "tell what a directory's file system does, and what that means",
        "flexopt doctor",
        "flexopt doctor /scratch/me --json",
        description="Try, in a temporary directory inside DIR, each thing that caches, checkpoints "
        "and progress files ask of a file system, and say what the result means for them. What "
        "can't be found out from this host is marked with '?'.",
    )
    parser.add_argument("directory", nargs="?", type=expanded_path, default=Path(), metavar="DIR")
    parser.add_argument("--json", action="store_true", help="for scripts")
    parser.set_defaults(func=run)


def run(options: argparse.Namespace) -> int:
    """Run every check; 0 where nothing that is needed is missing."""
    directory: Path = options.directory
    with _scratch(directory) as scratch:
        place = Place(scratch, mount_of(scratch))
        filesystem = _described(place)
        results = [_tried(check, place) for check in CHECKS]
        free = shutil.disk_usage(directory).free
    broken = [result for result in results if result["ok"] is False and result["needed"]]
    if options.json:
        report = {"directory": str(directory), "filesystem": filesystem, "free_bytes": free}
        print_json({**report, "checks": results})
    else:
        _print(directory, filesystem, results)
        if broken:
            print(
                f"{printable(str(directory))} does not keep what it must: use a directory on "
                "another file system"
            )
    return 1 if broken else 0


def _described(place: Place) -> dict[str, Any]:
    mount = place.mount
    return {
        "kind": None if mount is None else mount.kind,
        "source": None if mount is None else mount.source,
        "mount_point": None if mount is None else str(mount.point),
        "local": place.is_local,
    }


def _print(directory: Path, filesystem: dict[str, Any], results: list[dict[str, Any]]) -> None:
    kind = filesystem["kind"] or "a file system of unknown kind"
    where = f" at {filesystem['mount_point']}" if filesystem["mount_point"] else ""
    of = f", {filesystem['source']}" if filesystem["source"] else ""
    whose = (
        "of this host alone"
        if filesystem["local"]
        else "which other hosts may change too, as far as is known"
    )
    print(printable(f"{directory}: {kind}{where}{of}: {whose}"))
    for result in results:
        mark = {True: "ok  ", None: "?   ", False: "FAIL" if result["needed"] else "no  "}
        detail = f": {result['detail']}" if result["detail"] else ""
        print(printable(f"{mark[result['ok']]} {result['name']}{detail}"))
        if result["means"] and result["ok"] is not True:
            print(f"     {result['means']}")


@contextlib.contextmanager
def _scratch(directory: Path) -> Iterator[Path]:
    check_directory(directory)
    with _ending_by_signal():
        try:
            path = Path(tempfile.mkdtemp(prefix=".flexopt-doctor-", dir=directory))
        except OSError as error:
            if not directory.exists():
                raise ProteinFlexError(
                    f"there is no directory {directory}: make it first"
                ) from None
            reason = (error.strerror or str(error)).lower()
            raise ProteinFlexError(f"nothing can be written in {directory}: {reason}") from error
        try:
            yield path
        finally:
            try:
                shutil.rmtree(path)
            except OSError as error:
                warn(f"{path} can't be removed: {error.strerror}; remove it")


@contextlib.contextmanager
def _ending_by_signal() -> Iterator[None]:
    """Leave nothing behind where a batch system ends this command."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        sys.exit(128 + number)

    try:
        before = signal.signal(signal.SIGTERM, end)
    except ValueError:  # Not in the main thread.
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _tried(check: Check, place: Place) -> dict[str, Any]:
    ok: bool | None
    try:
        ok, detail = True, check.run(place)
    except UnknownError as error:
        ok, detail = None, str(error)
    except OSError as error:
        ok, detail = False, (error.strerror or str(error)).lower()
    except (AssertionError, ValueError) as error:
        ok, detail = False, str(error)
    means = check.if_so if ok else check.if_not
    return {"name": check.name, "needed": check.needed, "ok": ok, "detail": detail, "means": means}
