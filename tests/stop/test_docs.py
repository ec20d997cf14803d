"""The job that docs/cluster.md shows stops on a signal, and its rerun finishes."""

import re
import signal
import subprocess
import sys
from pathlib import Path

from proteinflex_optimization import CheckpointManager, ProgressTracker
from waiting import until

PAGE = Path(__file__).parents[2] / "docs" / "cluster.md"
STEPS = 1500


def test_the_job_of_the_page_stops_and_goes_on(tmp_path):
    (job,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert job.count("...") == 1
    assert job.count("100_000") == 2
    text = job.replace("100_000", str(STEPS)).replace("...", "__import__('time').sleep(0.002)")
    (tmp_path / "job.py").write_text(text)

    def start():
        return subprocess.Popen(
            [sys.executable, "job.py"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def completed():
        try:
            return ProgressTracker.attach(tmp_path / "run").get_progress()["completed_steps"]
        except OSError:
            return 0

    first = start()
    until(lambda: completed() >= 10)
    first.send_signal(signal.SIGTERM)
    said, _ = first.communicate(timeout=60)
    assert said == "the job was asked to stop: SIGTERM\n"
    assert first.returncode == 0
    manager = CheckpointManager(tmp_path / "run" / "checkpoints")
    (row,) = manager.list_checkpoints()
    step = manager.load_checkpoint(row["path"])["run"]["step"]
    assert 10 <= step < STEPS
    assert completed() == step
    second = start()
    said, _ = second.communicate(timeout=120)
    assert (said, second.returncode) == ("", 0)
    assert completed() == STEPS
