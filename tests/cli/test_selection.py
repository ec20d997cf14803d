"""Entries and checkpoints by key, name or a beginning that only one has."""

import numpy as np
import pytest
from proteinflex_optimization import CheckpointManager, DataHandler
from proteinflex_optimization.cli import main
from proteinflex_optimization.cli.selection import checkpoint_id, entry_key
from proteinflex_optimization.errors import (
    CacheKeyError,
    CheckpointError,
    InvalidArgumentError,
)


def test_an_entry_is_found_by_its_name_and_by_any_unique_beginning_of_its_key(cache):
    keys = cache.keys()
    for key in keys:
        assert entry_key(cache, cache.info(key)["data_id"]) == key
        for length in range(len("t-") + 6, len(key) + 1):
            assert entry_key(cache, key[:length]) == key
        for length in range(1, len("t-") + 6):
            with pytest.raises(CacheKeyError):
                entry_key(cache, key[:length])


@pytest.mark.parametrize("text", ["", "s", "s-", "t-0", "entry", "../../etc/passwd", "\x1b[2J"])
def test_what_means_no_entry_is_named(cache, text):
    with pytest.raises(CacheKeyError) as error:
        entry_key(cache, text)
    assert "\x1b" not in str(error.value)


def test_several_candidates_are_listed_and_an_exact_name_wins(tmp_path):
    handler = DataHandler(tmp_path)
    trajectory = handler.store_trajectory({"frames": np.zeros((2, 3, 3), np.float32)}, "villin")
    assert entry_key(handler, "villin") == trajectory
    structure = handler.store_structure({"x": 1}, "villin")
    with pytest.raises(InvalidArgumentError) as error:
        entry_key(handler, "villin")
    assert structure in str(error.value)
    assert trajectory in str(error.value)
    # A name that looks like the beginning of another's key.
    named = handler.store_structure({"x": 1}, trajectory[:9])
    assert entry_key(handler, trajectory[:9]) == named
    assert entry_key(handler, trajectory[:10]) == trajectory


def test_a_checkpoint_is_found_by_a_unique_beginning(checkpoints):
    ids = ["step-1", "step-10", "final"]
    assert checkpoint_id(ids, "step-1", "") == "step-1"
    assert checkpoint_id(ids, "step-10", "") == "step-10"
    assert checkpoint_id(ids, "f", "") == "final"
    with pytest.raises(InvalidArgumentError, match="step-1, step-10"):
        checkpoint_id(ids, "step", "")
    for text in ("", "other", "../step-1"):
        with pytest.raises(CheckpointError, match="final"):
            checkpoint_id(ids, text, "")


def test_the_commands_that_look_take_names_and_beginnings(cache, checkpoints, tmp_path, capsys):
    key = cache.key_for("entry 2", kind="structure")
    for text in ("entry 2", key[:8], key):
        for command in (["info"], ["verify"], ["export"]):
            file = [str(tmp_path / "x.npz")] if command == ["export"] else []
            force = ["--force"] if command == ["export"] else []
            arguments = [*command, text, *file, *force, "--dir", str(cache.cache_dir)]
            assert main(["cache", *arguments]) == 0, arguments
    CheckpointManager(checkpoints).create_checkpoint("final", {})
    for command in ("show", "verify"):
        assert main(["checkpoints", command, str(checkpoints), "f"]) == 0
    assert main(["checkpoints", "show", str(checkpoints), "step"]) == 2
    assert "step-0, step-1, step-2" in capsys.readouterr().err


def test_what_is_removed_is_told_whole(cache, tmp_path, capsys):
    key = cache.key_for("entry 2", kind="structure")
    arguments = ["--dir", str(cache.cache_dir), "--yes"]
    assert main(["cache", "rm", "entry 1", key[:8], *arguments]) == 2
    assert f"{key} ('entry 2') begins so" in capsys.readouterr().err
    assert key in cache
    assert "entry 1" in cache
    for text in ("entry 2", cache.key_for("entry 1", kind="structure")):
        assert main(["cache", "rm", text, *arguments]) == 0
        assert text not in cache
    with cache.trajectory_writer("unfinished") as writer:
        writer.append(np.zeros((2, 3, 3), np.float32))
        writer.suspend()
    unfinished = cache.key_for("unfinished")
    assert main(["cache", "rm", "--unfinished", unfinished[:10], *arguments]) == 1
    assert [one["key"] for one in cache.unfinished()] == [unfinished]
    # The first one was removed by retention.
    manager = CheckpointManager(tmp_path / "checkpoints", max_checkpoints=2)
    for step in (1, 9, 10):
        manager.create_checkpoint(f"step-{step}", {})
    for text in ("step-1", "step-"):
        assert main(["checkpoints", "rm", str(manager.base_dir), text, "--yes"]) == 1
        assert f"there is no checkpoint '{text}'" in capsys.readouterr().err
    left = [row["checkpoint_id"] for row in manager.list_checkpoints()]
    assert left == ["step-9", "step-10"]
    assert main(["checkpoints", "rm", str(manager.base_dir), "step-9", "--yes"]) == 0
