"""Paths are bytes: a directory whose name is no text works like any other."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from proteinflex_optimization import (
    BlockCache,
    CheckpointManager,
    DataHandler,
    GPUManager,
    InvalidArgumentError,
    ProgressTracker,
    Topology,
    create_trajectory,
    demo,
    list_trajectories,
    open_trajectory,
)
from proteinflex_optimization.cli import main
from proteinflex_optimization.integrations import npz
from proteinflex_optimization.integrations.fxt import export_fxt
from proteinflex_optimization.integrations.npz import export_npz


@pytest.fixture
def place(tmp_path):
    """A directory whose name is Latin-1, as older programs make them, with a tab in it."""
    path = tmp_path / os.fsdecode(b"r\xe9sultats\t\xff")
    path.mkdir()
    return path


def again(thing):
    return pickle.loads(pickle.dumps(thing))


def test_a_directory_whose_name_is_no_text_works_everywhere(place, capsys):
    handler = DataHandler(place / "cache", enable_compression=False, precision=0.01, durable=False)
    key = handler.store_trajectory({"frames": np.ones((5, 4, 3), np.float32)}, "md")
    assert handler.cache_dir == place / "cache"
    for one in (again(handler), again(again(handler))):
        assert type(one) is DataHandler
        assert one.cache_dir == place / "cache"
        assert one.keys() == [key]
    assert again(handler.open(key)).cache_dir == place / "cache"
    with again(handler).trajectory_writer("other") as writer:
        writer.append(np.zeros((3, 4, 3), np.float32))
    assert len(handler.open("other")) == 3

    manager = CheckpointManager(place / "checkpoints", max_checkpoints=1, keep_every=2)
    path = manager.create_checkpoint("one", {"a": np.arange(3)})
    assert os.path.isdir(path)
    assert again(manager).latest() == path
    assert type(again(manager)) is CheckpointManager
    again(manager).create_checkpoint("two", {"a": np.arange(4)})
    again(manager).create_checkpoint("three", {"a": np.arange(5)})
    assert [row["checkpoint_id"] for row in manager.list_checkpoints()] == ["two", "three"]

    with ProgressTracker(checkpoint_dir=place / "run") as tracker:
        again(tracker.start_task("md", "Dynamics", 10)).update(3)
        assert again(tracker).get_progress()["completed_steps"] == 3
    reader = ProgressTracker.attach(place / "run")
    assert reader.directory == str(place / "run")
    assert again(reader).get_progress()["completed_steps"] == 3

    gpus = GPUManager(state_dir=place / "gpus")
    assert again(gpus).state_dir == place / "gpus"

    for thing in (handler, manager, reader):
        assert "\\xe9sultats\\x09\\xff" in repr(thing) or "r\\xe9sultats\\t\\xff" in repr(thing)
    for arguments in (
        ["cache", "ls", "--dir", place / "cache"],
        ["checkpoints", "ls", place / "checkpoints"],
        ["watch", place / "run", "--once"],
        ["doctor", place],
    ):
        main([str(argument) for argument in arguments])
        shown = capsys.readouterr()
        shown.out.encode()
        assert "Traceback" not in shown.err


def test_options_survive_pickling(tmp_path):
    handler = DataHandler(tmp_path / "cache", enable_compression=False)
    plain = again(handler)
    key = plain.store_structure({"x": np.zeros(100_000)}, "zeros")
    assert plain.info(key)["stored_bytes"] > 800_000
    looking = DataHandler(tmp_path / "cache", read_only=True)
    with pytest.raises(ValueError, match="read_only"):
        again(looking).remove(key)
    manager = again(CheckpointManager(tmp_path / "checkpoints"))
    manager.create_checkpoint("a", {"x": 1})
    looking = again(CheckpointManager(tmp_path / "checkpoints", read_only=True))
    with pytest.raises(Exception, match="read_only"):
        looking.delete("a")


def test_an_error_names_the_path_by_its_bytes(place):
    with pytest.raises(FileNotFoundError) as caught:
        ProgressTracker.attach(place / "missing")
    assert os.fsencode(caught.value.filename).startswith(os.fsencode(place))


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The user's home directory; the working directory, beside it, stays empty."""
    (tmp_path / "work").mkdir()
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    yield tmp_path / "home"
    assert list((tmp_path / "work").iterdir()) == []


def test_a_tilde_is_the_home_directory_wherever_a_path_is_taken(home):
    handler = DataHandler("~/cache", durable=False)
    frames = np.zeros((5, 4, 3), np.float32)
    handler.store_trajectory({"frames": frames}, "md")
    assert handler.cache_dir == home / "cache"
    assert "md" in DataHandler(home / "other", upstream="~/cache")
    assert DataHandler(home / "pulled").pull("~/cache")[0]["copied"]

    manager = CheckpointManager("~/checkpoints")
    assert manager.create_checkpoint("~one", {"a": 1}) == str(home / "checkpoints" / "~one")
    assert manager.load_checkpoint("~one") == {"a": 1}
    assert manager.load_checkpoint("~/checkpoints/~one") == {"a": 1}
    assert manager.verify(Path("~/checkpoints/~one"))["ok"]
    manager.delete("~/checkpoints/~one")

    with ProgressTracker(checkpoint_dir=Path("~/run")):
        assert ProgressTracker.attach("~/run").directory == str(home / "run")
    assert GPUManager(state_dir="~/gpus").state_dir == home / "gpus"
    assert BlockCache("~/blocks").directory == home / "blocks"

    export_fxt(handler.open("md"), "~/md.fxt")
    assert len(open_trajectory("~/md.fxt")) == 5
    assert str(home / "md.fxt") in [row["key"] for row in list_trajectories("~")]
    with create_trajectory("~/own.fxt") as writer:
        writer.append(frames)
    export_npz(handler.load_data("md"), "~/md.npz")
    for name in ("md.npz", "own.fxt"):
        assert len(handler.open(handler.import_trajectory(None, f"~/{name}", name))) == 5


def test_a_tilde_in_a_variable_or_an_argument_of_a_command_is_the_home_directory(
    home, monkeypatch, capsys
):
    monkeypatch.setenv("PROTEINFLEX_CACHE_DIR", "~/cache")
    assert DataHandler().cache_dir == home / "cache"
    monkeypatch.delenv("PROTEINFLEX_CACHE_DIR")
    DataHandler("~/typed").store_structure({"x": np.zeros(3)}, "zeros")
    assert main(["cache", "info", "zeros", "--dir=~/typed"]) == 0
    assert main(["cache", "export", "zeros", "~/zeros.npz", "--dir", "~/typed"]) == 0
    assert main(["cache", "import", "~/zeros.npz", "--dir", "~/imported"]) == 0
    assert DataHandler(home / "imported").keys()
    CheckpointManager(home / "checkpoints").create_checkpoint("one", {"a": 1})
    assert main(["checkpoints", "ls", "~/checkpoints"]) == 0
    assert "one" in capsys.readouterr().out
    assert main(["doctor", "~"]) in (0, 1)
    with ProgressTracker(checkpoint_dir="~/run") as tracker:
        tracker.start_task("md", "Dynamics", 10)
        assert main(["watch", "~/run", "--once"]) == 0


@pytest.mark.parametrize(
    "take",
    [
        DataHandler,
        CheckpointManager,
        ProgressTracker.attach,
        BlockCache,
        create_trajectory,
        open_trajectory,
        list_trajectories,
        lambda path: DataHandler(upstream=path),
        lambda path: ProgressTracker(checkpoint_dir=path),
        lambda path: GPUManager(state_dir=path),
        lambda path: DataHandler().import_structure(path, "x"),
        lambda path: main(["cache", "ls", "--dir", path]),
    ],
)
def test_the_home_directory_of_nobody_is_refused(take, home, monkeypatch, capsys):
    monkeypatch.setenv("PROTEINFLEX_CACHE_DIR", str(home / "cache"))
    with pytest.raises((InvalidArgumentError, SystemExit)) as raised:
        take("~.nobody/place")
    if isinstance(raised.value, InvalidArgumentError):
        assert ".nobody" in str(raised.value)
    monkeypatch.setenv("PROTEINFLEX_CACHE_DIR", "~.nobody/place")
    with pytest.raises(InvalidArgumentError, match="PROTEINFLEX_CACHE_DIR="):
        DataHandler()
    assert main(["cache", "ls"]) == 2
    assert "PROTEINFLEX_CACHE_DIR=" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "take"),
    [
        ("cache_dir", DataHandler),
        ("base_dir", CheckpointManager),
        ("checkpoint_dir", lambda url: ProgressTracker(checkpoint_dir=url)),
        ("directory", ProgressTracker.attach),
        ("state_dir", lambda url: GPUManager(state_dir=url)),
        ("directory", BlockCache),
        ("cache", lambda url: open_trajectory("s3://bucket/run.fxt", cache=url)),
        ("path", create_trajectory),
        ("path_or_url", lambda url: open_trajectory(os.fsencode(url))),
        ("path_or_url", lambda url: list_trajectories(os.fsencode(url))),
        ("source", Topology.of),
        ("path", lambda url: export_npz({"x": np.zeros(3)}, url)),
        ("path", npz.read_npz),
        ("source", lambda url: DataHandler("cache").import_structure(url, "x")),
        ("trajectory", lambda url: DataHandler("cache").import_trajectory(None, f"{url}.xtc", "x")),
        ("trajectory", lambda url: DataHandler("cache").import_trajectory(None, f"{url}.npz", "x")),
        (
            "trajectory",
            lambda url: DataHandler("cache").import_trajectory(None, f"{url}.zarr", "x"),
        ),
        ("pdb", lambda url: demo.Settings(pdb=url)),
    ],
)
def test_a_url_is_no_path_of_this_machine(name, take, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidArgumentError, match=rf"^{name}='s3://…' is not valid") as raised:
        take("s3://user:word@bucket/run")
    assert "word" not in str(raised.value)
    assert set(os.listdir(tmp_path)) <= {"cache"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("cache", "export", "md", "URL"),
        ("cache", "import", "URL"),
        ("cache", "import", "run.xtc", "--topology", "URL"),
        ("checkpoints", "ls", "URL"),
        ("watch", "URL", "--once"),
        ("doctor", "URL"),
        ("demo", "--output", "URL"),
        ("demo", "--pdb", "URL"),
        ("gpus", "--state-dir", "URL"),
        ("cache", "ls", "--dir", "URL"),
    ],
)
def test_a_command_names_its_argument_that_is_a_url(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    place = arguments.index("URL") - 1
    option = arguments[place] if arguments[place].startswith("--") else ""
    with pytest.raises(SystemExit, match="2"):
        main([one.replace("URL", "s3://user:word@bucket/run") for one in arguments])
    shown = capsys.readouterr().err
    assert f"argument {option}" in shown
    assert "'s3://…' is not valid" in shown
    assert "word" not in shown
    assert os.listdir(tmp_path) == []


def test_a_name_of_an_entry_may_be_a_url(tmp_path):
    handler = DataHandler(tmp_path)
    names = {"atom_names": ["CA"], "elements": ["C"], "residue_names": ["ALA"], "chains": ["A"]}
    numbers = {"residue_index": np.zeros(1, int), "residue_numbers": np.ones(1, int)}
    atoms = {name: np.array(value) for name, value in {**names, **numbers}.items()}
    handler.store_structure({"positions": np.zeros((1, 3)), **atoms}, "s3://bucket/1abc")
    frames = {"frames": np.zeros((2, 1, 3), np.float32)}
    key = handler.store_trajectory(frames, "md", structure="s3://bucket/1abc")
    assert handler.open(key).topology.n_atoms == 1


IN_ANOTHER_LOCALE = r"""
import os, pickle, sys
import numpy as np
from proteinflex_optimization import CheckpointManager, DataHandler, ProgressTracker, open_trajectory

place = os.path.join(sys.argv[1], os.fsdecode(b"jos\xc3\xa9"))
manager = CheckpointManager(place)
name = "caf\xe9"
saved = [manager.create_checkpoint(name, {"x": 1}), manager.create_checkpoint_async("b", {}).result()]
assert manager.latest() == saved[1]
assert [row["path"] for row in manager.list_checkpoints()] == saved
for path in (*saved, name, manager.base_dir / "b"):
    manager.load_checkpoint(path)
assert all(map(os.path.isdir, saved))
manager.delete(name)
manager.delete(saved[1])
assert manager.latest() is None
try:
    open_trajectory(os.path.join(place, "none.fxt"))
except OSError as error:
    assert error.filename == os.path.join(place, "none.fxt")

handler = DataHandler(os.path.join(place, "cache"))
handler.store_trajectory({"frames": np.zeros((1, 2, 3))}, name)
trajectory = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(handler)).open(name)))
assert os.path.isfile(trajectory.path) and os.path.isdir(trajectory.cache_dir)
assert len(pickle.loads(pickle.dumps(open_trajectory(trajectory.path)))) == 1
assert os.path.isdir(handler.get_cache_stats()["cache_dir"])

tracker = ProgressTracker(checkpoint_dir=os.path.join(place, "board"))
assert os.path.isdir(tracker.checkpoint_dir)
with pickle.loads(pickle.dumps(tracker.start_task(name, "a", 1))) as task:
    task.update()
tracker.close()
reader = pickle.loads(pickle.dumps(ProgressTracker.attach(tracker.checkpoint_dir)))
assert reader.get_progress()["completed_steps"] == 1 and os.path.isdir(reader.directory)
"""


def test_names_that_are_utf_8_work_where_the_locale_is_not(tmp_path):
    environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", IN_ANOTHER_LOCALE, tmp_path],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
