"""Worker processes that others start: pools, data loaders, dask."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
from pathlib import Path

import pytest
from proteinflex_optimization import ProgressTracker
from proteinflex_optimization.progress import TaskHandle

METHODS = ["fork", "spawn", "forkserver"]


def completed(tracker: ProgressTracker, task: str) -> int:
    count = tracker.get_progress()["tasks"][task]["completed"]
    assert isinstance(count, int)
    return count


def work(arguments: tuple[TaskHandle, int]) -> int:
    task, number = arguments
    task.update(1, f"item {number}")
    return number


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_the_workers_of_a_pool_count_in_the_same_task(tmp_path: Path, method: str):
    tracker = ProgressTracker(checkpoint_dir=tmp_path, checkpoint_interval=0.01)
    task = tracker.start_task("items", "Items", 200)
    with multiprocessing.get_context(method).Pool(3) as pool:
        assert pool.map(work, [(task, number) for number in range(200)]) == list(range(200))
    assert completed(tracker, "items") == 200
    assert tracker.get_progress()["status"] == "completed"


def test_the_workers_of_an_executor_start_tasks_of_their_own(tmp_path: Path):
    tracker = ProgressTracker(checkpoint_dir=tmp_path)
    tracker.start_task("all", "All", 10)
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=spawn) as pool:
        list(pool.map(fold, [tracker] * 10, range(10)))
    progress = tracker.get_progress()
    assert progress["percent"] == 100.0
    assert len(progress["tasks"]["all"]["children"]) == 10


def fold(tracker: ProgressTracker, number: int) -> None:
    with tracker.start_task(f"protein-{number}", "Protein", 5, parent_task="all") as task:
        task.update(5)


class Frames:
    """A dataset whose items count themselves, in whichever process they are loaded."""

    def __init__(self, task: TaskHandle) -> None:
        self.task = task

    def __len__(self) -> int:
        return 60

    def __getitem__(self, index: int) -> int:
        self.task.update()
        return index


@pytest.mark.torch
@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_the_workers_of_a_data_loader_count_what_they_load(tmp_path: Path, method: str):
    from torch.utils.data import DataLoader

    tracker = ProgressTracker(checkpoint_dir=tmp_path)
    frames = Frames(tracker.start_task("frames", "Frames", 60))
    loader = DataLoader(
        frames,  # type: ignore[arg-type]
        batch_size=4,
        num_workers=2,
        multiprocessing_context=method,
    )
    assert sorted(int(index) for batch in loader for index in batch) == list(range(60))
    assert completed(tracker, "frames") == 60


@pytest.mark.filterwarnings("ignore")
def test_the_workers_of_a_dask_cluster_count_in_the_same_task(tmp_path: Path):
    distributed = pytest.importorskip("distributed")
    tracker = ProgressTracker(checkpoint_dir=tmp_path / "progress")
    task = tracker.start_task("items", "Items", 40)
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=2,
            processes=True,
            dashboard_address=None,
            local_directory=tmp_path / "dask",
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        futures = client.map(work, [(task, number) for number in range(40)])
        assert client.gather(futures) == list(range(40))
    assert completed(tracker, "items") == 40
