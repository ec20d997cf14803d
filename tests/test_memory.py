"""Too little memory or stack is an error that a program can handle, never the end of the process."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from proteinflex_optimization import CheckpointManager, DataHandler, InvalidArgumentError

PRELUDE = """
import resource, sys, numpy as np
from proteinflex_optimization import CheckpointManager, DataHandler
handler, manager = DataHandler(sys.argv[1] + "/c", durable=False), CheckpointManager(sys.argv[1] + "/k")

LIMIT, FIELD = {"addresses": (resource.RLIMIT_AS, 0), "data": (resource.RLIMIT_DATA, 5)}[sys.argv[2]]

def limited(megabytes, call):
    used = int(open("/proc/self/statm").read().split()[FIELD]) * resource.getpagesize()
    before = resource.getrlimit(LIMIT)
    resource.setrlimit(LIMIT, (used + int(megabytes * 2**20), before[1]))
    try:
        return call()
    except MemoryError:
        return "MemoryError"
    finally:
        resource.setrlimit(LIMIT, before)

def check(call):
    found = [limited(megabytes, call) for megabytes in (1, 4, 16, 40, 64)]
    assert "MemoryError" in found, found
    assert not isinstance(call(), str)
    print("ok")

frames = np.cumsum(np.random.default_rng(0).normal(size=(400, 3000, 3)).astype("f4"), 0)
"""

CALLS = {
    "a compressed trajectory is loaded": """
key = handler.store_trajectory({"frames": frames}, "a")
check(lambda: handler.load_data(key))
assert handler.get_cache_stats()["corrupt"] == 0
""",
    "a compressed trajectory is read in part": """
key = handler.store_trajectory({"frames": frames}, "a")
check(lambda: handler.open(key).read(0, 390))
""",
    "a trajectory is verified": """
key = handler.store_trajectory({"frames": frames}, "a")
for megabytes in (1, 4, 16, 40):
    found = limited(megabytes, handler.verify)
    assert found == "MemoryError" or found["ok"], found
assert handler.verify()["ok"] and len(handler) == 1
print("ok")
""",
    "a trajectory is stored": """
check(lambda: [handler.store_trajectory({"frames": frames}, "a")])
""",
    "frames are appended that do not fill a chunk": """
writer = handler.trajectory_writer("a")
more = np.repeat(frames[:1], 60, axis=1)
def append():
    for frame in more.repeat(30, axis=0):
        writer.append(frame[None])
check(lambda: [append()])
writer.close()
assert np.array_equal(handler.open("a")[-1], more[0])
""",
    "a checkpoint is loaded": """
path = manager.create_checkpoint("one", {"m": {"a": np.ones(8_000_000), "b": b"x" * 30_000_000}})
check(lambda: manager.load_checkpoint(path, mmap=False))
check(lambda: manager.load_checkpoint(path))
""",
    "a checkpoint is saved in the background": """
state = {"m": {"a": np.ones(24_000_000)}}
check(lambda: [manager.create_checkpoint_async("one", state).result(), manager.release_memory()])
""",
    "many plain values are stored": """
state = {"m": {"a": [float(i) for i in range(3_000_000)]}}
check(lambda: [manager.create_checkpoint("one", state)])
""",
    "many plain values are loaded": """
path = manager.create_checkpoint("one", {"m": {"a": [float(i) for i in range(3_000_000)]}})
check(lambda: manager.load_checkpoint(path))
""",
    # Memory ends in the middle of each kind of value at some of these limits.
    "small values of all kinds are loaded": """
values = {
    "floats": [float(i) for i in range(100_000)],
    "integers": [i * 10**10 for i in range(50_000)] + [2**63 + i for i in range(10_000)],
    "texts": [str(i) for i in range(50_000)],
    "bytes": [b"%d" % i for i in range(20_000)],
    "complex": [complex(i, i) for i in range(20_000)],
    "tuples": [(i,) for i in range(30_000)],
    "dicts": [{"a": 1} for i in range(20_000)],
}
path = manager.create_checkpoint("one", {"m": values})
found = [limited(quarters / 4, lambda: manager.load_checkpoint(path)) for quarters in range(120)]
assert "MemoryError" in found and found[-1] != "MemoryError"
assert manager.load_checkpoint(path)["m"] == values
print("ok")
""",
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("threads", ["1", "16"])
@pytest.mark.parametrize("limit", ["addresses", "data"])
def test_too_little_memory_is_a_memory_error_when(name, threads, limit, tmp_path, monkeypatch):
    # The first call in a process starts them, with as little memory.
    monkeypatch.setenv("PROTEINFLEX_NUM_THREADS", threads)
    code = PRELUDE + CALLS[name]
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), limit],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    assert set(done.stdout.split()) == {"ok"}


def nested(make: Callable[[Any], Any], depth: int) -> Any:
    value: Any = None
    for _ in range(depth):
        value = make(value)
    return value


def in_a_small_stack(call: Callable[[], Any]) -> Any:
    """Call in a thread that has 256 KiB."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(call())
        except Exception as error:
            results.append(error)

    before = threading.stack_size(256 * 1024)
    try:
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    return results[0]


NESTED = {
    "list": lambda value: [value],
    "tuple": lambda value: (value,),
    "dict": lambda value: {"a": value},
    "wide": lambda value: [1, {"b": 2, "a": value}, 3],
}


@pytest.mark.parametrize("kind", NESTED)
def test_what_is_nested_as_deep_as_allowed_is_stored_and_read_with_a_small_stack(tmp_path, kind):
    manager = CheckpointManager(tmp_path / "k")
    handler = DataHandler(tmp_path / "c")
    value = nested(NESTED[kind], 400 if kind != "wide" else 200)

    def store_and_load() -> Any:
        path = manager.create_checkpoint("one", {"m": value}, metadata={"v": [1]})
        plain = value["a"] if kind == "dict" else 1
        key = handler.store_structure({"a": np.arange(3), "v": plain}, "x")
        return manager.load_checkpoint(path)["m"], handler.load_data(key)["v"], plain

    found, other, plain = in_a_small_stack(store_and_load)
    assert (found, other) == (value, plain)


@pytest.mark.parametrize("profile", ["default", "archive"])
@pytest.mark.parametrize("precision", [None, 0.001])
def test_trajectories_are_stored_and_read_with_a_small_stack(tmp_path, profile, precision):
    handler = DataHandler(tmp_path, durable=False, profile=profile, precision=precision)
    steps = np.random.default_rng(0).normal(scale=0.01, size=(40, 300, 3))
    frames = np.cumsum(steps, 0).astype("f4")

    def store_and_load() -> Any:
        data = {"frames": frames, "energy": steps[:, 0, 0], "names": np.array(["CA", "N"] * 5000)}
        key = handler.store_trajectory(data, "x")
        assert handler.verify()["ok"]
        return handler.load_data(key)["frames"], handler.open(key)[5]

    found, fifth = in_a_small_stack(store_and_load)
    assert np.abs(found - frames).max() <= (precision or 0) / 2 * 1.01
    assert np.array_equal(fifth, found[5])


@pytest.mark.parametrize("kind", ["list", "tuple", "dict"])
@pytest.mark.parametrize("depth", [402, 5000])
def test_what_is_nested_deeper_is_refused_with_a_small_stack(tmp_path, kind, depth):
    manager = CheckpointManager(tmp_path)
    value = nested(NESTED[kind], depth)
    error = in_a_small_stack(lambda: manager.create_checkpoint("one", {"m": value}))
    assert isinstance(error, InvalidArgumentError)
    assert "nested more than 400 deep" in str(error)
    assert manager.list_checkpoints() == []


def test_what_is_nested_in_a_key_is_bounded_as_well(tmp_path: Path):
    manager = CheckpointManager(tmp_path)
    key = nested(lambda value: (value,), 16)
    path = manager.create_checkpoint("one", {"m": {key: 1}})
    assert manager.load_checkpoint(path)["m"] == {key: 1}
    deep = {nested(lambda value: (value,), 500): 1}
    error = in_a_small_stack(lambda: manager.create_checkpoint("two", {"m": deep}))
    assert isinstance(error, InvalidArgumentError)
    assert "16 deep" in str(error)
