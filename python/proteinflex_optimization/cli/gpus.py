"""`flexopt gpus`: which GPUs there are, who holds how much of them, and which task fits where."""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from typing import Any

from proteinflex_optimization import GPUError, GPUManager, InvalidArgumentError
from proteinflex_optimization._needed import needed
from proteinflex_optimization.cli.commands import add_command
from proteinflex_optimization.cli.directories import home_expanded
from proteinflex_optimization.cli.output import one_line, print_json, printable
from proteinflex_optimization.cli.sizes import parse_size
from proteinflex_optimization.types import GPUInfo


def add_parser(subparsers: Any) -> None:
    """Add this command."""
    parser = add_command(
        subparsers,
        "gpus",
        "list GPUs, reservations, and which task fits where",
        "flexopt gpus",
        "flexopt gpus --task prediction=16GiB --json",
        "flexopt gpus --select prediction=16GiB --max-gpus 1",
        description="List the GPUs that a process started here would see, what is reserved on them "
        "and by whom, and which tasks would fit now. Memory is in MiB, as nvidia-smi counts it.",
    )
    parser.add_argument("--json", action="store_true", help="for scripts")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--watch", action="store_true", help="again and again, until Ctrl-C")
    what.add_argument(
        "--select",
        metavar="NAME[=SIZE]",
        help="print the GPUs that this task would get now, best first, as CUDA_VISIBLE_DEVICES takes "
        "them; nothing where there is no driver",
    )
    parser.add_argument(
        "--max-gpus", type=int, metavar="N", help="with --select: at most as many, such as 1"
    )
    parser.add_argument(
        "--interval", type=float, metavar="SECONDS", help="with --watch: how often to look (1)"
    )
    parser.add_argument(
        "--task",
        action="append",
        default=[],
        metavar="NAME=SIZE",
        help="a task and its memory, with its unit: prediction=16GiB; default: the documented ones",
    )
    parser.add_argument(
        "--state-dir", type=home_expanded, metavar="DIR", help="where the reservations are kept"
    )
    parser.set_defaults(func=run)


def run(options: argparse.Namespace) -> int:
    """List once, or again and again, or select; 1 where a GPU can't be used, or nothing fits."""
    interval = 1.0 if options.interval is None else options.interval
    if not 0.1 <= interval <= 86400:
        message = f"--interval={interval} is not valid: expected seconds from 0.1 to 86400"
        raise InvalidArgumentError(message)
    if options.interval is not None and not options.watch:
        raise InvalidArgumentError(
            f"--interval={interval} is not valid here: expected with --watch"
        )
    if options.select is not None:
        return _select(options)
    if options.max_gpus is not None:
        raise InvalidArgumentError(
            f"--max-gpus={options.max_gpus} is not valid here: expected with --select"
        )
    manager = GPUManager(
        _tasks(options.task),
        state_dir=options.state_dir,
        poll_interval=interval if options.watch else None,
    )
    if options.watch and not options.json and sys.stdout.isatty():
        return _watch(manager, interval)
    while True:
        gpus = manager.get_available_gpus()
        if options.json:
            print_json(report(manager, gpus), indent=None if options.watch else 2)
        else:
            print(_text(manager, gpus), flush=True)
        if not options.watch:
            return 0 if all(gpu["status"] == "ok" for gpu in gpus) else 1
        time.sleep(interval)


def _select(options: argparse.Namespace) -> int:
    """Print which GPUs a task gets; what other processes have reserved or wait for it does not get."""
    task, equals, _ = options.select.partition("=")
    tasks = _tasks(options.task, options.select if equals else None)
    manager = GPUManager(tasks, state_dir=options.state_dir)
    if task not in manager.required_memory:
        known = ", ".join(manager.required_memory)
        raise InvalidArgumentError(
            f"--select={task!r} is not valid: expected one of {known}, or NAME=SIZE"
        )
    with manager.reserve(task, max_gpus=options.max_gpus) as indices:
        environment = manager.cuda_env(indices)
    if options.json:
        memory = manager.required_memory[task]
        chosen = {"task": task, "required_memory": memory, "gpu_indices": indices}
        print_json({**chosen, "environment": environment})
    else:
        print(environment["CUDA_VISIBLE_DEVICES"])
    return 0


def _tasks(given: list[str], selected: str | None = None) -> dict[str, float] | None:
    tasks: dict[str, float] = {}
    texts = [("--task", text) for text in given]
    for option, text in texts if selected is None else [*texts, ("--select", selected)]:
        name, equals, memory = text.partition("=")
        if not (name and equals):
            raise InvalidArgumentError(
                f"{option}={text!r} is not valid: expected NAME=SIZE, such as prediction=16GiB"
            )
        tasks[name] = math.ceil(parse_size(memory, f"{option} {name}") / 2**20)
    return tasks or None


def report(manager: GPUManager, gpus: list[GPUInfo]) -> dict[str, Any]:
    """Return what ``--json`` prints: the GPUs, and which task would fit where."""
    fits = {task: _fits(gpus, memory) for task, memory in manager.required_memory.items()}
    return {"gpus": gpus, "required_memory": manager.required_memory, "fits": fits}


def _fits(gpus: list[GPUInfo], memory: int) -> list[int | None]:
    usable = (gpu for gpu in gpus if gpu["obstacle"] is None)
    return [gpu["index"] for gpu in usable if gpu["memory_unreserved"] >= memory]


def _text(manager: GPUManager, gpus: list[GPUInfo]) -> str:
    if not gpus:
        return "no GPU is visible here"
    lines = []
    for gpu in gpus:
        number = "-" if gpu["index"] is None else gpu["index"]
        if gpu["status"] != "ok":
            lines.append(f"GPU {number}  {gpu['name'] or '?'}  {gpu['obstacle']}")
            continue
        obstacle = f"; {gpu['obstacle']}" if gpu["obstacle"] else ""
        busy = "" if gpu["utilization"] is None else f"  {gpu['utilization']} %"
        lines.append(
            f"GPU {number}  {gpu['name']}  {gpu['memory_free']} MiB of {gpu['memory_total']} free, "
            f"{gpu['memory_unreserved']} not reserved{busy}{obstacle}"
        )
        lines += [
            f"       {lease['memory']} MiB for {lease['task']}: pid {lease['pid']}, "
            f"{user_name(lease['user'])}, {lease['command']}"
            for lease in gpu["reservations"]
        ]
    for task, memory in manager.required_memory.items():
        indices = _fits(gpus, memory)
        where = ", ".join(str(index) for index in indices) if indices else "no single GPU now"
        lines.append(f"{task} ({memory} MiB) fits on: {where}")
    return "\n".join(map(printable, lines))


def user_name(number: int) -> str:
    """Return the name of a user, by the number."""
    import pwd

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _watch(manager: GPUManager, interval: float) -> int:
    with needed("rich", "display", "--watch in a terminal"):
        from rich.live import Live
        from rich.text import Text
    with Live(screen=False, auto_refresh=False) as live:
        while True:
            try:
                gpus = manager.get_available_gpus()
                shown = _text(manager, gpus)
                age = max((gpu["age"] for gpu in gpus), default=0.0)
            except GPUError as error:
                # A driver that hangs may come back.
                shown, age = one_line(str(error)), 0.0
            stamp = time.strftime("%H:%M:%S", time.localtime(time.time() - age))
            live.update(Text(f"{shown}\n{stamp}  {os.uname().nodename}"), refresh=True)
            time.sleep(interval)
