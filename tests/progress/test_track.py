"""`track`: one line gives a loop its progress bar."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest
from proteinflex_optimization import ProgressTracker, track

JOB = """
from proteinflex_optimization import track
for number in track({iterable}, "frames"):
    {body}
"""


def run(iterable: str, body: str) -> list[str]:
    """Run a loop without a terminal and return the lines of its progress."""
    script = JOB.format(iterable=iterable, body=body)
    job = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    return job.stderr.splitlines()


def test_every_item_comes_in_order_and_the_last_line_is_complete() -> None:
    assert list(track("abc", display=False)) == ["a", "b", "c"]
    assert list(track([], display=False)) == []
    assert run("range(5)", "pass")[-1].startswith("100.0 %, 5/5 steps")


def test_items_of_unknown_number_are_counted() -> None:
    assert run("iter(range(5))", "if number == 3: break")[-1].startswith("3/? steps")


def test_items_that_can_not_be_made_are_a_failure_with_its_reason() -> None:
    shown = run("(1 // number for number in (1, 0))", "pass")
    assert any(line.startswith("failed: frames: ZeroDivisionError") for line in shown)


@pytest.mark.parametrize("leave", ["break", "error", "drop"])
def test_a_loop_that_is_left_early_keeps_nothing_running(leave: str) -> None:
    items = track(range(5))
    next(items)
    if leave == "error":
        with pytest.raises(ValueError, match="of the generator"):
            items.throw(ValueError("of the generator"))  # type: ignore[attr-defined]
    elif leave == "break":
        items.close()  # type: ignore[attr-defined]
    del items
    assert "proteinflex-display" not in {thread.name for thread in threading.enumerate()}


def test_a_loop_that_was_left_early_says_nothing_when_the_interpreter_ends() -> None:
    # A handler's globals, the loop among them, are let go when most of the interpreter is gone.
    script = (
        "import signal\nfrom proteinflex_optimization import track\n"
        "def on_term(number, frame): pass\n"
        "signal.signal(signal.SIGTERM, on_term)\n"
        "loop = track(range(9), 'frames', display=False)\n"
        "for frame in loop: break\n"
    )
    job = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (job.returncode, job.stderr) == (0, "")


def test_wrong_arguments_are_refused_before_anything_is_shown() -> None:
    for arguments in (([1], 5), ([1], "frames", -1)):
        with pytest.raises((TypeError, ValueError)):
            track(*arguments)  # type: ignore[arg-type]
    assert "proteinflex-display" not in {thread.name for thread in threading.enumerate()}


def test_progress_in_a_directory_can_be_read_by_others(tmp_path) -> None:
    items = track(range(4), "frames", checkpoint_dir=tmp_path, display=False)
    next(items), next(items)
    task = ProgressTracker.attach(tmp_path).get_progress()["tasks"]["frames"]
    assert (task["completed"], task["total"]) == (1, 4)


def test_a_loop_tells_its_length_and_its_task() -> None:
    loop = track([5, 6, 7], display=False)
    assert (len(loop), bool(track([], display=False))) == (3, True)
    assert len(track(iter("abcd"), "items", 4, display=False)) == 4
    for _ in loop:
        loop.task.update(0, "loss 0.3")
    with pytest.raises(TypeError, match="not known"):
        len(track(iter("abcd"), display=False))
    tracker = ProgressTracker()
    rest = tracker.track(range(3), "rest", completed=2)
    assert len(rest) == 3
    next(rest), next(rest)
    rest.task.update(0, "half")
    task = tracker.get_progress()["tasks"]["rest"]
    assert (task["completed"], task["total"], task["message"]) == (3, 5, "half")


def test_a_loop_within_another_of_the_same_name_is_told_once(tmp_path, caplog) -> None:
    def nested(inner: str) -> None:
        for _ in track(range(3), checkpoint_dir=tmp_path, display=False):
            for _ in track(range(2), inner, checkpoint_dir=tmp_path, display=False):
                pass

    nested("inner")
    assert not caplog.records
    nested("items")
    (record,) = caplog.records
    assert "'items'" in record.getMessage()
    assert "need a name each" in record.getMessage()


def test_loops_one_after_the_other_may_have_the_same_name(tmp_path, caplog) -> None:
    held = []
    for stop in (1, None, 1, None):
        held.append(track(range(3), checkpoint_dir=tmp_path, display=False))
        for number in held[-1]:
            if number == stop:
                break
    assert not caplog.records


def test_a_tracker_shows_the_number_of_its_tasks() -> None:
    tracker = ProgressTracker(10)
    shown = []
    for name in "ab":
        tracker.start_task(name, name, 5)
        shown.append(repr(tracker))
    assert shown == [
        "<ProgressTracker 0.0 %, 1 task, in memory>",
        "<ProgressTracker 0.0 %, 2 tasks, in memory>",
    ]
