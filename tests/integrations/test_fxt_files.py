"""Entries that leave a cache as a file, and come into another one, are what they were."""

import json

import numpy as np
import pytest
from proteinflex_optimization import (
    CorruptDataError,
    DataHandler,
    InvalidArgumentError,
    ProteinFlexError,
    Topology,
    create_trajectory,
    open_trajectory,
)
from proteinflex_optimization.cli import main
from proteinflex_optimization.integrations.fxt import export_fxt

RNG = np.random.default_rng(0)
DATA = {
    "frames": RNG.normal(0, 10, (50, 3, 3)),
    "time": np.arange(50.0),
    "forces": RNG.normal(0, 10, (50, 3, 3)),
    "masses": np.array([14.0, 12.0, 12.0]),
    "engine": {"name": "OpenMM", "version": (8, 2)},
}
TOPOLOGY = Topology(["N", "CA", "C"], ["N", "C", "C"], [0] * 3, ["ALA"], [1], [0], ["A"])


@pytest.fixture
def handler(tmp_path):
    handler = DataHandler(tmp_path / "cache")
    handler.store_trajectory(DATA, "md", {"temperature": 300}, structure=TOPOLOGY)
    return handler


def assert_same(trajectory):
    for name in ("frames", "time", "forces"):
        assert trajectory.read(field=name).dtype == DATA[name].dtype
        np.testing.assert_array_equal(trajectory.read(field=name), DATA[name])
    assert trajectory.metadata == {"temperature": 300}
    assert trajectory.topology == TOPOLOGY
    beside = trajectory._beside_frames()
    np.testing.assert_array_equal(beside["masses"], DATA["masses"])
    assert beside["engine"] == DATA["engine"]


def test_doubles_topology_and_what_is_beside_the_frames_go_and_come_back(handler, tmp_path):
    stored = handler.open("md")
    assert export_fxt(stored, tmp_path / "run.fxt") == []
    copied = open_trajectory(tmp_path / "run.fxt")
    assert_same(copied)
    assert copied.content_id == stored.content_id
    other = DataHandler(tmp_path / "other")
    key = other.import_trajectory(None, tmp_path / "run.fxt", "again")
    assert_same(other.open(key))
    key = other.import_trajectory(None, tmp_path / "run.fxt", "renamed", {"a": 1})
    assert other.open(key).metadata == {"a": 1}


def test_a_file_without_more_is_stored_a_chunk_at_a_time(tmp_path):
    frames = np.cumsum(RNG.normal(0, 0.1, (300, 400, 3)), axis=0, dtype=np.float32)
    with create_trajectory(tmp_path / "run.fxt") as writer:
        writer.append(frames, time=np.arange(300.0), velocities=frames)
    stored = open_trajectory(tmp_path / "run.fxt")
    assert stored.n_frames > stored.chunk_frames
    handler = DataHandler(tmp_path / "cache")
    again = handler.open(handler.import_trajectory(None, tmp_path / "run.fxt", "again"))
    assert again.content_id == stored.content_id
    np.testing.assert_array_equal(again.read(field="velocities"), frames)
    content = bytearray((tmp_path / "run.fxt").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "damaged.fxt").write_bytes(content)
    with pytest.raises(CorruptDataError):
        handler.import_trajectory(None, tmp_path / "damaged.fxt", "damaged")
    assert "damaged" not in handler
    assert not handler.unfinished()


@pytest.mark.parametrize("beside", [{}, {"masses": DATA["masses"]}])
def test_precision_and_profile_are_those_of_the_file(tmp_path, beside):
    frames = np.cumsum(RNG.normal(0, 1, (300, 40, 3)), axis=0, dtype=np.float32)
    handler = DataHandler(tmp_path / "cache", precision=0.1)
    ways = {
        "rounded": {"precision": {"frames": 0.01, "forces": 1}, "profile": "archive"},
        "exact": {"precision": {}},
    }
    for name, way in ways.items():
        data = {"frames": frames, "forces": frames, **beside}
        handler.store_trajectory(data, name, **way)
        export_fxt(handler.open(name), tmp_path / f"{name}.fxt")
        handler.import_trajectory(None, tmp_path / f"{name}.fxt", "again")
        one, other = handler.open(name), handler.open("again")
        assert other._info()["precision"] == one._info()["precision"] == way["precision"]
        assert other._profile() == one._profile()
        for field in ("frames", "forces"):
            np.testing.assert_array_equal(other.read(field=field), one.read(field=field))
    np.testing.assert_array_equal(handler.open("again").read(), frames)
    handler.import_trajectory(None, tmp_path / "rounded.fxt", "again", profile="default")
    assert handler.open("again")._profile() == "default"


def test_the_command_does_the_same(handler, tmp_path, capsys):
    target, cache = str(tmp_path / "run.fxt"), str(tmp_path / "cache")
    assert main(["cache", "export", "md", target, "--dir", cache, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["left_out"] == []
    assert main(["cache", "import", target, "--dir", str(tmp_path / "other")]) == 0
    assert_same(DataHandler(tmp_path / "other").open("run"))
    # The file of an entry, whose name says nothing.
    entry = str(handler.open("md").path)
    assert main(["cache", "import", entry, "--dir", str(tmp_path / "other")]) == 0
    assert_same(DataHandler(tmp_path / "other").open("md"))


def test_the_integration_of_mdanalysis_copies_too(handler, tmp_path):
    from proteinflex_optimization.integrations.mdanalysis import export_trajectory

    assert export_trajectory(handler.open("md"), tmp_path / "run.fxt") == []
    assert_same(open_trajectory(tmp_path / "run.fxt"))


def test_what_is_not_one_file_or_was_replaced_is_refused(handler, tmp_path):
    stored = handler.open("md")
    export_fxt(stored, tmp_path / "run.fxt")
    with pytest.raises(InvalidArgumentError, match="there already"):
        export_fxt(stored, tmp_path / "run.fxt")
    for files in ([tmp_path / "run.fxt"] * 2, [tmp_path / "run.fxt"]):
        with pytest.raises(InvalidArgumentError, match=r"expected one \.fxt file"):
            handler.import_trajectory(None, files, "again")
    with pytest.raises(InvalidArgumentError, match="they need none"):
        handler.import_trajectory("protein.pdb", tmp_path / "run.fxt", "again")
    for name in ("run.fxt", "run.npz", "run.zarr"):
        with pytest.raises(InvalidArgumentError, match=r"^frames_per_block=8 is not valid for"):
            handler.import_trajectory(None, tmp_path / name, "again", frames_per_block=8)
    for metadata in ({"run": 1}, {"run": 2}):
        handler.store_trajectory({"frames": DATA["frames"]}, "md", metadata=metadata)
        with pytest.raises(ProteinFlexError, match="was replaced"):
            export_fxt(stored, tmp_path / "second.fxt")
        assert not (tmp_path / "second.fxt").exists()
        stored = handler.open("md")
