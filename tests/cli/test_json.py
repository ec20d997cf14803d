"""What `--json` prints is what docs/command-line.md says, key by key."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from proteinflex_optimization import CheckpointManager, DataHandler, ProgressTracker
from proteinflex_optimization.cli import main

PAGE = Path(__file__).parents[2] / "docs" / "command-line.md"


def documented(command):
    """The paths of the keys in the table below a command's heading."""
    section = re.search(
        rf"^### `flexopt {command}`\n(.*?)(?=^##|\Z)", PAGE.read_text(), re.M | re.S
    )
    assert section, f"{PAGE} does not speak of {command}"
    paths = set()
    for row in re.findall(r"^\| (`.*?) \|", section[1], re.M):
        first, *rest = re.findall(r"`([^`]*)`", row)
        paths.add(first)
        base = first.rsplit(".", 1)[0]
        paths |= {base + name if name.startswith(".") else name for name in rest}
    return paths


def paths_of(value, path, known):
    """The paths of all keys, down to those that the page tells no more of."""
    if path in known:
        return {path}
    if isinstance(value, list):
        inside = f"{path}[]"
        return set().union(*(paths_of(item, inside, known) for item in value)) or {inside}
    if isinstance(value, dict):
        by_name = any(other.startswith(f"{path}{{}}") for other in known)
        joined = [f"{path}{{}}" if by_name else f"{path}.{key}".lstrip(".") for key in value]
        found = zip(value.values(), joined, strict=True)
        return set().union(*(paths_of(item, name, known) for item, name in found))
    return {path}


@pytest.fixture
def place(tmp_path):
    handler = DataHandler(tmp_path / "cache")
    for name in ("one", "two", "three"):
        frames = np.zeros((5, 4, 3), np.float32)
        handler.store_trajectory({"frames": frames, "note": "x"}, name, {"nan": float("nan")})
    writer = handler.trajectory_writer("left")
    writer.append(np.zeros((2, 4, 3), np.float32))
    writer.flush()
    manager = CheckpointManager(tmp_path / "checkpoints")
    for step in range(4):
        manager.create_checkpoint(f"step-{step}", {"model": {"weight": np.zeros(3), "step": step}})
    with ProgressTracker(checkpoint_dir=tmp_path / "run") as tracker:
        tracker.start_task("a", "A", 3)
        tracker.start_task("b", "B", 3, "a").fail("no memory")
    (tmp_path / "arrays.pdb").write_text(
        "ATOM      1  CA  ALA A   1       1.000   2.000   3.000  1.00  0.00           C\nEND\n"
    )
    yield tmp_path
    writer.close()


def test_every_documented_command_prints_just_the_documented_keys(place, capsys):
    pytest.importorskip("gemmi")
    pytest.importorskip("obstore")
    (place / "objects").mkdir()
    objects = f"file://{place / 'objects'}"
    cache, checkpoints = ["--dir", str(place / "cache")], str(place / "checkpoints")
    commands = {
        "cache ls": [*cache],
        "cache stats": [*cache],
        "cache export": ["one", str(place / "one.npz"), *cache],
        "cache import": [str(place / "arrays.pdb"), *cache],
        "cache push": ["one", objects, *cache],
        "cache pull": [objects, "--dir", str(place / "pulled")],
        "checkpoints ls": [checkpoints],
        "checkpoints show": [checkpoints, "step-1"],
        "checkpoints verify": [checkpoints],
        "watch": [str(place / "run"), "--once"],
        "doctor": [str(place)],
        "checkpoints rm": [checkpoints, "step-1"],
        "cache rm": ["two", "not there", *cache],
        "cache prune": ["--to", "100%", *cache],
        "cache clear": ["--yes", *cache],
    }
    listed = set(re.findall(r"^### `flexopt (.*?)`$", PAGE.read_text(), re.M))
    assert listed == {*commands, "gpus", "cache verify", "demo"}
    for command, arguments in commands.items():
        main([*command.split(), *arguments, "--json"])
        text = capsys.readouterr().out
        result = json.loads(text, parse_constant=pytest.fail)
        known = documented(command)
        if command == "checkpoints show":
            known |= {f"[].{path.split('[].', 1)[1]}" for path in documented_rows()}
            known |= {"[].components[]"}
        found = paths_of(result, "", known)
        assert found == known, command


def documented_rows():
    return {path for path in documented("checkpoints ls") if path.startswith("checkpoints[].")}


def test_one_entry_has_the_keys_of_the_list(place, capsys):
    assert main(["cache", "info", "one", "--json", "--dir", str(place / "cache")]) == 0
    info = json.loads(capsys.readouterr().out)
    assert info["metadata"] == {"nan": None}
    main(["cache", "ls", "--json", "--dir", str(place / "cache")])
    assert set(info) == set(json.loads(capsys.readouterr().out)["entries"][0])
