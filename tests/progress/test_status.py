"""The status of tasks and jobs is what is true of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from proteinflex_optimization import ProgressTracker
from waiting import until

WORKER = """
import os, signal, sys, time
from proteinflex_optimization import ProgressTracker
tracker = ProgressTracker(checkpoint_dir=sys.argv[1])
for name in sys.argv[2:]:
    tracker.start_task(name, name.title(), 10).update(3)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a process that has tasks open until it is told to end."""
    started: list[subprocess.Popen[str]] = []

    def start(*tasks: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(tmp_path), *tasks],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def statuses(progress: Any) -> dict[str, str]:
    return {name: task["status"] for name, task in progress["tasks"].items()}


def test_a_killed_job_is_stopped_at_once_even_before_anybody_has_asked_how(
    tmp_path: Path, worker: Callable[..., subprocess.Popen[str]]
):
    process = worker("md")
    reader = ProgressTracker.attach(tmp_path)
    assert reader.get_progress()["status"] == "running"
    process.kill()
    # Ended, and not waited for: a zombie.
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    progress = reader.get_progress()
    assert (progress["status"], statuses(progress)) == ("stopped", {"md": "stopped"})
    assert progress["reason"] == '"Md" stopped at 3 of 10: no process is at work there'
    assert (progress["alive"], progress["eta_seconds"]) == (False, None)
    assert progress["tasks"]["md"]["completed"] == 3


def test_a_suspended_job_is_not_stopped(
    tmp_path: Path, worker: Callable[..., subprocess.Popen[str]]
):
    process = worker("md")
    process.send_signal(signal.SIGSTOP)
    try:
        time.sleep(0.1)
        assert ProgressTracker.attach(tmp_path).get_progress()["status"] == "running"
    finally:
        process.send_signal(signal.SIGCONT)


def test_a_task_has_stopped_once_all_that_worked_on_it_are_gone(
    tmp_path: Path, worker: Callable[..., subprocess.Popen[str]]
):
    first, second = worker("shared", "own"), worker("shared")
    reader = ProgressTracker.attach(tmp_path)
    first.kill()
    first.wait()
    assert statuses(reader.get_progress()) == {"shared": "running", "own": "stopped"}
    assert reader.get_progress()["status"] == "running"
    second.kill()
    second.wait()
    progress = reader.get_progress()
    assert statuses(progress) == {"shared": "stopped", "own": "stopped"}
    # A tracker that looks without working on a task does not change that.
    looking = ProgressTracker(checkpoint_dir=tmp_path)
    assert statuses(looking.get_progress()) == {"shared": "stopped", "own": "stopped"}
    assert looking.get_progress()["status"] == "stopped"
    # The rerun.
    looking.start_task("own", "Own", 10)
    assert statuses(reader.get_progress()) == {"shared": "stopped", "own": "running"}
    assert reader.get_progress()["status"] == "running"
    looking.update_task("shared")
    assert statuses(reader.get_progress()) == {"shared": "running", "own": "running"}


def test_a_process_that_ends_without_finishing_leaves_its_tasks_stopped(
    tmp_path: Path, worker: Callable[..., subprocess.Popen[str]]
):
    process = worker("md")
    process.communicate("")
    assert process.returncode == 0
    progress = ProgressTracker.attach(tmp_path).get_progress()
    assert (progress["status"], statuses(progress)) == ("stopped", {"md": "stopped"})


def test_a_closed_tracker_is_at_work_again_with_its_next_update(tmp_path: Path):
    tracker = ProgressTracker(checkpoint_dir=tmp_path)
    task = tracker.start_task("md", "Dynamics", 10)
    tracker.close()
    assert tracker.get_progress()["status"] == "stopped"
    task.update()
    assert ProgressTracker.attach(tmp_path).get_progress()["status"] == "running"


def test_a_parent_runs_as_long_as_a_part_of_it(
    tmp_path: Path, worker: Callable[..., subprocess.Popen[str]]
):
    tracker = ProgressTracker(checkpoint_dir=tmp_path)
    root = tracker.start_task("root", "Root", 2)
    part = tracker.start_task("part", "Part", 4, "root")
    root.complete()
    progress = tracker.get_progress()
    assert (progress["status"], statuses(progress)["root"]) == ("running", "running")
    assert progress["percent"] < 100.0
    part.complete()
    progress = tracker.get_progress()
    assert (progress["status"], progress["percent"]) == ("completed", 100.0)
    # Also where its own steps are done.
    tracker.start_task("steps", "Steps", 2).update(2)
    tracker.start_task("late", "Late", 4, "steps")
    progress = tracker.get_progress()
    assert (progress["status"], statuses(progress)["steps"]) == ("running", "running")


def test_a_plan_that_is_done_is_not_complete_while_a_task_runs():
    tracker = ProgressTracker(10)
    tracker.start_task("a", "A", 10).update(10)
    assert tracker.get_progress()["status"] == "completed"
    more = tracker.start_task("b", "B", None)
    assert tracker.get_progress()["status"] == "running"
    more.complete()
    assert tracker.get_progress()["status"] == "completed"


def test_finish_completes_what_runs_here_and_waits_for_other_processes(
    tmp_path: Path, worker: Callable[..., subprocess.Popen[str]]
):
    process = worker("theirs")
    tracker = ProgressTracker(checkpoint_dir=tmp_path)
    tracker.start_task("mine", "Mine", 10).update(1)
    tracker.finish()
    reader = ProgressTracker.attach(tmp_path)
    progress = reader.get_progress()
    assert statuses(progress) == {"theirs": "running", "mine": "completed"}
    assert progress["status"] == "running"
    process.communicate("")
    progress = reader.get_progress()
    assert (progress["status"], statuses(progress)["theirs"]) == ("stopped", "stopped")


def test_failed_tasks_are_named_with_their_reasons():
    tracker = ProgressTracker()
    for number in range(5):
        tracker.start_task(f"p{number}", f"Protein {number}", 3)
    tracker.fail_task("p1", "no more memory")
    assert tracker.get_progress()["status"] == "running"
    assert tracker.get_progress()["reason"] is None
    for number in (0, 2, 3, 4):
        tracker.fail_task(f"p{number}", f"reason {number}")
    progress = tracker.get_progress()
    assert progress["status"] == "failed"
    assert progress["reason"] == (
        '"Protein 0" failed: reason 0; "Protein 1" failed: no more memory; '
        '"Protein 2" failed: reason 2; and 2 more'
    )
    tracker.finish()
    assert tracker.get_progress()["status"] == "failed", "finishing makes nothing succeed"


def test_the_current_task_is_the_one_at_work():
    tracker = ProgressTracker()
    tracker.start_task("root", "Root", 2)
    assert tracker.get_progress()["current_task"] == "root"
    for name in ("first", "second"):
        tracker.start_task(name, name.title(), 4, "root")
    assert tracker.get_progress()["current_task"] == "first"
    tracker.complete_task("first")
    assert tracker.get_progress()["current_task"] == "second"
    tracker.complete_task("second")
    assert tracker.get_progress()["current_task"] is None


def until_sampled(tracker: ProgressTracker, task: str, step: Callable[[], object]) -> Any:
    def sampled() -> Any:
        progress = tracker.get_progress()
        if progress["tasks"][task]["rate"] is not None:
            return progress
        step()
        return None

    return until(sampled, pause=0.05)


def test_the_time_left_is_unknown_where_work_of_unknown_speed_is_left():
    tracker = ProgressTracker()
    fast = tracker.start_task("fast", "Fast", 1000)
    slow = tracker.start_task("slow", "Slow", 10)
    progress = until_sampled(tracker, "fast", lambda: fast.update(2))
    assert progress["tasks"]["fast"]["eta_seconds"] is not None
    assert progress["eta_seconds"] is None
    slow.complete()
    progress = tracker.get_progress()
    assert progress["eta_seconds"] == progress["tasks"]["fast"]["eta_seconds"]


def test_the_beginning_of_a_very_long_task_has_no_time_left():
    tracker = ProgressTracker()
    task = tracker.start_task("md", "Dynamics", 10**12)
    progress = until_sampled(tracker, "md", lambda: task.update(2))
    assert (progress["eta_seconds"], progress["tasks"]["md"]["eta_seconds"]) == (None, None)


def test_a_position_that_was_reached_before_is_no_work_of_now():
    tracker = ProgressTracker()
    task = tracker.start_task("md", "Dynamics", 1000, completed=500)
    progress = until_sampled(tracker, "md", lambda: task.update(2))
    assert progress["tasks"]["md"]["rate"] < 100
    assert progress["rate"] < 100
