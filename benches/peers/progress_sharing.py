"""What progress costs a whole process, and how it scales over threads and processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

from _compare import medians, table
from proteinflex_optimization import ProgressTracker

UPDATES = 500_000
ROUNDS = 5
IDLE_SECONDS = 60


def handle_updates(directory: str, updates: int) -> float:
    """Count in a task of `directory` as fast as possible; returns the seconds."""
    tracker = ProgressTracker(checkpoint_dir=directory, auto_checkpoint=False)
    update = tracker.start_task("shared", "Shared", None).update
    started = time.perf_counter()
    for _ in range(updates):
        update()
    return time.perf_counter() - started


def locked_updates(value: Any, updates: int) -> float:
    """Count in a locked `multiprocessing.Value`."""
    started = time.perf_counter()
    for _ in range(updates):
        with value.get_lock():
            value.value += 1
    return time.perf_counter() - started


def in_processes(count: int, work: Callable[..., float], *arguments: Any) -> float:
    """Measure updates per second of `count` processes that begin together."""
    context = multiprocessing.get_context("fork")
    ready, times = context.Barrier(count), context.Queue()

    def run() -> None:
        ready.wait()
        times.put(work(*arguments, UPDATES))

    processes = [context.Process(target=run) for _ in range(count)]
    for process in processes:
        process.start()
    slowest = max(times.get() for _ in processes)
    for process in processes:
        process.join()
    return count * UPDATES / slowest


def throughput() -> None:
    """One and two processes, and one and two threads, on one task."""
    value = multiprocessing.get_context("fork").Value("q", 0)
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as directory:
        for _ in range(ROUNDS):
            for count in (1, 2):
                found.setdefault(f"handle.update(), {count} processes", []).append(
                    in_processes(count, handle_updates, directory)
                )
            for count in (1, 2):
                found.setdefault(f"multiprocessing.Value, {count} processes", []).append(
                    in_processes(count, locked_updates, value)
                )
            for count in (1, 2):
                found.setdefault(f"handle.update(), {count} threads", []).append(
                    in_threads(count, directory)
                )
    rates = {name: statistics.median(values) for name, values in found.items()}
    base = rates["handle.update(), 1 processes"]
    rows = [[name, f"{rate / 1e6:.1f}", f"{rate / base:.2f}"] for name, rate in rates.items()]
    print(table("Updates of one task", ["", "million/s", "÷ one process"], rows))


def in_threads(count: int, directory: str) -> float:
    """Measure updates per second of `count` threads of this process."""
    tracker = ProgressTracker(checkpoint_dir=directory, auto_checkpoint=False)
    update = tracker.start_task("threads", "Threads", None).update

    def run() -> None:
        for _ in range(UPDATES):
            update()

    threads = [threading.Thread(target=run) for _ in range(count)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return count * UPDATES / (time.perf_counter() - started)


PLAIN = "for _ in range(1_000_000): pass"
TRACKED = """
from proteinflex_optimization import ProgressTracker
with ProgressTracker(checkpoint_dir={directory!r}) as tracker:
    update = tracker.start_task("job", "Job", None).update
    for _ in range(1_000_000): update()
"""
TQDM = """
import io
from tqdm import tqdm
with tqdm(total=1_000_000, file=io.StringIO()) as bar:
    for _ in range(1_000_000): bar.update()
"""


def whole_processes() -> None:
    """Time a million updates in a process of their own, from its start to its end."""
    with tempfile.TemporaryDirectory() as directory:
        codes = {
            "an empty loop": PLAIN,
            "ProgressTracker, mapped file": TRACKED.format(directory=directory),
            "tqdm": TQDM,
        }
        seconds = medians(
            {
                name: lambda code=code: subprocess.run([sys.executable, "-c", code], check=True)
                for name, code in codes.items()
            }
        )
    base = seconds["an empty loop"]
    rows = [[name, f"{time:.2f}", f"{time - base:.2f}"] for name, time in seconds.items()]
    print(table("A process with a million updates", ["", "seconds", "more than empty"], rows))


def processor_use() -> None:
    """Measure the share of a core that an idle tracker takes, and one with 1,000 updates a second."""
    rows = []
    for name, pause in (("idle", None), ("1,000 updates/s", 0.001)):
        used = {}
        for tracked in (False, True):
            with tempfile.TemporaryDirectory() as directory:
                update: Callable[[], object] = lambda: None  # noqa: E731
                tracker = None
                if tracked:
                    tracker = ProgressTracker(checkpoint_dir=directory)
                    update = tracker.start_task("job", "Job", None).update
                began, started = time.process_time(), time.perf_counter()
                while time.perf_counter() - started < IDLE_SECONDS:
                    if pause is None:
                        time.sleep(1)
                    else:
                        time.sleep(pause)
                        update()
                used[tracked] = time.process_time() - began
                if tracker is not None:
                    tracker.close()
        share = 100 * (used[True] - used[False]) / IDLE_SECONDS
        rows.append([name, f"{100 * used[False] / IDLE_SECONDS:.3f} %", f"{share:.3f} %"])
    print(table(f"Processor use over {IDLE_SECONDS} s", ["", "without", "the tracker adds"], rows))


def latency() -> None:
    """How soon `flexopt watch` shows an update that this process makes."""
    with tempfile.TemporaryDirectory() as directory:
        tracker = ProgressTracker(checkpoint_dir=directory)
        task = tracker.start_task("job", "Job", None)
        command = [sys.executable, "-m", "proteinflex_optimization", "watch", directory, "--json"]
        delays = []
        with subprocess.Popen(
            [*command, "--interval", "0.1"],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        ) as watch:
            assert watch.stdout is not None
            watch.stdout.readline()
            for number in range(1, 51):
                time.sleep(0.05 + 0.013 * (number % 7))
                task.update()
                updated = time.perf_counter()
                for line in watch.stdout:
                    if json.loads(line)["tasks"]["job"]["completed"] >= number:
                        break
                delays.append(1e3 * (time.perf_counter() - updated))
            watch.kill()
        rows = [[f"{statistics.median(delays):.0f}", f"{max(delays):.0f}"]]
        print(table("Update to `flexopt watch`", ["median ms", "longest of 50, ms"], rows))


def main() -> None:
    """Measure and print the tables."""
    throughput()
    whole_processes()
    latency()
    processor_use()


if __name__ == "__main__":
    main()
