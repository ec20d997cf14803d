"""
An OpenMM run that is killed
============================

`restartable_openmm.py
<https://github.com/proteinflex/proteinflex-optimization/blob/main/examples/restartable_openmm.py>`__
is a whole simulation in twelve lines, shown on the page of :doc:`other people's tools
<../integrations>`. Here it is killed with ``kill -9``, which no program can prepare for, and
started again.
"""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from proteinflex_optimization import CheckpointManager, DataHandler

# %%
# The script takes ``protein.pdb`` from its directory. Fewer steps and more frequent checkpoints
# than it has are enough to look at.

directory = Path("killed")
shutil.rmtree(directory, ignore_errors=True)  # A run that has come to its end can't be killed.
directory.mkdir()
(directory / "protein.pdb").write_text(Path("data/alanine-dipeptide.pdb").read_text())
script = Path("restartable_openmm.py").read_text(encoding="utf-8")
for old, new in {"100_000": "3000", "1000)": "300)", '"md", 100)': '"md", 20)'}.items():
    assert script.count(old) == 1
    script = script.replace(old, new)


def start() -> subprocess.Popen[bytes]:
    """Run the script in a process of its own."""
    return subprocess.Popen([sys.executable, "-c", script], cwd=directory)


# %%
# Twice it is killed, each time once it has made a new checkpoint.

checkpoints = CheckpointManager(directory / "checkpoints")
killed_at = []
for _ in range(2):
    before = checkpoints.latest()
    process = start()
    while checkpoints.latest() == before:
        assert process.poll() is None, "it ended by itself"
        time.sleep(0.02)
    process.kill()
    process.wait()
    killed_at.append(int(Path(checkpoints.latest() or "").name.removeprefix("step-")))
    print(f"killed; the newest checkpoint is of step {killed_at[-1]}")

# %%
# The third time it comes to its end. Each frame is there once, in order.

assert start().wait() == 0
trajectory = DataHandler(directory / "cache").open("md")
steps = trajectory.read(field="step")
print(f"{len(steps)} frames, steps {steps[0]} to {steps[-1]}")
assert np.array_equal(steps, np.arange(20, 3001, 20))

# %%
# The distance of the two ends of the molecule, through both deaths:

frames = trajectory[:]
distance = np.linalg.norm(frames[:, 4] - frames[:, 18], axis=-1)
figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
axes.plot(steps, distance, color="#2a7fb8")
for step in killed_at:
    axes.axvline(step, color="#c8553d", linestyle="--", label="went on from this checkpoint")
axes.legend(*[handles[:1] for handles in axes.get_legend_handles_labels()], loc="lower right")
axes.set(xlabel="step", ylabel="C to C distance, Å")
figure.savefig("killed.png")
