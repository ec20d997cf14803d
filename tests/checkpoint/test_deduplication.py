"""Unchanged components become hard links, milestones stay, a full disk is reported beforehand."""

from __future__ import annotations

import errno
import logging
import os
import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from proteinflex_optimization import CheckpointManager, CorruptDataError, InvalidArgumentError

BIG = 3 << 20


def inode(path: str, component: str) -> int:
    return os.stat(Path(path) / f"{component}.safetensors").st_ino


def state(step: int) -> dict[str, Any]:
    """A large component that stays as it is, and a small one that changes."""
    rng = np.random.default_rng(1)
    large = {"w": rng.normal(size=BIG), "b": rng.normal(size=5)}
    return {"encoder": large, "head": {"w": np.full(100, step)}, "step": step}


def test_an_unchanged_component_is_linked_and_reported(tmp_path: Path):
    manager = CheckpointManager(tmp_path, max_checkpoints=2)
    paths = [manager.create_checkpoint(f"s{step}", state(step)) for step in range(3)]
    assert inode(paths[1], "encoder") == inode(paths[2], "encoder")
    assert inode(paths[1], "head") != inode(paths[2], "head")
    rows = manager.list_checkpoints()
    size = (Path(paths[2]) / "encoder.safetensors").stat().st_size
    assert [row["linked_bytes"] for row in rows] == [size, size]
    for step, row in enumerate(rows, start=1):
        assert manager.verify(row["path"])["ok"]
        loaded = manager.load_checkpoint(row["path"])
        np.testing.assert_array_equal(loaded["encoder"]["w"], state(step)["encoder"]["w"])
        assert loaded["step"] == step
    # The first one is gone, and what it shared is not.
    assert not os.path.exists(paths[0])


@pytest.mark.parametrize("change", ["value", "shape", "name", "dtype", "order", "last"])
def test_a_component_that_differs_in_any_way_is_written_again(tmp_path: Path, change: str):
    manager = CheckpointManager(tmp_path)
    values = np.arange(float(BIG)).reshape(2, -1)
    first = manager.create_checkpoint("a", {"m": {"x": values}})
    changed = values.copy()
    if change == "value":
        changed[0, 0] = -1.0
    elif change == "last":
        changed[-1, -1] = -1.0
    elif change == "shape":
        changed = values.reshape(-1)
    elif change == "dtype":
        changed = values.view(np.int64)
    elif change == "order":
        changed = np.asfortranarray(values)
    second = manager.create_checkpoint("b", {"m": {"y" if change == "name" else "x": changed}})
    assert inode(first, "m") != inode(second, "m")
    (loaded,) = manager.load_checkpoint(second)["m"].values()
    np.testing.assert_array_equal(loaded, changed)
    assert loaded.dtype == changed.dtype


def test_the_same_id_again_links_to_the_files_that_it_replaces(tmp_path: Path):
    manager = CheckpointManager(tmp_path)
    first = inode(manager.create_checkpoint("a", state(1)), "encoder")
    path = manager.create_checkpoint("a", state(2))
    # What it replaces is removed in the background.
    (linked,) = Path(path).glob("version-*/encoder.safetensors")
    assert linked.stat().st_ino == first
    assert manager.load_checkpoint(path)["step"] == 2
    assert manager.verify(path)["ok"]


def test_nothing_is_linked_where_that_is_not_wanted(tmp_path: Path):
    manager = CheckpointManager(tmp_path, link_unchanged=False)
    paths = [manager.create_checkpoint(f"s{step}", state(step)) for step in range(2)]
    assert inode(paths[0], "encoder") != inode(paths[1], "encoder")
    assert manager.list_checkpoints()[-1]["linked_bytes"] == 0


def damage(path: str) -> None:
    with open(Path(path) / "encoder.safetensors", "r+b") as file:
        file.seek((17 << 20) + 5)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


def test_a_damaged_file_is_found_in_each_checkpoint_that_shares_it(tmp_path: Path):
    manager = CheckpointManager(tmp_path)
    paths = [manager.create_checkpoint(f"s{step}", state(step)) for step in range(2)]
    damage(paths[0])
    for path in paths:
        with pytest.raises(CorruptDataError, match=r"encoder.*from byte 16777216 on"):
            manager.load_checkpoint(path)
        assert manager.load_checkpoint(path, components=["head"])["head"]["w"].size == 100


def test_a_file_that_was_found_damaged_is_not_linked_to_again(tmp_path: Path):
    manager = CheckpointManager(tmp_path)
    damaged = manager.create_checkpoint("s0", state(0))
    damage(damaged)
    assert not manager.verify(damaged)["ok"]
    whole = [manager.create_checkpoint(f"s{step}", state(step)) for step in (1, 2)]
    assert all(manager.verify(path)["ok"] for path in whole)
    assert inode(damaged, "encoder") != inode(whole[0], "encoder") == inode(whole[1], "encoder")


def test_savers_that_replace_each_others_checkpoints_never_mix_them(tmp_path: Path):
    mixed: list[int] = []

    def save() -> None:
        manager = CheckpointManager(tmp_path, max_checkpoints=1)
        for step in range(15):
            # Large enough to be linked to the checkpoint that another saver replaces.
            value = np.full(50_000, step % 3)
            path = manager.create_checkpoint("same", {"m": {"x": value}, "n": step % 3})
            loaded = manager.load_checkpoint(path)
            if not (loaded["m"]["x"] == loaded["n"]).all():
                mixed.append(loaded["n"])

    threads = [threading.Thread(target=save) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert mixed == []
    manager = CheckpointManager(tmp_path)
    assert manager.verify(manager.latest() or "")["ok"]


def test_milestones_stay(tmp_path: Path):
    manager = CheckpointManager(tmp_path, max_checkpoints=2, keep_every=4)
    for step in range(1, 8):
        manager.create_checkpoint(f"s{step}", {"x": step})
    # Another run goes on counting.
    again = CheckpointManager(tmp_path, max_checkpoints=2, keep_every=4)
    for step in range(8, 12):
        again.create_checkpoint(f"s{step}", {"x": step})
    kept = [row["checkpoint_id"] for row in again.list_checkpoints()]
    assert kept == ["s4", "s8", "s10", "s11"]
    with pytest.raises(InvalidArgumentError, match="keep_every=0"):
        CheckpointManager(tmp_path, keep_every=0)


def test_too_little_space_is_reported_before_anything_is_written(tmp_path: Path):
    manager = CheckpointManager(tmp_path / "checkpoints")
    manager.create_checkpoint("a", {"x": 1})
    free = os.statvfs(tmp_path)
    # A file without contents, mapped: as many zeros as one likes.
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(free.f_bavail * free.f_frsize + (1 << 30))
    huge = np.memmap(tmp_path / "sparse", np.uint8, "r")
    with pytest.raises(OSError, match="bytes are free; free [0-9]+ more") as error:
        manager.create_checkpoint("b", {"x": huge})
    assert error.value.errno == errno.ENOSPC
    found = re.search(
        r"(\d+) bytes are needed, .* (\d+) bytes are free; free (\d+) ", str(error.value)
    )
    needed, available, more = map(int, found.groups())
    assert needed == available + more > huge.nbytes + (64 << 10)
    assert sorted(os.listdir(tmp_path / "checkpoints")) == [".lock", "a"]
    assert manager.load_checkpoint(manager.latest() or "") == {"x": 1}


def test_background_saves_reuse_their_staging_buffer_and_hold_the_state_at_the_call(tmp_path: Path):
    manager = CheckpointManager(tmp_path, max_checkpoints=10, link_unchanged=False)
    values = np.zeros(1 << 20)
    for step, length in enumerate([1 << 20, 1 << 20, 1000, 1 << 19, 1 << 20]):
        values[:] = step
        pending = manager.create_checkpoint_async(f"s{step}", {"x": {"v": values[:length]}})
        values[:] = -1
        found = manager.load_checkpoint(pending.result())["x"]["v"]
        assert found.size == length
        assert (found == step).all()
    manager.release_memory()
    manager.create_checkpoint_async("last", {"x": values}).result()
    assert (manager.load_checkpoint(manager.latest() or "")["x"] == -1).all()


def test_large_states_go_through_the_second_thread_unchanged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.WARNING)
    rng = np.random.default_rng(5)
    arrays = {f"a{i}": rng.integers(0, 256, 5_000_011 + i, dtype=np.uint8) for i in range(8)}
    manager = CheckpointManager(tmp_path)
    path = manager.create_checkpoint("a", {"m": arrays, "n": {"x": arrays["a3"][:100]}})
    assert manager.verify(path)["ok"]
    loaded = manager.load_checkpoint(path)
    for name, array in arrays.items():
        np.testing.assert_array_equal(loaded["m"][name], array)
    assert not caplog.records
