"""A program ends as it would without this package, whatever its daemon threads do."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys, threading, time
import numpy as np
from proteinflex_optimization import CheckpointManager, DataHandler, ProgressTracker

directory = sys.argv[1]
is_inside = threading.Event()

def slow():
    is_inside.set()
    while True:
        sum(range(100))

def frames():
    slow()
    yield np.zeros((2, 3), np.float32)

class State:
    def __reduce__(self):
        slow()

def sleep():
    is_inside.set()
    time.sleep(0.5)
    return {"a": np.ones(3)}

def update():
    tracker = ProgressTracker(checkpoint_interval=0.01)
    tracker.checkpoint_with(CheckpointManager(directory), slow)
    task = tracker.start_task("t", "T", None)
    while True:
        task.update()

def compute(function):
    DataHandler(directory).get_or_compute("x", function, kind="structure")

def store():
    DataHandler(directory).store_trajectory({"frames": frames()}, "t")

def save():
    CheckpointManager(directory).create_checkpoint("a", {"x": State()}, allow_pickle=True)

threading.Thread(target=lambda: %s, daemon=True).start()
assert is_inside.wait(60)
"""


@pytest.mark.parametrize(
    "call", ["compute(slow)", "compute(sleep)", "store()", "save()", "update()"]
)
def test_one_that_is_in_python_code_that_we_have_called_ends_no_process(tmp_path, call):
    # Asleep while Python ends, which takes longer with these.
    more = "import atexit; atexit.register(time.sleep, 0.45)" if call == "compute(sleep)" else ""
    command = [sys.executable, "-c", PROGRAM % call + more, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stderr) == (0, "")
