"""Count what a process pool has done; watch it from another terminal: `flexopt watch DIRECTORY`.

python examples/process_pool.py DIRECTORY
"""

import sys
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from proteinflex_optimization import ProgressTracker
from proteinflex_optimization.progress import TaskHandle

SEQUENCES = ["MKVLAAGIVG", "GSHMLEDPVR", "AAAAKEAAAAK", "MNIFEMLRIDE"]
RECYCLES = 25


def fold(task: TaskHandle, sequence: str) -> float:
    """Stand in for a model: some iterations of some numbers, counted one by one."""
    numbers = np.frombuffer(sequence.encode(), np.uint8).astype(float)
    for recycle in range(RECYCLES):
        numbers = np.tanh(numbers / numbers.max())
        # One atomic addition in shared memory; every process may do it.
        task.update(message=f"{sequence} recycle {recycle + 1}")
    return float(numbers.mean())


def main(directory: str) -> None:
    with ProgressTracker(checkpoint_dir=directory, display=True) as tracker:
        total = RECYCLES * len(SEQUENCES)
        # A handle pickles as its directory: each worker counts in the same file.
        task = tracker.start_task("fold", "Fold", total, metadata={"proteins": len(SEQUENCES)})
        with ProcessPoolExecutor(max_workers=2) as pool:
            scores = list(pool.map(fold, [task] * len(SEQUENCES), SEQUENCES))
        task.complete()
        done = tracker.get_progress()["tasks"]["fold"]["completed"]
        tracker.finish()
    print(f"{len(scores)} proteins, {done} of {total} recycles were counted")


if __name__ == "__main__":
    main(sys.argv[1])
