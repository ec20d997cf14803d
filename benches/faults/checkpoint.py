"""Fault injection for checkpoints: kills, flipped bytes, cut and missing files.

python benches/faults/checkpoint.py [kills, 100 by default]
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "peers"))

from _compare import table
from proteinflex_optimization import CheckpointManager, ProteinFlexError

SAVE_FOREVER = """
import itertools, sys
import numpy as np
from proteinflex_optimization import CheckpointManager
manager = CheckpointManager(sys.argv[1], max_checkpoints=2)
frozen = np.arange(200_000.0)
for step in itertools.count(int(sys.argv[2])):
    state = {"step": step, "x": np.full(300_000, step, np.float64)}
    manager.create_checkpoint(f"s{step % 5}", {"s": state, "frozen": {"w": frozen}})
    print(step, flush=True)
"""


def kill(directory: Path, kills: int) -> Counter[str]:
    """Kill a job that saves and replaces, at random moments, and load every checkpoint."""
    found: Counter[str] = Counter()
    returned = 0
    for _ in range(kills):
        command = [sys.executable, "-c", SAVE_FOREVER, str(directory), str(returned + 1)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as job:
            assert job.stdout is not None
            first = job.stdout.readline()
            time.sleep(random.uniform(0, 0.1))
            os.kill(job.pid, signal.SIGKILL)
            lines = [first, *job.stdout.readlines()]
        found["tried"] += 1
        returned = max([returned, *(int(line) for line in lines if line.endswith("\n"))])
        manager = CheckpointManager(directory, max_checkpoints=2)
        newest = 0
        for row in manager.list_checkpoints():
            try:
                state = manager.load_checkpoint(row["path"])
            except ProteinFlexError:
                found["torn"] += 1
                continue
            steps = state["s"]["x"]
            found["wrong"] += not (steps == state["s"]["step"]).all()
            newest = max(newest, state["s"]["step"])
        found["lost"] += newest < returned
        returned = max(newest, returned)
    return found


def damage(directory: Path) -> dict[str, Counter[str]]:
    """Flip each byte, cut at each length, remove each file of a checkpoint, and load it."""
    manager = CheckpointManager(directory)
    state = {"model": {"w": np.arange(64.0), "n": 2**70}, "text": "x" * 200}
    path = Path(manager.create_checkpoint("a", state, metadata={"k": 1}))
    flips, cuts, removals = Counter[str](), Counter[str](), Counter[str]()
    for file in sorted(path.iterdir()):
        whole = file.read_bytes()
        for at in range(len(whole)):
            changed = bytearray(whole)
            changed[at] ^= random.randrange(1, 256)
            file.write_bytes(changed)
            count(flips, manager, path)
            file.write_bytes(whole[:at])
            count(cuts, manager, path)
        file.unlink()
        count(removals, manager, path)
        file.write_bytes(whole)
    manager.load_checkpoint(path)
    return {"a byte flipped": flips, "a file cut": cuts, "a file removed": removals}


def count(found: Counter[str], manager: CheckpointManager, path: Path) -> None:
    """Load a damaged checkpoint and count the outcome."""
    found["tried"] += 1
    try:
        manager.load_checkpoint(path)
    except ProteinFlexError as error:
        found["unnamed"] += str(path) not in str(error)
    else:
        found["accepted"] += 1


def main() -> None:
    """Inject every fault and print the table."""
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with tempfile.TemporaryDirectory() as directory:
        killed = kill(Path(directory) / "kills", kills)
        rows = [
            [
                "`kill -9` while saving",
                str(killed["tried"]),
                str(killed["torn"]),
                str(killed["lost"]),
                str(killed["wrong"]),
            ]
        ]
        for name, found in damage(Path(directory) / "damage").items():
            rows.append([name, str(found["tried"]), "", "", str(found["accepted"])])
            assert not found["unnamed"], "each error names where the damage is"
    print(table("Faults", ["", "tried", "torn", "lost", "wrongly accepted"], rows))


if __name__ == "__main__":
    main()
