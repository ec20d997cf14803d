"""Processes of a cluster read what they work on from the URL, each by itself."""

import os
from pathlib import Path

import numpy as np
import pytest
from proteinflex_optimization import (
    DataHandler,
    InvalidArgumentError,
    create_trajectory,
    list_trajectories,
    open_trajectory,
)

pytest.importorskip("obstore")

N_RUNS, N_FRAMES, N_ATOMS = 4, 130, 1000


def frames_of(number):
    rng = np.random.default_rng(number)
    return rng.normal(0, 10, (N_FRAMES, N_ATOMS, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs")
    for number in range(N_RUNS):
        path = directory / f"set {number % 2}" / f"run{number}.fxt"
        path.parent.mkdir(exist_ok=True)
        with create_trajectory(path, {"number": number}, precision=0.01) as writer:
            writer.append(frames_of(number))
    return directory


@pytest.fixture
def url(bucket, files):
    for path in files.rglob("*.fxt"):
        bucket.put(f"project/{path.relative_to(files)}", path.read_bytes())
    return f"{bucket.url}/project"


def mean(trajectory, start, stop, atoms):
    frames = trajectory.read(start, stop, atoms=atoms)
    return os.getpid(), trajectory.metadata["number"], start, frames.mean(axis=0)


def test_what_is_below_a_url_is_that_of_the_directory(bucket, files, url):
    bucket.put("project/notes.txt", b"no trajectory")
    there = list_trajectories(files)
    found = list_trajectories(url)
    # A page of the list; of each, its size with its beginning, and its end.
    assert len(bucket.gate.requests()) == 1 + 2 * N_RUNS
    assert [info["metadata"]["number"] for info in found] == [0, 2, 1, 3]
    for one, other in zip(found, there, strict=True):
        assert one["key"] == f"{url}/{Path(other['key']).relative_to(files)}"
        assert one["n_frames"] == N_FRAMES
        changing = ("key", "last_used")
        assert all(one[name] == other[name] for name in one if name not in changing)
        np.testing.assert_array_equal(
            open_trajectory(one["key"])[3], open_trajectory(other["key"])[3]
        )


@pytest.mark.parametrize("kind", ["obstore", "fsspec"])
def test_what_is_in_a_store_that_the_caller_made_is_listed(files, kind):
    from fsspec.implementations.memory import MemoryFileSystem
    from obstore.store import MemoryStore

    store = MemoryStore() if kind == "obstore" else MemoryFileSystem()
    for number, path in enumerate(sorted(files.rglob("*.fxt"))):
        name = f"project of {kind}/{number}.fxt"
        put = store.put if kind == "obstore" else store.pipe_file
        put(name, path.read_bytes())
    found = list_trajectories(f"project of {kind}", store=store)
    assert [info["metadata"]["number"] for info in found] == [0, 2, 1, 3]
    assert open_trajectory(found[1]["key"], store=store).metadata == {"number": 2}


def test_structures_are_not_among_the_trajectories(tmp_path):
    handler = DataHandler(tmp_path / "cache")
    handler.store_structure({"x": np.zeros(3)}, "structure")
    handler.store_trajectory({"frames": frames_of(0)[:2]}, "trajectory")
    assert [info["data_id"] for info in list_trajectories(tmp_path)] == ["trajectory"]


def test_trajectories_that_are_being_written_are_not_listed(bucket, tmp_path):
    with create_trajectory(tmp_path / "whole.fxt") as writer:
        writer.append(frames_of(0)[:2])
    begun = create_trajectory(tmp_path / "begun.fxt")
    begun.append(frames_of(0))
    assert len(list(tmp_path.glob(".begun-*.fxt"))) == 1
    for path in tmp_path.iterdir():
        bucket.put(f"hidden/{path.name}", path.read_bytes())
    for place in (tmp_path, f"{bucket.url}/hidden"):
        assert [info["data_id"] for info in list_trajectories(place)] == ["whole"]
    begun.discard()


def test_what_can_not_be_listed_is_named(tmp_path, files):
    with pytest.raises(FileNotFoundError, match="no/such"):
        list_trajectories("no/such")
    with pytest.raises(InvalidArgumentError, match="https://host/a'"):
        list_trajectories("https://host/a?signature=1")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_processes_of_a_dask_cluster_read_their_own_ranges(bucket, url):
    pytest.importorskip("distributed")
    from dask.distributed import Client, LocalCluster
    from proteinflex_optimization.integrations.dask import map_blocks

    chosen = [one["key"] for one in list_trajectories(url) if one["metadata"]["number"] != 2]
    trajectory = open_trajectory(chosen[0])
    lazy = trajectory.to_dask(frames_per_chunk=64)[:, 5:9].mean(axis=0)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        bucket.gate.forget()
        tasks = map_blocks(mean, chosen, [1, 50, 999], frames_per_block=64)
        prepared = len(bucket.gate.requests())
        found = client.gather(client.compute(tasks))
        of_array = lazy.compute()
    assert len(bucket.gate.requests()) > prepared
    assert os.getpid() not in {pid for blocks in found for pid, *_ in blocks}
    assert [[block[1:3] for block in blocks] for blocks in found] == [
        [(number, start) for start in (0, 64, 128)] for number in (0, 1, 3)
    ]
    for number, blocks in zip((0, 1, 3), found, strict=True):
        means = np.average([block[3] for block in blocks], axis=0, weights=[64, 64, 2])
        exact = frames_of(number)[:, [1, 50, 999]].mean(axis=0)
        np.testing.assert_allclose(means, exact, atol=0.01)
    np.testing.assert_allclose(of_array, frames_of(0)[:, 5:9].mean(axis=0), atol=0.01)
