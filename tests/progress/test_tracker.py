"""What a tracker promises within one process."""

from __future__ import annotations

import contextlib
import inspect
import logging
import math
import time
from pathlib import Path
from typing import Any

import pytest
from proteinflex_optimization import (
    InvalidArgumentError,
    InvalidTypeError,
    ProgressTracker,
    UnknownTaskError,
)
from waiting import until


@pytest.fixture(params=["memory", "directory"])
def tracker(request: pytest.FixtureRequest, tmp_path: Path) -> ProgressTracker:
    return ProgressTracker(
        checkpoint_dir=tmp_path / "run" if request.param == "directory" else None
    )


def test_the_documented_signature_is_what_help_shows():
    parameters = inspect.signature(ProgressTracker).parameters
    defaults = {name: parameter.default for name, parameter in parameters.items()}
    assert defaults == {
        "total_steps": 100,
        "checkpoint_dir": None,
        "auto_checkpoint": True,
        "checkpoint_interval": 300,
        "display": None,
    }


def test_half_of_one_root_task_is_fifty_percent(tracker: ProgressTracker):
    task = tracker.start_task("one", "One", 100)
    task.update(50)
    progress = tracker.get_progress()
    assert (progress["percent"], progress["completed_steps"]) == (50.0, 50)
    assert progress["total_steps"] == 100


def test_a_declared_total_is_the_whole_and_an_omitted_one_is_not():
    declared, omitted = ProgressTracker(100), ProgressTracker()
    for tracker in (declared, omitted):
        tracker.start_task("a", "A", 10).update(5)
    assert declared.get_progress()["percent"] == 5.0
    assert omitted.get_progress()["percent"] == 50.0
    declared.start_task("b", "B", 190)
    assert declared.get_progress()["total_steps"] == 200


def test_children_roll_up_as_defined(tracker: ProgressTracker):
    root = tracker.start_task("root", "Root", 4)
    root.update(2)
    tracker.start_task("x", "X", 2, parent_task="root").update(2)
    tracker.start_task("y", "Y", 4, parent_task="root").update(1)
    progress = tracker.get_progress()
    assert progress["percent"] == (2 + 0.25) * 100 / 4
    assert progress["tasks"]["x"]["status"] == "completed"
    tracker.complete_task("y")
    # Both children are finished now and count no more than the two own steps.
    assert tracker.get_progress()["percent"] == (2 + 0.25) * 100 / 4


def test_percent_is_a_hundred_after_finish_and_a_new_task_reopens(tracker: ProgressTracker):
    tracker.start_task("a", "A", 10).update(1)
    tracker.finish()
    assert tracker.get_progress()["percent"] == 100.0
    assert tracker.get_progress()["status"] == "completed"
    tracker.start_task("b", "B", 10)
    assert tracker.get_progress()["percent"] == 5.0


def test_a_task_of_unknown_length_is_counted_and_has_no_percent(tracker: ProgressTracker):
    task = tracker.start_task("u", "U", None)
    task.update(7)
    shown = tracker.get_progress()["tasks"]["u"]
    assert (shown["completed"], shown["total"], shown["percent"]) == (7, None, None)
    task.complete()
    assert tracker.get_progress()["percent"] == 100.0


def test_a_handle_completes_or_fails_with_its_block(tracker: ProgressTracker):
    with tracker.start_task("good", "Good", 3) as task:
        task.update()
    with pytest.raises(RuntimeError), tracker.start_task("bad", "Bad", 3):
        raise RuntimeError("no more memory")
    with pytest.raises(KeyboardInterrupt), tracker.start_task("stopped", "Stopped", 3):
        raise KeyboardInterrupt
    tasks = tracker.get_progress()["tasks"]
    assert (tasks["good"]["status"], tasks["good"]["completed"]) == ("completed", 3)
    assert tasks["bad"]["status"] == "failed"
    assert tasks["bad"]["message"] == "RuntimeError: no more memory"
    assert tasks["stopped"]["status"] == "running"


def test_a_failed_task_runs_again_when_it_is_started_again(tracker: ProgressTracker):
    tracker.start_task("a", "A", 3)
    tracker.fail_task("a", "broken")
    assert tracker.get_progress()["status"] == "failed"
    tracker.start_task("a", "A", 3)
    assert tracker.get_progress()["tasks"]["a"]["status"] == "running"


def test_track_counts_each_item_after_its_work(tracker: ProgressTracker):
    seen = []
    for item in tracker.track([10, 20, 30], "items"):
        seen.append((item, tracker.get_progress()["tasks"]["items"]["completed"]))
    assert seen == [(10, 0), (20, 1), (30, 2)]
    assert tracker.get_progress()["tasks"]["items"]["status"] == "completed"
    assert list(tracker.track((i for i in range(4)), "generator", "Generator")) == [0, 1, 2, 3]
    assert tracker.get_progress()["tasks"]["generator"]["completed"] == 4
    assert list(tracker.track([], "nothing")) == []

    def breaks():
        yield 1
        raise ValueError("bad input")

    with pytest.raises(ValueError, match="bad input"):
        list(tracker.track(breaks(), "breaks"))
    assert tracker.get_progress()["tasks"]["breaks"]["status"] == "failed"


@pytest.mark.parametrize("how", ["track", "bare", "with", "error", "exit"])
def test_work_that_ends_early_is_done_only_where_it_was_declared_so(tmp_path: Path, how: str):
    error = {"error": ValueError("no"), "exit": SystemExit(0)}.get(how)
    with ProgressTracker(checkpoint_dir=tmp_path) as tracker:
        if how == "track":
            for item in tracker.track(range(10), "a"):
                if item == 3:
                    break
        else:
            task = tracker.start_task("a", "A", 10)
            with (
                contextlib.suppress(ValueError, SystemExit),
                contextlib.nullcontext() if how == "bare" else task,
            ):
                task.update(3)
                if error is not None:
                    raise error
    task_info = ProgressTracker.attach(tmp_path).get_progress()["tasks"]["a"]
    expected = {"with": ("completed", 10), "error": ("failed", 3)}.get(how, ("stopped", 3))
    assert (task_info["status"], task_info["completed"]) == expected
    with ProgressTracker(checkpoint_dir=tmp_path) as tracker:
        tracker.start_task("a", "a" if how == "track" else "A", 10)
        tracker.finish()
    task_info = ProgressTracker.attach(tmp_path).get_progress()["tasks"]["a"]
    assert (task_info["status"], task_info["completed"]) == ("completed", 10)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda t: t.update_task("nobody"), UnknownTaskError, "nobody.*'?known"),
        (lambda t: t.complete_task("nobody"), UnknownTaskError, "nobody"),
        (lambda t: t.fail_task("nobody"), UnknownTaskError, "nobody"),
        (lambda t: t.update_task("a", -1), InvalidArgumentError, "steps=-1"),
        (lambda t: t.update_task("a", 1.5), InvalidTypeError, "steps=1.5"),
        (lambda t: t.update_task("a", None), InvalidTypeError, "steps=None"),
        (lambda t: t.update_task("a", True), InvalidTypeError, "steps=True"),
        (lambda t: t.update_task("a", 1 << 63), InvalidArgumentError, r"at most 2\*\*63 - 1"),
        (lambda t: t.update_task("a", (1 << 63) - 1), InvalidArgumentError, "steps=9223"),
        (lambda t: t.update_task("a", 1, 5), InvalidTypeError, "message=5"),
        (lambda t: t.update_task(5), InvalidTypeError, "task_id=5"),
        (lambda t: t.start_task("a", "A", None), InvalidArgumentError, "total_steps=None"),
        (lambda t: t.start_task("a", "B", 10), InvalidArgumentError, "task_name"),
        (lambda t: t.start_task("a", "A", 10, "b"), InvalidArgumentError, "parent_task"),
        (lambda t: t.start_task("c", "C", 10, "c"), InvalidArgumentError, "cycle"),
        (lambda t: t.start_task("c", "C", 10, "zzz"), UnknownTaskError, "zzz"),
        (lambda t: t.start_task("c", "C", -1), InvalidArgumentError, "total_steps=-1"),
        (lambda t: t.start_task("c", "C", 2.0), InvalidTypeError, "total_steps=2.0"),
        (lambda t: t.start_task("", "C", 2), InvalidArgumentError, "task_id"),
        (lambda t: t.start_task("x" * 500, "C", 2), InvalidArgumentError, "task_id"),
        (lambda t: t.start_task(3, "C", 2), InvalidTypeError, "task_id=3"),
        (lambda t: t.start_task("c", "C", 2, metadata=5), InvalidTypeError, "metadata=5"),
        (
            lambda t: t.start_task("c", "C", 2, metadata={"x": object()}),
            InvalidTypeError,
            "metadata",
        ),
        (
            lambda t: t.start_task("c", "C", 2, metadata={"x": "y" * 70_000}),
            InvalidArgumentError,
            "64|65536",
        ),
    ],
)
def test_a_wrong_argument_is_named_and_changes_nothing(
    tracker: ProgressTracker, call: Any, error: type[Exception], words: str
):
    tracker.start_task("a", "A", 10)
    tracker.start_task("b", "B", 10)
    with pytest.raises(error, match=words):
        call(tracker)
    progress = tracker.get_progress()
    assert list(progress["tasks"]) == ["a", "b"]
    assert progress["tasks"]["a"]["completed"] == 0


@pytest.mark.parametrize(
    "arguments",
    [
        {"total_steps": 0},
        {"total_steps": -5},
        {"total_steps": "100"},
        {"checkpoint_dir": 5},
        {"checkpoint_dir": ""},
        {"auto_checkpoint": 1},
        {"auto_checkpoint": None},
        {"checkpoint_interval": None},
        {"checkpoint_interval": 0},
        {"checkpoint_interval": -1},
        {"checkpoint_interval": math.nan},
        {"checkpoint_interval": "300"},
        {"display": "yes"},
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_written(
    tmp_path: Path, arguments: dict[str, Any]
):
    name = next(iter(arguments))
    with pytest.raises(InvalidArgumentError, match=name):
        ProgressTracker(**{"checkpoint_dir": tmp_path / "run", **arguments})
    assert not (tmp_path / "run").exists()


def test_messages_are_truncated_between_characters(tracker: ProgressTracker):
    task = tracker.start_task("a", "A", 1)
    task.update(0, "é" * 500)
    assert tracker.get_progress()["message"] == "é" * 100


def test_a_hundred_thousand_tasks_deep_and_wide(tracker: ProgressTracker):
    parent = None
    for number in range(50_000):
        tracker.start_task(f"deep-{number}", "Deep", 1, parent)
        parent = f"deep-{number}"
    for number in range(50_000):
        tracker.start_task(f"wide-{number}", "Wide", 1, "deep-0" if number % 2 else None)
    tracker.update_task("deep-49999")
    progress = tracker.get_progress()
    assert len(progress["tasks"]) == 100_000
    assert progress["tasks"]["deep-0"]["percent"] == 100.0
    assert progress["completed_steps"] == 1


def test_metadata_of_a_task_is_shown_exactly_and_may_be_replaced(tracker: ProgressTracker):
    about = {
        "sequence": "MKV",
        "residues": 3,
        "pair": (1, 2.5),
        "nested": {"seed": 2**40},
        "b": b"x",
    }
    tracker.start_task("a", "A", 1, metadata=about)
    tracker.start_task("b", "B", 1)
    tasks = tracker.get_progress()["tasks"]
    assert tasks["a"]["metadata"] == about
    assert isinstance(tasks["a"]["metadata"]["pair"], tuple)
    assert tasks["b"]["metadata"] is None
    tracker.start_task("a", "A", 1, metadata={"node": "n2"})
    assert tracker.get_progress()["tasks"]["a"]["metadata"] == {"node": "n2"}
    tracker.start_task("a", "A", 1)
    assert tracker.get_progress()["tasks"]["a"]["metadata"] == {"node": "n2"}


def test_metadata_is_seen_from_elsewhere_and_by_the_next_run(tmp_path: Path):
    tracker = ProgressTracker(checkpoint_dir=tmp_path)
    reader = ProgressTracker.attach(tmp_path)
    tracker.start_task("a", "A", 1, metadata={"n": 1})
    assert reader.get_progress()["tasks"]["a"]["metadata"] == {"n": 1}
    tracker.start_task("a", "A", 1, metadata={"n": 2})
    assert reader.get_progress()["tasks"]["a"]["metadata"] == {"n": 2}
    tracker.close()
    again = ProgressTracker(checkpoint_dir=tmp_path)
    assert again.get_progress()["tasks"]["a"]["metadata"] == {"n": 2}


def test_the_time_left_is_unknown_until_a_step_was_sampled():
    tracker = ProgressTracker(100)
    task = tracker.start_task("a", "A", 100)
    assert tracker.get_progress()["eta_seconds"] is None
    time.sleep(1.1)
    assert tracker.get_progress()["rate"] is None
    task.update(10)
    progress = until(lambda: (now := tracker.get_progress())["rate"] is not None and now)
    for shown in (progress, progress["tasks"]["a"]):
        assert shown["rate"] is not None
        assert shown["eta_seconds"] == pytest.approx(90 / shown["rate"])


def test_a_checkpoint_is_made_at_the_next_update_in_the_callers_thread(tmp_path: Path):
    import threading

    class Handle:
        def done(self):
            return True

        def result(self, timeout=None):
            return "path"

    class Manager:
        saved: list[tuple[str, dict[str, Any], int]] = []  # noqa: RUF012

        def create_checkpoint_async(self, checkpoint_id, component_states):
            self.saved.append((checkpoint_id, component_states, threading.get_ident()))
            return Handle()

    tracker = ProgressTracker(checkpoint_dir=tmp_path, checkpoint_interval=0.05)
    task = tracker.start_task("a", "A", 100)
    manager = Manager()
    tracker.checkpoint_with(manager, lambda: {"n": 1})
    time.sleep(0.1)
    assert manager.saved == []
    until(lambda: task.update() or len(manager.saved) >= 2)
    assert manager.saved[0][1:] == ({"n": 1}, threading.get_ident())


def test_an_error_of_states_is_logged_once_and_never_raised(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    calls = []

    def states():
        calls.append(1)
        raise RuntimeError("not ready")

    class Manager:
        def create_checkpoint_async(self, checkpoint_id, component_states):
            raise AssertionError("not reached")

    tracker = ProgressTracker(checkpoint_dir=tmp_path, checkpoint_interval=0.02)
    task = tracker.start_task("a", "A", 100)
    tracker.checkpoint_with(Manager(), states)
    with caplog.at_level(logging.ERROR):
        until(lambda: task.update() or len(calls) >= 3)
    assert len([record for record in caplog.records if "not ready" in str(record.exc_info)]) == 1
