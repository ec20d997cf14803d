"""A torch `DataLoader` over cached trajectories gives each frame once, in every kind of worker."""

import pickle

import numpy as np
import pytest
from proteinflex_optimization import CacheKeyError, DataHandler, InvalidArgumentError

torch = pytest.importorskip("torch")

from proteinflex_optimization.integrations.torch import TrajectoryDataset  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

pytestmark = pytest.mark.torch

LENGTHS = (70, 1, 33)


def data(seed, n_frames):
    rng = np.random.default_rng(seed)
    return {
        "frames": rng.normal(0, 10, (n_frames, 40, 3)).astype(np.float32),
        "forces": rng.normal(0, 10, (n_frames, 40, 3)).astype(np.float32),
        "box": rng.normal(0, 10, (n_frames, 3, 3)),
        "step": np.arange(n_frames) + 1000 * seed,
    }


@pytest.fixture(params=[True, False], ids=["compressed", "plain"])
def trajectories(request, tmp_path):
    handler = DataHandler(tmp_path, enable_compression=request.param)
    for seed, n_frames in enumerate(LENGTHS):
        handler.store_trajectory(data(seed, n_frames), f"md {seed}")
    return [handler.open(handler.key_for(f"md {seed}")) for seed in range(len(LENGTHS))]


@pytest.fixture
def expected():
    parts = [data(seed, n_frames) for seed, n_frames in enumerate(LENGTHS)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def test_items_are_the_frames_of_all_trajectories_in_their_order(trajectories, expected):
    dataset = TrajectoryDataset(trajectories)
    assert len(dataset) == sum(LENGTHS)
    for index in (0, 69, 70, 71, 103, -1, -104, np.int64(5), torch.tensor(80)):
        np.testing.assert_array_equal(dataset[index].numpy(), expected["frames"][index])
    assert dataset[0].dtype == torch.float32
    trajectory, frame = dataset.source(75)
    assert (trajectory.data_id, frame) == ("md 2", 4)
    for index in (104, -105):
        with pytest.raises(IndexError, match="104 frames"):
            dataset[index]
    with pytest.raises(InvalidArgumentError, match=r"index=1\.5"):
        dataset[1.5]


def test_fields_atoms_and_strides_select(trajectories, expected):
    atoms = [3, 1, -1]
    fields = ("frames", "forces", "box", "step")
    dataset = TrajectoryDataset(trajectories, fields, atoms=atoms, start=2, stride=7)
    items = [dataset[index] for index in range(len(dataset))]
    parts = [data(seed, n_frames) for seed, n_frames in enumerate(LENGTHS)]
    for name in fields:
        found = np.stack([item[name].numpy() for item in items])
        chosen = np.concatenate([part[name][2::7] for part in parts])
        by_atom = name in ("frames", "forces")
        np.testing.assert_array_equal(found, chosen[:, atoms] if by_atom else chosen)


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("copy", [True, False])
def test_loaders_with_worker_processes_give_each_frame_once(trajectories, expected, method, copy):
    dataset = TrajectoryDataset(trajectories, ["frames", "step"], copy=copy)
    loader = DataLoader(
        dataset,
        batch_size=16,
        shuffle=True,
        num_workers=2,
        multiprocessing_context=method,
        generator=torch.Generator().manual_seed(1),
    )
    batches = list(loader)
    steps = torch.cat([batch["step"] for batch in batches]).numpy()
    order = np.argsort(steps)
    np.testing.assert_array_equal(steps[order], expected["step"])
    assert not np.array_equal(steps, expected["step"])
    frames = torch.cat([batch["frames"] for batch in batches]).numpy()
    np.testing.assert_array_equal(frames[order], expected["frames"])


def test_it_pickles_by_place_and_not_with_its_data(trajectories):
    dataset = TrajectoryDataset(trajectories)
    pickled = pickle.dumps(dataset)
    assert len(pickled) < 2000
    assert torch.equal(pickle.loads(pickled)[42], dataset[42])
    handler = DataHandler(trajectories[0].cache_dir)
    handler.store_trajectory(data(9, 70), "md 0")
    with pytest.raises(CacheKeyError, match="was replaced"):
        pickle.loads(pickled)


def test_items_are_new_memory_that_may_be_changed(trajectories, expected):
    dataset = TrajectoryDataset(trajectories)
    dataset[3].add_(1)
    np.testing.assert_array_equal(dataset[3].numpy(), expected["frames"][3])


def test_shared_items_of_plain_trajectories_are_not_copied_and_never_reach_the_file(
    tmp_path, expected
):
    handler = DataHandler(tmp_path, enable_compression=False)
    trajectory = handler.open(handler.store_trajectory(data(0, 70), "md"))
    dataset = TrajectoryDataset(trajectory, copy=False)
    assert dataset[5].data_ptr() == dataset[5].data_ptr() == dataset[4].data_ptr() + 40 * 12
    dataset[5].add_(1)
    np.testing.assert_array_equal(dataset[5].numpy(), expected["frames"][5] + 1)
    np.testing.assert_array_equal(trajectory[5], expected["frames"][5])
    np.testing.assert_array_equal(
        handler.load_data(trajectory.key)["frames"], data(0, 70)["frames"]
    )
    assert handler.verify()["damaged"] == []
    # The entry's name is another entry's now; what was opened is still what it was.
    opened = handler.open(trajectory.key)
    handler.store_trajectory(data(1, 70), "md")
    np.testing.assert_array_equal(
        TrajectoryDataset(opened, copy=False)[5].numpy(), expected["frames"][5]
    )


def test_what_cannot_work_is_refused_at_once(trajectories, tmp_path):
    with pytest.raises(InvalidArgumentError, match="at least one"):
        TrajectoryDataset([])
    with pytest.raises(InvalidArgumentError, match="type str"):
        TrajectoryDataset(["md"])
    with pytest.raises(InvalidArgumentError, match="velocities"):
        TrajectoryDataset(trajectories, "velocities")
    with pytest.raises(InvalidArgumentError, match="atoms"):
        TrajectoryDataset(trajectories, atoms=[40])
    for stride in (0, -1, 1.5, True):
        with pytest.raises(InvalidArgumentError, match="stride"):
            TrajectoryDataset(trajectories, stride=stride)
    handler = DataHandler(tmp_path / "other")
    dates = np.arange(3).astype("datetime64[s]")
    key = handler.store_trajectory(
        {"frames": np.zeros((3, 2, 3), np.float32), "date": dates}, "dated"
    )
    with pytest.raises(InvalidArgumentError, match="'date'.*datetime64"):
        TrajectoryDataset(handler.open(key), "date")
