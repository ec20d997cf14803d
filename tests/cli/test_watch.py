"""`flexopt watch`: what it says of jobs that run, failed or stopped, and how it exits."""

import json
import re
import subprocess
import sys

import pytest
from proteinflex_optimization import ProgressTracker
from proteinflex_optimization.cli import main

STOPPED = """
import os, sys
from proteinflex_optimization import ProgressTracker
tracker = ProgressTracker(checkpoint_dir=sys.argv[1])
tracker.start_task("md", "Dynamics", 10).update(3)
os._exit(9)
"""


def test_a_failed_task_is_named_first_with_its_reason(tmp_path, capsys):
    with ProgressTracker(checkpoint_dir=tmp_path) as tracker:
        tracker.start_task("ok", "Relaxing", 10).update(4)
        tracker.start_task("bad", "Fold\x1b[2Jing", 10).fail("no memory\nleft\x1b]0;x\x07")
    assert main(["watch", str(tmp_path), "--once"]) == 1
    text = capsys.readouterr().out
    assert re.match(r"failed: Fold.*ing: no memory left", text)
    assert "\x1b" not in text
    assert "\x07" not in text
    assert main(["watch", str(tmp_path), "--once", "--json"]) == 1
    record = json.loads(capsys.readouterr().out)
    assert [failed["task"] for failed in record["failed"]] == ["bad"]
    assert record["failed"][0]["reason"].startswith("no memory")


def test_a_job_that_was_killed_looks_so_at_once(tmp_path, capsys):
    subprocess.run([sys.executable, "-c", STOPPED, str(tmp_path)], check=False)
    assert main(["watch", str(tmp_path), "--once"]) == 1
    output = capsys.readouterr()
    assert "30.0 %" in output.out
    assert "stopped" in output.out + output.err
    assert "completed" not in output.out


def test_a_job_that_runs_or_is_done_is_no_problem(tmp_path, capsys):
    tracker = ProgressTracker(checkpoint_dir=tmp_path)
    task = tracker.start_task("md", "Dynamics", 10)
    task.update(3)
    assert main(["watch", str(tmp_path), "--once"]) == 0
    assert "left" in capsys.readouterr().out
    task.complete()
    tracker.finish()
    tracker.close()
    assert main(["watch", str(tmp_path), "--once"]) == 0
    assert "100.0 %" in capsys.readouterr().out


def test_steps_and_frames_are_not_added_up(tmp_path, capsys):
    tracker = ProgressTracker(checkpoint_dir=tmp_path)
    tracker.start_task("md", "Dynamics", 6000).complete()
    tracker.start_task("rmsf", "Analysis", 100).update(40)
    assert main(["watch", str(tmp_path), "--once"]) == 0
    text = capsys.readouterr().out
    assert "1/2 tasks" in text
    assert "Analysis 40/100 steps" in text
    assert "6100" not in text
    tracker.close()


@pytest.mark.parametrize("columns", ["20", "40", "70", "120"])
def test_bars_fit_a_narrow_terminal(tmp_path, in_terminal, monkeypatch, columns):
    pyte = pytest.importorskip("pyte")
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("TERM", "xterm-256color")
    with ProgressTracker(checkpoint_dir=tmp_path) as tracker:
        tracker.start_task("a", "A task with a name that is rather long", 10).complete()
        tracker.start_task("b", "Folding", 10).complete()
        tracker.finish()
    shown, status = in_terminal("watch", tmp_path, "--once", columns=columns)
    assert status == 0
    screen = pyte.Screen(int(columns), 20)
    pyte.Stream(screen).feed(shown)
    lines = [line for line in screen.display if line.strip()]
    assert len(lines) == 3, "one row each"
    assert all("100.0 %" in line for line in lines)
