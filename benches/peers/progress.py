"""What one update costs, beside tqdm, rich, alive-progress and multiprocessing.Value."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import sys
import tempfile
from collections.abc import Callable
from functools import partial

from _compare import medians, often, table
from proteinflex_optimization import ProgressTracker

UPDATES = 100_000
TASKS = 1000
loop = partial(often, UPDATES)


def main() -> None:
    """Measure and print the tables."""
    contenders: dict[str, Callable[[], None]] = {"empty function": loop(lambda: None)}
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        mapped = ProgressTracker(checkpoint_dir=directory)
        memory = ProgressTracker()
        for kind, tracker in (("mapped file", mapped), ("memory", memory)):
            handle = tracker.start_task("prediction", "Prediction", 10**9)
            contenders[f"handle.update(), {kind}"] = loop(handle.update)

            def by_id(update: Callable[[str], None] = tracker.update_task) -> None:
                for _ in range(UPDATES):
                    update("prediction")

            contenders[f"update_task(id), {kind}"] = by_id
        try:
            from tqdm import tqdm

            contenders["tqdm.update()"] = loop(tqdm(total=10**9, file=io.StringIO()).update)
        except ImportError:
            print("tqdm is not installed", file=sys.stderr)
        try:
            from rich.console import Console
            from rich.progress import Progress

            bars = Progress(console=Console(file=io.StringIO()))
            task = bars.add_task("prediction", total=10**9)
            contenders["rich Progress.advance()"] = loop(lambda: bars.advance(task))
        except ImportError:
            print("rich is not installed", file=sys.stderr)
        try:
            from alive_progress import alive_bar

            bar = stack.enter_context(alive_bar(10**9, file=io.StringIO(), enrich_print=False))
            contenders["alive_bar()"] = loop(bar)
        except ImportError:
            print("alive-progress is not installed", file=sys.stderr)
        value = multiprocessing.Value("q", 0)

        def locked() -> None:
            with value.get_lock():
                value.value += 1

        contenders["multiprocessing.Value, locked"] = loop(locked)
        seconds = medians(contenders)
        base = seconds.get("tqdm.update()")
        rows = [
            [name, f"{1e9 * time / UPDATES:.0f}", "" if base is None else f"{time / base:.2f}"]
            for name, time in seconds.items()
        ]
        print(table("One update", ["", "ns", "÷ tqdm.update()"], rows))
        for number in range(TASKS):
            mapped.start_task(f"task-{number}", "Task", 10)
        shown = medians({"get_progress()": mapped.get_progress})
        rows = [[name, f"{1e3 * time:.2f}"] for name, time in shown.items()]
        print(table(f"A tracker of {TASKS} tasks", ["", "ms"], rows))
        mapped.close()


if __name__ == "__main__":
    main()
