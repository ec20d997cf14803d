"""Progress files that are cut, replaced, removed or planted while they are counted in."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from proteinflex_optimization import ProgressTracker
from waiting import until

COUNTING = """
import logging, os, sys, time
from proteinflex_optimization import ProgressTracker
warnings = []
class Handler(logging.Handler):
    def emit(self, record):
        warnings.append(record.getMessage())
logging.getLogger().addHandler(Handler(level=logging.WARNING))
tracker = ProgressTracker(checkpoint_dir=sys.argv[1])
task = tracker.start_task("a", "A", 10**9)
task.update(100)
print("ready", flush=True)
sys.stdin.readline()
"""

AFTER = """
deadline = time.monotonic() + 60
counted = 100
while not warnings:
    assert time.monotonic() < deadline
    for _ in range(1000):
        task.update(1, "going on")
    counted += 1000
    time.sleep(0.05)
print(tracker.get_progress()["tasks"]["a"]["completed"] - counted, warnings[0], flush=True)
tracker.close()
"""


def start(code: str, directory: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


UPDATED = 38
"""The word of a counter file that says when an update was noted: docs/format-progress.md."""


def wait_until_kept(directory: Path) -> None:
    """Wait for the background thread: it looks after the counters, then notes an update."""
    until(lambda: counters(directory).read_bytes()[8 * UPDATED :][:8] != bytes(8))


def counters(directory: Path) -> Path:
    [found] = (directory / ".progress").glob("counters-*")
    return found


def completed(directory: Path) -> int:
    count = ProgressTracker.attach(directory).get_progress()["tasks"]["a"]["completed"]
    assert isinstance(count, int)
    return count


@pytest.mark.parametrize("damage", ["cut", "zeros", "removed", "garbage", "fifo"])
def test_a_job_goes_on_when_its_counters_are_damaged_and_says_so(tmp_path: Path, damage: str):
    process = start(COUNTING + AFTER, tmp_path)
    wait_until_kept(tmp_path)
    path = counters(tmp_path)
    if damage == "cut":
        os.truncate(path, 0)
    elif damage == "zeros":
        path.write_bytes(bytes(path.stat().st_size))
    else:
        path.unlink()
        if damage == "garbage":
            path.write_bytes(random.Random(1).randbytes(200_000))
        elif damage == "fifo":
            os.mkfifo(path)
    out, _ = process.communicate("\n", timeout=120)
    assert process.returncode == 0, out
    difference, warning = out.split(" ", 1)
    # Steps that were added to zeros, until these were noticed, are lost.
    assert int(difference) == 0 or (damage == "zeros" and int(difference) < 0)
    assert str(path) in warning
    assert "counting goes on" in warning
    if damage == "fifo":
        path.unlink()
    before = completed(tmp_path)
    assert before > 100
    # A rerun goes on from there.
    with ProgressTracker(checkpoint_dir=tmp_path) as tracker:
        tracker.update_task("a", 5)
    assert completed(tmp_path) == before + 5


MANY = """
print(os.getpid(), flush=True)
counted = 100
deadline = time.monotonic() + 4
while time.monotonic() < deadline:
    for _ in range(1000):
        task.update()
    counted += 1000
    if counted % 50_000 < 1000:
        tracker.get_progress()
tracker.close()
print(counted, flush=True)
"""


@pytest.mark.parametrize("length", [0, 5000, 65536, 66000, 70_000])
@pytest.mark.soak
def test_processes_that_count_while_their_file_is_cut_are_not_ended(tmp_path: Path, length: int):
    processes = [start(COUNTING + MANY, tmp_path) for _ in range(4)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    time.sleep(2.0)
    os.truncate(counters(tmp_path), length)
    out = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    counted = sum(int(text.split()[1]) for text in out)
    # What was added in the last second before the cut may be lost, and nothing counts twice.
    assert counted / 2 < completed(tmp_path) <= counted


def test_other_faults_still_end_the_process_and_faulthandler_tells_where(tmp_path: Path):
    code = """
import ctypes, faulthandler, mmap, os, sys
faulthandler.enable()
from proteinflex_optimization import ProgressTracker
tracker = ProgressTracker(checkpoint_dir=sys.argv[1])
tracker.start_task("a", "A", 1).update()
path = sys.argv[1] + "/file"
with open(path, "wb") as file:
    file.write(bytes(10_000))
with open(path, "r+b") as file:
    mapped = mmap.mmap(file.fileno(), 10_000)
os.truncate(path, 0)
mapped[5000]
"""
    for lines in (code, code.replace("faulthandler.enable()\n", "")):
        process = subprocess.run(
            [sys.executable, "-c", lines, str(tmp_path)], capture_output=True, text=True, timeout=60
        )
        assert process.returncode == -signal.SIGBUS
        assert ("Bus error" in process.stderr) == ("enable" in lines)


def fork_and_count(tracker: ProgressTracker, updates: int) -> int:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            for _ in range(updates):
                tracker.update_task("a")
            tracker.close()
            status = 0
        finally:
            os._exit(status)
    return child


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_children_forked_before_and_after_a_cut_count_each_step_once(tmp_path: Path):
    tracker = ProgressTracker(checkpoint_dir=tmp_path)
    task = tracker.start_task("a", "A", 10**9)
    task.update(10)
    context = multiprocessing.get_context("fork")
    go = context.Event()
    child = os.fork()
    if child == 0:
        try:
            go.wait()
            tracker.update_task("a", 1000)
            tracker.close()
        finally:
            os._exit(0)
    wait_until_kept(tmp_path)
    os.truncate(counters(tmp_path), 0)
    task.update(20)
    later = fork_and_count(tracker, 300)
    go.set()
    for pid in (child, later):
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    task.update(5)
    tracker.close()
    assert completed(tmp_path) == 10 + 20 + 1000 + 300 + 5


def test_a_look_creates_removes_and_changes_nothing(tmp_path: Path):
    process = start(COUNTING, tmp_path)
    process.kill()
    process.communicate()

    def found() -> list[tuple[str, int, int]]:
        paths = sorted((tmp_path / ".progress").rglob("*"))
        stats = [path.stat() for path in paths]
        return [
            (str(path), stat.st_size, stat.st_mtime_ns)
            for path, stat in zip(paths, stats, strict=True)
        ]

    before = found()
    reader = ProgressTracker.attach(tmp_path)
    assert reader.get_progress()["status"] == "stopped"
    command = ["-m", "proteinflex_optimization", "watch", str(tmp_path), "--once"]
    subprocess.run([sys.executable, *command], capture_output=True, check=False)
    assert found() == before
    # Neither does it map the files.
    maps = Path("/proc/self/maps").read_text()
    assert str(tmp_path) not in maps


UNSEEN = "unshare --user --map-root-user --pid --fork --mount-proc"


def test_a_job_in_another_namespace_of_process_ids_is_alive(tmp_path: Path):
    command = [*UNSEEN.split(), sys.executable, "-c", COUNTING, str(tmp_path)]
    allowed = subprocess.run([*UNSEEN.split(), "true"], capture_output=True, check=False)
    if allowed.returncode != 0:
        pytest.skip("no namespaces here")
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    progress = ProgressTracker.attach(tmp_path).get_progress()
    assert (progress["status"], progress["alive"]) == ("running", True)
    # Two such jobs count in files of their own.
    with ProgressTracker(checkpoint_dir=tmp_path) as tracker:
        tracker.start_task("a", "A", 10**9).update(7)
        assert tracker.get_progress()["tasks"]["a"]["completed"] == 107
    process.communicate("\n", timeout=60)
    assert completed(tmp_path) == 107


@pytest.mark.parametrize("what", ["run", "run/.progress"])
def test_a_job_whose_progress_directory_is_removed_goes_on_and_says_so(
    tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture
):
    with ProgressTracker(10, tmp_path / "run", checkpoint_interval=1) as tracker:
        task = tracker.start_task("a", "A", 10, metadata={"x": 1})
        task.update(3)
        tracker.get_progress()
        shutil.rmtree(tmp_path / what)
        task.update(2)
        # Until the background thread has noticed.
        until(lambda: task.update(0) or caplog.records)
        other = tracker.start_task("b", "B", 3, parent_task="a", metadata={"y": 2})
        other.update()
        progress = tracker.get_progress()
        assert progress["tasks"]["a"]["completed"] == 5
        assert progress["tasks"]["b"]["metadata"] == {"y": 2}
        assert "a" in repr(tracker)
        # What another job has made there is not ours.
        (tmp_path / "run" / ".progress").mkdir(parents=True)
        tracker.update_task("b")
        tracker.finish()
        assert tracker.get_progress()["status"] == "completed"
    assert list((tmp_path / "run" / ".progress").iterdir()) == []
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1, warnings
    assert "counting goes on in memory, and is not saved any more" in warnings[0]


def test_a_tracker_that_was_closed_says_nothing_of_its_directory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    with ProgressTracker(checkpoint_dir=tmp_path / "run") as tracker:
        tracker.start_task("a", "A", 2).update(2)
    shutil.rmtree(tmp_path / "run")
    # As at the end of the program.
    tracker.close()
    assert caplog.text == ""


def test_a_job_of_a_moment_tells_when_it_was_updated(tmp_path: Path):
    before = time.time()
    with ProgressTracker(10, tmp_path) as tracker:
        assert tracker.get_progress()["updated"] is None
        tracker.start_task("a", "A", 10).update(10)
        tracker.finish()
    progress = ProgressTracker.attach(tmp_path).get_progress()
    assert progress["status"] == "completed"
    assert before - 1 < progress["updated"] <= time.time()
