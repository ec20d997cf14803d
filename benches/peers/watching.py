"""What a look at many boards takes, and one at a board of many tasks."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from _compare import table
from proteinflex_optimization import ProgressTracker
from proteinflex_optimization.cli.boards import Boards

BOARDS = 1000
TASKS = 10_000
LOOKS = 25


def medians(look: Callable[[], object]) -> list[str]:
    """Return the medians of the milliseconds and of the CPU's that a look takes."""
    times = []
    for _ in range(LOOKS):
        began = time.perf_counter(), time.process_time()
        look()
        times.append((time.perf_counter() - began[0], time.process_time() - began[1]))
    return [f"{1e3 * statistics.median(column):.1f}" for column in zip(*times, strict=True)]


def many_boards(root: Path) -> list[list[str]]:
    """Measure a look at boards of five tasks each: the first, and one a second later."""
    for number in range(BOARDS):
        directory = root / "runs" / str(number)
        with ProgressTracker(checkpoint_dir=directory, auto_checkpoint=False) as tracker:
            for task in range(5):
                tracker.start_task(f"task-{task}", f"Task {task}", 100).update(task)
    with Boards([str(root / "runs")]) as boards:
        began = time.perf_counter(), time.process_time()
        found = len(boards.look())
        first = time.perf_counter() - began[0], time.process_time() - began[1]
        assert found == BOARDS
        return [
            [
                f"{BOARDS:,} boards of 5 tasks, found and opened",
                *(f"{1e3 * of:.1f}" for of in first),
            ],
            [f"{BOARDS:,} boards of 5 tasks, again", *medians(boards.look)],
        ]


def many_tasks(root: Path) -> list[list[str]]:
    """Measure a look at one board, while one task is updated."""
    tracker = ProgressTracker(checkpoint_dir=root / "one", auto_checkpoint=False)
    tasks = [tracker.start_task(f"task-{n:05}", f"Protein {n}", 100) for n in range(TASKS)]
    for number, task in enumerate(tasks):
        task.update(number % 100, f"residue {number}")
    reader = ProgressTracker.attach(root / "one")

    def after_an_update(look: Callable[[], object]) -> Callable[[], object]:
        def run() -> object:
            tasks[0].update(1, "one more")
            return look()

        return run

    rows = [
        [f"one board of {TASKS:,} tasks, its summary", after_an_update(reader.get_summary)],
        [
            f"one board of {TASKS:,} tasks, all of them as dicts",
            after_an_update(reader.get_progress),
        ],
    ]
    result = [[name, *medians(look)] for name, look in rows]
    tracker.close()
    return result


def main() -> None:
    """Measure and print the table."""
    with tempfile.TemporaryDirectory() as directory:
        rows = [*many_boards(Path(directory)), *many_tasks(Path(directory))]
    print(table("A look at the progress of others", ["", "ms", "ms of CPU"], rows))


if __name__ == "__main__":
    main()
