"""What `--json` prints is what docs/command-line.md says, key by key."""

import json
import re
from datetime import timedelta
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
        data, metadata = {"frames": frames, "note": "x"}, {"nan": float("nan")}
        handler.store_trajectory(data, name, metadata, precision=0.001)
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


@pytest.mark.parametrize("command", ["rm one", "clear", "prune --to 1kB", "rm left --unfinished"])
def test_a_dry_run_prints_what_would_be_removed(place, capsys, command):
    words = ["cache", *command.split(), "--dir", str(place / "cache"), "--dry-run", "--json"]
    assert main(words) == 0
    result = json.loads(capsys.readouterr().out)
    expected = {"would_remove", "would_free_bytes"}
    if "rm" not in command:
        assert set(result["would_clean"]) == {"temporary", "quarantined", "unfinished", "pins"}
        expected.add("would_clean")
    if "prune" in command:
        assert set(result["would_keep"]) == {"pinned", "unfinished", "damaged", "newer"}
        expected.add("would_keep")
    assert set(result) == expected
    assert len(result["would_remove"]) == (1 if "rm" in command else 3)


def test_numbers_in_metadata_are_numbers_and_no_key_is_lost(tmp_path, capsys):
    metadata = {
        "loss": np.float32(1.5),
        "worst": np.float64("nan"),
        "seed": np.int64(3),
        "done": np.bool_(True),
        "took": timedelta(seconds=90),
        "waited": np.timedelta64(90, "s"),
        "z": np.complex64(1),
        "by": {1: "a", "1": "b"},
    }
    DataHandler(tmp_path).store_structure({"x": 1}, "one", metadata)
    assert main(["cache", "info", "one", "--json", "--dir", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out)["metadata"] == {
        "loss": 1.5,
        "worst": None,
        "seed": 3,
        "done": True,
        "took": 90,
        "waited": 90,
        "z": "(1+0j)",
        "by": {"1 (int)": "a", "1": "b"},
    }


def documented_rows():
    return {path for path in documented("checkpoints ls") if path.startswith("checkpoints[].")}


def test_one_entry_has_the_keys_of_the_list(place, capsys):
    assert main(["cache", "info", "one", "--json", "--dir", str(place / "cache")]) == 0
    info = json.loads(capsys.readouterr().out)
    assert info["metadata"] == {"nan": None}
    main(["cache", "ls", "--json", "--dir", str(place / "cache")])
    assert set(info) == set(json.loads(capsys.readouterr().out)["entries"][0])
