"""MDAnalysis on cached trajectories gives what it gives on the original files."""

import pickle

import MDAnalysis
import numpy as np
import pytest
from MDAnalysis.analysis.base import AnalysisFromFunction
from MDAnalysis.analysis.rms import RMSF
from MDAnalysisTests.datafiles import DCD, PSF, TPR, TRR, XTC
from proteinflex_optimization import CorruptDataError, DataHandler
from proteinflex_optimization.integrations.mdanalysis import (
    import_trajectory,
    to_universe,
)
from proteinflex_optimization.integrations.mdanalysis import reader as mdanalysis_reader


@pytest.fixture(params=[(PSF, DCD), (TPR, XTC), (TPR, TRR)], ids=["DCD", "XTC", "TRR"])
def universes(request, tmp_path):
    topology, trajectory = request.param
    handler = DataHandler(tmp_path)
    key = import_trajectory(handler, topology, trajectory, "md")
    return MDAnalysis.Universe(topology, trajectory), to_universe(handler.open(key), topology)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_every_frame_is_the_same(universes):
    original, cached = universes
    assert cached.trajectory.n_frames == original.trajectory.n_frames
    assert cached.trajectory.dt == pytest.approx(original.trajectory.dt)
    for ours, theirs in zip(cached.trajectory, original.trajectory, strict=True):
        np.testing.assert_array_equal(ours.positions, theirs.positions)
        assert ours.time == pytest.approx(theirs.time)
        assert ours.frame == theirs.frame
        assert (ours.dimensions is None) == (theirs.dimensions is None)
        if theirs.dimensions is not None:
            np.testing.assert_allclose(ours.dimensions, theirs.dimensions)
        assert ours.has_velocities == theirs.has_velocities
        if ours.has_velocities:
            np.testing.assert_array_equal(ours.velocities, theirs.velocities)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_slices_analyses_and_series_are_the_same(universes):
    original, cached = universes
    for index in (slice(None, None, -1), slice(8, 2, -3), [3, 1, 4], -1):
        ours, theirs = cached.trajectory[index], original.trajectory[index]
        if index == -1:
            ours, theirs = [ours], [theirs]
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one.positions, other.positions)
    rmsf = [RMSF(universe.atoms[:200]).run().results.rmsf for universe in universes]
    np.testing.assert_array_equal(*rmsf)
    series = [
        universe.trajectory.timeseries(
            universe.atoms[5:500:7], start=1, stop=9, step=2, order="fac"
        )
        for universe in universes
    ]
    np.testing.assert_array_equal(*series)
    radii = [
        AnalysisFromFunction(lambda atoms: atoms.radius_of_gyration(), universe.atoms[:100])
        .run()
        .results.timeseries
        for universe in universes
    ]
    np.testing.assert_array_equal(*radii)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_universe_pickles_and_copies_at_its_frame(universes):
    _, cached = universes
    cached.trajectory[4]
    expected = cached.atoms.positions
    for other in (pickle.loads(pickle.dumps(cached)), cached.copy()):
        assert other.trajectory.ts.frame == 4
        np.testing.assert_array_equal(other.atoms.positions, expected)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_damage_is_an_error_and_not_the_end_of_the_trajectory(tmp_path, monkeypatch):
    monkeypatch.setattr(mdanalysis_reader, "BLOCK_BYTES", 1)
    handler = DataHandler(tmp_path, enable_compression=False)
    trajectory = handler.open(import_trajectory(handler, PSF, DCD, "md"))
    path = trajectory.path
    universe = to_universe(trajectory, PSF)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size * 2 // 3)
        file.write(b"\xff" * 8)
    with pytest.raises(CorruptDataError):
        sum(1 for _ in universe.trajectory)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_box_that_is_none_to_mdanalysis_is_said(tmp_path, caplog):
    handler = DataHandler(tmp_path)
    for name, box in (("right", np.ones((2, 3))), ("flat", np.ones((2, 9)))):
        handler.store_trajectory({"frames": np.zeros((2, 4, 3)), "box": box}, name)
        universe = to_universe(handler.open(name), MDAnalysis.Universe.empty(4)._topology)
        assert (universe.dimensions is None) == (name == "flat")
    assert caplog.messages == [
        "flat: its frames have no box in MDAnalysis, for 'box' has items of shape (9,)"
    ]
