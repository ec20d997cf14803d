"""dask reads what it needs of a trajectory, names it by its content, and computes the same anywhere."""

import pickle

import numpy as np
import pytest
from proteinflex_optimization import CacheKeyError, DataHandler, InvalidArgumentError

pytest.importorskip("dask.array")
pytest.importorskip("distributed")

import dask
import MDAnalysis
from MDAnalysis.analysis.align import AlignTraj
from MDAnalysis.analysis.rms import RMSF
from MDAnalysisTests.datafiles import DCD, PSF
from proteinflex_optimization.integrations.dask import MERGED, merged_all, rmsf
from proteinflex_optimization.integrations.mdanalysis import import_trajectory

N_FRAMES, N_ATOMS = 300, 50


def walk(seed=1):
    rng = np.random.default_rng(seed)
    steps = rng.normal(0, 0.1, (N_FRAMES, N_ATOMS, 3)).cumsum(axis=0)
    return (rng.normal(0, 10, (N_ATOMS, 3)) + steps).astype(np.float32)


@pytest.fixture(params=[True, False], ids=["compressed", "plain"])
def trajectory(request, tmp_path):
    handler = DataHandler(tmp_path / "cache", enable_compression=request.param)
    data = {"frames": walk(), "energy": np.arange(N_FRAMES) * 0.5}
    return handler.open(handler.store_trajectory(data, "md"))


@pytest.mark.parametrize(
    "index",
    [
        np.s_[:],
        np.s_[5],
        np.s_[-1, 3],
        np.s_[10:200:7, ::-1],
        np.s_[250:3:-7, 5:20, 1],
        np.s_[:, [3, 1, 40]],
        np.s_[[7, 7, 250, 0]],
        np.s_[..., 2],
    ],
)
def test_slices_of_the_array_are_those_of_the_frames(trajectory, index):
    array = trajectory.to_dask(frames_per_chunk=64)
    assert array.shape == trajectory.shape
    assert array.dtype == np.float32
    found = array[index].compute(scheduler="synchronous")
    np.testing.assert_array_equal(found, walk()[index])


def test_chunks_are_whole_stored_chunks(trajectory):
    stored = trajectory.chunk_frames
    for asked in (1, stored, stored + 1, 10 * N_FRAMES, None):
        chunks = trajectory.to_dask(frames_per_chunk=asked).chunks[0]
        assert sum(chunks) == N_FRAMES
        assert all(length % stored == 0 for length in chunks[:-1])
    with dask.config.set({"array.chunk-size": "1B"}):
        assert trajectory.to_dask().chunks[0][0] == stored
    energy = trajectory.to_dask("energy")
    np.testing.assert_array_equal(energy.compute(scheduler="synchronous"), np.arange(300) * 0.5)
    with pytest.raises(InvalidArgumentError, match="frames_per_chunk=0"):
        trajectory.to_dask(frames_per_chunk=0)
    with pytest.raises(InvalidArgumentError, match="velocities"):
        trajectory.to_dask("velocities")


@pytest.mark.parametrize("chunk", [None, 3])
def test_fields_without_numbers_are_arrays_like_others(tmp_path, chunk):
    handler = DataHandler(tmp_path / "cache")
    data = {"frames": np.zeros((5, 0, 3), "f4"), "cv": np.zeros((5, 0))}
    trajectory = handler.open(handler.store_trajectory(data, "empty"))
    for field in data:
        array = trajectory.to_dask(field, frames_per_chunk=chunk)
        assert array.compute(scheduler="synchronous").shape == data[field].shape
    pytest.importorskip("xarray")
    assert trajectory.to_xarray().sizes["time"] == 5


def test_equal_content_has_equal_names_and_changed_content_another(tmp_path):
    handlers = [DataHandler(tmp_path / name) for name in ("one", "other")]
    names = set()
    for handler in handlers:
        key = handler.store_trajectory({"frames": walk()}, "md")
        names.add(handler.open(key).to_dask().name)
        names.add(pickle.loads(pickle.dumps(handler.open(key))).to_dask().name)
    assert len(names) == 1
    key = handlers[0].store_trajectory({"frames": walk(2)}, "md")
    names.add(handlers[0].open(key).to_dask().name)
    assert len(names) == 2


def test_a_function_of_a_trajectory_is_computed_again_for_other_metadata(tmp_path):
    handler = DataHandler(tmp_path / "cache")
    times = [
        handler.open(handler.store_trajectory({"frames": walk()}, name, metadata={"dt": dt}))
        for name, dt in (("md", 1.0), ("copy", 2.0))
    ]
    of_metadata = dask.delayed(lambda trajectory: trajectory.metadata["dt"], pure=True)
    assert dask.compute(*map(of_metadata, times), scheduler="synchronous") == (1.0, 2.0)
    assert times[0].to_dask().name == times[1].to_dask().name


def test_a_graph_holds_the_place_of_the_entry_and_none_of_its_frames(trajectory):
    graph = dict(trajectory.to_dask(frames_per_chunk=64).__dask_graph__())
    assert len(pickle.dumps(graph)) < 5000


def test_a_graph_of_an_entry_that_was_replaced_is_an_error(trajectory):
    graph = pickle.dumps(trajectory.to_dask())
    DataHandler(trajectory.cache_dir).store_trajectory({"frames": walk(2)}, "md")
    with pytest.raises(CacheKeyError, match="was replaced"):
        pickle.loads(graph)


def test_two_processes_compute_the_rmsf_of_one_to_the_last_bit(trajectory):
    from dask.distributed import Client, LocalCluster

    options = {"frames_per_block": 64, "atoms": np.arange(0, N_ATOMS, 2)}
    one = rmsf(trajectory, scheduler="synchronous", **options)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        two = rmsf(trajectory, **options)
        pids = client.run(lambda: __import__("os").getpid())
        mean = trajectory.to_dask(frames_per_chunk=64).mean(axis=0).compute()
    assert len(set(pids.values())) == 2
    np.testing.assert_array_equal(one, two)
    np.testing.assert_allclose(mean, walk().mean(axis=0), rtol=0, atol=1e-4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_the_rmsf_is_that_of_mdanalysis(tmp_path):
    handler = DataHandler(tmp_path)
    trajectory = handler.open(import_trajectory(handler, PSF, DCD, "md"))
    universe = MDAnalysis.Universe(PSF, DCD)
    atoms = universe.select_atoms("name CA")

    moving = rmsf(trajectory, atoms=atoms.indices, superpose=False, scheduler="synchronous")
    np.testing.assert_allclose(moving, RMSF(atoms).run().results.rmsf, rtol=1e-5)

    reference = universe.copy()
    AlignTraj(universe, reference, select="name CA", in_memory=True).run()
    expected = RMSF(universe.select_atoms("name CA")).run().results.rmsf
    for frames_per_block in (None, 1, 1000):
        found = rmsf(
            trajectory,
            atoms=atoms.indices,
            frames_per_block=frames_per_block,
            scheduler="synchronous",
        )
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_what_rmsf_cannot_use_is_refused(trajectory, tmp_path):
    with pytest.raises(InvalidArgumentError, match="reference has the shape"):
        rmsf(trajectory, reference=np.zeros((3, 3)))
    with pytest.raises(InvalidArgumentError, match="frames_per_block"):
        rmsf(trajectory, frames_per_block=0)
    with pytest.raises(InvalidArgumentError, match="atoms"):
        rmsf(trajectory, atoms=[N_ATOMS])
    handler = DataHandler(tmp_path / "other")
    key = handler.store_trajectory({"frames": np.empty((0, 2, 3), np.float32)}, "empty")
    with pytest.raises(InvalidArgumentError, match="with frames"):
        rmsf(handler.open(key))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_cannot_be_superposed_names_frame_and_atom(tmp_path, value):
    handler = DataHandler(tmp_path)
    options = {"scheduler": "synchronous", "frames_per_block": 8}
    for frame in (0, 30):
        frames = walk()
        frames[frame, 3, 1] = value
        trajectory = handler.open(handler.store_trajectory({"frames": frames}, f"at{frame}"))
        with pytest.raises(InvalidArgumentError, match=rf"frame {frame} can't .* atom 3 has"):
            rmsf(trajectory, **options)
        assert np.isfinite(rmsf(trajectory, atoms=[0, 1, 2], **options)).all()
    with np.errstate(invalid="ignore"):
        found = rmsf(trajectory, superpose=False, **options)
    assert np.flatnonzero(np.isnan(found)).tolist() == [3]
    with pytest.raises(InvalidArgumentError, match="reference can't be superposed.*atom 3"):
        rmsf(trajectory, reference=frames[30], **options)


def test_merging_many_blocks_in_one_task_keeps_the_order_of_pairs():
    random = np.random.default_rng(0)
    for blocks in [1, 2, 3, 15, 16, 17, 31, 33, 48, 255, 257, 300]:
        parts = [
            (int(random.integers(1, 99)), random.normal(size=(2, 3)), random.normal(size=(2, 3)))
            for _ in range(blocks)
        ]
        expected = merged_all(parts)
        while len(parts) > 1:
            size = MERGED
            starts = range(0, len(parts), size)
            parts = [merged_all(parts[start : start + size]) for start in starts]
        for one, other in zip(parts[0], expected, strict=True):
            np.testing.assert_array_equal(one, other)
