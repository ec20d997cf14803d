"""`flexopt checkpoints`: which there are, whether they are whole, what is in them."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any, NoReturn

from proteinflex_optimization import CheckpointManager
from proteinflex_optimization.cli.cache import printable
from proteinflex_optimization.errors import (
    CheckpointError,
    CorruptDataError,
    UnsupportedFormatError,
)
from proteinflex_optimization.types import CheckpointVerification, FileVerification


def add_parser(subparsers: Any) -> None:
    """Add this command."""
    parser = subparsers.add_parser("checkpoints", help="list, verify, show or remove checkpoints")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, function, text in (
        ("ls", ls, "list the checkpoints of a directory, the newest last"),
        ("verify", verify, "read back every byte of one or all checkpoints"),
        ("show", show, "show what a checkpoint consists of"),
        ("rm", rm, "remove checkpoints"),
    ):
        action = actions.add_parser(name, help=text, description=text)
        action.add_argument("directory", type=Path, metavar="DIR")
        if name in ("show", "rm"):
            action.add_argument("ids", nargs="+", metavar="ID")
        elif name == "verify":
            action.add_argument("ids", nargs="*", metavar="ID")
        action.add_argument("--json", action="store_true", help="for scripts")
        action.set_defaults(func=function)


def ls(options: argparse.Namespace) -> int:
    """List the checkpoints; 1 where one of them is damaged."""
    manager = _open(options.directory)
    rows = manager.list_checkpoints()
    if options.json:
        print(json.dumps({"checkpoints": rows, "latest": manager.latest()}, default=str, indent=2))
    else:
        width = max((len(row["checkpoint_id"]) for row in rows), default=0)
        for row in rows:
            state = "" if row["valid"] else "  DAMAGED"
            print(
                f"{row['checkpoint_id']:{width}}  {_age(row['created_at']):>8}  "
                f"{_size(row['size_bytes']):>9}  {printable(', '.join(row['components']))}{state}"
            )
        if rows:
            print(f"newest valid: {manager.latest() or 'none'}")
        else:
            print(f"no checkpoints in {options.directory}")
    return 0 if all(row["valid"] for row in rows) else 1


def verify(options: argparse.Namespace) -> int:
    """Read checkpoints back; 1 where one of them is damaged."""
    manager = _open(options.directory)
    ids = options.ids or [row["checkpoint_id"] for row in manager.list_checkpoints()]
    reports = {name: _verified(manager, options.directory / name) for name in ids}
    if options.json:
        print(json.dumps(reports, indent=2))
    else:
        for name, report in reports.items():
            print(f"{name}: {'whole' if report['ok'] else 'DAMAGED'}")
            for file in report["files"]:
                if not file["ok"]:
                    print(f"  {file['reason']}")
    return 0 if all(report["ok"] for report in reports.values()) else 1


def show(options: argparse.Namespace) -> int:
    """Show the components and metadata of checkpoints."""
    manager = _open(options.directory)
    rows = {row["checkpoint_id"]: row for row in manager.list_checkpoints()}
    chosen = [rows[name] if name in rows else _missing(name, list(rows)) for name in options.ids]
    if options.json:
        print(json.dumps(chosen, default=str, indent=2))
        return 0
    for row in chosen:
        print(f"{row['checkpoint_id']}  {row['path']}")
        print(f"  made {_age(row['created_at'])} ago, {_size(row['size_bytes'])}")
        print(f"  components: {printable(', '.join(row['components']))}")
        for name, value in row["metadata"].items():
            print(f"  {printable(str(name))}: {printable(repr(value))}")
    return 0


def rm(options: argparse.Namespace) -> int:
    """Remove checkpoints."""
    manager = _open(options.directory)
    for name in options.ids:
        manager.delete(name)
    if options.json:
        print(json.dumps({"removed": options.ids}))
    return 0


def _open(directory: Path) -> CheckpointManager:
    if not directory.is_dir():
        raise CheckpointError(f"{directory} is not a directory of checkpoints")
    return CheckpointManager(directory, auto_cleanup=False)


def _verified(manager: CheckpointManager, path: Path) -> CheckpointVerification:
    try:
        return manager.verify(path)
    except (CorruptDataError, UnsupportedFormatError) as error:
        # The manifest itself: nothing else can be checked against it.
        reason = str(error)
        file: FileVerification = {
            "name": "manifest.json",
            "bytes": 0,
            "ok": False,
            "reason": reason,
        }
        return {"ok": False, "files": [file]}


def _missing(name: str, known: list[str]) -> NoReturn:
    raise CheckpointError(f"there is no checkpoint {name!r}: there are {known}")


def _age(created: float) -> str:
    seconds = max(0.0, time.time() - created)
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
