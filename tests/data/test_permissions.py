"""Several users on one directory: files are as open as the umask says, and a reader needs no more."""

import contextlib
import os
import shutil
import stat
import tempfile
import traceback
from pathlib import Path

import numpy as np
import pytest
from proteinflex_optimization import CheckpointManager, DataHandler, ProgressTracker
from proteinflex_optimization.cli.boards import find
from proteinflex_optimization.errors import CorruptDataError

NOBODY = 65534


@contextlib.contextmanager
def umask(mask):
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize(("mask", "file_mode"), [(0o002, 0o664), (0o022, 0o644), (0o077, 0o600)])
def test_files_are_as_open_as_the_umask_says(tmp_path, mask, file_mode):
    directory = tmp_path / "cache"
    with umask(mask):
        handler = DataHandler(directory, max_cache_size=1)
        handler.pin(handler.store_structure({"x": 1}, "a"))
        with handler.trajectory_writer("md") as writer:
            writer.append(np.zeros((2, 3, 3), np.float32))
    for file in directory.rglob("*"):
        mode = stat.S_IMODE(file.stat().st_mode)
        expected = file_mode if file.is_file() else 0o777 & ~mask
        assert mode == expected, f"{file} {mode:o}"


@pytest.fixture
def shared():
    # Not below `tmp_path`, which only its owner may enter.
    directory = Path(tempfile.mkdtemp(prefix="flexopt-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def as_nobody(function, user=NOBODY, groups=()):
    """Run it as another user, in a forked child."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups(groups)
            os.setgid(NOBODY)
            os.setuid(user)
            function()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@needs_root
def test_who_may_only_read_reads_everything_and_changes_nothing(shared):
    with umask(0o022):
        handler = DataHandler(shared / "cache", max_cache_size=1)
        key = handler.store_structure({"x": np.arange(1000)}, "a")
        frames = np.zeros((50, 100, 3), np.float32)
        trajectory = handler.store_trajectory({"frames": frames}, "md")

    def read():
        handler = DataHandler(shared / "cache")
        assert (handler.load_data(key)["x"] == np.arange(1000)).all()
        assert sum(len(chunk) for chunk in handler.open(trajectory).iter_chunks()) == 50
        assert handler.get_cache_stats()["entries"] == len(handler.keys()) == 2
        assert handler.verify()["ok"]
        for change in (
            lambda: handler.store_structure({"x": 1}, "b"),
            lambda: handler.remove(key),
            lambda: handler.pin(key),
            lambda: handler.trajectory_writer("other"),
        ):
            with pytest.raises(PermissionError):
                change()

    as_nobody(read)
    assert handler.get_cache_stats()["entries"] == 2


@needs_root
def test_damage_that_a_reader_can_not_quarantine_is_still_an_error(shared):
    with umask(0o022):
        handler = DataHandler(shared / "cache", max_cache_size=1)
        key = handler.store_structure({"x": np.arange(1000)}, "a")
    file = shared / "cache" / "entries" / key[2:4] / f"{key}.fxt"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)

    def read():
        for _ in range(2):
            with pytest.raises(CorruptDataError):
                DataHandler(shared / "cache").load_data(key)

    as_nobody(read)


@needs_root
def test_users_who_may_write_share_one_limit(shared):
    cache = shared / "cache"
    with umask(0):
        handler = DataHandler(cache, max_cache_size=0.001, enable_compression=False)
        for number in range(3):
            handler.store_structure({"x": np.zeros(30_000)}, str(number))

        def store():
            other = DataHandler(cache, enable_compression=False)
            for number in range(10, 16):
                other.store_structure({"x": np.ones(30_000)}, str(number))
            assert other.get_cache_stats()["used_bytes"] <= 1_000_000

        as_nobody(store)
        for number in range(20, 26):
            handler.store_structure({"x": np.zeros(30_000)}, str(number))
    stats = handler.get_cache_stats()
    assert stats["entries"] == 4
    assert stats["used_bytes"] <= 1_000_000


@needs_root
def test_the_users_of_a_directory_of_a_group_share_all_of_it_with_the_usual_umask(shared):
    group = 54321
    os.chown(shared, -1, group)
    shared.chmod(0o2770)
    frames = np.zeros((2, 3, 3), np.float32)

    def use(who, before):
        def store():
            handler = DataHandler(shared / "cache", enable_compression=False)
            used = handler.info(before)["last_used"]
            handler.load_data(before)
            assert handler.info(before)["last_used"] > used
            handler.pin(before)
            handler.unpin(before)
            handler.remove(before)
            # Of 16 kB each: there is space for five, so those of others are evicted.
            for number in range(8):
                handler.store_structure({"x": np.zeros(2000)}, f"{who}{number}")
            assert handler.get_cache_stats()["used_bytes"] <= 90_000
            assert handler.get_or_compute(f"{who} computed", lambda: {"x": 1}) == {"x": 1}
            with handler.trajectory_writer("run", resume=True) as writer:
                writer.append(frames)
                writer.suspend()
            handler.store_structure({"x": 1}, who)
            with ProgressTracker(checkpoint_dir=shared / "board").start_task(who, who, 3) as task:
                task.update(3)
            manager = CheckpointManager(shared / "checkpoints", max_checkpoints=1)
            manager.create_checkpoint(who, {"x": 1})

        return store

    with umask(0o022):
        as_nobody(
            lambda: DataHandler(shared / "cache", 90e-6).store_structure({"x": 1}, "nobody"),
            groups=[group],
        )
        as_nobody(use("first", "nobody"), groups=[group])
        as_nobody(use("second", "first"), user=NOBODY - 1, groups=[group])
    assert DataHandler(shared / "cache").unfinished()[0]["n_frames"] == 4


@needs_root
def test_a_folder_of_entries_that_another_user_has_closed_is_left_out_and_named(shared, caplog):
    with umask(0):
        handler = DataHandler(shared / "cache", max_cache_size=1e-4, enable_compression=False)
        closed, other = (handler.store_structure({"x": np.zeros(2000)}, name) for name in "ab")
        trajectory = handler.store_trajectory({"frames": np.zeros((2, 3, 3))}, "md")
        handler.pin(closed)
    folder = shared / "cache" / "entries" / closed[2:4]
    folder.chmod(0o700)
    there = {other, trajectory}

    def use():
        handler = DataHandler(shared / "cache", enable_compression=False)
        assert set(handler) == there
        assert {entry["key"] for entry in handler.entries()} == there
        assert handler.get_cache_stats()["entries"] == 2
        assert handler.unfinished() == []
        assert handler.verify()["checked"] == 2
        assert handler.info(other[:12])["key"] == other
        assert handler.cleanup(dry_run=True)["pins"] == handler.cleanup()["pins"] == 0
        copy = DataHandler(tempfile.mkdtemp(dir=shared))
        with pytest.raises(PermissionError, match=folder.name):
            copy.pull(str(shared / "cache"))
        assert set(copy) == there
        for name in map(str, range(12)):
            if handler.key_for(name, "structure")[2:4] != folder.name:
                handler.store_structure({"x": np.zeros(2000)}, name)
        assert handler.get_cache_stats()["evictions"] > 0
        for look in (lambda: closed in handler, lambda: handler.load_data(closed), handler.clear):
            with pytest.raises(PermissionError, match=folder.name):
                look()
        assert handler.keys() == []
        told = [one.filename for one in caplog.records if str(folder) in one.getMessage()]
        assert told.count("scan.rs") == 1, "once in a process"

    shared.chmod(0o777)
    as_nobody(use)
    assert closed in handler


@needs_root
def test_a_search_goes_on_past_what_another_user_has_closed_and_names_it(shared):
    with umask(0o022):
        for name in ("a", "z"):
            with ProgressTracker(checkpoint_dir=shared / name).start_task("t", "T", 1) as task:
                task.update(1)
            CheckpointManager(shared / name / "checkpoints").create_checkpoint("x", {"x": 1})
        (shared / "k").mkdir(mode=0o700)
        (shared / "m").mkdir(mode=0o744)
        (shared / "a" / "checkpoints" / ".lock").unlink()
        (shared / "a" / "checkpoints" / "x" / "manifest.json").chmod(0o600)

    def look():
        found = find([str(shared)])
        assert found.boards == [str(shared / "a"), str(shared / "z")]
        assert found.checkpoints == [str(shared / "z" / "checkpoints")]
        assert found.notes == [f"permissions deny a look into {shared / 'k'}"]

    as_nobody(look)
