"""A value that a format can't hold is an error that names it, before a file is there."""

import os

import numpy as np
import pytest
from proteinflex_optimization import InvalidArgumentError
from proteinflex_optimization.integrations.mdanalysis import (
    export_trajectory,
)
from trajectory_data import data

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


def test_what_a_format_refuses_is_an_error_that_names_the_frame(handler, tmp_path):
    pytest.importorskip("h5py")
    stored = data()
    stored["step"][7] = 0
    trajectory = handler.open(handler.store_trajectory(stored, "back"))
    with pytest.raises(InvalidArgumentError, match=r"frame 7 can't be written as \.h5md"):
        export_trajectory(trajectory, tmp_path / "run.h5md")
    assert os.listdir(tmp_path) == ["cache"]


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e7])
def test_a_value_that_xtc_cannot_hold_names_its_frame_and_atom(handler, tmp_path, value):
    """libxdrfile ends the process."""
    stored = {"frames": np.zeros((5, 12, 3), np.float32)}
    stored["frames"][3, 7, 1] = value
    trajectory = handler.open(handler.store_trajectory(stored, "md"))
    with pytest.raises(InvalidArgumentError, match=r"frame 3 .*\.xtc: atom 7 has y="):
        export_trajectory(trajectory, tmp_path / "run.xtc")
    assert os.listdir(tmp_path) == ["cache"]
    # Others hold the same bits.
    for suffix in ("dcd", "nc", "h5md"):
        assert export_trajectory(trajectory, tmp_path / f"run.{suffix}") == []
        again = handler.import_trajectory(None, tmp_path / f"run.{suffix}", "again")
        np.testing.assert_array_equal(handler.open(again).read(), stored["frames"])


def test_a_range_that_xtc_cannot_compress_is_refused(handler, tmp_path):
    stored = {"frames": np.zeros((2, 12, 3), np.float32)}
    stored["frames"][1, :2, 2] = [-1.5e7, 1.5e7]
    trajectory = handler.open(handler.store_trajectory(stored, "md"))
    with pytest.raises(InvalidArgumentError, match=r"frame 1 .*atom 1 has z=1.5e\+07"):
        export_trajectory(trajectory, tmp_path / "run.xtc")


def test_atoms_too_far_from_each_other_for_xtc_are_refused(handler, tmp_path):
    """libxdrfile writes a frame that it reads as another one."""
    stored = {"frames": np.random.default_rng(1).normal(0, 1, (2, 12, 3)).astype(np.float32)}
    stored["frames"][1, :, 0] += 25_990 * np.arange(12)
    export_trajectory(handler.open(handler.store_trajectory(stored, "near")), tmp_path / "run.xtc")
    again = handler.open(handler.import_trajectory(None, tmp_path / "run.xtc", "again"))
    np.testing.assert_allclose(again.read(), stored["frames"], atol=0.05)
    stored["frames"][1, :, 0] *= 1.1
    far = handler.open(handler.store_trajectory(stored, "far"))
    with pytest.raises(
        InvalidArgumentError, match=r"frame 1 .*\.xtc: each atom is 28... Å or more"
    ):
        export_trajectory(far, tmp_path / "far.xtc")
    assert not (tmp_path / "far.xtc").exists()
    # So few are not compressed.
    few = handler.open(handler.store_trajectory({"frames": stored["frames"][:, :9]}, "few"))
    export_trajectory(few, tmp_path / "few.xtc")
    again = handler.open(handler.import_trajectory(None, tmp_path / "few.xtc", "again"))
    np.testing.assert_allclose(again.read(), few.read(), rtol=1e-6)


def test_the_largest_coordinates_of_xtc_are_written(handler, tmp_path):
    stored = {"frames": np.zeros((2, 12, 3), np.float32)}
    stored["frames"][1, :2, 2] = [-1.0e7, 1.0e7]
    trajectory = handler.open(handler.store_trajectory(stored, "md"))
    export_trajectory(trajectory, tmp_path / "run.xtc")
    again = handler.open(handler.import_trajectory(None, tmp_path / "run.xtc", "again"))
    np.testing.assert_allclose(again.read(), stored["frames"], atol=2)


@pytest.mark.parametrize("suffix", ["dcd", "trr", "nc", "h5md", "xyz", "pdb"])
def test_a_number_beyond_float32_is_refused_before_it_becomes_infinite(handler, tmp_path, suffix):
    stored = {"frames": np.zeros((3, 4, 3), np.float64)}
    stored["frames"][2, 1, 0] = 1e200
    trajectory = handler.open(handler.store_trajectory(stored, "md"))
    with pytest.raises(InvalidArgumentError, match=r"frame 2 .*atom 1 has x=1e\+200"):
        export_trajectory(trajectory, tmp_path / f"run.{suffix}")
    assert os.listdir(tmp_path) == ["cache"]


@pytest.mark.parametrize("value", [np.nan, 123_456.0, -20_000.0])
def test_a_coordinate_that_a_text_has_no_columns_for_names_its_frame_and_atom(
    handler, tmp_path, value
):
    stored = {"frames": np.zeros((3, 4, 3), np.float32)}
    stored["frames"][1, 2, 0] = value
    trajectory = handler.open(handler.store_trajectory(stored, "md"))
    with pytest.raises(InvalidArgumentError, match=r"frame 1 .*\.pdb: atom 2 has x="):
        export_trajectory(trajectory, tmp_path / "run.pdb")
    one = handler.open(handler.store_trajectory({"frames": stored["frames"][1:2]}, "one"))
    with pytest.raises(InvalidArgumentError, match=r"frame 0 .*\.gro: atom 2 has x="):
        export_trajectory(one, tmp_path / "one.gro")
    assert os.listdir(tmp_path) == ["cache"]


def test_a_velocity_that_gro_has_no_columns_for_names_its_atom(handler, tmp_path):
    stored = {"frames": np.ones((1, 4, 3), np.float32), "velocities": np.ones((1, 4, 3))}
    path = tmp_path / "one.gro"
    for good in (9999.0, -999.0, np.nan):
        stored["velocities"][0, 2, 0] = good
        trajectory = handler.open(handler.store_trajectory(stored, "md"))
        export_trajectory(trajectory, path, overwrite=True)
        found = handler.load_data(handler.import_trajectory(path, path, "again"))
        np.testing.assert_allclose(found["velocities"], stored["velocities"], atol=1e-3)
    for bad in (10_000.0, -1000.0, 12_341.2):
        stored["velocities"][0, 2, 0] = bad
        trajectory = handler.open(handler.store_trajectory(stored, "md"))
        with pytest.raises(InvalidArgumentError, match=r"\.gro: atom 2 has velocities\.x="):
            export_trajectory(trajectory, tmp_path / "bad.gro")


def test_a_file_of_no_atoms_that_fit_leaves_no_trace(handler, tmp_path):
    """A format for molecules needs more than coordinates."""
    trajectory = handler.open(handler.store_trajectory(data(), "md"))
    with pytest.raises(InvalidArgumentError, match=r"frame 0 can't be written as \.mol2"):
        export_trajectory(trajectory, tmp_path / "run.mol2")
    assert os.listdir(tmp_path) == ["cache"]
