"""A function is mapped over blocks of frames of many trajectories, in order and where they lie."""

import dask
import numpy as np
import pytest
from proteinflex_optimization import (
    DataHandler,
    InvalidArgumentError,
    InvalidTypeError,
    create_trajectory,
)

pytest.importorskip("dask.array")

from proteinflex_optimization.integrations.dask import map_blocks

LENGTHS = (150, 70, 1, 0)


def frames_of(number):
    rng = np.random.default_rng(number)
    return rng.normal(0, 10, (LENGTHS[number], 4000, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def handler(tmp_path_factory):
    handler = DataHandler(tmp_path_factory.mktemp("cache"))
    for number in range(len(LENGTHS)):
        data = {"frames": frames_of(number)}
        handler.store_trajectory(data, f"run{number}", {"number": number, "kelvin": 300 + number})
    return handler


def bounds(trajectory, start, stop):
    return trajectory.metadata["number"], start, stop


def mean(trajectory, start, stop, atoms, *, scale=1):
    frames = trajectory.read(start, stop, atoms=atoms).astype(np.float64)
    return stop - start, frames.mean(axis=0) * scale if stop > start else 0.0


def computed(tasks):
    return list(dask.compute(*tasks, scheduler="threads"))


def test_results_are_in_the_order_of_trajectories_and_of_frames(handler):
    opened = [handler.open(handler.key_for(f"run{number}")) for number in (2, 0, 3, 1)]
    stored = opened[1].chunk_frames
    found = computed(map_blocks(bounds, opened, frames_per_block=stored - 1))
    step = stored
    expected = [
        [(number, at, min(at + step, LENGTHS[number])) for at in range(0, LENGTHS[number], step)]
        for number in (2, 0, 3, 1)
    ]
    assert found == expected
    assert len(expected[1]) > 1


def test_without_a_size_of_blocks_each_trajectory_is_one(handler):
    opened = [handler.open(key) for key in handler.keys("trajectory")]
    assert sorted(computed(map_blocks(bounds, opened))) == [
        [(number, 0, length)] for number, length in enumerate(LENGTHS)
    ]


def test_a_set_is_filtered_by_metadata_and_analysed(handler):
    chosen = [info for info in handler.entries("trajectory") if info["metadata"]["kelvin"] < 302]
    assert {info["data_id"] for info in chosen} == {"run0", "run1"}
    chosen.sort(key=lambda info: info["data_id"])
    opened = [handler.open(info["key"]) for info in chosen]
    tasks = map_blocks(mean, opened, slice(3, 9), frames_per_block=64, scale=2)
    for number, blocks in enumerate(computed(tasks)):
        count = sum(block[0] for block in blocks)
        found = sum(block[0] * block[1] for block in blocks) / count
        np.testing.assert_allclose(found, 2 * frames_of(number)[:, 3:9].mean(axis=0), rtol=1e-4)


def test_files_are_opened_where_they_are_read(tmp_path):
    paths = [tmp_path / f"{number}.fxt" for number in range(2)]
    for number, path in enumerate(paths):
        with create_trajectory(path, metadata={"number": number}) as writer:
            writer.append(frames_of(number))
    later = map_blocks(bounds, [*paths, tmp_path / "missing.fxt"])
    assert computed(later[:2]) == [[(0, 0, 150)], [(1, 0, 70)]]
    with pytest.raises(FileNotFoundError, match=r"missing\.fxt"):
        computed(later[2:])
    now = map_blocks(bounds, [str(path) for path in paths], frames_per_block=10**6)
    assert computed(now) == computed(later[:2])
    with pytest.raises(FileNotFoundError, match=r"missing\.fxt"):
        map_blocks(bounds, [*paths, tmp_path / "missing.fxt"], frames_per_block=10)


@pytest.mark.parametrize("size", [0, -1, True])
def test_blocks_have_frames(handler, size):
    with pytest.raises(InvalidArgumentError, match="frames_per_block"):
        map_blocks(bounds, [], frames_per_block=size)


def test_one_trajectory_is_no_set(handler):
    opened = handler.open(handler.key_for("run0"))
    for one in (opened, "run.fxt"):
        with pytest.raises(InvalidTypeError, match="trajectories"):
            map_blocks(bounds, one)
