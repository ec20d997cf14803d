"""
A job array, watched
====================

Many jobs, each with a directory of its own for its progress, and one table of all of them.
"""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import matplotlib.pyplot as plt

# %%
# What a job of the array does, ``job.py``. On a cluster its number is ``$SLURM_ARRAY_TASK_ID``.

JOB = """
import os, sys
from proteinflex_optimization import ProgressTracker

number = int(sys.argv[1])
with ProgressTracker(100, f"runs/{number:02d}") as tracker:
    task = tracker.start_task("dock", "Docking", 100, metadata={"ligand": number})
    for pose in range(100):
        if number == 3 and pose == 31:
            task.fail("out of memory")
            break
        if number == 7 and pose == 64:
            os.kill(os.getpid(), 9)  # as the scheduler does, or the kernel
        if number == 9 and pose == 80:
            break
        task.update(message=f"pose {pose}")
"""
Path("job.py").write_text(JOB)
jobs = [subprocess.Popen([sys.executable, "job.py", str(number)]) for number in range(10)]
for job in jobs:
    job.wait()

# %%
# ``flexopt watch runs`` finds them all, and shows what is wrong first. With ``--once`` it looks
# once, and its exit status is 1, as some have failed.


def flexopt(*arguments: str) -> str:
    """Run a command, and return what it prints."""
    command = [sys.executable, "-m", "proteinflex_optimization", *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout


print(flexopt("watch", "runs", "--once"))

# %%
# ``--json`` is for scripts: a record of each job, as ``pandas.DataFrame`` takes them.

boards = json.loads(flexopt("watch", "runs", "--once", "--json"))["boards"]
print(Counter(board["status"] for board in boards))
print([board["directory"] for board in boards if board["status"] != "completed"])

# %%
# And for a picture:

COLOURS = {"completed": "#4daf7c", "failed": "#c8553d", "stopped": "#e0a030", "running": "#2a7fb8"}
boards.sort(key=lambda board: board["directory"])
figure, axes = plt.subplots(figsize=(6.5, 3.4), layout="constrained")
bars = axes.barh(
    [board["directory"] for board in boards],
    [board["percent"] for board in boards],
    color=[COLOURS[board["status"]] for board in boards],
)
wrong = ["" if board["status"] == "completed" else board["status"] for board in boards]
axes.bar_label(bars, wrong, padding=4)
axes.invert_yaxis()
axes.set(xlim=(0, 100), xlabel="done, %")
figure.savefig("jobs.png")
