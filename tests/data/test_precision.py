"""What may be rounded, to what, and what doubles take that hold no more than floats."""

import numpy as np
import pytest
from proteinflex_optimization import (
    DataHandler,
    InvalidArgumentError,
    InvalidTypeError,
    create_trajectory,
)

RANDOM = np.random.default_rng(5)


def fields(n_frames=40, n_atoms=50, dtype=np.float32):
    """Noise in the sizes that coordinates, velocities and forces have."""
    shape = (n_frames, n_atoms, 3)
    sizes = {"frames": 30, "velocities": 8, "forces": 900}
    return {name: RANDOM.normal(0, size, shape).astype(dtype) for name, size in sizes.items()}


def errors(found, stored):
    """The largest error of each field."""
    return {name: np.abs(found[name].astype(np.float64) - stored[name]).max() for name in stored}


@pytest.fixture
def handler(tmp_path):
    return DataHandler(tmp_path / "cache", durable=False)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_number_rounds_coordinates_only(handler, dtype):
    stored = fields(dtype=dtype)
    key = handler.store_trajectory(stored, "x", precision=0.01)
    error = errors(handler.load_data(key), stored)
    assert 0 < error.pop("frames") <= 0.005
    assert error == {"velocities": 0, "forces": 0}
    assert handler.info(key)["precision"] == {"frames": 0.01}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("way", ["at once", "writer", "handler"])
def test_each_named_field_is_rounded_to_its_own_spacing(tmp_path, dtype, way):
    spacings = {"frames": 0.001, "velocities": 0.01, "forces": 1.0}
    stored = fields(dtype=dtype)
    handler = DataHandler(
        tmp_path / "cache", durable=False, precision=spacings if way == "handler" else None
    )
    if way == "writer":
        with handler.trajectory_writer("x", precision=spacings) as writer:
            writer.append(**stored)
        key = writer.key
    else:
        options = {} if way == "handler" else {"precision": spacings}
        key = handler.store_trajectory(stored, "x", **options)
    for name, error in errors(handler.load_data(key), stored).items():
        assert 0 < error <= spacings[name] / 2
    assert handler.info(key)["precision"] == spacings
    exact = handler.store_trajectory(stored, "exact", precision={})
    assert set(errors(handler.load_data(exact), stored).values()) == {0}
    assert handler.info(exact)["precision"] == {}
    assert handler.info(key)["stored_bytes"] < 0.8 * handler.info(exact)["stored_bytes"]


@pytest.mark.parametrize(
    ("precision", "named"),
    [
        ({"velocity": 0.01}, r"precision\['velocity'\].*'frames', 'velocities', 'forces'"),
        ({"frames": 0}, r"precision\['frames'\]=0 "),
        ({"frames": -0.01}, r"precision\['frames'\]=-0.01 "),
        ({"frames": 0.1, "forces": float("nan")}, r"precision\['forces'\]=nan "),
        ({"frames": float("inf")}, r"precision\['frames'\]=inf "),
        ({"frames": True}, r"precision\['frames'\]=True "),
        ({"frames": "0.1"}, r"precision\['frames'\]='0.1' "),
        ({"frames": None}, r"precision\['frames'\]=None "),
        ({1: 0.1}, r"a key of precision=1 "),
        ([0.1], r"precision=\[0.1\] "),
        (True, r"precision=True "),
    ],
)
def test_a_precision_that_makes_no_sense_is_refused_by_name(handler, precision, named):
    with pytest.raises((InvalidArgumentError, InvalidTypeError), match=named):
        handler.store_trajectory(fields(), "x", precision=precision)
    with pytest.raises((InvalidArgumentError, InvalidTypeError), match=named):
        handler.trajectory_writer("x", precision=precision)
    with pytest.raises((InvalidArgumentError, InvalidTypeError), match=named):
        DataHandler(handler.cache_dir, precision=precision)
    assert len(handler) == 0


def test_a_resumed_trajectory_has_the_precision_of_each_field_that_it_was_begun_with(handler):
    begun = {"frames": 0.001, "velocities": 0.01}
    with handler.trajectory_writer("x", precision=begun) as writer:
        writer.append(**fields())
    for other in ({"frames": 0.001}, {"frames": 0.001, "velocities": 0.1}, 0.001, {}):
        with pytest.raises(
            InvalidArgumentError,
            match=r"precision=.*expected \{'frames': 0.001, 'velocities': 0.01\}.*overwrite",
        ):
            handler.trajectory_writer("x", precision=other, resume=True)
    with handler.trajectory_writer("x", precision=begun, resume=True) as writer:
        writer.append(**fields())
    assert handler.open(writer.key).n_frames == 80


@pytest.mark.parametrize("protocol", range(6))
def test_a_handler_with_precisions_pickles(tmp_path, protocol):
    import pickle

    handler = DataHandler(tmp_path, precision={"velocities": 0.5})
    again = pickle.loads(pickle.dumps(handler, protocol))
    stored = fields()
    error = errors(again.load_data(again.store_trajectory(stored, "x")), stored)
    assert error["frames"] == 0
    assert 0 < error["velocities"] <= 0.25


def chain(n_frames=70, n_atoms=600):
    """A chain that bends, in Å."""
    steps = np.cumsum(RANDOM.normal((0.9, 0.4, 0.2), 0.8, (n_atoms, 3)), axis=0)
    return (steps + RANDOM.normal(0, 0.05, (n_frames, n_atoms, 3))).astype(np.float32)


def xtc(frames):
    """What MDAnalysis makes of the integers of an XTC file."""
    return np.rint(frames * 100).astype(np.float32) * np.float32(1 / 1000) * np.float32(10)


#: How doubles come about: the floats, and what becomes of them.
ORIGINS = {
    "float32, widened": (lambda x: x, np.float64),
    "nm in single precision, in Å": (lambda x: x / np.float32(10), lambda x: x.astype(float) * 10),
    "Å in single precision, in nm": (lambda x: x, lambda x: x.astype(float) / 10),
    "Å in single precision, by 0.1": (lambda x: x, lambda x: x.astype(float) * 0.1),
    "XTC, widened": (xtc, np.float64),
    "XTC in nm, in Å": (
        lambda x: np.rint(x * 100).astype(np.float32) * np.float32(1 / 1000),
        lambda x: x.astype(float) * 10,
    ),
    "text": (lambda x: np.rint(x * 1000) / np.float32(1000), lambda x: np.rint(x * 1e3) / 1000),
}


@pytest.mark.parametrize("profile", ["default", "archive"])
@pytest.mark.parametrize("origin", ORIGINS)
def test_doubles_that_hold_floats_take_what_floats_take(handler, origin, profile):
    as_floats, as_doubles = ORIGINS[origin]
    floats = as_floats(chain())
    doubles = np.asarray(as_doubles(floats.astype(float) if origin == "text" else floats))
    sizes = {}
    for name, frames in [("float32", floats), ("float64", doubles)]:
        key = handler.store_trajectory({"frames": frames}, name, profile=profile)
        with handler.open(key) as trajectory:
            assert trajectory.read().tobytes() == frames.tobytes()
            assert trajectory[41].tobytes() == frames[41].tobytes()
            some = trajectory.read(step=9, atoms=[599, 0, 256])
            assert some.tobytes() == frames[::9, [599, 0, 256]].tobytes()
        sizes[name] = handler.info(key)["stored_bytes"]
    assert sizes["float64"] <= 1.02 * sizes["float32"]


@pytest.mark.parametrize("precision", [0.01, 0.001])
def test_rounded_doubles_take_what_rounded_floats_take(handler, precision):
    places = np.rint(chain().astype(np.float64) / precision) * precision
    floats = places.astype(np.float32)
    doubles = places + precision / 9  # no float holds these, and the same places are nearest
    sizes = {}
    for name, frames in [("float32", floats), ("float64", doubles)]:
        key = handler.store_trajectory({"frames": frames}, name, precision=precision)
        sizes[name] = handler.info(key)["stored_bytes"]
    found = handler.load_data(key)["frames"]
    assert found.dtype == np.float64
    assert np.abs(found - doubles).max() <= precision / 2
    assert sizes["float64"] <= 1.02 * sizes["float32"]


def test_doubles_with_all_their_bits_take_no_more_than_they_are(handler):
    frames = RANDOM.normal(0, 30, (64, 500, 3))
    key = handler.store_trajectory({"frames": frames}, "x")
    assert handler.load_data(key)["frames"].tobytes() == frames.tobytes()
    assert handler.info(key)["stored_bytes"] <= 1.01 * frames.nbytes


@pytest.mark.parametrize("way", ["at once", "iterable", "beside", "writer", "file", "handler"])
def test_a_precision_for_big_endian_numbers_is_refused_before_they_are_stored(tmp_path, way):
    little, big = fields(), {name: x.astype(">f4") for name, x in fields().items()}
    both = {"frames": 0.01, "velocities": 0.01}
    handler = DataHandler(tmp_path, durable=False, precision=0.01 if way == "handler" else None)
    path = tmp_path / "x.fxt"

    def store():
        if way in ("at once", "handler"):
            handler.store_trajectory(big, "x", precision=0.01 if way == "at once" else None)
        elif way == "iterable":
            handler.store_trajectory({"frames": iter(big["frames"])}, "x", precision=0.01)
        elif way == "beside":
            data = {"frames": iter(little["frames"]), "velocities": big["velocities"]}
            handler.store_trajectory(data, "x", precision=both)
        elif way == "writer":
            with handler.trajectory_writer("x", precision=both) as writer:
                writer.append(**{**little, "velocities": big["velocities"]})
        else:
            with create_trajectory(path, precision=0.01) as writer:
                writer.append(big["frames"])

    with pytest.raises(InvalidArgumentError, match=r"^precision=.*>f4.*astype\(\"<f4\"\)"):
        store()
    assert (len(handler), handler.unfinished(), path.exists()) == (0, [], False)
    key = handler.store_trajectory(big, "x", precision={})
    found = handler.load_data(key)
    assert found["frames"].dtype == ">f4"
    assert set(errors(found, big).values()) == {0}


def test_a_precision_that_is_too_small_for_a_float_is_told_from_one_that_is_not_positive(handler):
    for precision in (5e-324, {"forces": 1e-310}):
        with pytest.raises(InvalidArgumentError, match="positive, finite number from 2.3e-308 on"):
            handler.store_trajectory(fields(), "x", precision=precision)
    handler.store_trajectory(fields(), "x", precision=2.3e-308)
