"""States whose objects run code while they are saved: they change, raise, or call the manager again.

An entry point either works or raises an ordinary exception; an error leaves nothing on the disk, and
the manager works afterwards.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import gc
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from proteinflex_optimization import (
    CheckpointManager,
    InvalidTypeError,
    ProteinFlexError,
)


@pytest.fixture
def manager(tmp_path: Path) -> CheckpointManager:
    return CheckpointManager(tmp_path / "checkpoints")


@dataclasses.dataclass
class Plain:
    """A dataclass whose one field can be made to run code."""

    field: Any = 0


class Acting(Plain):
    """Calls `action` when its field is read."""

    action: Callable[[], Any] = staticmethod(lambda: None)

    @property
    def field(self) -> Any:  # type: ignore[override]
        return type(self).action()

    @field.setter
    def field(self, value: Any) -> None:
        pass


def acting(action: Callable[[], Any]) -> Acting:
    Acting.action = staticmethod(action)
    return Acting()


SAVES: dict[str, Callable[[CheckpointManager, dict[str, Any]], str]] = {
    "now": lambda manager, states: manager.create_checkpoint("x", states),
    "background": lambda manager, states: manager.create_checkpoint_async("x", states).result(60),
    "distributed": lambda manager, states: save_as_one_of_several_processes(manager, states),
}


def save_as_one_of_several_processes(manager: CheckpointManager, states: dict[str, Any]) -> str:
    shared = manager._begin("x")
    try:
        partial = manager._write_components(str(shared.directory), 0, states, None, False)
    except BaseException:
        shared.abandon()
        raise
    return manager._publish(shared, [partial])


@pytest.fixture(params=SAVES)
def save(request: pytest.FixtureRequest) -> Callable[[CheckpointManager, dict[str, Any]], str]:
    return SAVES[request.param]


def nothing_was_left(manager: CheckpointManager) -> None:
    assert manager.list_checkpoints() == []
    assert os.listdir(manager.base_dir) == []
    path = manager.create_checkpoint("after", {"s": {"x": np.arange(3)}})
    assert manager.verify(path)["ok"]


def growing() -> dict[str, Any]:
    """Make a dict that gets another item while its values are read."""
    state: dict[str, Any] = {f"k{i}": i for i in range(5)}
    state["act"] = acting(lambda: state.update({f"new{len(state)}": 1}))
    state["last"] = 1
    return state


def shrinking() -> dict[str, Any]:
    state: dict[str, Any] = {"a": 1}
    state["act"] = acting(lambda: state.pop("z", None))
    state["z"] = 1
    return state


def emptied_list() -> list[Any]:
    state: list[Any] = [0, 1]
    state += [acting(state.clear), 3, 4]
    return state


def growing_list() -> list[Any]:
    state: list[Any] = [0]
    state += [acting(lambda: state.append(1)), 3]
    return state


def growing_set() -> set[Any]:
    hashed = {"__hash__": object.__hash__}
    member = dataclasses.make_dataclass(
        "Member", [("n", int, 0)], bases=(Acting,), namespace=hashed, eq=False
    )
    member.__module__ = __name__
    globals()["Member"] = member
    state = {1, 2, member(1)}
    member.action = staticmethod(lambda: state.add(len(state) + 10))
    return state


def growing_deque() -> collections.deque[Any]:
    state: collections.deque[Any] = collections.deque([1])
    state.extend([acting(lambda: state.append(2)), 3])
    return state


def growing_ordered() -> collections.OrderedDict[str, Any]:
    state: collections.OrderedDict[str, Any] = collections.OrderedDict(a=1)
    state["act"] = acting(lambda: state.update({f"new{len(state)}": 1}))
    state["z"] = 1
    return state


def own_attributes() -> Plain:
    state = Plain()
    state.extra = acting(lambda: vars(state).update(more=len(vars(state))))  # type: ignore[attr-defined]
    return state


CHANGING = [
    growing,
    shrinking,
    emptied_list,
    growing_list,
    growing_set,
    growing_deque,
    growing_ordered,
    own_attributes,
]


@pytest.mark.parametrize("make", CHANGING)
def test_a_container_that_changes_while_it_is_saved_is_saved_or_refused(manager, save, make):
    try:
        path = save(manager, {"s": make()})
    except (ProteinFlexError, RuntimeError):
        nothing_was_left(manager)
    else:
        assert manager.verify(path)["ok"]
        assert "s" in manager.load_checkpoint(path)


@pytest.mark.parametrize("part", ["all of it", "a view", "transposed"])
def test_an_array_is_not_resized_while_it_is_saved(manager, save, part):
    """NumPy would free its memory, also where others have references, by `refcheck=False`."""
    array = np.arange(100_000.0)
    given = {"all of it": array, "a view": array[5:], "transposed": array.reshape(10, -1).T}[part]
    refused = []

    def resize() -> int:
        try:
            array.resize(10 * array.size, refcheck=False)
        except ValueError as error:
            refused.append(str(error))
        return 1

    path = save(manager, {"m": {"a": given, "x": acting(resize)}})
    assert refused
    np.testing.assert_array_equal(manager.load_checkpoint(path)["m"]["a"], given)
    del given
    array.resize(10, refcheck=False)


def test_components_that_are_added_while_others_are_saved_do_not_disturb(manager, save):
    states: dict[str, Any] = {"a": {"x": np.arange(4)}}
    states["act"] = acting(lambda: states.setdefault(f"new{len(states)}", 1))
    states["z"] = 3
    path = save(manager, states)
    assert len(states) > 3, "the getter has run"
    assert list(manager.load_checkpoint(path)) == ["a", "act", "z"]


def test_components_that_are_removed_while_others_are_saved_do_not_disturb(manager, save):
    states: dict[str, Any] = {"act": acting(lambda: states.pop("z", None)), "z": np.arange(9)}
    path = save(manager, states)
    assert list(manager.load_checkpoint(path)) == ["act", "z"]


def test_a_thread_that_changes_the_state_meanwhile_never_breaks_a_save(manager, save):
    """A dict of the same keys whose values are replaced, and one whose keys come and go."""
    states: dict[str, Any] = {"s": {f"k{i}": np.arange(50) for i in range(200)}}
    done = threading.Event()

    def change() -> None:
        for number in iter(lambda: len(states["s"]), -1):
            states["s"][f"new{number}"] = number
            states[f"c{number}"] = number
            if number > 260:
                for name in [name for name in states["s"] if name.startswith("new")]:
                    del states["s"][name]
                    states.pop("c" + name[3:], None)
            if done.is_set():
                return

    thread = threading.Thread(target=change)
    thread.start()
    saved = 0
    try:
        for _ in range(30):
            try:
                path = save(manager, states)
            except (ProteinFlexError, RuntimeError):
                continue
            saved += 1
            loaded = manager.load_checkpoint(path)["s"]
            assert all((loaded[f"k{i}"] == np.arange(50)).all() for i in range(200))
    finally:
        done.set()
        thread.join()
    path = save(manager, states)
    assert manager.verify(path)["ok"]


class Custom(BaseException):
    """What `except Exception` does not catch, from the user's own code."""


@pytest.mark.parametrize("error", [ValueError, MemoryError, KeyboardInterrupt, Custom])
def test_what_an_object_raises_reaches_the_caller_and_leaves_nothing(manager, save, error):
    def fail() -> None:
        raise error("from the getter")

    state = {"x": np.arange(1000), "act": acting(fail)}
    with pytest.raises(error, match="from the getter"):
        save(manager, {"whole": {"x": np.arange(5)}, "s": state})
    nothing_was_left(manager)


def test_an_object_may_save_load_list_and_delete_with_the_same_manager(manager, save):
    def work() -> int:
        path = manager.create_checkpoint("inner", {"x": 1})
        manager.create_checkpoint_async("inner2", {"x": 2})
        manager.load_checkpoint(path)
        manager.verify(path)
        rows = [row["checkpoint_id"] for row in manager.list_checkpoints()]
        manager.wait()
        manager.delete("inner")
        manager.release_memory()
        return len(rows)

    path = save(manager, {"s": {"x": np.arange(3), "act": acting(work)}})
    assert manager.verify(path)["ok"]
    assert [row["checkpoint_id"] for row in manager.list_checkpoints()] == ["inner2", "x"]


def test_an_object_may_save_under_the_very_id_that_is_being_saved(manager, save):
    path = save(manager, {"s": acting(lambda: manager.create_checkpoint("x", {"inner": 1}) and 1)})
    assert list(manager.load_checkpoint(path)) == ["s"]
    assert len(manager.list_checkpoints()) == 1


def test_an_object_that_waits_for_another_thread_s_save_is_no_deadlock(manager, save):
    def other_thread() -> int:
        thread = threading.Thread(target=manager.create_checkpoint, args=("other", {"x": 1}))
        thread.start()
        thread.join(60)
        assert not thread.is_alive()
        return 1

    path = save(manager, {"s": acting(other_thread)})
    assert manager.verify(path)["ok"]


def test_an_object_that_makes_another_of_its_kind_for_ever_is_refused(manager, save):
    with pytest.raises(ProteinFlexError, match="contains itself|nested"):
        save(manager, {"s": acting(lambda: Acting())})
    nothing_was_left(manager)


class HostileClass:
    """Says another class each time it is asked."""

    @property
    def __class__(self) -> type:  # type: ignore[override]
        raise RuntimeError("no class")


class HostileDict(Plain):
    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        return 5


class HostileRepr:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class HostileArray:
    def __array__(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("no array")

    def __iter__(self) -> Iterator[Any]:
        raise RuntimeError("no items")

    def __len__(self) -> int:
        return 2**62


@pytest.mark.parametrize("kind", [HostileClass, HostileDict, HostileRepr, HostileArray])
def test_objects_that_refuse_every_question_are_refused(manager, save, kind):
    with pytest.raises((ProteinFlexError, RuntimeError, TypeError)):
        save(manager, {"s": [kind()]})
    nothing_was_left(manager)


class HostileReduce:
    def __init__(self, action: Callable[[], Any]) -> None:
        self.action = action

    def __reduce__(self) -> Any:
        return (int, (self.action(),))


def test_a_pickled_object_may_change_the_state_and_call_the_manager(manager):
    state: dict[str, Any] = {"a": 1}

    def change() -> int:
        state.pop("b", None)
        manager.create_checkpoint("inner", {"x": 1})
        return 7

    state["r"] = [HostileReduce(change)]
    state["b"] = 2
    try:
        path = manager.create_checkpoint("x", {"s": state}, allow_pickle=True)
    except (ProteinFlexError, RuntimeError):
        path = manager.create_checkpoint("x", {"s": {"a": 1}})
    assert manager.load_checkpoint(path, allow_pickle=True)["s"]["a"] == 1
    assert manager.verify(manager.create_checkpoint("later", {"x": 1}))["ok"]


def test_metadata_that_changes_while_it_is_saved_is_saved_or_refused(manager):
    metadata = {1: "x", (1, ()): 2, "b": [1]}
    with pytest.raises(InvalidTypeError, match="metadata"):
        manager.create_checkpoint("x", {"s": 1}, metadata={"act": acting(lambda: 1)})
    nothing_was_left(manager)
    manager.create_checkpoint("x", {"s": 1}, metadata=metadata)
    assert manager.list_checkpoints()[-1]["metadata"] == metadata


class Endless(list):
    """A list that says it is longer than any memory."""

    def __len__(self) -> int:
        return 2**62


class Raising:
    def __fspath__(self) -> str:
        raise ValueError("no path")

    def __iter__(self) -> Iterator[str]:
        raise ValueError("no items")

    def __str__(self) -> str:
        raise ValueError("no text")


def test_component_names_come_from_any_list_however_it_counts_itself(manager):
    path = manager.create_checkpoint("x", {"a": 1, "b": 2})
    assert manager.load_checkpoint(path, components=Endless(["b"])) == {"b": 2}
    assert manager.load_checkpoint(path, components=("b", "a")) == {"b": 2, "a": 1}
    changing = ["a", "b"]

    class Clearing(list):
        def __iter__(self) -> Iterator[str]:
            changing.clear()
            yield "b"

    assert manager.load_checkpoint(path, components=Clearing(["a"])) == {"b": 2}
    for wrong in ("ab", 5, [1], Raising()):
        with pytest.raises((InvalidTypeError, ValueError)):
            manager.load_checkpoint(path, components=wrong)


def test_arguments_that_raise_are_ordinary_errors(manager):
    path = manager.create_checkpoint("x", {"a": 1})
    bad: Any = Raising()
    for call in (
        lambda: manager.load_checkpoint(bad),
        lambda: manager.verify(bad),
        lambda: manager.delete(bad),
        lambda: manager.create_checkpoint(bad, {"x": 1}),
        lambda: manager.create_checkpoint("y", bad),
        lambda: manager.create_checkpoint_async("y", {"x": 1}, metadata=bad),
        lambda: CheckpointManager(bad),
        lambda: manager.create_checkpoint_async("z", {"x": 1}).result(bad),
    ):
        with pytest.raises((ProteinFlexError, ValueError, TypeError)):
            call()
    assert manager.verify(path)["ok"]


def test_a_class_that_would_act_while_it_is_restored_is_not_asked(manager):
    global Restoring

    @dataclasses.dataclass
    class Restoring:
        value: int

    Restoring.__qualname__ = "Restoring"
    path = manager.create_checkpoint("x", {"s": {"v": Restoring(1), "x": np.arange(3)}})

    def act(*_: Any) -> None:
        manager.create_checkpoint("x", {"other": 1})

    Restoring.value = property(lambda self: 1, act)  # type: ignore[assignment]
    Restoring.__setattr__ = act  # type: ignore[assignment,method-assign]
    for _ in range(2):
        loaded = manager.load_checkpoint(path)["s"]
        assert loaded["x"].tolist() == [0, 1, 2]
        assert vars(loaded["v"]) == {"value": 1}


def test_background_saves_of_several_threads_are_all_waited_for(manager):
    """Each thread starts a save before it waits for anybody's."""
    barrier = threading.Barrier(4)
    big = np.zeros(500_000)

    def start(number: int) -> None:
        barrier.wait()
        for step in range(5):
            manager.create_checkpoint_async(f"t{number}-{step}", {"x": big, "n": number})

    threads = [threading.Thread(target=start, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    manager.wait()
    hidden = [name for name in os.listdir(manager.base_dir) if name.startswith(".")]
    assert hidden == [".lock"], "wait() returned before every save had ended"
    assert len(manager.list_checkpoints()) == 5


def test_an_interrupted_wait_forgets_no_save(tmp_path):
    """Ctrl-C while a save is waited for: the save goes on, and the next wait waits for it."""
    manager = CheckpointManager(tmp_path / "c")
    pending = manager.create_checkpoint_async("big", {"x": np.zeros(30_000_000)})

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        with contextlib.suppress(KeyboardInterrupt):
            manager.wait()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    manager.wait()
    assert pending.done()
    assert manager.latest() == pending.result()


def test_a_background_error_is_the_same_for_all_threads_that_wait_for_it(tmp_path):
    manager = CheckpointManager(tmp_path / "c")
    (tmp_path / "c" / "taken").write_text("a file where a directory should be")
    pending = manager.create_checkpoint_async("taken", {"x": 1})
    found: list[BaseException] = []

    def ask() -> None:
        try:
            pending.result(60)
        except OSError as error:
            found.append(error)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 8
    assert {type(error) for error in found} == {NotADirectoryError}
    assert len(set(map(id, found))) == 8, "each has a traceback of its own"
    assert all("taken" in str(error) for error in found)
    # It was raised, and is no error of the next save.
    manager.create_checkpoint("b", {"x": 1})


def test_finalizers_that_use_the_manager_do_not_deadlock(manager):
    """Garbage collection may run any code between two steps of a save."""

    class Finalized:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            manager.create_checkpoint_async("finalized", {"x": 1})

    thresholds = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for number in range(3):
            Finalized()
            state = {"s": [{"n": number, "t": (i, [i])} for i in range(50)]}
            manager.create_checkpoint_async(f"x{number}", state)
    finally:
        gc.set_threshold(*thresholds)
    gc.collect()
    manager.wait()
    assert "finalized" in [row["checkpoint_id"] for row in manager.list_checkpoints()]
