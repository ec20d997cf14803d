"""What saves, retention and removals leave alone, and that no job goes back behind it without a word."""

import contextlib
import errno
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from proteinflex_optimization import (
    CheckpointError,
    CheckpointManager,
    DataHandler,
    InvalidArgumentError,
    ProgressTracker,
    UnsupportedFormatError,
)
from proteinflex_optimization.cli import main


def ids(manager):
    return [row["checkpoint_id"] for row in manager.list_checkpoints()]


def user_files(directory):
    (directory / "figures").mkdir(parents=True)
    (directory / "figures" / "rmsf.png").write_text("hours of work")


def user_manifest(directory):
    directory.mkdir()
    (directory / "manifest.json").write_text('{"name": "my web app"}')
    (directory / "values").write_text("mine")


def cache(directory):
    DataHandler(directory).store_structure({"a": np.ones(3)}, "s")


def board(directory):
    ProgressTracker(10, directory).start_task("run", "Run", 5)


def contents(directory):
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize("make", [user_files, user_manifest, cache, board])
@pytest.mark.parametrize("how", ["create_checkpoint", "create_checkpoint_async", "_begin"])
def test_a_directory_that_is_no_checkpoint_is_neither_taken_nor_removed(tmp_path, make, how):
    directory = tmp_path / "analysis_1"
    make(directory)
    before = contents(directory)
    manager = CheckpointManager(tmp_path, max_checkpoints=1)
    arguments = () if how == "_begin" else ({"x": np.zeros(3)},)
    with pytest.raises(CheckpointError, match="analysis_1 is there and is no checkpoint"):
        getattr(manager, how)("analysis_1", *arguments).result()
    with pytest.raises(CheckpointError, match="no checkpoint"):
        manager.delete("analysis_1")
    for step in range(3):
        manager.create_checkpoint(f"step-{step}", {"x": step})
    manager.wait()
    assert contents(directory) == before
    assert sorted(os.listdir(tmp_path)) == [".lock", "analysis_1", "step-2"]


def test_an_empty_directory_and_a_damaged_checkpoint_are_taken(tmp_path):
    manager = CheckpointManager(tmp_path)
    (tmp_path / "a").mkdir()
    path = Path(manager.create_checkpoint("a", {"x": 1}))
    manifest = path / "manifest.json"
    for damaged in (manifest.read_bytes()[:-40], manifest.read_bytes()[100:], b"", b"\0" * 400):
        manifest.write_bytes(damaged)
        assert manager.latest() is None
        manager.create_checkpoint("a", {"x": 2})
        assert manager.load_checkpoint("a") == {"x": 2}
    manifest.write_bytes(b"")
    manager.delete("a")
    assert ids(manager) == []


def test_a_checkpoint_is_removed_by_every_path_that_loads_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    manager = CheckpointManager("run")
    (tmp_path / "link").symlink_to("run")
    (tmp_path / "other" / "a").mkdir(parents=True)
    paths = [
        "run/a",
        "./run/a/",
        Path("run/a"),
        "link/a",
        f"../{tmp_path.name}/run/a",
        tmp_path / "link/a",
    ]
    for path in ["a", *paths, Path(CheckpointManager("link").base_dir) / "a"]:
        manager.create_checkpoint("a", {"x": 1})
        assert manager.load_checkpoint(path) == {"x": 1}
        manager.delete(path)
        assert ids(manager) == []
    manager.create_checkpoint("a", {"x": 1})
    for path in ("other/a", "run/../a", "nowhere/a", "./a", "run", "run/", "."):
        with pytest.raises((InvalidArgumentError, CheckpointError), match="checkpoint"):
            manager.delete(path)
    assert ids(manager) == ["a"]


def make_newer(path):
    xxhash = pytest.importorskip("xxhash")
    file = Path(path) / "manifest.json"
    text = file.read_bytes().rsplit(b"\nxxh3-64 ", 1)[0]
    text = re.sub(rb'"version": \d+', b'"version": 99', text)
    file.write_bytes(text + b"\nxxh3-64 " + xxhash.xxh3_64_hexdigest(text).encode() + b"\n")


def test_what_a_newer_version_made_is_neither_removed_nor_gone_back_behind(tmp_path, capsys):
    manager = CheckpointManager(tmp_path, max_checkpoints=1)
    manager.create_checkpoint("older", {"x": 0})
    keeper = CheckpointManager(tmp_path, auto_cleanup=False)
    path = keeper.create_checkpoint("newest", {"x": 1})
    make_newer(path)
    before = contents(tmp_path / "newest")
    newer = "newest.*version 99 is newer than"
    for use in (
        manager.latest,
        lambda: manager.load_checkpoint(path),
        lambda: manager.create_checkpoint("newest", {"x": 2}),
    ):
        with pytest.raises(UnsupportedFormatError, match=newer):
            use()
    assert ids(manager) == ["older", "newest"]
    assert [row["problem"] for row in manager.list_checkpoints()] == [None, "newer"]
    assert main(["checkpoints", "verify", str(tmp_path)]) == 1
    assert "newest: OF A NEWER VERSION" in capsys.readouterr().out
    assert main(["checkpoints", "ls", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert "OF A NEWER VERSION" in said.out
    assert "DAMAGED" not in said.out
    assert "version 99 is newer" in said.err
    assert "newest valid" not in said.out
    for step in range(3):
        # Since it is named, a job may go on from an older one.
        manager.create_checkpoint(f"step-{step}", {"x": step})
    manager.wait()
    assert contents(tmp_path / "newest") == before
    assert ids(manager) == ["newest", "step-2"]
    # There is a newer one by now.
    assert manager.latest() == str(tmp_path / "step-2")


def test_what_can_not_be_read_is_removed_by_hand(tmp_path, capsys):
    manager = CheckpointManager(tmp_path, auto_cleanup=False)
    make_newer(manager.create_checkpoint("newer", {"x": 0}))
    for name, damage in (("cut", lambda text: text[:-40]), ("emptied", lambda _: b"")):
        manifest = Path(manager.create_checkpoint(name, {"x": 1})) / "manifest.json"
        manifest.write_bytes(damage(manifest.read_bytes()))
    manager.create_checkpoint("whole", {"x": 2})
    problems = {row["checkpoint_id"]: row["problem"] for row in manager.list_checkpoints()}
    assert problems == {"newer": "newer", "cut": "damaged", "emptied": "damaged", "whole": None}
    chosen = ["newer", "cut", "emptied"]
    assert main(["checkpoints", "rm", str(tmp_path), *chosen, "--dry-run"]) == 0
    assert len(manager.list_checkpoints()) == 4
    assert main(["checkpoints", "rm", str(tmp_path), *chosen, "--yes"]) == 0
    assert "removed newer, cut, emptied" in capsys.readouterr().out
    assert ids(manager) == ["whole"]


@contextlib.contextmanager
def unprivileged():
    """Whom the modes of files concern: the superuser reads all."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("unreadable", ["manifest.json", "."])
def test_what_can_not_be_read_stays_and_is_not_gone_back_behind(unreadable):
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o777)
        with unprivileged():
            manager = CheckpointManager(f"{directory}/c", max_checkpoints=1, durable=False)
            manager.create_checkpoint("older", {"x": 1})
            manager = CheckpointManager(f"{directory}/c", max_checkpoints=2, durable=False)
            path = manager.create_checkpoint("newer", {"x": 2})
            closed = os.path.normpath(os.path.join(path, unreadable))
            mode = os.stat(closed).st_mode
            os.chmod(closed, 0)
            for again in (manager, CheckpointManager(f"{directory}/c", read_only=True)):
                with pytest.raises(PermissionError, match="newer"):
                    again.latest()
            assert ids(manager) == ["older", "newer"]
            assert manager.list_checkpoints()[1]["problem"] == "unreadable"
            for replace in (manager.create_checkpoint, lambda name, _: manager.delete(name)):
                with pytest.raises(PermissionError, match="newer"):
                    replace("newer", {"x": 3})
            for step in range(3):
                manager.create_checkpoint(f"step-{step}", {"x": step})
            manager.wait()
            os.chmod(closed, mode)
            assert ids(manager) == ["newer", "step-1", "step-2"]
            assert manager.load_checkpoint("newer") == {"x": 2}


def test_a_damaged_checkpoint_is_listed_by_its_time_and_stays(tmp_path, caplog):
    manager = CheckpointManager(tmp_path, max_checkpoints=2)
    older = manager.create_checkpoint("older", {"x": 1})
    path = manager.create_checkpoint("newer", {"x": 2})
    os.truncate(os.path.join(path, "manifest.json"), 300)
    assert manager.latest() == older
    assert f"the checkpoint {path} is damaged" in caplog.text
    assert ids(manager) == ["older", "newer"]
    assert abs(manager.list_checkpoints()[-1]["created_at"].timestamp() - time.time()) < 60
    for step in range(3):
        manager.create_checkpoint(f"step-{step}", {"x": step})
    assert ids(manager) == ["newer", "step-1", "step-2"]


def test_milestones_stay_whoever_saves_later(tmp_path):
    manager = CheckpointManager(tmp_path, 2, keep_every=2)
    for step in range(1, 8):
        manager.create_checkpoint(f"s{step}", {})
    assert ids(manager) == ["s2", "s4", "s5", "s6", "s7"]
    for step in range(3):
        CheckpointManager(tmp_path, 1).create_checkpoint(f"t{step}", {})
    assert ids(manager) == ["s2", "s4", "s6", "t2"]


def test_a_directory_that_is_removed_while_it_is_used_is_made_again(tmp_path):
    directory = tmp_path / "c"
    for save in (
        lambda manager: manager.create_checkpoint("b", {"x": 2}),
        lambda manager: manager.create_checkpoint_async("b", {"x": 2}).result(),
    ):
        manager = CheckpointManager(directory)
        manager.create_checkpoint("a", {"x": 1})
        shutil.rmtree(directory)
        assert manager.latest() is None
        assert manager.list_checkpoints() == []
        with pytest.raises(CheckpointError, match=r"there is no checkpoint \"a\""):
            manager.delete("a")
        assert not directory.exists()
        assert save(manager) == str(directory / "b")
        assert manager.load_checkpoint("b") == {"x": 2}


def test_what_leads_to_a_directory_in_use_is_not_made_again(tmp_path):
    # As where a file system was unmounted: its checkpoints may come back.
    manager = CheckpointManager(tmp_path / "mounted" / "c")
    shutil.rmtree(tmp_path / "mounted")
    for use in (manager.latest, lambda: manager.create_checkpoint("a", {})):
        with pytest.raises(FileNotFoundError, match="mounted"):
            use()
    assert not (tmp_path / "mounted").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="counts files in /proc")
@pytest.mark.parametrize("spare", [1, 2, 3])
def test_a_process_without_files_is_no_reason_to_go_back(tmp_path, spare):
    import resource

    manager = CheckpointManager(tmp_path)
    # One that has replaced another needs the most: a directory, another below it, and a file.
    path = [manager.create_checkpoint("a", {"x": 1}) for _ in range(2)][-1]
    manager.wait()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = max(map(int, os.listdir("/proc/self/fd")))
    held = [os.open("/dev/null", os.O_RDONLY) for _ in range(opened)]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(held) + 1, limits[1]))
        while True:
            try:
                held.append(os.open("/dev/null", os.O_RDONLY))
            except OSError:
                break
        for _ in range(spare):
            os.close(held.pop())
        try:
            found = manager.latest()
        except OSError as error:
            found = error.errno
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for file in held:
            os.close(file)
    assert found in (errno.EMFILE, path)
    assert manager.latest() == path


def test_a_checkpoint_may_have_more_components_than_a_process_may_have_files(tmp_path):
    import resource

    state = {f"{number}": {"x": np.full(10, number)} for number in range(500)}
    manager = CheckpointManager(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = max(map(int, os.listdir("/proc/self/fd")))
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (opened + 300, limits[1]))
        path = manager.create_checkpoint("many", state)
        loaded = manager.load_checkpoint(path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert all(np.array_equal(loaded[name]["x"], value["x"]) for name, value in state.items())


def test_a_checkpoint_that_was_renamed_is_loaded_with_a_warning(tmp_path, caplog):
    manager = CheckpointManager(tmp_path)
    paths = [manager.create_checkpoint(name, {"x": name}) for name in "ab"]
    manager.load_checkpoint("a")
    assert caplog.text == ""
    os.rename(paths[0], tmp_path / "kept")
    os.rename(paths[1], paths[0])
    assert manager.load_checkpoint("a") == {"x": "b"}
    said = f'{paths[0]} was saved as the checkpoint "b", and renamed or copied since'
    assert said in caplog.text


def test_verify_tells_the_id_that_a_renamed_checkpoint_was_saved_under(tmp_path, caplog, capsys):
    manager = CheckpointManager(tmp_path)
    path = Path(manager.create_checkpoint("a", {"x": 1}))
    assert manager.verify("a")["saved_as"] == "a"
    assert caplog.text == ""
    path.rename(tmp_path / "kept")
    report = manager.verify("kept")
    assert (report["ok"], report["saved_as"]) == (True, "a")
    assert 'saved as the checkpoint "a", and renamed or copied since' in caplog.text
    assert main(["checkpoints", "verify", str(tmp_path)]) == 0
    assert "kept: whole, saved as a\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    "name", ["manifest.json", "MANIFEST.json", "values", "values-1", "version-0badcafe-1-1-0"]
)
def test_no_checkpoint_is_named_as_a_file_inside_of_one(tmp_path, name):
    manager = CheckpointManager(tmp_path)
    in_background = manager.create_checkpoint_async
    for save in (manager.create_checkpoint, lambda *given: in_background(*given).result()):
        with pytest.raises(InvalidArgumentError, match="checkpoint_id=.*another name"):
            save(name, {"x": 1})
    assert os.listdir(tmp_path) == []
    manager.create_checkpoint(f"{name}-2x", {"x": 1})
    # One that is there from before is still found.
    os.rename(tmp_path / f"{name}-2x", tmp_path / name)
    assert manager.load_checkpoint(name) == {"x": 1}
    manager.delete(name)
    assert ids(manager) == []
