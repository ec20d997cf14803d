"""What several processes, and a process that is killed, find in the directory."""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import pickle
import random
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from proteinflex_optimization import (
    CorruptDataError,
    ProgressTracker,
    ProteinFlexError,
    UnsupportedFormatError,
)
from proteinflex_optimization.cli.watch import add_parser
from waiting import until


def count(tracker: ProgressTracker, task: str) -> int:
    completed = tracker.get_progress()["tasks"][task]["completed"]
    assert isinstance(completed, int)
    return completed


def hammer(directory: str, threads: int, updates: int) -> None:
    tracker = ProgressTracker(checkpoint_dir=directory)
    handle = tracker.start_task("shared", "Shared", 10_000_000)

    def work(number: int) -> None:
        for step in range(updates):
            if step % 2:
                handle.update(1)
            else:
                tracker.update_task("shared", 1, f"{number}" * 40 if step % 50 == 0 else None)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_four_processes_of_four_threads_lose_no_update(tmp_path: Path, method: str):
    context = multiprocessing.get_context(method)
    processes = [context.Process(target=hammer, args=(str(tmp_path), 4, 5000)) for _ in range(4)]
    for process in processes:
        process.start()
    reader, percent = None, 0.0
    while any(process.is_alive() for process in processes):
        try:
            reader = reader or ProgressTracker.attach(tmp_path)
        except FileNotFoundError:
            continue
        progress = reader.get_progress()
        assert progress["percent"] >= percent
        percent = progress["percent"]
        if progress["message"] is not None:
            # Never a mixture of two messages.
            assert re.fullmatch(r"(\d)\1{39}", progress["message"])
    assert [process.exitcode for process in processes] == [0] * 4
    assert count(ProgressTracker(checkpoint_dir=tmp_path), "shared") == 4 * 4 * 5000


@pytest.mark.parametrize("pickled", [False, True])
def test_a_tracker_stays_with_its_directory_when_the_process_goes_to_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pickled: bool
):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    tracker = ProgressTracker(checkpoint_dir="run")
    task = tracker.start_task("md", "Dynamics", 10)
    task.update(4)
    reader = ProgressTracker.attach("run")
    assert tracker.checkpoint_dir == reader.directory == str(tmp_path / "run")
    monkeypatch.chdir("elsewhere")
    if pickled:
        tracker, task, reader = pickle.loads(pickle.dumps((tracker, task, reader)))
    task.update(3)
    assert count(tracker, "md") == reader.get_progress()["completed_steps"] == 7
    tracker.close()
    assert pickled or list((tmp_path / "run" / ".progress").glob("snapshot-*"))
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("end", ["tracker.close()", "os.kill(os.getpid(), 9)"])
def test_elapsed_time_stands_still_once_nobody_is_at_work(tmp_path: Path, end: str):
    job = f"""
import os, sys, time
from proteinflex_optimization import ProgressTracker
tracker = ProgressTracker(checkpoint_dir=sys.argv[1])
tracker.start_task("md", "Dynamics", 10).update()
time.sleep(1.2)
{end}
"""
    subprocess.run([sys.executable, "-c", job, str(tmp_path)], check=False)
    reader = ProgressTracker.attach(tmp_path)
    first = reader.get_progress()
    time.sleep(0.2)
    again = reader.get_progress()
    assert 0 < first["elapsed_seconds"] == again["elapsed_seconds"]
    assert first["tasks"]["md"]["elapsed_seconds"] == again["tasks"]["md"]["elapsed_seconds"]
    assert again["status"] == "stopped"


JOB = """
import sys
from proteinflex_optimization import ProgressTracker
tracker = ProgressTracker(checkpoint_dir=sys.argv[1], checkpoint_interval=0.01)
task = tracker.start_task("job", "Job", None)
base = tracker.get_progress()["tasks"]["job"]["completed"]
print("ready", base, flush=True)
for step in range(base + 1, 10**9):
    task.update(1, f"step {step}")
    print(step, flush=True)
"""


@pytest.mark.parametrize("kills", [20, pytest.param(100, marks=pytest.mark.soak)])
def test_kill_9_loses_nothing_that_had_returned(tmp_path: Path, kills: int):
    returned = 0
    for number in range(kills):
        process = subprocess.Popen(
            [sys.executable, "-c", JOB, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert int(process.stdout.readline().split()[1]) >= returned
        # Some of them at once; one has counted in any case.
        first = process.stdout.readline() if number == 0 else ""
        time.sleep(random.uniform(0.0, 0.05))
        process.send_signal(signal.SIGKILL)
        lines = [text for text in (first + process.stdout.read()).split("\n")[:-1] if text]
        process.wait()
        process.stdout.close()
        if lines:
            returned = int(lines[-1])
        task = ProgressTracker.attach(tmp_path).get_progress()["tasks"]["job"]
        # The one whose number was not printed any more may have been counted.
        assert task["completed"] - returned in (0, 1)
        if returned:
            assert task["message"] in (f"step {returned}", f"step {returned + 1}")
    assert returned > 0


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.parametrize("in_memory", [True, False])
def test_forked_children_count_while_the_background_thread_works(tmp_path: Path, in_memory: bool):
    tracker = ProgressTracker(
        checkpoint_dir=None if in_memory else tmp_path, checkpoint_interval=0.002
    )
    task = tracker.start_task("a", "A", 1000)
    for number in range(20):
        child = os.fork()
        if child == 0:
            try:
                task.update()
                tracker.start_task(f"child-{number}", "Child", 1).complete()
                os._exit(0 if count(tracker, "a") > number else 3)
            finally:
                os._exit(4)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
    tracker.update_task("child-7")
    assert count(tracker, "a") == 20
    assert len(tracker.get_progress()["tasks"]) == 21
    tracker.close()


def test_another_process_counts_through_a_pickled_handle(tmp_path: Path):
    tracker = ProgressTracker(checkpoint_dir=tmp_path)
    task = tracker.start_task("a", "A", 100)
    code = "import pickle, sys; pickle.load(sys.stdin.buffer).update(5)"
    subprocess.run([sys.executable, "-c", code], input=pickle.dumps(task), check=True)
    assert count(tracker, "a") == 5
    with pytest.raises(TypeError, match="checkpoint_dir"):
        pickle.dumps(ProgressTracker())


def test_the_same_directory_opened_again_resumes(tmp_path: Path):
    first = ProgressTracker(200, checkpoint_dir=tmp_path)
    first.start_task("a", "A", 100).update(30, "half way")
    first.close()
    again = ProgressTracker(checkpoint_dir=tmp_path)
    progress = again.get_progress()
    assert (progress["percent"], progress["message"]) == (15.0, "half way")
    again.start_task("a", "A", 100).update(10)
    assert count(again, "a") == 40


def files(directory: Path, kind: str) -> list[Path]:
    return sorted((directory / ".progress").glob(f"{kind}-*"))


def test_corrupt_counters_resume_from_the_snapshot_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    tracker = ProgressTracker(checkpoint_dir=tmp_path)
    tracker.start_task("a", "A", 100).update(30, "thirty")
    tracker.close()
    del tracker
    [counters] = files(tmp_path, "counters")
    counters.write_bytes(bytes(counters.stat().st_size))
    with caplog.at_level(logging.WARNING):
        again = ProgressTracker(checkpoint_dir=tmp_path)
    assert "snapshot" in caplog.text
    assert str(counters) in caplog.text
    again.update_task("a", 5)
    assert count(again, "a") == 35
    assert again.get_progress()["message"] == "thirty"
    again.close()
    assert count(ProgressTracker(checkpoint_dir=tmp_path), "a") == 35


@pytest.mark.parametrize("damage", ["garbage", "cut", "other", "newer", "task"])
def test_damaged_counters_without_a_snapshot_are_refused(tmp_path: Path, damage: str):
    tracker = ProgressTracker(checkpoint_dir=tmp_path, auto_checkpoint=False)
    tracker.start_task("a", "A", 100)
    del tracker
    [counters] = files(tmp_path, "counters")
    content = bytearray(counters.read_bytes())
    error: type[Exception] = CorruptDataError
    if damage == "garbage":
        content[8:4096] = random.Random(1).randbytes(4088)
    elif damage == "cut":
        del content[70_000:]
    elif damage == "other":
        content[:8] = b"SQLite f"
        error = UnsupportedFormatError
    elif damage == "newer":
        content[8] = 9
        error = UnsupportedFormatError
    else:
        content[65536 + 24 * 8] ^= 1
    counters.unlink()
    counters.write_bytes(content)
    if damage == "garbage":
        error = (CorruptDataError, UnsupportedFormatError)  # type: ignore[assignment]
    with pytest.raises(error, match=re.escape(str(counters))):
        ProgressTracker(checkpoint_dir=tmp_path)
    with pytest.raises(error, match=re.escape(str(counters))):
        ProgressTracker.attach(tmp_path)


def test_a_full_disk_is_an_error_and_no_crash(tmp_path: Path):
    ProgressTracker(checkpoint_dir=tmp_path / "small").start_task("a", "A", 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    tracker = ProgressTracker(checkpoint_dir=tmp_path / "small", auto_checkpoint=False)

    def start_many() -> None:
        for number in range(200):
            tracker.start_task(f"more-{number}", "More", 1)

    resource.setrlimit(resource.RLIMIT_FSIZE, (140_000, before[1]))
    try:
        with pytest.raises(OSError, match=r"large|space"):
            start_many()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    tracker.update_task("a")
    tracker.start_task("after", "After", 1)
    assert count(tracker, "a") == 1


def test_an_exception_in_the_block_is_not_replaced_by_a_full_disk_at_its_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def work(error: Exception | None) -> None:
        with ProgressTracker(checkpoint_dir=tmp_path) as tracker:
            tracker.start_task("a", "A", 5)
            resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
            if error is not None:
                raise error

    try:
        with pytest.raises(ZeroDivisionError):
            work(ZeroDivisionError())
        assert "closing the progress failed after an exception: [Errno" in caplog.text
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        with pytest.raises(OSError, match="large"):
            work(None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_directory_that_cannot_be_written_is_an_error(tmp_path: Path):
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(OSError, match="file"):
        ProgressTracker(checkpoint_dir=tmp_path / "file" / "run")


def test_files_replaced_by_garbage_underneath_lose_nothing_that_is_mapped(tmp_path: Path):
    tracker = ProgressTracker(checkpoint_dir=tmp_path, auto_checkpoint=False)
    task = tracker.start_task("a", "A", 100)
    task.update(10)
    [counters] = files(tmp_path, "counters")
    garbage = tmp_path / "garbage"
    garbage.write_bytes(random.Random(3).randbytes(200_000))
    garbage.replace(counters)
    task.update(10)
    assert count(tracker, "a") == 20
    with pytest.raises((CorruptDataError, UnsupportedFormatError), match=re.escape(str(counters))):
        ProgressTracker.attach(tmp_path)


def test_attach_needs_progress_files(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        ProgressTracker.attach(tmp_path)


def test_snapshots_are_written_in_the_background(tmp_path: Path):
    tracker = ProgressTracker(checkpoint_dir=tmp_path, checkpoint_interval=0.05)
    tracker.start_task("a", "A", 100).update(1)
    until(lambda: files(tmp_path, "snapshot"))
    tracker.close()


def test_updates_after_a_close_are_saved_as_those_before(tmp_path: Path):
    tracker = ProgressTracker(checkpoint_dir=tmp_path, checkpoint_interval=0.05)
    task = tracker.start_task("a", "A", 10)
    tracker.close()
    [snapshot] = files(tmp_path, "snapshot")
    closed = snapshot.read_bytes()
    # A look counts nothing, so it begins nothing.
    tracker.get_progress()
    time.sleep(0.3)
    assert snapshot.read_bytes() == closed
    task.update()
    until(lambda: snapshot.read_bytes() != closed)
    tracker.close()


def watch(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    options = parser.parse_args(["watch", *arguments])
    status: int = options.func(options)
    return status


def test_watch_shows_another_process_and_exits_with_its_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    tracker = ProgressTracker(checkpoint_dir=tmp_path)
    task = tracker.start_task("a", "A", 10)
    task.update(5, "half\nway")
    assert watch(str(tmp_path), "--once", "--json") == 0
    assert json.loads(capsys.readouterr().out)["percent"] == 50.0
    assert watch(str(tmp_path), "--once") == 0
    shown = capsys.readouterr().out
    assert "50.0 %" in shown
    assert shown.count("\n") == 1
    task.fail("boom")
    assert watch(str(tmp_path), "--once") == 1
    capsys.readouterr()
    tracker.start_task("a", "A", 10)
    tracker.finish()
    assert watch(str(tmp_path), "--interval", "0.05") == 0
    assert "completed" in capsys.readouterr().out
    with pytest.raises(ProteinFlexError, match="no progress in .*nothing"):
        watch(str(tmp_path / "nothing"), "--once")
    with pytest.raises(SystemExit) as usage:
        watch(str(tmp_path), "--interval", "0")
    assert usage.value.code == 2


def test_lines_are_shown_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]):
    tracker = ProgressTracker(display=True)
    tracker.start_task("a", "A", 4).update(2)
    tracker.finish()
    shown = capsys.readouterr().err
    assert "100.0 %" in shown
    assert "\x1b" not in shown
