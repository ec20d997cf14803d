"""Whatever takes a trajectory takes one that is behind a server."""

import json
import os

import numpy as np
import pytest
from proteinflex_optimization import create_trajectory, open_trajectory
from proteinflex_optimization.cli import main
from remote.trajectories import FRAMES, N_ATOMS, TIMES, stored, topology

pytest.importorskip("obstore")


@pytest.fixture(scope="module")
def with_topology(tmp_path_factory):
    path = tmp_path_factory.mktemp("written") / "run.fxt"
    with create_trajectory(path, data_id="ubiquitin", structure=topology()) as writer:
        writer.append(FRAMES[:130], time=TIMES[:130], box=np.tile(np.eye(3) * 50, (130, 1, 1)))
    return path.read_bytes()


@pytest.fixture
def url(http_server, with_topology):
    (http_server.directory / "run.fxt").write_bytes(with_topology)
    return f"{http_server.url}/run.fxt"


def test_mdanalysis_reads_it(url):
    mda = pytest.importorskip("MDAnalysis")
    universes = [open_trajectory(url).to_universe(), mda.Universe(url)]
    for universe in universes:
        assert (len(universe.trajectory), universe.trajectory.dt) == (130, 0.5)
        assert universe.atoms[0].name == "CA"
        for frame, ts in enumerate(universe.trajectory[20:25], 20):
            np.testing.assert_array_equal(ts.positions, FRAMES[frame])
            assert ts.time == TIMES[frame]
        copied = universe.copy()
        np.testing.assert_array_equal(copied.trajectory[99].positions, FRAMES[99])


def test_mdtraj_has_its_frames_in_nm(url):
    pytest.importorskip("mdtraj")
    found = open_trajectory(url).to_mdtraj(start=3, stop=90, step=20)
    np.testing.assert_allclose(found.xyz * 10, FRAMES[3:90:20], rtol=1e-6)


def test_xarray_reads_it_when_values_are_needed(http_server, url):
    pytest.importorskip("xarray")
    pytest.importorskip("dask")
    found = open_trajectory(url).to_xarray()
    moved = sum(request["sent"] for request in http_server.gate.requests())
    np.testing.assert_array_equal(found.positions[7].values, FRAMES[7])
    assert moved < 200_000
    np.testing.assert_array_equal(found.time, TIMES[:130])


def test_each_dask_worker_reads_its_own_ranges(http_server):
    dask = pytest.importorskip("dask")
    (http_server.directory / "run.fxt").write_bytes(stored())
    frames = open_trajectory(f"{http_server.url}/run.fxt").to_dask(frames_per_chunk=128)
    before = len(http_server.gate.requests())
    with dask.config.set({"multiprocessing.context": "spawn"}):
        means = frames.mean(axis=(1, 2)).compute(scheduler="processes", num_workers=2)
    np.testing.assert_allclose(means, FRAMES.mean(axis=(1, 2)), rtol=1e-4, atol=1e-4)
    sent = [request["sent"] for request in http_server.gate.requests()[before:]]
    # Chunks once, and both ends for each task at most.
    assert sum(sent) <= 1.05 * len(stored()) + 5 * (1 << 17)


@pytest.mark.torch
def test_a_torch_loader_has_its_frames(url):
    torch = pytest.importorskip("torch")
    from proteinflex_optimization.integrations.torch import TrajectoryDataset

    dataset = TrajectoryDataset(open_trajectory(url), stride=10, atoms=[3, 5])
    options = {"num_workers": 1, "multiprocessing_context": "spawn"}
    batches = list(torch.utils.data.DataLoader(dataset, batch_size=4, **options))
    np.testing.assert_array_equal(torch.cat(batches).numpy(), FRAMES[:130:10, [3, 5]])


def test_it_is_exported_to_the_bit(url, with_topology, tmp_path, capsys):
    assert main(["cache", "export", url, str(tmp_path / "copy.fxt"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bytes"] == len(with_topology)
    assert (tmp_path / "copy.fxt").read_bytes() == with_topology
    assert main(["cache", "export", url, str(tmp_path / "arrays.npz")]) == 0
    with np.load(tmp_path / "arrays.npz") as arrays:
        np.testing.assert_array_equal(arrays["frames"], FRAMES[:130])
    assert "topology" in capsys.readouterr().out
    pytest.importorskip("MDAnalysis")
    assert main(["cache", "export", url, str(tmp_path / "run.xtc")]) == 0


def test_a_damaged_object_is_not_exported(http_server, tmp_path, capsys):
    content = bytearray(stored())
    content[len(content) // 2] ^= 1
    (http_server.directory / "run.fxt").write_bytes(content)
    url = f"{http_server.url}/run.fxt"
    assert main(["cache", "export", url, str(tmp_path / "copy.fxt")]) == 1
    assert os.listdir(tmp_path) == ["served"]
    assert main(["cache", "verify", url, "--json"]) == 1
    (damaged,) = json.loads(capsys.readouterr().out)["damaged"]
    assert damaged["key"] == url
    assert "chunk" in damaged["reason"]


def test_the_command_line_lists_and_describes_it(bucket, with_topology, capsys):
    bucket.put("project/a.fxt", with_topology)
    bucket.put("project/deep/b.fxt", stored())
    bucket.put("project/notes.txt", b"")
    bucket.put("other/c.fxt", stored())
    below = f"{bucket.url}/project"
    assert main(["cache", "ls", below, "--sort", "id", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["objects"]
    assert [row["url"] for row in rows] == [f"{below}/a.fxt", f"{below}/deep/b.fxt"]
    assert [row["stored_bytes"] for row in rows] == [len(with_topology), len(stored())]
    assert main(["cache", "ls", below]) == 0
    assert "deep/b.fxt" in capsys.readouterr().out
    assert main(["cache", "info", f"{below}/a.fxt", "--json"]) == 0
    info = json.loads(capsys.readouterr().out)
    assert (info["data_id"], info["n_frames"], info["n_atoms"]) == ("ubiquitin", 130, N_ATOMS)
    assert "last_used" not in info
    assert main(["cache", "info", f"{below}/a.fxt"]) == 0
    assert "topology" in capsys.readouterr().out
    assert main(["cache", "verify", f"{below}/a.fxt", f"{below}/deep/b.fxt"]) == 0
    assert "2 checked, 0 damaged" in capsys.readouterr().out
    assert main(["cache", "info", f"{below}/missing.fxt"]) == 1
    assert main(["cache", "verify", f"{below}/a.fxt", "--quarantine"]) == 2
