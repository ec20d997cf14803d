"""Commands that only look change nothing, wherever they look, and make no directory a cache."""

import contextlib
import io
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from proteinflex_optimization import CheckpointManager, DataHandler, ProgressTracker
from proteinflex_optimization.cli import main

NOBODY = 65534


def state_of(directory):
    """Everything that a change would change: names, inodes, times, sizes, attributes, bytes."""
    found = {}
    for path in [directory, *sorted(directory.rglob("*"))]:
        stat = path.lstat()
        attributes = {name: os.getxattr(path, name) for name in os.listxattr(path)}
        content = path.read_bytes() if path.is_file() else None
        found[str(path)] = (stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns, attributes, content)
    return found


@pytest.fixture
def place():
    # Not below `tmp_path`, which only its owner may enter.
    directory = Path(tempfile.mkdtemp(prefix="flexopt-"))
    directory.chmod(0o755)
    handler = DataHandler(directory / "cache")
    handler.store_trajectory({"frames": np.zeros((5, 4, 3), np.float32)}, "md")
    handler.pin(handler.store_structure({"x": np.arange(1000)}, "a"))
    writer = handler.trajectory_writer("left")
    writer.append(np.zeros((3, 4, 3), np.float32))
    writer.flush()
    del writer  # As a process that ends.
    CheckpointManager(directory / "checkpoints").create_checkpoint("step-1", {"x": np.ones(9)})
    # As a copy that has lost what is only for speed.
    (directory / "checkpoints" / ".lock").unlink()
    shutil.rmtree(directory / "cache" / "pins")
    for entry in (directory / "cache").glob("entries/*/*.fxt"):
        for name in os.listxattr(entry):
            os.removexattr(entry, name)
    with ProgressTracker(checkpoint_dir=directory / "run") as tracker:
        tracker.start_task("a", "A", 1).complete()
    (directory / "plain").mkdir()
    (directory / "plain" / "notes.txt").write_text("precious")
    (directory / "empty").mkdir()
    yield directory
    shutil.rmtree(directory)


def looks(place, out):
    cache = ("--dir", str(place / "cache"))
    checkpoints = str(place / "checkpoints")
    return [
        ("cache", "ls", *cache),
        ("cache", "ls", "--json", *cache),
        ("cache", "stats", *cache),
        ("cache", "info", "md", *cache),
        ("cache", "verify", *cache),
        ("cache", "export", "md", str(out / "md.npz"), "--force", *cache),
        ("cache", "prune", "--to", "1kB", "--dry-run", *cache),
        ("cache", "rm", "a", "md", "--dry-run", *cache),
        ("cache", "clear", "--dry-run", *cache),
        ("checkpoints", "ls", checkpoints),
        ("checkpoints", "verify", checkpoints),
        ("checkpoints", "show", checkpoints, "step-1"),
        ("checkpoints", "rm", checkpoints, "step-1", "--dry-run"),
        ("watch", str(place / "run"), "--once"),
    ]


def test_looking_changes_nothing(place, tmp_path, capsys):
    before = state_of(place)
    for arguments in looks(place, tmp_path):
        assert main(arguments) == 0, capsys.readouterr().err
        assert state_of(place) == before, arguments
    assert "left" in capsys.readouterr().out


def test_looking_in_a_browser_changes_nothing(place, serve_here):
    before = state_of(place)
    page = serve_here(place)
    for row in page.json("/boards.json")["boards"]:
        assert page.json(f"/job.json?id={row['id']}")["error"] is None
    found = page.json("/resources.json")
    for section, path in (("caches", "cache_dir"), ("checkpoints", "directory")):
        (one,) = found[section]["directories"]
        assert (Path(one[path]).parent, one["error"]) == (place, None)
    assert state_of(place) == before


def test_a_refused_removal_changes_nothing(place, capsys):
    before = state_of(place)
    cache = ("--dir", str(place / "cache"))
    for arguments in (
        ("cache", "clear", *cache),
        ("cache", "prune", "--to", "0B", *cache),
        ("cache", "rm", "a", "md", *cache),
        ("cache", "rm", "nothing", *cache),
        ("checkpoints", "rm", str(place / "checkpoints"), "step-1"),
    ):
        assert main(arguments) in (1, 2)
        assert state_of(place) == before, arguments


def test_who_may_only_read_can_look(place, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    out = place / "out"
    out.mkdir()
    out.chmod(0o777)
    child = os.fork()
    if child == 0:
        status = 99
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            status = max(main(arguments) for arguments in looks(place, out))
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("name", ["missing", "plain", "empty", "plain/notes.txt"])
def test_what_is_no_cache_is_named_and_stays_none(place, name, capsys):
    before = state_of(place)
    directory = str(place / name)
    for arguments in (
        ("cache", "ls", "--dir", directory),
        ("cache", "stats", "--dir", directory),
        ("cache", "verify", "--dir", directory),
        ("cache", "prune", "--to", "1GB", "--yes", "--dir", directory),
        ("cache", "rm", "x", "--yes", "--dir", directory),
        ("cache", "clear", "--yes", "--dir", directory),
        ("cache", "import", str(place / "no such file.pdb"), "--dir", directory),
        ("checkpoints", "ls", directory),
        ("checkpoints", "verify", directory),
        ("checkpoints", "rm", directory, "x", "--yes"),
        ("watch", directory, "--once"),
    ):
        expected = 2 if "import" in arguments else 1
        assert main(arguments) == expected, arguments
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert Path(arguments[2] if "import" in arguments else directory).name in error
    assert state_of(place) == before


@pytest.mark.parametrize("name", ["plain/notes.txt", "plain/notes.txt/deeper"])
def test_a_file_where_a_directory_should_be_is_called_one(place, name, capsys):
    pytest.importorskip("gemmi")
    before = state_of(place)
    path = str(place / name)
    pdb = str(place.parent / f"{place.name}.pdb")
    Path(pdb).write_text("END\n")
    for arguments in (
        ("cache", "ls", "--dir", path),
        ("cache", "clear", "--yes", "--dir", path),
        ("cache", "import", pdb, "--dir", path),
        ("checkpoints", "ls", path),
        ("watch", path, "--once"),
        ("doctor", path),
    ):
        assert main(arguments) == 1, arguments
        error = capsys.readouterr().err
        assert error == f"flexopt: {path} is not a directory: expected one, found a file\n"
    Path(pdb).unlink()
    assert state_of(place) == before


def test_doctor_says_that_a_directory_is_missing(place, capsys):
    path = str(place / "missing")
    assert main(["doctor", path]) == 1
    assert capsys.readouterr().err == f"flexopt: there is no directory {path}: make it first\n"


def as_nobody(arguments):
    """Run a command as a user without any rights; returns its status and what it says is wrong."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status, said = 99, io.StringIO()
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            with contextlib.redirect_stderr(said):
                status = main(arguments)
        finally:
            os.write(writing, said.getvalue().encode())
            os._exit(status)
    os.close(writing)
    with open(reading) as pipe:
        said = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said


def test_what_may_not_be_read_is_not_called_empty(place):
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    commands = [
        ("cache", "ls", "--dir", str(place / "cache")),
        ("checkpoints", "ls", str(place / "checkpoints")),
        ("watch", str(place / "run"), "--once"),
        ("doctor", str(place / "empty")),
    ]
    for mode in (0o000, 0o444):
        for name in ("cache", "checkpoints", "run", "empty"):
            (place / name).chmod(mode)
        for arguments in commands:
            status, error = as_nobody(arguments)
            assert (status, error.count("\n")) == (1, 1), error
            assert f"/{place.name}/" in error
            assert "can't be read: its permissions deny it" in error


def test_import_makes_a_cache_where_it_is_asked_to(place, tmp_path, capsys):
    pytest.importorskip("gemmi")
    file = tmp_path / "one.pdb"
    file.write_text(
        "ATOM      1  CA  ALA A   1       1.000   2.000   3.000  1.00  0.00           C\nEND\n"
    )
    for name in ("new/deep", "plain"):
        assert main(["cache", "import", str(file), "--dir", str(place / name)]) == 0
        assert main(["cache", "ls", "--dir", str(place / name)]) == 0
        assert "one" in capsys.readouterr().out
    assert (place / "new/deep/CACHEDIR.TAG").exists()
    assert not (place / "plain/CACHEDIR.TAG").exists(), "backups would leave the notes out"


def test_a_pull_or_import_that_fails_leaves_the_directory_as_it_was(tmp_path, capsys):
    source = tmp_path / "wrong.pdb"
    source.write_text("no structure")
    for name in ("missing", "empty", "full"):
        directory = tmp_path / name
        if name != "missing":
            directory.mkdir()
        if name == "full":
            (directory / "CACHEDIR.TAG").write_text("mine")
            (directory / "locks").mkdir()
        before = sorted(tmp_path.rglob("*"))
        for command in (["pull", str(tmp_path / "nowhere")], ["import", str(source)]):
            assert main(["cache", *command, "--dir", str(directory)]) != 0
            assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "full/CACHEDIR.TAG").read_text() == "mine"


def test_only_a_directory_that_was_empty_is_tagged(tmp_path):
    for name in ("empty", "missing/deep", "full"):
        directory = tmp_path / name
        if name != "missing/deep":
            directory.mkdir()
        if name == "full":
            (directory / ".hidden").write_text("precious")
        for _ in range(2):
            DataHandler(directory).store_structure({"x": 1}, "a")
            assert (directory / "CACHEDIR.TAG").exists() == (name != "full")
    # Who takes the tag away wants the cache in the backup.
    (tmp_path / "empty/CACHEDIR.TAG").unlink()
    DataHandler(tmp_path / "empty")
    assert not (tmp_path / "empty/CACHEDIR.TAG").exists()


def test_a_handler_that_only_reads_refuses_changes_and_counts_no_use(place):
    handler = DataHandler(place / "cache", read_only=True)
    before = state_of(place)
    md = handler.key_for("md")
    assert handler.load_data(md)["frames"].shape == (5, 4, 3)
    assert handler.open(md)[0].shape == (4, 3)
    for change in (
        lambda: handler.store_structure({"x": 1}, "b"),
        lambda: handler.get_or_compute("b", lambda: {"x": 1}, kind="structure"),
        lambda: handler.trajectory_writer("b"),
        lambda: handler.remove(md),
        lambda: handler.pin(md),
        lambda: handler.unpin(md),
        lambda: handler.prune(0),
        handler.cleanup,
        handler.clear,
        lambda: DataHandler(place / "cache", 1, read_only=True),
    ):
        with pytest.raises(ValueError, match="read_only=True"):
            change()
    assert state_of(place) == before


def test_unfinished_trajectories_are_listed_with_their_frames_and_writer(tmp_path):
    handler = DataHandler(tmp_path)
    writer = handler.trajectory_writer("md")
    writer.append(np.zeros((3, 4, 3), np.float32))
    writer.flush()
    looker = DataHandler(tmp_path, read_only=True)
    (one,) = looker.unfinished()
    assert (one["data_id"], one["n_frames"], one["key"]) == ("md", 3, handler.key_for("md"))
    assert (one["writer"], one["host"]) == (os.getpid(), os.uname().nodename)
    # Looking at it keeps nobody from writing it.
    writer.append(np.zeros((2, 4, 3), np.float32))
    writer.close()
    assert looker.unfinished() == []
