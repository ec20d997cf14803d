"""Objects of a caller that raise, change things or call the tracker from within a call of it."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from proteinflex_optimization import (
    InvalidArgumentError,
    InvalidTypeError,
    ProgressTracker,
    StopRequest,
)
from waiting import until


@pytest.fixture(params=["memory", "directory"])
def tracker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ProgressTracker]:
    directory = tmp_path / "run" if request.param == "directory" else None
    with ProgressTracker(checkpoint_dir=directory, checkpoint_interval=0.02) as tracker:
        tracker.start_task("a", "A", 1000)
        yield tracker


def completed(tracker: ProgressTracker, task: str = "a") -> int:
    return tracker.get_progress()["tasks"][task]["completed"]


def use_everything(tracker: ProgressTracker) -> None:
    """Call what a callback could call."""
    tracker.update_task("a")
    tracker.start_task("inner", "Inner", 3, metadata={"n": 1}).update(1, "inside")
    tracker.get_progress()
    repr(tracker)
    tracker.close()


class Index:
    """An integer that does something when it is asked for its value."""

    def __init__(self, action: Callable[[], object]) -> None:
        self.action = action

    def __index__(self) -> int:
        self.action()
        return 2


def test_steps_may_use_the_tracker_while_they_are_converted(tracker: ProgressTracker):
    steps = Index(lambda: use_everything(tracker))
    tracker.update_task("a", steps)  # type: ignore[arg-type]
    assert completed(tracker) == 3
    tracker.start_task("b", "B", steps).update(steps)  # type: ignore[arg-type]
    assert completed(tracker, "b") == 2
    assert completed(tracker) == 5


@pytest.mark.parametrize("error", [ValueError("no"), RuntimeError("no"), RecursionError("no")])
def test_steps_that_raise_count_nothing(tracker: ProgressTracker, error: Exception):
    def fail() -> None:
        raise error

    for call in (
        lambda: tracker.update_task("a", Index(fail)),  # type: ignore[arg-type]
        lambda: tracker.start_task("b", "B", Index(fail)),  # type: ignore[arg-type]
        lambda: ProgressTracker(Index(fail)),  # type: ignore[arg-type]
    ):
        with pytest.raises((type(error), InvalidTypeError)):
            call()
    assert completed(tracker) == 0
    assert list(tracker.get_progress()["tasks"]) == ["a"]


class Text(str):
    """A text whose methods must not be needed."""

    __slots__ = ()

    def _refuse(self, *_: object) -> Any:
        raise RuntimeError("not to be called")

    __str__ = __repr__ = __iter__ = __len__ = _refuse  # type: ignore[assignment]
    __eq__ = __hash__ = encode = _refuse  # type: ignore[assignment]


def test_texts_are_read_without_their_methods(tracker: ProgressTracker):
    task = tracker.start_task(Text("b"), Text("B"), 5, Text("a"))
    task.update(1, Text("message"))
    tracker.update_task(Text("b"), 1)
    progress = tracker.get_progress()
    assert progress["tasks"]["b"]["completed"] == 2
    assert progress["message"] == "message"
    tracker.fail_task(Text("b"), Text("failed"))
    assert tracker.get_progress()["tasks"]["b"]["message"] == "failed"


@pytest.mark.parametrize("argument", ["task_id", "task_name", "parent_task", "message"])
def test_a_text_that_is_not_utf8_is_an_ordinary_error(tracker: ProgressTracker, argument: str):
    lone = "\ud800"
    names: dict[str, Any] = {"task_id": "b", "task_name": "B", "parent_task": None, argument: lone}
    message = names.pop("message", None)
    with pytest.raises((InvalidArgumentError, UnicodeError)):
        tracker.start_task(total_steps=1, **names).update(1, message)
    with pytest.raises((InvalidArgumentError, UnicodeError)):
        tracker.update_task(lone)
    assert completed(tracker) == 0


def test_a_value_whose_repr_raises_is_an_ordinary_error(tracker: ProgressTracker):
    class Value:
        def __repr__(self) -> str:
            tracker.update_task("a")
            raise RuntimeError("no repr")

    for call in (
        lambda: tracker.update_task(Value()),  # type: ignore[arg-type]
        lambda: tracker.update_task("a", 1, Value()),  # type: ignore[arg-type]
        lambda: tracker.start_task("b", "B", 1, metadata=Value()),  # type: ignore[arg-type]
        lambda: tracker.checkpoint_with(Value(), dict),  # type: ignore[arg-type]
    ):
        with pytest.raises(InvalidTypeError):
            call()


def test_metadata_that_changes_while_it_is_stored_is_stored_or_refused(tracker: ProgressTracker):
    nested: dict[str, Any] = {f"key-{number}": number for number in range(500)}
    stop = threading.Event()

    def change() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            nested[f"more-{number % 50}"] = number
            nested.pop(f"more-{(number + 25) % 50}", None)

    thread = threading.Thread(target=change)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread.start()
    outcomes = set()
    try:
        for number in range(200):
            try:
                tracker.start_task(f"task-{number}", "Task", 1, metadata={"nested": nested})
                outcomes.add("stored")
            except Exception as error:
                outcomes.add(type(error).__name__)
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(interval)
    assert outcomes, "every call returned or raised an ordinary exception"
    tracker.start_task("last", "Last", 1, metadata={"nested": nested})
    assert tracker.get_progress()["tasks"]["last"]["metadata"] == {"nested": nested}


def test_a_value_of_metadata_that_changes_it_is_an_ordinary_error(tracker: ProgressTracker):
    data: dict[str, Any] = {}

    class Value:
        def __repr__(self) -> str:
            data.clear()
            data.update({str(number): number for number in range(1000)})
            use_everything(tracker)
            return "value"

    data["nested"] = {"value": Value()}
    with pytest.raises(InvalidTypeError, match="metadata"):
        tracker.start_task("b", "B", 1, metadata=data)
    assert "b" not in tracker.get_progress()["tasks"]


class Sized:
    """An iterable whose length is up to the test."""

    def __init__(self, length: Callable[[], Any]) -> None:
        self.length = length

    def __len__(self) -> Any:
        return self.length()

    def __iter__(self) -> Iterator[int]:
        return iter(range(3))


def test_an_iterable_that_has_no_length_after_all_is_tracked(tracker: ProgressTracker):
    def unknown() -> Any:
        raise TypeError("object of type 'IterableDataset' has no len()")

    assert list(tracker.track(Sized(unknown), "b")) == [0, 1, 2]
    task = tracker.get_progress()["tasks"]["b"]
    assert (task["total"], task["completed"], task["status"]) == (None, 3, "completed")


def test_a_length_may_use_the_tracker_and_what_it_raises_is_raised(tracker: ProgressTracker):
    def length() -> int:
        use_everything(tracker)
        return 3

    assert list(tracker.track(Sized(length), "b")) == [0, 1, 2]

    def fail() -> int:
        raise OSError("no length today")

    with pytest.raises(OSError, match="no length today"):
        list(tracker.track(Sized(fail), "c"))
    for wrong in (-1, 2**70):
        with pytest.raises((ValueError, OverflowError)):
            list(tracker.track(Sized(lambda wrong=wrong: wrong), "c"))  # type: ignore[misc]
    assert "c" not in tracker.get_progress()["tasks"]


def test_an_iterator_may_use_the_tracker_and_its_own_task(tracker: ProgressTracker):
    def items() -> Iterator[int]:
        for number in range(3):
            use_everything(tracker)
            yield number
        tracker.finish()

    assert list(tracker.track(items(), "b", total_steps=3)) == [0, 1, 2]
    assert tracker.get_progress()["tasks"]["b"]["status"] == "completed"


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize("error", [UnprintableError(), ValueError("\ud800")])
def test_an_exception_that_cannot_be_shown_is_raised_and_fails_the_task(
    tracker: ProgressTracker, error: Exception
):
    def items() -> Iterator[int]:
        yield 1
        raise error

    with pytest.raises(type(error)) as raised:
        list(tracker.track(items(), "b"))
    assert raised.value is error
    with pytest.raises(type(error)), tracker.start_task("c", "C", 1):
        raise error
    for task in ("b", "c"):
        shown = tracker.get_progress()["tasks"][task]
        assert shown["status"] == "failed"
        assert shown["message"] is not None
        assert shown["message"].startswith(type(error).__name__)


class Pending:
    def done(self) -> bool:
        return True

    def result(self, timeout: float | None = None) -> str:
        return "path"


class Manager:
    """Counts the checkpoints instead of making them."""

    def __init__(self) -> None:
        self.saved = 0

    def create_checkpoint_async(self, checkpoint_id: str, component_states: Any) -> Pending:
        self.saved += 1
        return Pending()


def update_until(tracker: ProgressTracker, condition: Callable[[], bool]) -> None:
    until(lambda: tracker.update_task("a", 0) or condition())


def test_states_may_use_the_tracker_and_are_not_called_from_within_themselves(
    tracker: ProgressTracker,
):
    calls: list[int] = []
    depth = 0

    def states() -> dict[str, Any]:
        nonlocal depth
        depth += 1
        calls.append(depth)
        until = time.monotonic() + 0.1
        # Several intervals pass; each update finds the hook due again.
        while time.monotonic() < until:
            tracker.update_task("a", 0)
            time.sleep(0.005)
        tracker.start_task("inner", "Inner", 3).update(1)
        tracker.get_progress()
        depth -= 1
        return {"n": 1}

    manager = Manager()
    tracker.checkpoint_with(manager, states)
    update_until(tracker, lambda: manager.saved >= 2)
    assert set(calls) == {1}


def test_states_are_called_by_updates_only_and_never_by_a_reading_thread(tracker: ProgressTracker):
    callers: list[str] = []

    def states() -> dict[str, Any]:
        callers.append(threading.current_thread().name)
        return {}

    manager = Manager()
    tracker.checkpoint_with(manager, states)
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            tracker.get_progress()
            repr(tracker)

    reader = threading.Thread(target=read, name="reader")
    reader.start()
    try:
        time.sleep(0.3)
        assert callers == []
        update_until(tracker, lambda: manager.saved >= 3)
    finally:
        stop.set()
        reader.join()
    assert set(callers) == {threading.current_thread().name}


def test_states_may_replace_the_hook_and_close_or_finish_the_tracker(tracker: ProgressTracker):
    first, second = Manager(), Manager()

    def replace() -> dict[str, Any]:
        tracker.checkpoint_with(second, lambda: {"n": 2})
        return {"n": 1}

    tracker.checkpoint_with(first, replace)
    update_until(tracker, lambda: second.saved >= 2)
    assert first.saved == 1

    def finish() -> dict[str, Any]:
        tracker.close()
        tracker.finish()
        return {}

    last = Manager()
    tracker.checkpoint_with(last, finish)
    update_until(tracker, lambda: last.saved == 1)
    assert tracker.get_progress()["percent"] == 100.0


def test_a_later_hook_takes_the_place_of_an_earlier_one_and_of_its_stop(
    tracker: ProgressTracker, caplog: pytest.LogCaptureFixture
):
    first, second = Manager(), Manager()
    with StopRequest(signals=[signal.SIGUSR1], walltime=None) as stop:
        tracker.checkpoint_with(first, dict, stop=stop)
        tracker.checkpoint_with(second, dict, stop=stop)
        assert caplog.text == ""
        tracker.checkpoint_with(second, dict)
        assert "the stop request given before counts no more" in caplog.text
        signal.raise_signal(signal.SIGUSR1)
        update_until(tracker, lambda: second.saved >= 2)
    assert first.saved == 0


def test_states_that_change_in_another_thread_never_stop_the_job(tracker: ProgressTracker):
    data: dict[str, int] = {}
    stop = threading.Event()

    def change() -> None:
        while not stop.is_set():
            data[str(len(data) % 7)] = len(data)
            data.pop("3", None)

    thread = threading.Thread(target=change)
    thread.start()
    manager = Manager()
    try:
        tracker.checkpoint_with(manager, lambda: data)
        update_until(tracker, lambda: manager.saved >= 3)
    finally:
        stop.set()
        thread.join()


def test_only_an_interruption_by_the_user_leaves_the_hook(
    tracker: ProgressTracker, caplog: pytest.LogCaptureFixture
):
    error: BaseException = UnprintableError()
    calls = 0

    def states() -> dict[str, Any]:
        nonlocal calls
        calls += 1
        raise error

    tracker.checkpoint_with(Manager(), states)
    with caplog.at_level(logging.CRITICAL + 1):
        update_until(tracker, lambda: calls >= 3)
        error = KeyboardInterrupt()
        with pytest.raises(KeyboardInterrupt):
            update_until(tracker, lambda: False)
    # It can be called again afterwards.
    error, before = ValueError("again"), calls
    update_until(tracker, lambda: calls > before)


def test_a_path_that_raises_is_an_ordinary_error():
    class Place(os.PathLike[str]):
        def __fspath__(self) -> str:
            ProgressTracker().close()
            raise RuntimeError("nowhere")

    with pytest.raises((RuntimeError, InvalidTypeError)):
        ProgressTracker(checkpoint_dir=Place())
    with pytest.raises((RuntimeError, InvalidTypeError)):
        ProgressTracker.attach(Place())


def run(code: str, directory: Path) -> None:
    """Run a script that would hang, rather than fail, in a process of its own."""
    subprocess.run([sys.executable, "-c", code, str(directory)], check=True, timeout=120)


LOGGER_THAT_OPENS_THE_DIRECTORY = """
import logging, sys
from pathlib import Path
from proteinflex_optimization import ProgressTracker
directory = sys.argv[1]
with ProgressTracker(checkpoint_dir=directory) as tracker:
    tracker.start_task("a", "A", 10).update(3)
del tracker
[counters] = Path(directory).glob(".progress/counters-*")
counters.write_bytes(bytes(counters.stat().st_size))
seen = []
class Handler(logging.Handler):
    def emit(self, record):
        if not seen:
            seen.append(record)
            inner = ProgressTracker(checkpoint_dir=directory)
            inner.start_task("b", "B", 1).update()
            inner.get_progress()
logging.getLogger().addHandler(Handler(level=logging.WARNING))
tracker = ProgressTracker(checkpoint_dir=directory)
assert seen, "the corrupt counters were logged"
assert tracker.get_progress()["tasks"]["a"]["completed"] == 3
assert tracker.get_progress()["tasks"]["b"]["completed"] == 1
"""


def test_a_logger_may_open_the_directory_that_a_warning_is_about(tmp_path: Path):
    run(LOGGER_THAT_OPENS_THE_DIRECTORY, tmp_path)


WAITING_FOR_THE_LOCK = """
import os, shutil, sys, threading
from pathlib import Path
from proteinflex_optimization import ProgressTracker
root = Path(sys.argv[1])
other = ProgressTracker(checkpoint_dir=root / "other")
other.start_task("far", "Far", 10)
[counters] = (root / "other").glob(".progress/counters-*")
tracker = ProgressTracker(checkpoint_dir=root / "run")
# The task of another host: it is imported under the lock.
imported = Path(shutil.copy(counters, root / "run" / ".progress" / "counters-aaaaaaaa-0"))
[own] = set((root / "run").glob(".progress/counters-*")) - {imported}
with own.open("r+b", buffering=0) as file:
    # The lock is a word of the header: process and start time of its holder, 0 = not known.
    os.pwrite(file.fileno(), (os.getppid() << 32).to_bytes(8, "little"), 56 * 8)
    thread = threading.Thread(target=tracker.update_task, args=("far", 2))
    thread.start()
    thread.join(0.5)
    assert thread.is_alive(), "it waits for the lock, and this thread runs on"
    os.pwrite(file.fileno(), bytes(8), 56 * 8)
thread.join()
assert tracker.get_progress()["tasks"]["far"]["completed"] == 2
"""


def test_a_thread_that_waits_for_the_directory_lets_others_run(tmp_path: Path):
    run(WAITING_FOR_THE_LOCK, tmp_path)
