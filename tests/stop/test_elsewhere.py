"""Where jobs are asked to stop beside a plain script: in a notebook, in loky, under torchrun."""

import os
import signal
import subprocess
import sys

import pytest
from proteinflex_optimization import CheckpointManager, ProgressTracker
from waiting import until

STOPS = """
import os, signal, threading, time
from proteinflex_optimization import StopRequest
interrupt = lambda: os.kill(os.getpid(), signal.SIGINT)  # As the kernel's interrupt does.
with StopRequest() as stop:
    threading.Timer(0.2, interrupt).start()
    assert stop.wait(60)
assert stop.reason == "SIGINT"
"""
AS_EVER = """
try:
    threading.Timer(0.2, interrupt).start()
    time.sleep(60)
    raise AssertionError("it was not interrupted")
except KeyboardInterrupt:
    pass
"""


def test_the_interrupt_of_a_notebook_asks_to_stop_and_interrupts_afterwards():
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    cells = [nbformat.v4.new_code_cell(code) for code in (STOPS, AS_EVER)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()


LOKY = """
import os, signal, threading
from joblib import Parallel, delayed
from proteinflex_optimization import StopRequest

def work(number):
    import os, signal, threading
    from proteinflex_optimization import StopRequest
    with StopRequest() as stop:
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
        assert stop.wait(60)
        return number, stop.reason

with StopRequest() as stop:
    found = Parallel(n_jobs=2)(delayed(work)(number) for number in range(4))
    assert found == [(number, "SIGTERM") for number in range(4)], found
    assert not stop.requested
print("ended")
"""


def test_a_task_in_a_loky_worker_is_asked_by_its_own_signal():
    pytest.importorskip("joblib")
    done = subprocess.run(
        [sys.executable, "-c", LOKY], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout == "ended\n", done.stderr


RANK = """
import os, sys, time
from proteinflex_optimization import CheckpointManager, ProgressTracker, StopRequest, StopRequested

out, rank = sys.argv[1], os.environ["RANK"]
state = {"run": {"step": 0}}
with ProgressTracker(checkpoint_dir=f"{out}/board") as tracker, StopRequest() as stop:
    task = tracker.start_task(rank, f"Rank {rank}", 100_000)
    tracker.checkpoint_with(CheckpointManager(f"{out}/{rank}"), lambda: state, stop=stop)
    try:
        for step in range(100_000):
            time.sleep(0.01)
            state["run"]["step"] = step + 1
            task.update()
    except StopRequested:
        pass
"""


@pytest.mark.torch
@pytest.mark.soak
def test_every_rank_of_torchrun_saves_before_it_ends(tmp_path):
    pytest.importorskip("torch")
    (tmp_path / "rank.py").write_text(RANK)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    with subprocess.Popen(
        [*launcher, tmp_path / "rank.py", tmp_path], stderr=subprocess.DEVNULL
    ) as running:

        def steps():
            try:
                tasks = ProgressTracker.attach(tmp_path / "board").get_progress()["tasks"]
            except FileNotFoundError:
                return {}
            return {rank: task["completed"] for rank, task in tasks.items()}

        until(lambda: len(steps()) == 2 and min(steps().values()) > 5)
        # What SLURM does: the launcher passes it on, and waits for its ranks.
        os.kill(running.pid, signal.SIGTERM)
        running.wait(60)
    for rank, counted in steps().items():
        manager = CheckpointManager(tmp_path / rank, read_only=True)
        assert manager.load_checkpoint(manager.latest())["run"]["step"] == counted > 5
