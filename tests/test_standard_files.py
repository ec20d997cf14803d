"""In a job without standard files (`job >&-`, daemons), no file of the package is in their place."""

import os
import subprocess
import sys

import numpy as np
import pytest
from proteinflex_optimization import (
    CheckpointManager,
    DataHandler,
    ProgressTracker,
    open_trajectory,
)

JOB = """
import contextlib, os, sys
import numpy as np
from proteinflex_optimization import CheckpointManager, DataHandler, GPUManager, ProgressTracker
from proteinflex_optimization import create_trajectory
from proteinflex_optimization._publish import published

place, log = sys.argv[1], os.fdopen(int(sys.argv[2]), "w")


def a_library_prints():
    for number in range(3):
        with contextlib.suppress(OSError):
            name = os.readlink(f"/proc/self/fd/{number}")
            if not name.startswith(("/dev/", "pipe:")):
                print(number, name, file=log, flush=True)
            os.write(number, b"a library says: something odd here, " * 20)


frames = np.arange(9000.0).reshape(100, 30, 3)
handler = DataHandler(f"{place}/cache")
with handler.trajectory_writer("run") as writer, create_trajectory(f"{place}/run.fxt") as other:
    for _ in range(2):
        writer.append(frames)
        other.append(frames)
        writer.flush()
        a_library_prints()
tracker = ProgressTracker(checkpoint_dir=f"{place}/board")
with tracker.start_task("a", "A", 10) as task:
    task.update(3)
    a_library_prints()
    task.update(7)
manager = CheckpointManager(f"{place}/checkpoints")
manager.create_checkpoint("one", {"model": {"x": frames}})
loaded = handler.load_data("run")
a_library_prints()
with published(f"{place}/text", overwrite=False) as hidden, open(hidden, "w") as file:
    file.write("frames")
    file.flush()
    a_library_prints()
tracker.close()
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="it looks at /proc")
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_what_a_library_prints_goes_into_no_file_of_the_package(tmp_path, closed):
    run = f'exec 9>"$2/log"; exec "$0" -c "$1" "$2" 9 {closed}'
    command = ["bash", "-c", run, sys.executable, JOB, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "log").read_text() == ""
    frames = np.tile(np.arange(9000.0).reshape(100, 30, 3), (2, 1, 1))
    handler = DataHandler(tmp_path / "cache")
    np.testing.assert_array_equal(handler.load_data("run")["frames"], frames)
    np.testing.assert_array_equal(open_trajectory(tmp_path / "run.fxt")[:], frames)
    assert handler.verify()["ok"]
    assert ProgressTracker.attach(tmp_path / "board").get_progress()["completed_steps"] == 10
    assert CheckpointManager(tmp_path / "checkpoints").verify("one")["ok"]
    assert (tmp_path / "text").read_text() == "frames"
