"""What a script that is run again finds, and that each step counts once."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from proteinflex_optimization import InvalidArgumentError, InvalidTypeError, ProgressTracker

TOTAL = 6000


def task_of(progress: Any, task: str = "md") -> Any:
    return progress.get_progress()["tasks"][task]


def position(progress: Any, task: str = "md") -> tuple[int, int | None]:
    shown = task_of(progress, task)
    return shown["completed"], shown["total"]


JOB = """
import os, signal, sys
from proteinflex_optimization import ProgressTracker
directory, how, checkpoint, last = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
tracker = ProgressTracker(checkpoint_dir=directory)
if how == "set":
    task = tracker.start_task("md", "Dynamics", 6000)
else:
    task = tracker.start_task("md", "Dynamics", 6000, completed=checkpoint)
for step in range(checkpoint + 1, last + 1):
    if how == "set":
        task.set(step)
    else:
        task.update()
if last < 6000:
    os.kill(os.getpid(), signal.SIGKILL)
task.complete()
"""


def run_job(directory: Path, how: str, checkpoint: int, last: int) -> int:
    arguments = [sys.executable, "-c", JOB, str(directory), how, str(checkpoint), str(last)]
    return subprocess.run(arguments, check=False).returncode


@pytest.mark.parametrize("how", ["set", "completed"])
def test_a_rerun_from_an_older_checkpoint_counts_each_step_once(tmp_path: Path, how: str):
    # Killed at 4100, the checkpoint is of step 4000; killed again before it is back there.
    for checkpoint, last in ((0, 4100), (4000, 4050), (2000, 2500)):
        assert run_job(tmp_path, how, checkpoint, last) == -signal.SIGKILL
        shown = position(ProgressTracker.attach(tmp_path))
        assert shown == (max(last, 4100) if how == "set" else last, TOTAL)
    assert run_job(tmp_path, how, 2000, TOTAL) == 0
    shown = task_of(ProgressTracker.attach(tmp_path))
    assert (shown["completed"], shown["status"]) == (TOTAL, "completed")


def test_a_position_never_goes_back_until_it_is_reset(tmp_path: Path):
    tracker = ProgressTracker(checkpoint_dir=tmp_path)
    task = tracker.start_task("md", "Dynamics", 100)
    task.update(10)
    task.set(40, "forty")
    task.set(20)
    tracker.set_task("md", 30)
    assert position(tracker) == (40, 100)
    assert tracker.get_progress()["message"] == "forty"
    task.update(5)
    assert position(tracker) == (45, 100)
    tracker.set_task("md", 45)
    assert tracker.get_progress()["percent"] == 45.0
    task.reset()
    assert position(tracker) == (0, 100)
    assert tracker.get_progress()["percent"] == 0.0
    task.set(7)
    tracker.reset_task("md")
    task.update(3)
    assert position(ProgressTracker.attach(tmp_path)) == (3, 100)


def test_a_reset_shows_in_all_that_the_task_is_part_of():
    tracker = ProgressTracker()
    tracker.start_task("root", "Root", 2)
    part = tracker.start_task("part", "Part", 4, "root")
    part.update(3)
    reader = tracker.get_progress
    assert reader()["percent"] == 37.5
    part.reset()
    assert reader()["percent"] == 0.0
    part.complete()
    assert reader()["percent"] == 50.0
    part.reset()
    assert (reader()["percent"], reader()["tasks"]["part"]["status"]) == (0.0, "running")


def test_threads_that_set_and_add_lose_no_step():
    tracker = ProgressTracker()
    task = tracker.start_task("md", "Dynamics", None)
    task.set(1000)

    def work() -> None:
        for step in range(5000):
            task.update()
            if step % 7 == 0:
                task.set(500)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert position(tracker) == (21_000, None)


def rank(directory: str, start: Any) -> None:
    tracker = ProgressTracker(checkpoint_dir=directory)
    task = tracker.start_task("train", "Training", 3000, completed=1000)
    start.wait()
    for step in range(1001, 3001):
        task.set(step)


def test_ranks_that_all_report_the_same_steps_count_them_once(tmp_path: Path):
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(3)
    ranks = [context.Process(target=rank, args=(str(tmp_path), start)) for _ in range(3)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join()
    assert [process.exitcode for process in ranks] == [0] * 3
    assert position(ProgressTracker.attach(tmp_path), "train") == (3000, 3000)


def test_a_start_does_not_take_steps_from_a_process_that_works_on_the_task(tmp_path: Path):
    tracker = ProgressTracker(checkpoint_dir=tmp_path)
    tracker.start_task("md", "Dynamics", 100).update(60)
    code = """
import sys
from proteinflex_optimization import ProgressTracker
ProgressTracker(checkpoint_dir=sys.argv[1]).start_task("md", "Dynamics", 100, completed=10).update()
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert position(tracker) == (61, 100)
    # The same start alone, as in a rerun.
    tracker.close()
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert position(tracker) == (11, 100)


def test_a_larger_total_extends_a_task_and_a_smaller_one_is_refused_below_its_position(
    tmp_path: Path,
):
    tracker = ProgressTracker(checkpoint_dir=tmp_path)
    tracker.start_task("md", "Dynamics", 100).complete()
    assert tracker.get_progress()["status"] == "completed"
    task = tracker.start_task("md", "Dynamics", 250)
    assert position(tracker) == (100, 250)
    assert task_of(tracker)["status"] == tracker.get_progress()["status"] == "running"
    task.update(50)
    assert position(ProgressTracker.attach(tmp_path)) == (150, 250)
    tracker.start_task("md", "Dynamics", 200)
    assert position(tracker) == (150, 200)
    with pytest.raises(InvalidArgumentError, match=r"total_steps=149.*150 or more.*completed="):
        tracker.start_task("md", "Dynamics", 149)
    tracker.start_task("md", "Dynamics", 149, completed=20)
    assert position(tracker) == (20, 149)
    tracker.start_task("unknown", "Unknown", None)
    tracker.start_task("unknown", "Unknown", 9)
    assert position(tracker, "unknown") == (0, 9)
    tracker.close()
    with ProgressTracker(checkpoint_dir=tmp_path) as again:
        assert position(again) == (20, 149)


def test_a_task_with_more_steps_than_declared_is_started_again_as_it_was_declared(tmp_path: Path):
    with ProgressTracker(checkpoint_dir=tmp_path) as tracker:
        tracker.start_task("md", "Dynamics", 10).update(11)
        tracker.start_task("md", "Dynamics", 10)
        assert position(tracker) == (11, 10)
    with ProgressTracker(checkpoint_dir=tmp_path) as again:
        task = again.start_task("md", "Dynamics", 10)
        task.update(12)
        assert position(again) == (12, 10)
        with pytest.raises(InvalidArgumentError, match=r"total_steps=9.*10 or more.*12 steps"):
            again.start_task("md", "Dynamics", 9)
        again.start_task("md", "Dynamics", 11)
        assert position(again) == (12, 11)
        task.fail("a stop")
    with ProgressTracker(checkpoint_dir=tmp_path) as again:
        again.start_task("md", "Dynamics", 11)
        assert position(again) == (12, 11)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"completed": -1}, InvalidArgumentError, "completed=-1"),
        ({"completed": 101}, InvalidArgumentError, "completed=101.*at most 100"),
        ({"completed": 1 << 63}, InvalidArgumentError, "completed=9223"),
        ({"completed": 1.5}, InvalidTypeError, "completed=1.5"),
        ({"completed": float("nan")}, InvalidTypeError, "completed=nan"),
        ({"completed": True}, InvalidTypeError, "completed=True"),
        ({"completed": "3"}, InvalidTypeError, "completed='3'"),
    ],
)
def test_a_wrong_position_is_named_and_changes_nothing(
    arguments: dict[str, Any], error: type[Exception], words: str
):
    tracker = ProgressTracker()
    task = tracker.start_task("md", "Dynamics", 100, completed=4)
    with pytest.raises(error, match=words):
        tracker.start_task("md", "Dynamics", 100, **arguments)
    if arguments["completed"] != 101:
        with pytest.raises(error, match=words):
            task.set(**arguments)
        with pytest.raises(error, match=words):
            tracker.set_task("md", **arguments)
    assert position(tracker) == (4, 100)


def test_a_complete_task_that_is_started_again_begins_at_zero_with_its_next_step(tmp_path: Path):
    for _ in range(2):
        with ProgressTracker(checkpoint_dir=tmp_path) as tracker:
            task = tracker.start_task("md", "Dynamics", 10)
            for step in range(10):
                task.update()
                assert position(tracker) == (step + 1, 10)
    # A rerun that skips what is done leaves it done.
    with ProgressTracker(checkpoint_dir=tmp_path) as tracker:
        task = tracker.start_task("md", "Dynamics", 10)
        assert tracker.get_progress()["percent"] == 100.0
        task.update(0, "taken from the cache")
        assert (position(tracker), task_of(tracker)["status"]) == ((10, 10), "completed")
        # A block is work of its own.
        with tracker.start_task("md", "Dynamics", 10) as task:
            assert (position(tracker), task_of(tracker)["status"]) == ((0, 10), "running")
        assert (position(tracker), task_of(tracker)["status"]) == ((10, 10), "completed")


def test_epochs_in_one_process_each_count_once():
    tracker = ProgressTracker()
    for _ in range(3):
        with tracker.start_task("epoch", "Epoch", 5) as task:
            for _ in range(5):
                task.update()
            assert position(tracker, "epoch") == (5, 5)
    assert position(tracker, "epoch") == (5, 5)


def test_a_loop_that_runs_again_counts_each_item_once(tmp_path: Path):
    for stop in (3, 7, None):
        with ProgressTracker(checkpoint_dir=tmp_path) as tracker:
            for item in tracker.track(range(10), "frames"):
                assert position(tracker, "frames") == (item, 10)
                if item == stop:
                    break
    assert position(tracker, "frames") == (10, 10)
    with ProgressTracker(checkpoint_dir=tmp_path) as tracker:
        rest = list(range(10))[4:]
        for item in tracker.track(rest, "frames", completed=4):
            assert position(tracker, "frames") == (item, 10)


def test_a_loop_that_was_left_and_is_still_held_begins_again():
    tracker = ProgressTracker()
    held = []
    for stop in (6, None):
        held.append(tracker.track(range(10), "frames"))
        for item in held[-1]:
            assert position(tracker, "frames") == (item, 10)
            if item == stop:
                break
    assert position(tracker, "frames") == (10, 10)


def test_loops_of_several_threads_share_a_task():
    tracker = ProgressTracker()
    both = threading.Barrier(2)

    def work(items: range) -> None:
        for item in tracker.track(items, "frames", total_steps=20):
            if item % 10 == 0:
                both.wait(60)

    threads = [threading.Thread(target=work, args=(range(n, n + 10),)) for n in (0, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert position(tracker, "frames") == (20, 20)


def test_positions_survive_a_machine_that_lost_its_counters(tmp_path: Path):
    tracker = ProgressTracker(checkpoint_dir=tmp_path)
    task = tracker.start_task("md", "Dynamics", 100)
    task.update(90)
    tracker.close()
    task.reset()
    task.set(20)
    task.update(2)
    tracker.close()
    del task, tracker
    [counters] = (tmp_path / ".progress").glob("counters-*")
    counters.write_bytes(bytes(counters.stat().st_size))
    assert position(ProgressTracker(checkpoint_dir=tmp_path)) == (22, 100)


def test_a_directory_whose_name_is_no_utf_8_is_the_same_in_another_process(tmp_path: Path):
    directory = tmp_path / os.fsdecode(b"run-\xff")
    try:
        directory.mkdir()
    except OSError:
        pytest.skip("this file system has UTF-8 names only")
    tracker = ProgressTracker(checkpoint_dir=directory)
    assert tracker.checkpoint_dir == str(directory)
    task = tracker.start_task("md", "Dynamics", 10)
    code = "import pickle, sys; pickle.load(sys.stdin.buffer).update(5)"
    subprocess.run([sys.executable, "-c", code], input=pickle.dumps(task), check=True)
    assert position(ProgressTracker.attach(directory)) == (5, 10)
    assert list(tmp_path.iterdir()) == [directory]


@pytest.mark.parametrize("call", ["update_task", "complete_task", "reset_task", "fail_task"])
def test_an_id_without_utf_8_is_an_argument_error(call: str):
    with pytest.raises(InvalidArgumentError, match="task_id='.udc80'"):
        getattr(ProgressTracker(), call)("\udc80")


def test_a_failed_task_that_is_started_again_says_no_longer_why_it_failed(tmp_path):
    tracker = ProgressTracker(checkpoint_dir=tmp_path)
    task = tracker.start_task("md", "Dynamics", 10)
    task.fail("CUDA out of memory")
    assert tracker.get_progress()["tasks"]["md"]["message"] == "CUDA out of memory"
    task = tracker.start_task("md", "Dynamics", 10)
    assert not tracker.get_progress()["tasks"]["md"]["message"]
    task.update(10)
    assert not tracker.get_progress()["message"]
