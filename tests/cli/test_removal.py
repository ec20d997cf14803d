"""What removes more than it keeps asks first; a size has a unit."""

import json
import os

import numpy as np
import pytest
from proteinflex_optimization import CheckpointManager, DataHandler
from proteinflex_optimization.cli import main
from proteinflex_optimization.cli.sizes import parse_size


def flexopt(handler, *arguments):
    return main(["cache", arguments[0], "--dir", str(handler.cache_dir), *arguments[1:]])


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("50GB", 50 * 10**9),
        ("1.5 mb", 1_500_000),
        ("7B", 7),
        ("80%", 800),
        ("2kB", 2000),
        ("2KiB", 2048),
        (".5 GiB", 2**29),
        ("1TB", 10**12),
        ("0GB", 0),
    ],
)
def test_sizes_with_a_unit_are_read(text, size):
    assert parse_size(text, "--to", 1000) == size


@pytest.mark.parametrize(
    "text", ["5", "", "GB", "5G", "-5GB", "5 GBs", "1e3GB", "nan%", "٥GB", "∞GB", "9" * 400 + "%"]
)
def test_what_may_mean_something_else_is_wrong_usage(cache, text, capsys):
    before = cache.keys()
    assert flexopt(cache, "prune", f"--to={text}", "--yes") == 2
    error = capsys.readouterr().err
    assert "with its unit" in error
    assert "50GB" in error
    assert cache.keys() == before


def test_prune_shows_what_goes_and_removes_just_that(cache, capsys):
    cache.pin(cache.key_for("entry 0", kind="structure"))
    before = cache.keys()
    assert flexopt(cache, "prune", "--to", "250kB", "--dry-run", "--json") == 0
    would = json.loads(capsys.readouterr().out)["would_remove"]
    assert would == [cache.key_for(f"entry {n}", kind="structure") for n in (1, 2)]
    assert flexopt(cache, "prune", "--to", "25%", "--dry-run") == 0
    assert "nothing was removed" in capsys.readouterr().out
    assert cache.keys() == before
    assert flexopt(cache, "prune", "--to", "250kB", "--json") == 0
    assert json.loads(capsys.readouterr().out)["removed"] == would
    assert set(cache.keys()) == set(before) - set(would)


def used_bytes(handler):
    return handler.get_cache_stats()["used_bytes"]


def test_prune_counts_unfinished_trajectories_as_the_limit_does(cache, capsys):
    writer = cache.trajectory_writer("run")
    writer.append(np.random.default_rng(0).normal(size=(100, 100, 3)))
    writer.flush()
    del writer  # As a process that ends.
    target = used_bytes(cache) - 1
    assert flexopt(cache, "prune", "--to", f"{target}B", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["removed"] == [cache.key_for("entry 0", kind="structure")]
    assert result["used_bytes"] == used_bytes(cache) <= target
    (unfinished,) = cache.unfinished()
    assert result["kept"]["unfinished"] == unfinished["stored_bytes"]


def test_prune_makes_no_space_for_an_old_trajectory_that_it_removes(cache, capsys):
    target = used_bytes(cache)
    old = leave_old(cache)
    assert flexopt(cache, "prune", "--to", f"{target}B", "--yes") == 0
    assert "0 entries removed" in capsys.readouterr().out
    assert not old.exists()


def test_prune_says_what_keeps_a_cache_above_the_size(cache, capsys):
    cache.pin(cache.key_for("entry 0", kind="structure"))
    writer = cache.trajectory_writer("run")
    writer.append(np.zeros((3, 4, 3), np.float32))
    writer.flush()
    for name, content in {"entry 1": b"no entry", "entry 2": b"\x89FXT\r\n\x1a\n"}.items():
        (path,) = cache.cache_dir.glob(f"entries/*/{cache.key_for(name, kind='structure')}.*")
        path.write_bytes(content)
    assert flexopt(cache, "prune", "--to", "1kB", "--dry-run", "--json") == 1
    output = capsys.readouterr()
    kept = json.loads(output.out)["would_keep"]
    assert kept["pinned"] > 100_000
    assert min(kept["unfinished"], kept["damaged"]) > 0
    assert flexopt(cache, "prune", "--to", "1kB", "--yes") == 1
    output = capsys.readouterr()
    assert "1 entry removed" in output.out
    (line,) = [line for line in output.err.splitlines() if "more than" in line]
    assert " stay, more than 1.0 kB: pinned entries (" in line
    assert "unfinished trajectories (" in line
    assert "damaged entries (" in line
    writer.close()


@pytest.mark.parametrize(
    "arguments",
    [
        ("clear",),
        ("prune", "--to", "150kB"),
        ("prune", "--to", "0%", "--json"),
        ("rm", "entry 0", "entry 1", "entry 2"),
    ],
)
def test_without_a_terminal_removing_most_needs_yes(cache, arguments, capsys):
    before = cache.keys()
    assert flexopt(cache, *arguments) == 2
    output = capsys.readouterr()
    assert "--yes" in output.err
    assert "of 4 entries" in output.err
    if "--json" not in arguments:
        assert "entry 0" in output.out, "what would go is shown"
    assert cache.keys() == before
    assert flexopt(cache, *arguments, "--yes") == 0
    assert len(cache.keys()) <= 1


def test_removing_less_than_half_asks_nothing(cache, capsys):
    assert flexopt(cache, "rm", "entry 0") == 0
    assert "removed s-" in capsys.readouterr().out
    assert flexopt(cache, "prune", "--to", "250kB") == 0
    assert len(cache.keys()) == 2
    assert flexopt(cache, "rm", "entry 2", "entry 3") == 2
    assert flexopt(cache, "rm", "entry 2") == 0
    assert flexopt(cache, "rm", "entry 3") == 0, "one that is named"


def test_a_large_entry_among_small_ones_is_most(tmp_path, capsys):
    handler = DataHandler(tmp_path / "cache", enable_compression=False)
    handler.store_structure({"x": np.zeros(100_000)}, "large")
    for number in range(5):
        handler.store_structure({"x": np.zeros(10)}, f"small {number}")
    assert flexopt(handler, "prune", "--to", "100kB") == 2
    assert "1 of 6 entries" in capsys.readouterr().err


@pytest.mark.parametrize(("typed", "left", "status"), [("y\n", 0, 0), ("n\n", 4, 1), ("\n", 4, 1)])
def test_on_a_terminal_it_asks(cache, in_terminal, typed, left, status):
    shown, found = in_terminal("cache", "clear", "--dir", cache.cache_dir, typed=typed)
    assert "Remove 4 of 4 entries" in shown
    assert shown.index("entry 3") < shown.index("[y/N]")
    assert found == status
    assert len(cache.keys()) == left


def test_the_last_checkpoints_are_not_removed_unasked(checkpoints, capsys):
    command = ["checkpoints", "rm", str(checkpoints)]
    assert main([*command, "step-0", "--dry-run"]) == 0
    assert main([*command, "step-0", "step-1"]) == 2
    assert "2 of 3 checkpoints" in capsys.readouterr().err
    assert main([*command, "step-0"]) == 0
    assert main([*command, "step-1", "step-2", "--yes"]) == 0
    assert CheckpointManager(checkpoints).list_checkpoints() == []


def test_an_entry_that_is_damaged_can_be_removed(cache, capsys):
    key = cache.key_for("entry 1", kind="structure")
    (path,) = cache.cache_dir.glob(f"entries/*/{key}.*")
    path.write_bytes(b"no entry")
    assert flexopt(cache, "ls") == 1
    assert key in capsys.readouterr().err
    assert flexopt(cache, "rm", key) == 0
    assert not path.exists()
    assert flexopt(cache, "ls") == 0


def test_an_unfinished_trajectory_is_removed_when_asked_for_and_not_while_it_is_written(
    cache, capsys
):
    for name in ("left", "alive"):
        writer = cache.trajectory_writer(name)
        writer.append(np.zeros((3, 4, 3), np.float32))
        writer.flush()
        if name == "left":
            del writer  # As a process that ends.
    assert flexopt(cache, "rm", "left") == 1, "no entry has this name"
    assert flexopt(cache, "rm", "left", "--unfinished", "--dry-run") == 0
    assert flexopt(cache, "rm", "left", "--unfinished") == 2
    assert "--yes" in capsys.readouterr().err
    assert len(cache.unfinished()) == 2
    assert flexopt(cache, "rm", "left", "alive", "--unfinished", "--yes") == 1
    output = capsys.readouterr()
    assert "being written" in output.err
    assert f"removed {cache.key_for('left')} (left)\n" in output.out
    assert [one["data_id"] for one in cache.unfinished()] == ["alive"]
    assert len(cache.keys()) == 4
    writer.close()


def leave_old(cache):
    writer = cache.trajectory_writer("old")
    writer.append(np.zeros((3, 4, 3), np.float32))
    writer.flush()
    del writer  # As a process that ends.
    (file,) = cache.cache_dir.glob("entries/*/*.suspended")
    month = 31 * 86_400
    os.utime(file, (file.stat().st_atime - month, file.stat().st_mtime - month))
    return file


def test_leftovers_are_told_before_they_are_removed_and_old_trajectories_asked_for(cache, capsys):
    file = leave_old(cache)
    (cache.cache_dir / "quarantine" / f"{cache.key_for('old')}-1.damaged").write_bytes(b"")
    assert flexopt(cache, "prune", "--dry-run") == 0
    assert "and 1 damaged entry in quarantine" in capsys.readouterr().out
    assert flexopt(cache, "prune", "--dry-run", "--json") == 0
    cleaned = json.loads(capsys.readouterr().out)["would_clean"]
    assert cleaned == {"temporary": 0, "quarantined": 1, "unfinished": 1, "pins": 0}
    assert flexopt(cache, "prune") == 2
    assert "1 unfinished trajectory" in capsys.readouterr().err
    assert file.exists()
    assert flexopt(cache, "prune", "--json", "--yes") == 0
    assert json.loads(capsys.readouterr().out)["cleaned"] == cleaned
    assert not file.exists()
    assert len(cache.keys()) == 4
