"""`flexopt checkpoints`: which there are, whether they are whole, what is in them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from proteinflex_optimization import CheckpointManager
from proteinflex_optimization._text import PROBLEMS, id_of_job
from proteinflex_optimization.cli import confirm
from proteinflex_optimization.cli.commands import (
    Run,
    add_command,
    add_commands,
    complete_checkpoints,
)
from proteinflex_optimization.cli.directories import check_directory, expanded_path
from proteinflex_optimization.cli.output import (
    age,
    print_json,
    print_table,
    printable,
    shown,
    size,
    warn,
)
from proteinflex_optimization.cli.selection import checkpoint_id
from proteinflex_optimization.errors import (
    CorruptDataError,
    InvalidArgumentError,
    UnsupportedFormatError,
)
from proteinflex_optimization.types import (
    BatchFacts,
    CheckpointInfo,
    CheckpointVerification,
    FileVerification,
    ValueInfo,
)


def add_parser(subparsers: Any) -> None:
    """Add this command."""
    parser = add_command(
        subparsers,
        "checkpoints",
        "list, verify, show or remove checkpoints",
        "flexopt checkpoints ls checkpoints",
        "flexopt checkpoints show checkpoints step-100",
        description="The checkpoints of a directory. ID is a checkpoint's id or, but for rm, a unique "
        "beginning of one.",
    )
    actions = add_commands(parser, "ACTION")
    _action(actions, "ls", ls, "list the checkpoints of a directory, the newest last", None)
    _action(actions, "verify", verify, "read back every byte of one or all checkpoints", "*")
    action = _action(
        actions, "show", show, "show the tensors, arrays and values in a checkpoint", "+"
    )
    action.add_argument(
        "--component", action="append", metavar="NAME", help="only this one; may be repeated"
    )
    confirm.add_arguments(_action(actions, "rm", rm, "remove checkpoints", "+"))


def _action(actions: Any, name: str, function: Run, text: str, ids: str | None) -> Any:
    example = f"flexopt checkpoints {name} checkpoints" + (" step-100" if ids == "+" else "")
    action = add_command(actions, name, text, example)
    action.add_argument("directory", type=expanded_path, metavar="DIR")
    if ids is not None:
        text = "a whole one" if name == "rm" else "or its beginning"
        argument = action.add_argument("ids", nargs=ids, metavar="ID", help=text)
        argument.completer = complete_checkpoints
    action.add_argument("--json", action="store_true", help="for scripts")
    action.set_defaults(func=function)
    return action


def ls(options: argparse.Namespace) -> int:
    """List the checkpoints; 1 where one of them can't be loaded."""
    manager = _look(options.directory)
    rows = manager.list_checkpoints()
    latest = None
    try:
        latest = manager.latest()
        newest = f"newest valid: {printable(latest)}" if latest else "no valid checkpoint"
    except UnsupportedFormatError as error:
        newest = "the newest checkpoint is of a newer version"
        warn(str(error))
    if options.json:
        directory = str(manager.base_dir)
        print_json({"directory": directory, "checkpoints": rows, "latest": latest})
    else:
        print(printable(str(manager.base_dir)))
        _print(rows)
        print(newest)
    return 0 if all(row["valid"] for row in rows) else 1


def verify(options: argparse.Namespace) -> int:
    """Read checkpoints back; 1 where one of them is damaged."""
    manager = _look(options.directory)
    rows = manager.list_checkpoints()
    rows = _chosen(rows, options) if options.ids else rows
    reports = {row["checkpoint_id"]: _verified(manager, row["path"]) for row in rows}
    if options.json:
        print_json(reports)
    else:
        problems = {row["checkpoint_id"]: row["problem"] for row in rows}
        for name, report in reports.items():
            found = "whole" if report["ok"] else PROBLEMS[problems[name] or "damaged"].upper()
            if report["saved_as"] not in (None, name):
                found += f", saved as {printable(str(report['saved_as']))}"
            print(f"{printable(name)}: {found}")
            for file in report["files"]:
                if not file["ok"]:
                    print(f"  {printable(str(file['reason']))}")
    return 0 if all(report["ok"] for report in reports.values()) else 1


def show(options: argparse.Namespace) -> int:
    """Show what checkpoints hold, without loading their arrays."""
    manager = _look(options.directory)
    found = [
        (row, manager.outline(row["path"])) for row in _chosen(manager.list_checkpoints(), options)
    ]
    known = {name for _, values in found for name in values}
    for name in options.component or ():
        if name not in known:
            raise InvalidArgumentError(
                f"--component={name!r} is not valid: there are {', '.join(sorted(known)) or 'none'}"
            )
    result = []
    for row, values in found:
        if options.component is not None:
            values = {name: values[name] for name in values if name in options.component}
        result.append({**row, "values": values})
        if not options.json:
            _show(row, values)
    if options.json:
        print_json(result)
    return 0


def rm(options: argparse.Namespace) -> int:
    """Remove checkpoints."""
    manager = _look(options.directory)
    rows = manager.list_checkpoints()
    chosen = _chosen(rows, options, whole=True)
    names = [row["checkpoint_id"] for row in chosen]
    if not options.json:
        print("to be removed:")
        _print(chosen)
    removed = [row["size_bytes"] for row in chosen]
    present = [row["size_bytes"] for row in rows]
    if options.dry_run:
        return confirm.dry_run(options, names, sum(removed))
    removal = confirm.Removal.of(removed, present, "checkpoint", "checkpoints")
    if not confirm.confirmed(removal, options):
        return confirm.refused()
    writer = CheckpointManager(options.directory, auto_cleanup=False)
    for name in names:
        writer.delete(name)
    if options.json:
        print_json({"removed": names})
    else:
        print(f"removed {', '.join(map(printable, names))}")
    return 0


def _look(directory: Path) -> CheckpointManager:
    """Open the directory without changing anything in it; an error where there are none."""
    check_directory(directory)
    return CheckpointManager(directory, read_only=True)


def _chosen(
    rows: list[CheckpointInfo], options: argparse.Namespace, *, whole: bool = False
) -> list[CheckpointInfo]:
    by_id = {row["checkpoint_id"]: row for row in rows}
    ids = [checkpoint_id(list(by_id), text, options.directory, whole=whole) for text in options.ids]
    return [by_id[name] for name in dict.fromkeys(ids)]


def _print(rows: list[CheckpointInfo]) -> None:
    lines = [
        (
            printable(row["checkpoint_id"]),
            age(row["created_at"]),
            size(row["size_bytes"]),
            printable(", ".join(row["components"])) + _mark(row),
        )
        for row in rows
    ]
    if lines:
        print_table(("ID", "AGE", "SIZE", "COMPONENTS"), lines, "<>>")


def _mark(row: CheckpointInfo) -> str:
    return "" if row["problem"] is None else f"  {PROBLEMS[row['problem']].upper()}"


def _show(row: CheckpointInfo, values: dict[str, list[ValueInfo]]) -> None:
    print(f"{printable(row['checkpoint_id'])}  {printable(row['path'])}")
    print(f"  made {age(row['created_at'])} ago, {size(row['size_bytes'])}")
    if row["batch"] is not None:
        print(f"  by {printable(_job(row['batch']))}")
    for name, value in row["metadata"].items():
        print(f"  {printable(shown(name))}: {printable(shown(value))}")
    for component, infos in values.items():
        print(f"  {printable(component)}")
        lines = [_described(info) for info in infos]
        width = min(max((len(path) for path, _ in lines), default=0), 48)
        for path, text in lines:
            print(f"    {path:{width}}  {text}".rstrip())


def _job(batch: BatchFacts) -> str:
    text = f"{batch['system']} job {id_of_job(batch)} on {batch['node']}"
    return f"{text}, restarted {batch['restart_count']} times" if batch["restart_count"] else text


def _described(info: ValueInfo) -> tuple[str, str]:
    path = printable(info["path"]) or "."
    if info["shape"] is not None:
        shape = " × ".join(map(str, info["shape"])) or "scalar"
        return path, f"{info['type']} {info['dtype']} {shape}, {size(info['bytes'] or 0)}"
    held = [] if info["bytes"] is None else [size(info["bytes"])]
    held += [] if info["value"] is None else [printable(info["value"])]
    return path, f"{printable(info['type'])} {', '.join(held)}"


def _verified(manager: CheckpointManager, path: str) -> CheckpointVerification:
    try:
        return manager.verify(path)
    except (CorruptDataError, UnsupportedFormatError, OSError) as error:
        # The manifest itself: nothing else can be checked against it.
        file: FileVerification = {
            "name": "manifest.json",
            "bytes": 0,
            "ok": False,
            "reason": str(error),
        }
        return {"ok": False, "files": [file], "saved_as": None}
