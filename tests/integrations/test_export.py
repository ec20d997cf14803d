"""Files of other formats are the trajectory as far as they can be, and what they can't hold is said."""

import importlib.util
import os
import warnings

import MDAnalysis
import numpy as np
import pytest
from proteinflex_optimization.integrations.mdanalysis import (
    export_trajectory,
)
from trajectory_data import N_ATOMS, N_FRAMES, data

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


@pytest.mark.parametrize(
    ("suffix", "tolerance", "left_out"),
    [
        ("dcd", 0, {"velocities", "forces", "step", "potential", "labels"}),
        ("xtc", 0.0051, {"velocities", "forces", "potential", "labels"}),
        ("trr", 1e-5, {"potential", "labels"}),
        ("nc", 0, {"step", "potential", "labels"}),
        ("ncdf", 0, {"step", "potential", "labels"}),
        ("h5md", 0, {"labels"}),
    ],
)
def test_exported_files_are_the_trajectory_as_far_as_their_format_goes(
    trajectory, tmp_path, suffix, tolerance, left_out
):
    if suffix == "h5md":
        pytest.importorskip("h5py")
    calls = []
    path = tmp_path / f"run.{suffix}"
    found = export_trajectory(trajectory, path, progress=lambda *call: calls.append(call))
    assert set(found) == left_out
    assert calls == [(done, N_FRAMES) for done in range(1, N_FRAMES + 1)]
    assert sorted(os.listdir(tmp_path)) == ["cache", path.name]

    stored = data()
    universe = MDAnalysis.Universe.empty(N_ATOMS, trajectory=False)
    universe.load_new(str(path))
    assert len(universe.trajectory) == N_FRAMES
    for ts, number in zip(universe.trajectory, range(N_FRAMES), strict=True):
        np.testing.assert_allclose(ts.positions, stored["frames"][number], rtol=0, atol=tolerance)
        assert ts.time == pytest.approx(stored["time"][number], rel=1e-5)
        np.testing.assert_allclose(ts.dimensions, [30, 40, 50, 90, 90, 90], rtol=1e-5)
        if suffix in ("trr", "h5md", "nc", "ncdf"):
            np.testing.assert_allclose(ts.velocities, stored["velocities"][number], rtol=1e-5)
            forces = stored["forces"][number] / 10  # per Å
            np.testing.assert_allclose(ts.forces, forces, rtol=1e-5)
        if suffix in ("h5md", "trr", "xtc"):
            assert ts.data["step"] == stored["step"][number]
        if suffix == "h5md":
            assert ts.data["step"] == stored["step"][number]
            assert ts.data["potential"] == stored["potential"][number]


def test_netcdf_files_of_both_libraries_that_mdanalysis_takes_are_the_same(
    trajectory, handler, tmp_path, monkeypatch
):
    """That of netCDF4 where it is installed, else SciPy's."""
    pytest.importorskip("netCDF4")
    found = []
    for library in ("netCDF4", "scipy"):
        if library == "scipy":
            monkeypatch.setattr(MDAnalysis.coordinates.TRJ, "netCDF4", None)
        left_out = export_trajectory(trajectory, tmp_path / f"{library}.nc")
        assert set(left_out) == {"step", "potential", "labels"}
        key = handler.import_trajectory(None, tmp_path / f"{library}.nc", library)
        found.append(handler.load_data(key))
    by_netcdf4, by_scipy = found
    assert sorted(by_netcdf4) == sorted(by_scipy)
    for name, values in by_netcdf4.items():
        np.testing.assert_array_equal(values, by_scipy[name])


@pytest.mark.parametrize("suffix", ["xtc", "trr", "dcd", "nc", "h5md", "xyz", "pdb"])
def test_what_belongs_to_no_frame_is_named(handler, tmp_path, suffix):
    stored = {"frames": np.zeros((3, 12, 3), np.float32), "masses": np.ones(12), "k": 3}
    trajectory = handler.open(handler.store_trajectory(stored, "md"))
    assert export_trajectory(trajectory, tmp_path / f"run.{suffix}") == ["masses", "k"]


@pytest.mark.parametrize("box", [[30, 40, 50], [30, 40, 50, 90, 90, 90], np.diag([30.0, 40, 50])])
def test_one_box_for_all_frames_is_the_box_of_each(handler, tmp_path, box):
    stored = {"frames": np.ones((3, 12, 3), np.float32), "box": box}
    trajectory = handler.open(handler.store_trajectory(stored, "md"))
    universe = trajectory.to_universe(MDAnalysis.Universe.empty(12)._topology)
    assert export_trajectory(trajectory, tmp_path / "run.xtc") == []
    for reader in (universe.trajectory, MDAnalysis.coordinates.XTC.XTCReader(tmp_path / "run.xtc")):
        boxes = [ts.dimensions for ts in reader]
        np.testing.assert_allclose(boxes, [[30, 40, 50, 90, 90, 90]] * 3, rtol=1e-6)


def test_what_a_format_makes_up_is_logged_with_the_name_of_the_file(handler, tmp_path, caplog):
    trajectory = handler.open(handler.store_trajectory({"frames": data()["frames"]}, "md"))
    export_trajectory(trajectory, tmp_path / "run.xtc")
    assert "run.xtc: the trajectory has no step and no time" in caplog.text


def test_a_dcd_says_that_it_has_no_place_for_uneven_times(handler, tmp_path):
    stored = data()
    stored["time"][7] += 1
    trajectory = handler.open(handler.store_trajectory(stored, "uneven"))
    assert "time" in export_trajectory(trajectory, tmp_path / "run.dcd")


@pytest.mark.parametrize("start", [0, 7e3, 1e6, 1e7, 1e9, -40])
@pytest.mark.parametrize("step", [2.0, 0.1, 0.002, 0.7])
def test_times_of_a_dcd_are_right_or_said_to_be_left_out(handler, tmp_path, start, step):
    times = start + step * np.arange(5)
    stored = {"frames": np.zeros((5, 3, 3), np.float32), "time": times}
    trajectory = handler.open(handler.store_trajectory(stored, "md"))
    left_out = export_trajectory(trajectory, tmp_path / "run.dcd")
    again = handler.open(handler.import_trajectory(None, tmp_path / "run.dcd", "again"))
    assert left_out == ([] if "time" in again.fields else ["time"])
    if start / step < 1e6:
        assert left_out == [] or start % step > 1e-3 * step, "it has a place for these"
    if not left_out:
        np.testing.assert_allclose(again.time, times, rtol=0, atol=1.01e-3 * step)


def test_steps_that_h5md_files_cannot_count_are_left_out_and_said(handler, tmp_path):
    h5py = pytest.importorskip("h5py")
    stored = data()
    stored["step"] += 2**31
    trajectory = handler.open(handler.store_trajectory(stored, "long"))
    path = tmp_path / "run.h5md"
    assert set(export_trajectory(trajectory, path)) == {"labels", "step"}
    with h5py.File(path) as file:
        steps = file["particles/trajectory/position/step"][:]
    np.testing.assert_array_equal(steps, np.arange(N_FRAMES))


@pytest.mark.parametrize("suffix", ["xtc", "trr", "dcd", "nc", "h5md", "xyz", "pdb"])
def test_what_is_exported_and_imported_is_what_it_was(trajectory, handler, tmp_path, suffix):
    path = tmp_path / f"run.{suffix}"
    left_out = export_trajectory(trajectory, path)
    found = handler.load_data(handler.import_trajectory(None, path, "again"))
    stored = data()
    stored["box"] = np.tile([30.0, 40, 50, 90, 90, 90], (N_FRAMES, 1))
    assert set(found) == set(stored) - set(left_out)
    tolerance = {"xtc": 0.0051, "trr": 1e-5, "xyz": 1e-5, "pdb": 0.00051}.get(suffix, 0)
    np.testing.assert_allclose(found["frames"], stored["frames"], rtol=0, atol=tolerance)
    for name in set(found) - {"frames"}:
        # The units of each format are others: nm, kcal, AKMA.
        np.testing.assert_allclose(found[name], stored[name], rtol=2e-6, err_msg=name)


@pytest.mark.parametrize("suffix", ["xtc", "trr", "h5md"])
@pytest.mark.parametrize("step", [2**31, -(2**31) - 9, -(2**63)])
def test_steps_beyond_32_bits_are_left_out_and_said(handler, tmp_path, suffix, step):
    stored = {"frames": np.zeros((3, 12, 3), np.float32), "time": np.arange(3.0)}
    trajectory = handler.open(
        handler.store_trajectory({**stored, "step": step + np.arange(3)}, "md")
    )
    assert export_trajectory(trajectory, tmp_path / f"run.{suffix}") == ["step"]


def test_times_that_float32_cannot_tell_apart_are_said(handler, tmp_path):
    stored = {"frames": np.zeros((3, 12, 3), np.float32), "time": 1e8 + np.arange(3.0)}
    trajectory = handler.open(handler.store_trajectory(stored, "md"))
    assert export_trajectory(trajectory, tmp_path / "run.xtc") == ["time"]
    assert export_trajectory(trajectory, tmp_path / "run.dcd") == ["time"]


@pytest.mark.parametrize("is_appended", [False, True])
@pytest.mark.parametrize("n_frames", [1, 2, 3, 6])
def test_a_box_of_three_lengths_per_frame_is_the_box_of_each(
    handler, tmp_path, n_frames, is_appended
):
    lengths = np.linspace([30.0, 40, 50], [33, 44, 55], n_frames, dtype=np.float32)
    frames = np.ones((n_frames, 12, 3), np.float32)
    if is_appended:
        with handler.trajectory_writer("md") as writer:
            writer.append(frames, box=lengths)
    else:
        handler.store_trajectory({"frames": frames, "box": lengths}, "md")
    trajectory = handler.open("md")
    np.testing.assert_array_equal(trajectory.read(field="box"), lengths)
    expected = np.hstack([lengths, np.full((n_frames, 3), 90)])
    universe = trajectory.to_universe(MDAnalysis.Universe.empty(12)._topology)
    found = [ts.dimensions.copy() for ts in universe.trajectory]
    np.testing.assert_array_equal(found, expected)
    if importlib.util.find_spec("xarray"):
        assert trajectory.to_xarray()["box"].dims == ("time", "box_length")
    for suffix in ("xtc", "dcd", "trr"):
        assert "box" not in export_trajectory(trajectory, tmp_path / f"run.{suffix}")
        with MDAnalysis.coordinates.core.reader(tmp_path / f"run.{suffix}") as reader:
            boxes = [ts.dimensions.copy() for ts in reader]
        np.testing.assert_allclose(boxes, expected, rtol=1e-6)


def test_a_box_that_lengths_and_angles_do_not_say_is_left_out_and_said(handler, tmp_path):
    turned = np.array([[0, 30, 0], [30, 0, 0], [0, 0, 30.0]])
    stored = {"frames": np.zeros((3, 12, 3), np.float32), "box": np.tile(turned, (3, 1, 1))}
    trajectory = handler.open(handler.store_trajectory(stored, "md"))
    for suffix in ("xtc", "dcd", "h5md"):
        assert export_trajectory(trajectory, tmp_path / f"run.{suffix}") == ["box"]


@pytest.mark.parametrize(
    "box",
    [
        [10, 11, 12, 0, 0, 0],
        [10, 11, 0, 90, 90, 90],
        [10, 11, 12, 180, 90, 90],
        [10, 10, 10, 150, 150, 150],
    ],
)
def test_a_box_that_makes_no_cell_has_a_place_only_as_lengths_and_angles(handler, tmp_path, box):
    stored = {"frames": np.zeros((2, 12, 3), np.float32), "time": np.arange(2.0)}
    stored["box"] = np.array([[10, 11, 12, 90, 90, 90], box], np.float32)
    trajectory = handler.open(handler.store_trajectory(stored, "md"))
    for suffix in ("xtc", "trr", "h5md", "dcd"):
        assert export_trajectory(trajectory, tmp_path / f"run.{suffix}") == ["box"]
        again = handler.open(handler.import_trajectory(None, tmp_path / f"run.{suffix}", "again"))
        assert "box" not in again.fields
    assert export_trajectory(trajectory, tmp_path / "run.nc") == []
    again = handler.open(handler.import_trajectory(None, tmp_path / "run.nc", "again"))
    np.testing.assert_allclose(again.read(field="box"), stored["box"], rtol=1e-6)


@pytest.mark.parametrize(
    "box",
    [
        [10, 11, 12, 90, 90, np.nan],
        [np.nan, 11, 12, 90, 90, 90],
        [-10, 11, 12, 90, 90, 90],
        [10, 11, 12, -60, 90, 90],
        [1e39, 11, 12, 90, 90, 90],
        np.diag([10, 11, np.nan]),
        np.diag([10, 11, 1e39]),
        np.diag([1e-46, 11, 12]),
    ],
)
def test_a_box_of_numbers_that_are_none_is_left_out_and_said(handler, tmp_path, box):
    stored = {"frames": np.zeros((2, 12, 3), np.float32), "time": np.arange(2.0)}
    stored["box"] = np.array([box, box], float)
    trajectory = handler.open(handler.store_trajectory(stored, "md"))
    for suffix in ("xtc", "trr", "h5md", "dcd", "nc"):
        assert export_trajectory(trajectory, tmp_path / f"run.{suffix}") == ["box"]


@pytest.mark.parametrize("suffix", ["xtc", "trr", "h5md", "dcd", "nc"])
@pytest.mark.parametrize("name", ["time_offset", "dt"])
def test_a_field_that_mdanalysis_takes_for_its_own_changes_no_time(handler, tmp_path, suffix, name):
    stored = {"frames": np.zeros((3, 12, 3), np.float32), "time": np.arange(3.0)}
    stored["step"] = np.arange(3)
    stored[name] = np.array([5.0, 6, 7])
    trajectory = handler.open(handler.store_trajectory(stored, "md"))
    universe = trajectory.to_universe(MDAnalysis.Universe.empty(12)._topology)
    assert [ts.time for ts in universe.trajectory] == [0, 1, 2]
    assert name in export_trajectory(trajectory, tmp_path / f"run.{suffix}")
    again = handler.open(handler.import_trajectory(None, tmp_path / f"run.{suffix}", "again"))
    np.testing.assert_allclose(again.time, stored["time"], rtol=1e-6)


@pytest.mark.parametrize("suffix", ["xtc", "trr", "h5md"])
@pytest.mark.parametrize("steps", [[0.5, 1.5, 2.5], [1, np.nan, 3]])
def test_steps_that_are_no_whole_numbers_are_left_out_and_said(handler, tmp_path, suffix, steps):
    stored = {"frames": np.zeros((3, 12, 3), np.float32), "time": np.arange(3.0)}
    trajectory = handler.open(handler.store_trajectory({**stored, "step": np.array(steps)}, "md"))
    assert export_trajectory(trajectory, tmp_path / f"run.{suffix}") == ["step"]


def test_times_beyond_float32_are_said(handler, tmp_path):
    stored = {"frames": np.zeros((2, 12, 3), np.float32), "time": np.array([0, 1e300])}
    trajectory = handler.open(handler.store_trajectory(stored, "md"))
    for suffix in ("xtc", "trr", "nc"):
        assert export_trajectory(trajectory, tmp_path / f"run.{suffix}") == ["time"]


def test_observables_of_h5md_are_found_again_or_said_to_be_left_out(handler, tmp_path):
    pytest.importorskip("h5py")
    numbers = np.arange(3.0)
    stored = {"frames": np.zeros((3, 12, 3), np.float32), "time": numbers, "step": np.arange(3)}
    lost = dict.fromkeys(("", "/a", "a/value", "a/b/c", "x/y", ".", "n\0n"), numbers)
    lost["label"] = np.array(["bound", "free", "bound"])
    lost["date"] = np.zeros(3, "M8[s]")
    lost["bytes"], lost["complex"] = np.array([b"a", b"b", b"c"]), numbers + 1j
    found = {"x": numbers, "group/energy": numbers, "frame": numbers + 5, "value": numbers}
    found |= {"is_bound": np.array([True, False, True]), "count": np.array([1, 2, 2**64 - 1], "u8")}
    key = handler.store_trajectory({**stored, **found, **lost}, "md")
    left_out = export_trajectory(handler.open(key), tmp_path / "run.h5md")
    assert sorted(left_out) == sorted(lost)
    again = handler.load_data(handler.import_trajectory(None, tmp_path / "run.h5md", "again"))
    assert sorted(again) == sorted({**stored, **found})
    for name, values in found.items():
        assert again[name].dtype == values.dtype
        np.testing.assert_array_equal(again[name], values)


def test_fields_of_other_shapes_than_their_name_says_are_left_out_and_said(handler, tmp_path):
    stored = {
        "frames": np.zeros((3, 12, 3), np.float32),
        "step": np.ones((3, 2), np.int64),
        "time": np.arange(6.0).reshape(3, 2),
    }
    trajectory = handler.open(handler.store_trajectory(stored, "md"))
    for suffix in ("xtc", "dcd", "h5md", "nc"):
        left_out = export_trajectory(trajectory, tmp_path / f"run.{suffix}")
        assert set(left_out) == {"step", "time"}


@pytest.mark.parametrize("suffix", ["dcd", "h5md", "nc", "pdb", "trr", "xtc", "xyz"])
def test_what_is_made_up_is_no_error_where_warnings_are(handler, tmp_path, suffix):
    if suffix == "h5md":
        pytest.importorskip("h5py")
    key = handler.store_trajectory({"frames": np.zeros((2, 4, 3), np.float32)}, "bare")

    def progress(done, total):
        if done == total:
            warnings.warn("of the caller", stacklevel=1)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export_trajectory(handler.open(key), tmp_path / f"bare.{suffix}")
        # What the caller's own code warns of is heard.
        with pytest.raises(UserWarning, match="of the caller"):
            export_trajectory(handler.open(key), tmp_path / f"2.{suffix}", progress=progress)
