"""Real and unreal molecules through the cache: kept bit by bit, or within the bound."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proteinflex_optimization import DataHandler

SPECIAL = np.array(
    [
        0x80000000,  # -0
        0x00000001,  # the smallest denormal
        0x807FFFFF,  # the largest, negative
        0x7F800000,  # infinity
        0xFF800000,
        0x7FC00000,  # NaN
        0x7FA12345,  # a signalling one with a payload
        0xFFFFFFFF,
        0x7F7FFFFF,  # the largest float
        0x4B000001,  # 2**23 + 1
    ],
    np.uint32,
).view(np.float32)


def water(n_frames, n_atoms, seed=1):
    """Rigid water that turns and drifts, in Å; the last molecule may be cut short."""
    random = np.random.default_rng(seed)
    n = -(-n_atoms // 3)
    oxygen = random.uniform(0, 30, (1, n, 3)) + random.normal(0, 0.1, (n_frames, n, 3)).cumsum(0)
    axes = np.linalg.qr(random.normal(size=(n_frames, n, 3, 3)))[0]
    ends = np.array([[0.9572, 0, 0], [-0.2400, 0.9266, 0]]) @ axes
    molecules = np.concatenate([oxygen[:, :, None], oxygen[:, :, None] + ends], axis=2)
    return molecules.reshape(n_frames, -1, 3)[:, :n_atoms]


def as_xtc(positions):
    """What MDAnalysis makes of the integers of an XTC file."""
    integers = np.rint(positions * 100).astype(np.float32)
    return (integers * np.float32(1 / 1000)) * np.float32(10)


def test_a_few_frames_take_nearly_what_an_archive_of_them_takes(tmp_path):
    handler = DataHandler(tmp_path)
    frames = as_xtc(water(5, 24_000))
    stored = {}
    for profile in ("default", "archive"):
        key = handler.store_trajectory({"frames": frames}, profile, profile=profile)
        stored[profile] = handler.info(key)["stored_bytes"]
    # With fixed widths, a third more.
    assert stored["default"] < 1.1 * stored["archive"]


@given(
    n_frames=st.sampled_from([1, 2, 7, 8, 9, 63, 64, 65, 130]),
    n_atoms=st.sampled_from([1, 2, 3, 4, 254, 255, 256, 257, 300]),
    on_grid=st.booleans(),
    dtype=st.sampled_from([np.float32, np.float64]),
    precision=st.sampled_from([None, 0.01, 0.001, 1e-5]),
    profile=st.sampled_from(["default", "archive"]),
    stray=st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, len(SPECIAL) - 1)), max_size=8),
    far=st.sampled_from([0, 0, 1e3, 1e5, 1e7]),
    part=st.sampled_from([1, 5, 64, 1000]),
)
@settings(max_examples=60, deadline=None)
def test_any_number_of_atoms_and_frames_and_whatever_floats(
    tmp_path_factory, n_frames, n_atoms, on_grid, dtype, precision, profile, stray, far, part
):
    frames = water(n_frames, n_atoms) + far
    frames = (as_xtc(frames) if on_grid else frames).astype(dtype)
    with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet one
        for place, number in stray:
            frames.ravel()[place % frames.size] = SPECIAL[number]
    handler = DataHandler(tmp_path_factory.mktemp("cache"))
    with handler.trajectory_writer("x", precision=precision, profile=profile) as writer:
        for first in range(0, n_frames, part):
            writer.append(frames[first : first + part])
    with handler.open(writer.key) as trajectory:
        found = trajectory.read()
        assert found.dtype == dtype
        agree(found, frames, precision)
        last = trajectory[n_frames - 1]
        assert last.tobytes() == found[-1].tobytes()
        some = [n_atoms - 1, 0]
        assert trajectory.read(atoms=some).tobytes() == found[:, some].tobytes()


def agree(found, stored, precision):
    """Check every bit, or every difference."""
    bits = np.dtype(f"u{stored.itemsize}")
    same = found.view(bits) == stored.view(bits)
    if precision is None:
        assert same.all()
    else:
        with np.errstate(invalid="ignore"):
            error = np.abs(found.astype(np.float64) - stored.astype(np.float64))
        assert (same | (error <= precision / 2)).all()


@pytest.mark.parametrize("name", ["XTC", "TRR"])
def test_atoms_wrapped_one_by_one_are_kept_and_still_take_less(tmp_path, name):
    from MDAnalysis import Universe
    from MDAnalysisTests import datafiles

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        universe = Universe(datafiles.GRO, getattr(datafiles, name))
        frames, whole = [], 0
        for _ in universe.trajectory[:4]:
            before = universe.atoms.positions
            frames.append(universe.atoms.wrap(compound="atoms"))
            whole += np.isclose(before, frames[-1], atol=1).all(axis=1).sum()
    frames = np.array(frames)
    assert whole < 0.9 * frames.shape[0] * frames.shape[1], "molecules are cut by the box"
    handler = DataHandler(tmp_path)
    with handler.open(handler.store_trajectory({"frames": frames}, name)) as trajectory:
        agree(trajectory.read(), frames, None)
        agree(trajectory[2], frames[2], None)
        assert trajectory.stored_bytes < {"XTC": 0.48, "TRR": 0.62}[name] * frames.nbytes


@pytest.mark.parametrize("profile", ["default", "archive"])
def test_atoms_put_into_the_box_take_what_whole_molecules_take(tmp_path, profile):
    lengths = np.array([30.0, 31.0, 32.5])
    whole = as_xtc(water(64, 4000))
    integers = np.rint(whole * 100).astype(int) % np.rint(lengths * 100).astype(int)
    cut = as_xtc(integers / 100)
    handler = DataHandler(tmp_path, profile=profile)
    stored = {}
    for name, frames in {"whole": whole, "cut": cut}.items():
        handler.store_trajectory({"frames": frames}, name)
        with handler.open(name) as trajectory:
            assert np.array_equal(trajectory.read(), frames)
            assert np.array_equal(
                trajectory.read(atoms=[3999, 700, 1], step=7), frames[::7, [3999, 700, 1]]
            )
            assert np.array_equal(trajectory[41], frames[41])
            stored[name] = trajectory.stored_bytes
    assert stored["cut"] < 1.05 * stored["whole"]


def test_noise_takes_at_most_a_hundredth_more_than_it_is(tmp_path):
    random = np.random.default_rng(1)
    handler = DataHandler(tmp_path, durable=False)

    def check(key, raw_bytes):
        file = tmp_path / "entries" / key[2:4] / f"{key}.fxt"
        assert file.stat().st_size <= 1.01 * raw_bytes, key

    for code in "bBhHiIqQefdFD":
        noise = np.frombuffer(random.bytes(2_400_000), code)
        check(handler.store_structure({"x": noise}, code), noise.nbytes)
    for code in "fd":
        for profile in ("default", "archive"):
            noise = np.frombuffer(random.bytes(2_400_000), code)
            data = {"frames": noise.reshape(100, -1, 3)}
            check(handler.store_trajectory(data, code, profile=profile), noise.nbytes)


@pytest.mark.parametrize("atoms", [85, 127, 400, 700, 1366, 4097])
def test_noise_of_any_number_of_atoms_takes_at_most_a_hundredth_more(tmp_path, atoms):
    n_frames = 3_000_000 // (12 * atoms)
    noise = np.frombuffer(np.random.default_rng(2).bytes(12 * atoms * n_frames), "f")
    handler = DataHandler(tmp_path, durable=False)
    handler.store_trajectory({"frames": noise.reshape(n_frames, atoms, 3)}, "noise")
    with handler.open("noise") as trajectory:
        assert trajectory.stored_bytes <= 1.01 * noise.nbytes
