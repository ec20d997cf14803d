"""What is stored comes back: names, dtypes, shapes and every bit."""

import math
import subprocess
import sys
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from proteinflex_optimization import (
    CheckpointManager,
    DataHandler,
    InvalidArgumentError,
    InvalidTypeError,
    ProgressTracker,
    create_trajectory,
    open_trajectory,
)


def same(found, stored):
    """Whether two values are the same to the last bit, and of the same types."""
    if isinstance(stored, np.ndarray):
        return (
            type(found) is np.ndarray
            and found.dtype == stored.dtype
            and found.shape == stored.shape
            and found.tobytes() == stored.tobytes()
        )
    if type(found) is not type(stored):
        return False
    if isinstance(stored, dict):
        return list(found) == list(stored) and all(same(found[k], stored[k]) for k in stored)
    if isinstance(stored, list | tuple):
        return len(found) == len(stored) and all(map(same, found, stored))
    if isinstance(stored, np.generic):
        return found.dtype == stored.dtype and found.tobytes() == stored.tobytes()
    if isinstance(stored, float):
        return np.float64(found).tobytes() == np.float64(stored).tobytes()
    return found == stored


@pytest.fixture(params=[True, False], ids=["compressed", "plain"])
def handler(request, tmp_path):
    return DataHandler(tmp_path / "cache", enable_compression=request.param)


ARRAYS = {
    "float16": np.arange(7, dtype=np.float16),
    "float32": np.array([0.1, -0.0, np.nan, np.inf, -np.inf, 1e-45], np.float32),
    "float64": np.random.default_rng(1).normal(size=(3, 5, 7)),
    "longdouble": np.array([1, 3], np.longdouble) / 3,
    "complex64": np.array([1 + 2j, -0.0j], np.complex64),
    "complex128": np.array([[1 + 2j]]),
    "bool": np.array([True, False, True]),
    "int8": np.arange(-3, 3, dtype=np.int8),
    "uint64": np.array([2**64 - 1, 0], np.uint64),
    "big_endian": np.arange(5, dtype=">i4"),
    "text": np.array(["CA", "CB", "übung"]),
    "bytes": np.array([b"ab", b"c"]),
    "time": np.array(["2026-01-01", "NaT"], "datetime64[ns]"),
    "span": np.array([1, 2], "timedelta64[ms]"),
    "record": np.array([(1, 2.5, b"x")], [("i", "i4"), ("f", "f8"), ("s", "S3")]),
    "padded": np.zeros(3, np.dtype([("a", "i1"), ("b", "f8")], align=True)),
    "nested": np.zeros(2, [("m", "f4", (2, 2)), ("inner", [("x", "u2")])]),
    "empty text": np.ndarray((2, 3), "U0"),
    "empty bytes": np.ndarray((3,), "S0"),
    "empty records": np.zeros(3, [("a", "V0"), ("b", [])]),
    "scalar": np.array(3.5),
    "empty": np.empty((0, 3), np.float32),
    "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "strided": np.arange(20)[::3],
    "transposed": np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1),
    "titled": np.zeros(2, [(("position along x", "x"), "f4"), ("y", [(("", "z"), "f8")])]),
    "constant": np.full(1000, 7.25),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_of_every_dtype_and_layout(handler, name):
    key = handler.store_structure({"array": ARRAYS[name]}, name)
    assert same(handler.load_data(key)["array"], ARRAYS[name])


def test_fortran_order_is_kept(handler):
    key = handler.store_structure({"array": ARRAYS["fortran"]}, "x")
    assert handler.load_data(key)["array"].flags.f_contiguous


def test_plain_values_keep_their_types(handler):
    data = {
        "none": None,
        "bool": True,
        "int": -5,
        "large": 2**64 - 1,
        "huge": -(10**40),
        "float": -0.0,
        "nan": math.nan,
        "complex": 1 - 2j,
        "text": "α-helix\n\0",
        "surrogate": "\ud800",
        "long": "x" * 200_000,
        "bytes": b"\x00\xff",
        "many_bytes": bytes(range(256)) * 1000,
        "tuple": (1, (2.0, "x"), []),
        "list": [1, [2, [3]], ()],
        "dict": {"a": {"b": (1,)}, 3: "int key", (1, "x"): None},
        "numpy": [np.float32(1.5), np.int64(3), np.bool_(True)],
        "in_list": [np.arange(3), {"deep": np.eye(2)}],
    }
    loaded = handler.load_data(handler.store_structure(data, "plain"))
    assert same(loaded, data)


SCALARS = {
    "empty text": np.str_(""),
    "text": np.str_("ab\0"),
    "empty bytes": np.bytes_(b""),
    "bytes": np.bytes_(b"ab\0\0"),
    "void": np.void(b"ab\0"),
    "empty void": np.zeros(1, "V0")[0],
    "empty record": np.zeros(1, [("a", "S0")])[0],
    "record": np.array([(b"a", 1)], [("a", "S3"), ("b", ">i4")])[0],
}


@pytest.mark.parametrize("name", SCALARS)
def test_scalars_that_are_empty_or_end_with_nul_come_back_from_everywhere(handler, tmp_path, name):
    scalar, frames = SCALARS[name], np.zeros((2, 3, 3), np.float32)
    handler.store_structure({"value": scalar}, "s", metadata={"value": scalar})
    handler.store_trajectory({"frames": frames, "value": scalar}, "t", metadata={"value": scalar})
    computed = [handler.get_or_compute("c", lambda: {"value": scalar})["value"] for _ in range(2)]
    with create_trajectory(tmp_path / "t.fxt", {"value": scalar}) as writer:
        writer.append(frames)
    with ProgressTracker(checkpoint_dir=tmp_path / "progress") as tracker:
        tracker.start_task("task", "Task", 1, metadata={"value": scalar})
        task = tracker.get_progress()["tasks"]["task"]
    for found in [
        handler.load_data("s")["value"],
        handler.load_data("t")["value"],
        handler.info("s")["metadata"]["value"],
        handler.open("t").metadata["value"],
        *computed,
        open_trajectory(tmp_path / "t.fxt").metadata["value"],
        task["metadata"]["value"],
    ]:
        assert same(found, scalar)
    if isinstance(scalar, np.void):
        assert handler.load_data("s")["value"].flags.writeable == scalar.flags.writeable


def test_keys_that_are_scalars_of_numpy_come_back_as_what_they_are_equal_to(handler, tmp_path):
    values = {
        np.str_("name\0"): 1,
        np.int64(3): 2,
        np.float32(0.5): 3,
        np.bool_(True): 4,
        np.bytes_(b"b\0"): 5,
        (np.str_("CA"), np.uint8(7)): 6,
    }
    plain = {"name\0": 1, 3: 2, 0.5: 3, True: 4, b"b\0": 5, ("CA", 7): 6}
    frames, time = np.zeros((2, 3, 3), np.float32), np.arange(2.0)
    handler.store_structure({np.str_("values"): values}, np.str_("s"), metadata=values)
    data = {np.str_("frames"): frames, np.str_("time"): time, np.str_("values"): values}
    handler.store_trajectory(data, "t", metadata=values)
    manager = CheckpointManager(tmp_path / "checkpoints")
    path = manager.create_checkpoint("c", {np.str_("state"): {np.str_("values"): values}})
    assert handler.open("t").fields == ["frames", "time"]
    for found in (
        handler.load_data("s")["values"],
        handler.load_data("t")["values"],
        handler.info("s")["metadata"],
        handler.open("t").metadata,
        manager.load_checkpoint(path)["state"]["values"],
    ):
        assert same(found, plain)
        assert list(map(type, found)) == list(map(type, plain))
        assert all(found[key] == value for key, value in values.items())


@pytest.mark.parametrize(
    "key", [np.timedelta64(3, "ns"), np.longdouble(3), np.complex64(3), np.datetime64("NaT")]
)
def test_a_key_that_would_lose_what_it_is_is_refused(handler, key):
    with pytest.raises(InvalidTypeError, match=r"a key of structure_data\['a'\].*a plain str, int"):
        handler.store_structure({"a": {key: 1}}, "x")


def test_a_dtype_whose_description_is_too_long_is_refused_with_the_limit(handler):
    dtype = np.dtype([(f"field_{number:05d}", "f4") for number in range(3000)])
    with pytest.raises(InvalidArgumentError, match="description takes at most 64 KiB"):
        handler.store_structure({"x": np.zeros(2, dtype)}, "s")


@pytest.mark.parametrize("dtype", ["S0", "U0", "V0", []], ids=str)
def test_frames_may_have_fields_of_empty_items(handler, dtype):
    field = np.ndarray((2, 3), dtype)
    with handler.trajectory_writer("md") as writer:
        writer.append(np.zeros((2, 3, 3), np.float32), empty=field)
        assert same(writer.read("empty"), field)
    assert same(handler.open("md").read(field="empty"), field)
    assert same(handler.load_data("md")["empty"], field)


def test_an_ordered_dict_may_be_stored(handler):
    data = OrderedDict(b=np.arange(2), a=1)
    assert list(handler.load_data(handler.store_structure(data, "x"))) == ["b", "a"]


def test_the_same_array_twice_is_stored_once(handler):
    array = np.random.default_rng(1).normal(size=50_000)
    one = handler.info(handler.store_structure({"a": array}, "one"))["stored_bytes"]
    two = handler.info(handler.store_structure({"a": array, "b": array}, "two"))["stored_bytes"]
    assert two < 1.1 * one


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_trajectories_with_fields(handler, dtype):
    random = np.random.default_rng(2)
    data = {
        "frames": random.normal(0, 20, (150, 11, 3)).astype(dtype),
        "time": np.arange(150) * 0.5,
        "box": np.repeat(np.eye(3, dtype=np.float32)[None], 150, 0),
        "velocities": random.normal(size=(150, 11, 3)).astype(dtype),
        "energy": random.normal(size=150),
        "state": np.arange(150) % 3 == 0,
        "masses": random.uniform(1, 16, 11),
        "note": "x",
    }
    key = handler.store_trajectory(data, "md")
    assert same(handler.load_data(key), data)
    with handler.open(key) as trajectory:
        assert set(trajectory.fields) >= {"frames", "time", "box", "velocities", "energy", "state"}
        assert "masses" not in trajectory.fields


@given(
    frames=hnp.arrays(
        st.sampled_from([np.uint32, np.uint64]),
        st.tuples(st.integers(1, 70), st.integers(0, 5), st.just(3)),
        elements={},
        fill=st.nothing(),
    )
)
@settings(max_examples=40, deadline=None)
def test_any_bits_of_coordinates_round_trip(tmp_path_factory, frames):
    frames = frames.view(np.float32 if frames.dtype == np.uint32 else np.float64)
    handler = DataHandler(tmp_path_factory.mktemp("cache"))
    loaded = handler.load_data(handler.store_trajectory({"frames": frames}, "x"))
    assert same(loaded["frames"], frames)


@pytest.mark.parametrize("precision", [0.01, 0.001])
def test_a_precision_bounds_the_error(tmp_path, precision):
    frames = np.random.default_rng(3).normal(0, 30, (100, 20, 3)).astype(np.float32)
    frames[5, 3, 1] = np.nan
    frames[6, 3, 1] = 1e30
    handler = DataHandler(tmp_path)
    key = handler.store_trajectory(
        {"frames": frames, "time": np.arange(100) / 3}, "x", precision=precision
    )
    loaded = handler.load_data(key)
    error = np.abs(loaded["frames"].astype(np.float64) - frames.astype(np.float64))
    assert np.nanmax(error) <= precision / 2
    assert np.isnan(loaded["frames"][5, 3, 1])
    assert loaded["frames"][6, 3, 1] == np.float32(1e30)
    assert same(loaded["time"], np.arange(100) / 3)
    lossless = handler.store_trajectory({"frames": frames}, "y")
    assert handler.info(key)["stored_bytes"] < 0.8 * handler.info(lossless)["stored_bytes"]


def test_frames_may_come_from_an_iterable(handler):
    frames = np.random.default_rng(4).normal(size=(130, 7, 3)).astype(np.float32)
    time = np.arange(130.0)
    one_by_one = handler.store_trajectory({"frames": iter(frames), "time": time}, "one")
    blocks = (frames[start : start + 33] for start in range(0, 130, 33))
    in_blocks = handler.store_trajectory({"frames": blocks}, "blocks")
    assert same(handler.load_data(one_by_one), {"frames": frames, "time": time})
    assert same(handler.load_data(in_blocks), {"frames": frames})


def streamed(frames, handler):
    """Give the same frames in all ways that are not one array."""
    blocks = [frames[start : start + 33] for start in range(0, len(frames), 33)]
    handler.store_trajectory({"frames": frames}, "source")
    yield from (iter(frames), list(frames), iter(blocks), blocks, handler.open("source"))


def test_fields_beside_frames_that_are_streamed_are_fields(handler):
    random = np.random.default_rng(6)
    frames = random.normal(0, 20, (150, 11, 3)).astype(np.float32)
    data = {
        "time": np.arange(150.0),
        "masses": random.normal(size=11),
        "charges": random.normal(size=(150, 11)),
        "frames": frames,
        "velocities": random.normal(size=(150, 11, 3)).astype(np.float32),
        "box": np.tile(np.eye(3) * 30, (150, 1, 1)),
        "state": np.arange(150, dtype=np.int16),
        "nothing": np.zeros((150, 0)),
    }
    for way in streamed(frames, handler):
        key = handler.store_trajectory({**data, "frames": way}, "x", precision={"velocities": 0.1})
        trajectory = handler.open(key)
        assert sorted(trajectory.fields) == sorted(set(data) - {"masses"})
        loaded = handler.load_data(key)
        velocities = loaded.pop("velocities")
        assert same(loaded, {name: data[name] for name in data if name != "velocities"})
        assert np.abs(velocities - data["velocities"]).max() <= 0.05 + 1e-6
        assert same(velocities, data["velocities"]) == (not handler_compresses(trajectory))
        np.testing.assert_array_equal(trajectory.time, data["time"])
        charges = trajectory.read(100, 20, -7, atoms=[10, 2], field="charges")
        np.testing.assert_array_equal(charges, data["charges"][100:20:-7, [10, 2]])
        assert handler.verify(key)["ok"]
    with handler.trajectory_writer("x", resume=True) as writer:
        more = {name: loaded[name][:1] for name in trajectory.fields if name in loaded}
        writer.append(velocities=velocities[:1], **more)
    assert len(handler.open("x")) == 151
    computed = handler.get_or_compute(
        "y", lambda: {"frames": iter(frames), "time": data["time"]}, kind="trajectory"
    )
    assert same(computed["time"], data["time"])
    assert handler.open("y").fields == ["frames", "time"]


def handler_compresses(trajectory):
    return trajectory.stored_bytes < 0.99 * trajectory.raw_bytes


def test_what_a_generator_of_frames_fills_in_is_stored_as_it_is_at_the_end(handler):
    energy, time = np.zeros(70), []

    def frames():
        for number in range(70):
            energy[number] = number
            time.append(0.5 * number)
            yield np.full((4, 3), number, np.float32)

    key = handler.store_trajectory({"frames": frames(), "energy": energy, "time": time}, "x")
    assert handler.open(key).fields == ["frames", "energy", "time"]
    assert same(handler.load_data(key)["time"], np.arange(70) * 0.5)
    assert same(handler.load_data(key)["energy"], np.arange(70.0))


def test_lists_that_can_only_be_per_frame_data_are_fields(handler):
    frames = np.zeros((3, 4, 3), np.float32)
    cell = [30.0, 30, 30, 90, 90, 90]
    data = {
        "frames": frames,
        "time": [0.0, 500, 1000],
        "box": (cell, cell, cell),
        "tags": [1, 2, 3],
    }
    trajectory = handler.open(handler.store_trajectory(data, "x"))
    assert trajectory.fields == ["frames", "time", "box"]
    np.testing.assert_array_equal(trajectory.time, [0, 500, 1000])
    assert trajectory.read(field="box").shape == (3, 6)
    assert handler["x"]["tags"] == [1, 2, 3]


@pytest.mark.parametrize("n_frames", [1, 3, 6])
@pytest.mark.parametrize("box", [[30.0, 30, 30], [30.0, 30, 30, 90, 90, 90], np.eye(3) * 30])
def test_one_box_for_all_frames_is_no_field(handler, n_frames, box):
    frames = np.zeros((n_frames, 4, 3), np.float32)
    for way in (frames, iter(frames)):
        key = handler.store_trajectory({"frames": way, "box": box}, "x")
        assert handler.open(key).fields == ["frames"]
        assert same(handler.load_data(key)["box"], np.array(box))


def test_frames_may_be_a_memory_map(handler, tmp_path):
    frames = np.random.default_rng(5).normal(size=(40, 7, 3)).astype(np.float32)
    np.save(tmp_path / "frames.npy", frames)
    mapped = np.load(tmp_path / "frames.npy", mmap_mode="r")
    key = handler.store_trajectory({"frames": mapped}, "mapped")
    assert same(handler.load_data(key), {"frames": frames})


def test_another_process_finds_what_was_stored(handler):
    key = handler.store_structure({"positions": np.arange(6.0).reshape(2, 3)}, "shared")
    code = (
        "import sys; from proteinflex_optimization import DataHandler\n"
        "print(DataHandler(sys.argv[1]).load_data(sys.argv[2])['positions'].tolist())"
    )
    command = [sys.executable, "-c", code, str(handler.cache_dir), key]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]"


@pytest.mark.torch
def test_tensors_come_back_as_arrays(handler):
    import torch

    tensors = {
        "plain": torch.arange(6.0).reshape(2, 3),
        "grad": torch.ones(2, requires_grad=True),
        "strided": torch.arange(10)[::2],
        "bfloat16": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    }
    loaded = handler.load_data(handler.store_structure(tensors, "x"))
    for name, tensor in tensors.items():
        assert isinstance(loaded[name], np.ndarray)
        np.testing.assert_array_equal(loaded[name], tensor.detach().float().numpy())
    frames = torch.randn(5, 4, 3)
    loaded = handler.load_data(handler.store_trajectory({"frames": frames}, "y"))
    assert same(loaded["frames"], frames.numpy())


@pytest.mark.torch
def test_tensors_that_no_array_holds_are_named(handler):
    torch = pytest.importorskip("torch")

    class Dated(torch.Tensor):
        pass

    def store(tensor):
        for data in ({"a": {"b": tensor}}, {"frames": tensor}):
            with pytest.raises(InvalidTypeError, match=r"\['b'\] is a|frames is a"):
                (handler.store_structure if "a" in data else handler.store_trajectory)(data, "x")
        return torch.ones(())

    store(Dated([1.0]))
    store(torch.zeros(3, dtype=torch.uint8).view(torch.bits8))
    torch.vmap(store)(torch.ones(2, 3))
    assert not handler.keys()
