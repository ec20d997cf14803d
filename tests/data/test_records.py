"""Listings are records that pandas takes as they are, with points in time that are some."""

import datetime
import json
import time

import numpy as np
import pytest
from proteinflex_optimization import CheckpointManager, DataHandler, ProgressTracker
from proteinflex_optimization.cli import main

pandas = pytest.importorskip("pandas")


@pytest.fixture
def handler(tmp_path):
    handler = DataHandler(tmp_path / "cache")
    handler.store_structure({"positions": np.zeros((5, 3))}, "villin")
    handler.store_trajectory({"frames": np.zeros((7, 5, 3), np.float32)}, "md")
    writer = handler.trajectory_writer("unfinished")
    writer.append(np.zeros((2, 5, 3), np.float32))
    writer.suspend()
    return handler


@pytest.fixture
def manager(tmp_path):
    manager = CheckpointManager(tmp_path / "checkpoints")
    for step in range(3):
        manager.create_checkpoint(f"step{step}", {"state": {"step": step}})
    return manager


def assert_now(column):
    assert isinstance(column.dtype, pandas.DatetimeTZDtype)
    assert ((pandas.Timestamp.now("UTC") - column).dt.total_seconds().between(-1, 300)).all()


def test_entries_make_a_table(handler):
    table = pandas.DataFrame(handler.entries()).set_index("data_id")
    assert_now(table["created"])
    assert_now(table["last_used"])
    assert table.loc["md", "n_frames"] == 7
    assert table["stored_bytes"].sum() > 0
    assert [entry["data_id"] for entry in handler.entries("structure")] == ["villin"]
    assert handler.info("md") in handler.entries()
    assert_now(pandas.DataFrame(handler.unfinished())["last_written"])


def test_checkpoints_make_a_table_in_their_order(manager):
    table = pandas.DataFrame(manager.list_checkpoints())
    assert_now(table["created_at"])
    assert table["created_at"].is_monotonic_increasing
    assert list(table["checkpoint_id"]) == ["step0", "step1", "step2"]


def test_json_of_the_commands_makes_tables(handler, manager, tmp_path, capsys):
    def printed(*arguments):
        main(list(map(str, arguments)))
        return json.loads(capsys.readouterr().out)

    listed = printed("cache", "ls", "--dir", tmp_path / "cache", "--json")
    assert_now(pandas.to_datetime(pandas.DataFrame(listed["entries"])["last_used"]))
    assert_now(pandas.to_datetime(pandas.DataFrame(listed["unfinished"])["last_written"]))
    listed = printed("checkpoints", "ls", tmp_path / "checkpoints", "--json")
    assert_now(pandas.to_datetime(pandas.DataFrame(listed["checkpoints"])["created_at"]))


def test_json_of_watched_boards_makes_a_table(tmp_path, capsys):
    boards = [tmp_path / name for name in "ab"]
    with (
        ProgressTracker(checkpoint_dir=boards[0]) as first,
        ProgressTracker(checkpoint_dir=boards[1]) as second,
    ):
        for tracker in (first, second):
            tracker.start_task("md", "MD", 1000)
        while any(tracker.get_progress()["updated"] is None for tracker in (first, second)):
            for tracker in (first, second):
                tracker.update_task("md")
            time.sleep(0.1)
        main(["watch", *map(str, boards), "--once", "--json"])
        listed = json.loads(capsys.readouterr().out)
        assert_now(pandas.to_datetime(pandas.DataFrame(listed["boards"])["updated"]))
        main(["watch", str(boards[0]), "--once", "--json"])
        updated = json.loads(capsys.readouterr().out)["updated"]
        assert abs(datetime.datetime.fromisoformat(updated).timestamp() - time.time()) < 300
