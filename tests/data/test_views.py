"""Uncompressed arrays are views of the file; what is open stays readable."""

import copy
import os
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from proteinflex_optimization import CacheKeyError, DataHandler, InvalidArgumentError


@pytest.fixture
def frames():
    return np.random.default_rng(1).normal(0, 10, (300, 50, 3)).astype(np.float32)


@pytest.fixture(params=[True, False], ids=["compressed", "plain"])
def trajectory(request, tmp_path, frames):
    handler = DataHandler(tmp_path, enable_compression=request.param)
    data = {"frames": frames, "time": np.arange(300) * 2.0}
    return handler.open(handler.store_trajectory(data, "md", {"timestep": 2.0}))


def anonymous_memory():
    """Bytes of memory that no file backs."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"RssAnon:\s+(\d+)", status)[1])


def test_plain_arrays_are_read_only_views_of_the_mapping(tmp_path):
    handler = DataHandler(tmp_path, enable_compression=False)
    array = np.random.default_rng(2).normal(size=(1000, 1000))
    key = handler.store_structure({"array": array}, "x")
    before = anonymous_memory()
    views = [handler.load_data(key)["array"] for _ in range(50)]
    assert not views[0].flags.owndata
    assert not views[0].flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        views[0][0, 0] = 1
    # 50 copies would take 400 MB.
    assert anonymous_memory() - before < 100_000_000
    assert handler.get_cache_stats()["memory"]["mapped_bytes"] >= 50 * array.nbytes


def test_what_was_stored_compressed_is_never_a_view(tmp_path):
    handler = DataHandler(tmp_path)
    noise = np.frombuffer(np.random.default_rng(2).bytes(80_000), np.uint64)
    arrays = {
        "noise": noise,
        "few": np.arange(5.0),
        "none": np.zeros((0, 3)),
        "zeros": np.zeros(10_000),
    }
    loaded = handler.load_data(handler.store_structure(arrays, "x"))
    assert all(array.flags.owndata and array.flags.writeable for array in loaded.values())
    assert ".fxt" not in Path("/proc/self/maps").read_text()


def test_a_view_outlives_handler_entry_and_file(tmp_path):
    handler = DataHandler(tmp_path, enable_compression=False)
    array = np.arange(100_000.0)
    key = handler.store_structure({"array": array}, "x")
    view = handler.load_data(key)["array"]
    handler.store_structure({"array": -array}, "x")
    handler.remove(key)
    del handler
    np.testing.assert_array_equal(view, array)


def test_the_handle_tells_what_it_is_of(trajectory, frames):
    assert len(trajectory) == trajectory.n_frames == 300
    assert trajectory.shape == (300, 50, 3)
    assert trajectory.n_atoms == 50
    assert trajectory.dtype == np.float32
    assert trajectory.metadata == {"timestep": 2.0}
    np.testing.assert_array_equal(trajectory.time, np.arange(300) * 2.0)
    assert "300 frames × 50 atoms" in repr(trajectory)
    np.testing.assert_array_equal(np.asarray(trajectory), frames)


@pytest.mark.parametrize(
    "index",
    [
        0,
        -1,
        299,
        np.int64(7),
        slice(None),
        slice(10, 20),
        slice(None, None, -1),
        slice(250, 3, -7),
        slice(5, 5),
        slice(-10, None, 3),
        slice(0, 10**9),
    ],
)
def test_frames_are_selected_as_from_an_array(trajectory, frames, index):
    np.testing.assert_array_equal(trajectory[index], frames[index])


@pytest.mark.parametrize(
    "atoms",
    [[3], [5, 1, 1, -1], np.arange(50) % 2 == 0, slice(10, 20), slice(None, None, -1), [], 7],
)
def test_atoms_are_selected_as_from_an_array(trajectory, frames, atoms):
    expected = np.atleast_3d(frames[40:200:9][:, np.atleast_1d(np.arange(50)[atoms])])
    np.testing.assert_array_equal(trajectory.read(40, 200, 9, atoms=atoms), expected)


def test_out_is_filled_and_given_back(trajectory, frames):
    out = np.empty((10, 50, 3), np.float32)
    assert trajectory.read(20, 40, 2, out=out) is out
    np.testing.assert_array_equal(out, frames[20:40:2])


def test_what_can_not_be_read_is_named(trajectory):
    with pytest.raises(InvalidArgumentError, match="atoms"):
        trajectory.read(atoms=[50])
    with pytest.raises(InvalidArgumentError, match="atoms"):
        trajectory.read(atoms=["CA"])
    with pytest.raises(InvalidArgumentError, match="field='forces'|field=\"forces\""):
        trajectory.read(field="forces")
    with pytest.raises(InvalidArgumentError, match='atoms=.*None: the field "time"'):
        trajectory.read(atoms=[0], field="time")
    with pytest.raises(InvalidArgumentError, match="out"):
        trajectory.read(out=np.empty((300, 50, 3)))
    with pytest.raises(InvalidArgumentError, match="start"):
        trajectory.read(1.5)
    with pytest.raises(IndexError, match="300 frames"):
        trajectory[300]


def test_atoms_are_of_fields_that_have_an_item_for_each(tmp_path):
    handler = DataHandler(tmp_path)
    data = {
        "frames": np.zeros((2, 3, 3)),
        "box": np.tile(np.diag([10.0, 20, 30]), (2, 1, 1)),
        "charges": np.arange(6.0).reshape(2, 3),
        "pairs": np.ones((2, 4)),
    }
    trajectory = handler.open(handler.store_trajectory(data, "x"))
    np.testing.assert_array_equal(trajectory.read(field="charges", atoms=[2]), [[2], [5]])
    for field in ("box", "pairs"):
        with pytest.raises(InvalidArgumentError, match=f'None: the field "{field}" has no items'):
            trajectory.read(field=field, atoms=[0, 1])
        assert trajectory.read(field=field).shape == data[field].shape


def test_iteration_gives_every_frame(trajectory, frames):
    count = 0
    for frame, expected in zip(trajectory, frames, strict=True):
        np.testing.assert_array_equal(frame, expected)
        count += 1
    assert count == 300


def test_a_handle_pickles_as_its_place(trajectory, frames):
    pickled = pickle.dumps(trajectory)
    assert len(pickled) < 1000
    np.testing.assert_array_equal(pickle.loads(pickled)[17], frames[17])


def test_a_handle_of_a_cache_that_is_only_read_changes_nothing_once_it_is_pickled(
    trajectory, frames
):
    directory = trajectory.cache_dir
    shutil.rmtree(directory / "pins")  # Whoever may write makes it again.
    trajectory = DataHandler(directory, read_only=True).open("md")
    os.utime(trajectory.path, (0, 0))
    before = {path: path.stat().st_mtime_ns for path in directory.rglob("*")}
    for again in (pickle.loads(pickle.dumps(trajectory)), copy.copy(trajectory)):
        np.testing.assert_array_equal(again[17], frames[17])
    assert {path: path.stat().st_mtime_ns for path in directory.rglob("*")} == before


def test_a_pickled_handle_does_not_give_other_data(trajectory, frames):
    pickled = pickle.dumps(trajectory)
    DataHandler(trajectory.cache_dir).store_trajectory({"frames": frames + 1}, "md")
    with pytest.raises(CacheKeyError, match="replaced"):
        pickle.loads(pickled)


def test_a_pickled_handle_does_not_give_other_metadata(tmp_path, frames):
    handler = DataHandler(tmp_path / "cache")
    for dt in (1.0, 2.0):
        key = handler.store_trajectory({"frames": frames}, "md", metadata={"dt": dt})
        if dt == 1.0:
            pickled = pickle.dumps(handler.open(key))
            assert pickle.loads(pickled).metadata == {"dt": 1.0}
    with pytest.raises(CacheKeyError, match="replaced"):
        pickle.loads(pickled)


def test_a_handle_that_is_unpickled_where_its_directory_is_not_says_so(trajectory, tmp_path):
    pickled = pickle.dumps(trajectory)
    tmp_path.rename(tmp_path.with_name(f"{tmp_path.name} elsewhere"))
    with pytest.raises(CacheKeyError, match="is its file system mounted"):
        pickle.loads(pickled)
    assert not tmp_path.exists()
