"""The README's example runs as it is printed, again and again, wherever it is killed."""

import contextlib
import gc
import io
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from proteinflex_optimization import CheckpointManager, DataHandler, ProgressTracker

README = Path(__file__).parents[1] / "README.md"


def run(kill_at=None, kill_in=None):
    """Run the example here; with `kill_at`, kill this process at that step, in that call."""

    def killed_at(state):
        if state["step"] == kill_at and kill_in is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return state

    def killing(call):
        def killed(self, name, states):
            if states["dynamics"]["step"] == kill_at:
                if kill_in == "after":
                    call(self, name, states)
                os.kill(os.getpid(), signal.SIGKILL)
            return call(self, name, states)

        return killed

    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    found = {"killed_at": killed_at}
    if kill_at is not None:
        example = example.replace("state = advance(state)", "state = killed_at(advance(state))")
    if kill_in is not None:
        example = example.replace("\ncache", "\nreplace(CheckpointManager)\ncache", 1)
        found["replace"] = lambda manager: setattr(
            manager, "create_checkpoint", killing(manager.create_checkpoint)
        )
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(example, "README.md", "exec"), found)
    return output.getvalue(), found


def run_and_kill(kill_at, kill_in=None):
    """Run the example in a child that kills itself."""
    child = os.fork()
    if child == 0:
        try:
            run(kill_at, kill_in)
        except BaseException as error:
            sys.stderr.write(f"{error!r}\n")
        os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL


def check_whole(output, advance):
    assert output == "1000 frames, 100.0 % done\n"
    trajectory = DataHandler("cache").open("chain")
    np.testing.assert_array_equal(trajectory.time, np.arange(1, 1001) * 2.0)
    state, expected = {"step": 0, "positions": np.zeros((40, 3))}, []
    for _ in range(1000):
        state = advance(state)
        expected.append(state["positions"])
    assert np.abs(trajectory[:] - expected).max() <= 0.0005 + 1e-5
    (task,) = ProgressTracker.attach("run").get_progress()["tasks"].values()
    assert (task["completed"], task["total"]) == (1000, 1000)


def test_the_example_runs_as_printed_and_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        output, found = run()
        check_whole(output, found["advance"])
        assert found["flexible"].shape == (3, 3)
        names = [
            row["checkpoint_id"] for row in CheckpointManager("checkpoints").list_checkpoints()
        ]
        assert names == ["step-800", "step-900", "step-1000"]


@pytest.mark.parametrize("removed", ["nothing", "cache", "checkpoints", "run"])
def test_the_example_killed_anywhere_goes_on_or_says_why_not(tmp_path, monkeypatch, removed):
    monkeypatch.chdir(tmp_path)
    for kill_at, kill_in in [(1, None), (257, None), (500, "before"), (600, "after"), (1000, None)]:
        run_and_kill(kill_at, kill_in)
    # Checkpoints are there up to step 900, and frames; more was computed and not flushed.
    if removed != "nothing":
        shutil.rmtree(removed)
    if removed == "cache":
        for _ in range(2):
            with pytest.raises(ValueError, match=r"n_frames=900 .*at most 0.*removed or evicted"):
                run()
        shutil.rmtree("checkpoints")  # What the user does then.
    output, found = run()
    check_whole(output, found["advance"])


@pytest.mark.parametrize("removed", ["cache", "checkpoints", "run"])
def test_the_finished_example_without_a_part_of_it_goes_on_or_says_why_not(
    tmp_path, monkeypatch, removed
):
    monkeypatch.chdir(tmp_path)
    run()
    gc.collect()  # Of its tracker, which would be at work still.
    # The example's manager may be deleting old checkpoints still, in the background.
    subprocess.run(["rm", "-rf", removed], check=True)
    if removed == "cache":
        with pytest.raises(ValueError, match=r"n_frames=1000 .*at most 0"):
            run()
        return
    if removed == "checkpoints":
        run_and_kill(300)
        # What was finished is served until the rerun is.
        handler = DataHandler("cache")
        assert handler.open(handler.key_for("chain")).n_frames == 1000
        (task,) = ProgressTracker.attach("run").get_progress()["tasks"].values()
        assert task["completed"] == 299
    output, found = run()
    check_whole(output, found["advance"])


def test_every_page_that_is_linked_to_is_there():
    root = README.parent
    folders = ["", "docs", "docs/design", "docs/reference", "examples"]
    links = [
        (page, target)
        for folder in folders
        for page in (root / folder).glob("*.md")
        for target in re.findall(r"(?:\]\(|src=\")([^)#:\"]+)[#)\"]", page.read_text("utf-8"))
    ]
    assert len(links) > 50
    missing = [(page.name, target) for page, target in links if not (page.parent / target).exists()]
    assert missing == []
