"""Objects that run code while a method looks at them: they change things, raise, or call back.

A call works or raises an ordinary exception, what the object raised is not lost, nothing waits for
ever, and the next call works.
"""

from __future__ import annotations

import datetime
import itertools
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from proteinflex_optimization import (
    CorruptDataError,
    DataHandler,
    InternalError,
    InvalidArgumentError,
    ProteinFlexError,
    Trajectory,
    _native,
)

FRAMES = np.random.default_rng(1).normal(size=(4, 5, 3)).astype(np.float32)
DAYS = [datetime.date(2026, 1, 1) + datetime.timedelta(days) for days in range(200)]


class Hostile:
    """Runs `action` the first time that anything is asked of it."""

    def __init__(self, action: Callable[[], Any]) -> None:
        self.action = action
        self.calls = 0

    def _act(self) -> None:
        self.calls += 1
        # The action may come back here.
        if self.calls == 1:
            self.action()

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        self._act()
        return FRAMES

    def __iter__(self) -> Iterator[Any]:
        self._act()
        return iter(FRAMES)

    def __len__(self) -> int:
        self._act()
        return 4

    def __getitem__(self, index: Any) -> Any:
        self._act()
        return FRAMES[index]

    def __index__(self) -> int:
        self._act()
        return 1

    def __float__(self) -> float:
        self._act()
        return 1.0

    def __fspath__(self) -> str:
        self._act()
        return "elsewhere"

    def __repr__(self) -> str:
        return "<Hostile>"

    def __hash__(self) -> int:
        self._act()
        return 1

    def __eq__(self, other: object) -> bool:
        self._act()
        return False

    def __call__(self) -> Any:
        self._act()
        return {"frames": FRAMES}

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        self._act()
        return Hostile


class World:
    """A handler with a trajectory, a writer and plain containers, all of which actions may change."""

    def __init__(self, directory: Path) -> None:
        self.handler = DataHandler(directory / "cache", max_cache_size=1)
        self.key = self.handler.store_trajectory({"frames": FRAMES}, "stored")
        self.trajectory: Trajectory = self.handler.open(self.key)
        self.writer = self.handler.trajectory_writer("written")
        self.writer.append(FRAMES)
        self.dict: dict[Any, Any] = {"a": 1, "b": 2}
        self.list: list[Any] = [1, 2]

    def holding(self, value: Any) -> dict[str, Any]:
        """Data in which `value` stands between others, in containers that `change` changes."""
        self.dict = {"a": 1, "value": value, "b": 2}
        self.list = [1, value, self.dict, 2]
        return {"first": self.list, "second": self.dict}

    def change(self) -> None:
        for _ in range(100):
            self.dict[f"new {len(self.dict)}"] = 1
        self.list.clear()

    def call_back(self) -> None:
        self.handler.store_structure({"a": FRAMES}, "x")
        self.handler.store_trajectory({"frames": FRAMES}, "x")
        assert np.array_equal(self.trajectory.read(), FRAMES)
        self.writer.append(FRAMES)
        self.writer.flush()
        self.handler.remove(self.handler.key_for("x"))


def let_others_run() -> None:
    time.sleep(0.001)


ENTRY_POINTS: dict[str, Callable[[World, Any], Any]] = {
    "DataHandler(cache_dir)": lambda w, o: DataHandler(o),
    "DataHandler(max_cache_size)": lambda w, o: DataHandler(w.handler.cache_dir, o),
    "DataHandler(precision)": lambda w, o: DataHandler(w.handler.cache_dir, precision=o),
    "store_structure(data)": lambda w, o: w.handler.store_structure(o, "x"),
    "store_structure(inside)": lambda w, o: w.handler.store_structure(w.holding(o), "x"),
    "store_structure(id)": lambda w, o: w.handler.store_structure({"a": 1}, o),
    "store_structure(metadata)": lambda w, o: w.handler.store_structure(
        {"a": 1}, "x", w.holding(o)
    ),
    "store_trajectory(frames)": lambda w, o: w.handler.store_trajectory({"frames": o}, "x"),
    "store_trajectory(blocks)": lambda w, o: w.handler.store_trajectory({"frames": [o, o]}, "x"),
    "store_trajectory(energy)": lambda w, o: w.handler.store_trajectory(
        {"frames": FRAMES, "energy": o, **w.holding(1)}, "x"
    ),
    "store_trajectory(inside)": lambda w, o: w.handler.store_trajectory(
        {"frames": FRAMES, **w.holding(o)}, "x"
    ),
    "store_trajectory(stream)": lambda w, o: w.handler.store_trajectory(
        {"frames": iter(FRAMES), "energy": o, **w.holding(o)}, "x"
    ),
    "store_trajectory(precision)": lambda w, o: w.handler.store_trajectory(
        {"frames": FRAMES}, "x", precision=o
    ),
    "trajectory_writer(id)": lambda w, o: w.handler.trajectory_writer(o),
    "trajectory_writer(metadata)": lambda w, o: w.handler.trajectory_writer("x", w.holding(o)),
    "append(frames)": lambda w, o: w.writer.append(o),
    "append(field)": lambda w, o: w.writer.append(FRAMES, energy=o),
    "truncate": lambda w, o: w.writer.truncate(o),
    "writer.read": lambda w, o: w.writer.read(o),
    "load_data": lambda w, o: w.handler.load_data(o),
    "open": lambda w, o: w.handler.open(o),
    "info": lambda w, o: w.handler.info(o),
    "in": lambda w, o: o in w.handler,
    "keys": lambda w, o: w.handler.keys(o),
    "remove": lambda w, o: w.handler.remove(o),
    "pin": lambda w, o: w.handler.pin(o),
    "prune": lambda w, o: w.handler.prune(o),
    "verify": lambda w, o: w.handler.verify(o),
    "read(start)": lambda w, o: w.trajectory.read(o),
    "read(stop)": lambda w, o: w.trajectory.read(0, o),
    "read(step)": lambda w, o: w.trajectory.read(0, 4, o),
    "read(atoms)": lambda w, o: w.trajectory.read(atoms=o),
    "read(atoms list)": lambda w, o: w.trajectory.read(atoms=[o, o]),
    "read(field)": lambda w, o: w.trajectory.read(field=o),
    "read(out)": lambda w, o: w.trajectory.read(out=o),
    "[frame]": lambda w, o: w.trajectory[o],
    "[frames]": lambda w, o: w.trajectory[o:o:o],
    "[frames, atoms]": lambda w, o: w.trajectory[:, o],
    "iter_chunks": lambda w, o: list(w.trajectory.iter_chunks(o)),
    "__array__(dtype)": lambda w, o: w.trajectory.__array__(o),
    "get_or_compute(function)": lambda w, o: w.handler.get_or_compute("x", o),
    "get_or_compute(metadata)": lambda w, o: w.handler.get_or_compute(
        "x", lambda: {"a": 1}, metadata=w.holding(o)
    ),
    "get_or_compute(timeout)": lambda w, o: w.handler.get_or_compute(
        "x", lambda: {"a": 1}, timeout=o
    ),
}

EVERY_ENTRY_POINT = pytest.mark.parametrize(
    "call", [pytest.param(call, id=name) for name, call in ENTRY_POINTS.items()]
)


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return World(tmp_path)


def outcome(call: Callable[[], Any]) -> BaseException | None:
    """What the call raises, if anything."""
    try:
        call()
    except BaseException as error:
        return error
    return None


def works(world: World) -> None:
    """Every object of the world still does what it is for."""
    key = world.handler.store_structure({"a": FRAMES, "b": [1, 2]}, "after")
    assert world.handler.load_data(key)["b"] == [1, 2]
    assert np.array_equal(world.trajectory.read(), FRAMES)
    world.writer.append(FRAMES)
    assert np.array_equal(world.writer.read()[-4:], FRAMES)
    assert world.handler.verify()["ok"]


@EVERY_ENTRY_POINT
@pytest.mark.parametrize("action", ["change", "call_back", "let_others_run"])
def test_an_object_that_acts_leads_to_a_result_or_an_ordinary_exception(world, call, action):
    hostile = Hostile(getattr(world, action, let_others_run))
    raised = outcome(lambda: call(world, hostile))
    ordinary = ProteinFlexError | TypeError | ValueError | IndexError | type(None)
    assert isinstance(raised, ordinary), raised
    assert not isinstance(raised, InternalError), raised
    works(world)


@EVERY_ENTRY_POINT
@pytest.mark.parametrize("kind", [ZeroDivisionError, KeyboardInterrupt])
def test_what_an_object_raises_reaches_the_caller(world, call, kind):
    def action() -> None:
        raise kind("from the object")

    hostile = Hostile(action)
    raised = outcome(lambda: call(world, hostile))
    if hostile.calls:
        assert type(raised) is kind, repr(raised)
        assert str(raised) == "from the object"
    else:
        # Refused, or used, before anything was asked of it.
        assert isinstance(raised, ProteinFlexError | TypeError | type(None)), raised
    works(world)


CONTAINERS = {
    "dict": (dict(enumerate(DAYS)), lambda c, i: c.update({f"new {i}": 1}), lambda c: c.popitem()),
    "list": (list(DAYS), lambda c, i: c.append(i), lambda c: c.pop()),
    "set": (set(DAYS), lambda c, i: c.add(i), lambda c: c.pop()),
}


@pytest.mark.parametrize("kind", CONTAINERS)
def test_a_container_that_a_thread_changes_is_stored_as_it_was_at_one_moment(tmp_path, kind):
    """Dates are taken apart in Python, so the threads take turns inside one store."""
    container, grow, shrink = CONTAINERS[kind]
    handler = DataHandler(tmp_path, max_cache_size=1)
    stop = threading.Event()

    def change() -> None:
        for number in itertools.count():
            if stop.is_set():
                return
            grow(container, number)
            shrink(container)

    thread = threading.Thread(target=change)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread.start()
    try:
        for _ in range(50):
            loaded = handler.load_data(handler.store_structure({"x": container}, "x"))["x"]
            assert type(loaded) is type(container)
            assert len(loaded) in (len(DAYS), len(DAYS) + 1)
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(before)


def test_frames_that_replace_their_own_trajectory_are_stored_last(world):
    def frames() -> Iterator[Any]:
        yield FRAMES
        world.handler.store_trajectory({"frames": FRAMES[:1]}, "same")
        world.handler.cleanup()
        yield FRAMES

    key = world.handler.store_trajectory({"frames": frames()}, "same")
    assert world.handler.open(key).n_frames == 8


def test_an_entry_that_asks_for_itself_while_it_is_computed_is_refused(world):
    def compute() -> Any:
        return world.handler.get_or_compute("same", compute)

    with pytest.raises(InvalidArgumentError, match="same"):
        world.handler.get_or_compute("same", compute)
    assert world.handler.get_or_compute("same", lambda: {"a": 1}) == {"a": 1}


def test_an_entry_may_compute_others(world):
    def compute() -> Any:
        return {"inner": world.handler.get_or_compute("inner", lambda: {"a": 1})}

    assert world.handler.get_or_compute("outer", compute) == {"inner": {"a": 1}}


def test_a_log_handler_may_use_the_cache_that_logs(world):
    """The message about a damaged entry comes from inside a read."""
    key = world.handler.store_structure({"a": np.arange(100_000)}, "damaged")
    file = next(Path(world.handler.cache_dir).rglob(f"{key}*"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.chmod(0o600)
    file.write_bytes(content)
    seen = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(world.handler.get_cache_stats()["corrupt"])
            world.handler.store_structure({"a": 1}, "from the handler")
            world.writer.append(FRAMES)

    logger, handler = logging.getLogger(), Handler(logging.WARNING)
    logger.addHandler(handler)
    try:
        with pytest.raises(CorruptDataError):
            world.handler.load_data(key)
    finally:
        logger.removeHandler(handler)
    assert seen
    works(world)


def test_an_out_array_that_lies_about_itself_is_not_written_to(world):
    class Lying(np.ndarray):
        @property
        def flags(self) -> Any:
            return np.zeros(1).flags

    out = np.zeros_like(FRAMES)
    out.setflags(write=False)
    with pytest.raises(InvalidArgumentError, match="out"):
        world.trajectory.read(out=out.view(Lying))
    assert not out.any()


@pytest.mark.parametrize("detached", [False, True])
def test_a_panic_is_an_ordinary_exception_and_later_calls_work(world, detached, capfd):
    with pytest.raises(InternalError, match="a bug in proteinflex-optimization .* a panic with"):
        _native._panic_for_tests(detached)
    assert "a panic with" in capfd.readouterr().err
    assert issubclass(InternalError, ProteinFlexError)
    works(world)


class Raising(logging.Handler):
    """A log handler of the program that raises."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def handle(self, record: logging.LogRecord) -> bool:
        raise self.error


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()], ids=type)
def test_what_a_log_handler_raises_is_an_exception_and_the_next_call_works(
    tmp_path: Path, error: BaseException
) -> None:
    handler = DataHandler(tmp_path)
    key = handler.store_structure({"positions": FRAMES}, "damaged")
    (path,) = tmp_path.glob("entries/*/*.fxt")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    logger, raising = logging.getLogger("proteinflex_optimization"), Raising(error)
    logger.addHandler(raising)
    try:
        with pytest.raises((CorruptDataError, type(error))) as raised:
            handler.load_data(key)
    finally:
        logger.removeHandler(raising)
    if isinstance(error, KeyboardInterrupt):
        assert raised.type is KeyboardInterrupt
    assert handler.get_cache_stats()["corrupt"] == 1
    handler.store_structure({"positions": FRAMES}, "damaged")
    np.testing.assert_array_equal(handler.load_data(key)["positions"], FRAMES)


def test_a_log_handler_may_prune_while_entries_are_evicted(tmp_path: Path) -> None:
    handler = DataHandler(tmp_path, max_cache_size=1e-4, enable_compression=False)

    class Looking(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            handler.prune(1)

    logger, looking = logging.getLogger("proteinflex_optimization"), Looking()
    level = logger.level
    logger.setLevel(logging.DEBUG)
    logger.addHandler(looking)
    try:
        for number in range(20):
            handler.store_structure({"x": np.zeros(3000)}, str(number))
    finally:
        logger.removeHandler(looking)
        logger.setLevel(level)
    assert handler.get_cache_stats()["evictions"] > 0


def test_a_tensor_that_lies_about_its_dimensions_is_an_ordinary_error(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")

    class Lengths(list):
        def __len__(self) -> int:
            return 2**62

    class Lying(torch.Tensor):  # type: ignore[misc]
        @property
        def shape(self) -> Lengths:
            return Lengths([4])

    handler = DataHandler(tmp_path)
    data = {"frames": FRAMES, "extra": torch.zeros(4).as_subclass(Lying)}
    try:
        key = handler.store_trajectory(data, "lying")
    except (ProteinFlexError, TypeError, MemoryError) as error:
        refused = type(error)
        assert refused is not InternalError
    else:
        np.testing.assert_array_equal(handler.load_data(key)["frames"], FRAMES)
