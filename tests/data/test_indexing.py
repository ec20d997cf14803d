"""A trajectory is indexed as the array that it stands for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models.optimization import DataHandler
from proteinflex_optimization.errors import InvalidTypeError

FRAMES = np.random.default_rng(0).normal(size=(23, 7, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def trajectory(tmp_path_factory):
    handler = DataHandler(tmp_path_factory.mktemp("cache"), durable=False)
    return handler.open(handler.store_trajectory({"frames": FRAMES}, "t"))


def of_axis(length: int) -> st.SearchStrategy:
    number = st.integers(-length, length - 1)
    return st.one_of(
        number,
        number.map(np.int64),
        st.slices(length),
        st.lists(number, max_size=5),
        st.lists(number, max_size=5).map(lambda numbers: np.array(numbers, np.int32)),
        st.lists(st.booleans(), min_size=length, max_size=length).map(np.array),
    )


INDICES = st.one_of(
    of_axis(23),
    st.just(Ellipsis),
    st.just(()),
    st.tuples(of_axis(23), of_axis(7)),
    st.tuples(of_axis(23), of_axis(7), of_axis(3)),
    st.tuples(of_axis(23), st.just(Ellipsis), of_axis(3)),
    st.tuples(st.just(Ellipsis), of_axis(7), of_axis(3)),
    st.tuples(st.just(Ellipsis), of_axis(3)),
)


@given(INDICES)
@settings(deadline=None, max_examples=200)
def test_any_index_gives_what_numpy_gives(trajectory, index):
    try:
        expected = FRAMES[index]
    except IndexError:
        with pytest.raises(IndexError):
            trajectory[index]
        return
    found = trajectory[index]
    assert np.shape(found) == expected.shape
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


def test_lists_of_frames_may_repeat_and_be_of_any_shape(trajectory):
    np.testing.assert_array_equal(trajectory[[5, 1, 5, -1]], FRAMES[[5, 1, 5, -1]])
    of_shape = np.array([[0, 22], [3, 3]])
    np.testing.assert_array_equal(trajectory[of_shape], FRAMES[of_shape])


@pytest.mark.parametrize("index", [23, -24, [0, 23], np.ones(22, bool), (0, 7), (0, 0, 0, 0)])
def test_what_is_not_there_is_an_index_error(trajectory, index):
    with pytest.raises(IndexError):
        trajectory[index]


@pytest.mark.parametrize("index", [1.0, "frames", True, None, [1.5], ["a"], (0, None), {1: 2}])
def test_what_is_no_index_is_refused_by_name(trajectory, index):
    with pytest.raises(InvalidTypeError, match="index="):
        trajectory[index]


@pytest.mark.parametrize("dtype", [">f4", ">f8", "<f4"])
def test_every_index_gives_the_dtype_that_was_stored(tmp_path, dtype):
    handler = DataHandler(tmp_path, durable=False)
    frames = FRAMES.astype(dtype)
    trajectory = handler.open(handler.store_trajectory({"frames": frames}, "t"))
    for index in (
        slice(1, 3),
        [1, 2],
        [5, 1],
        [],
        frames[:, 0, 0] > 0,
        (3, [1, 2]),
        ([1, 4], 2),
        7,
    ):
        found = trajectory[index]
        assert found.dtype.str == dtype
        np.testing.assert_array_equal(found, frames[index])
