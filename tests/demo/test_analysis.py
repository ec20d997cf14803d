"""The analysis of the demo, against MDAnalysis on a real trajectory and against its own promises."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proteinflex_optimization.demo.analysis import (
    RunningMoments,
    analyse,
    radii_of_gyration,
    superposed,
)


class InMemory:
    """Frames that count how many of them are asked for at a time."""

    def __init__(self, frames):
        self.frames = frames
        self.n_frames = len(frames)
        self.largest_read = 0

    def read(self, start=None, stop=None, *, atoms=None):
        block = self.frames[start:stop]
        self.largest_read = max(self.largest_read, len(block))
        return block if atoms is None else block[:, atoms]


@pytest.fixture(scope="module")
def adk():
    """A real trajectory: 98 frames of adenylate kinase, 3,341 atoms."""
    import MDAnalysis as mda
    from MDAnalysisTests.datafiles import DCD, PSF

    return mda.Universe(PSF, DCD)


def test_rmsf_rmsd_and_gyration_agree_with_mdanalysis(adk):
    from MDAnalysis.analysis import align, rms

    frames = np.array([adk.atoms.positions for _ in adk.trajectory])
    alphas = adk.select_atoms("name CA")
    result = analyse(InMemory(frames), alphas.indices, adk.atoms.masses, frames_per_block=10)

    expected = rms.RMSD(adk, adk, select="name CA", ref_frame=0).run().results.rmsd[:, 2]
    np.testing.assert_allclose(result.rmsd, expected, atol=1e-4)
    expected = [adk.atoms.radius_of_gyration() for _ in adk.trajectory]
    np.testing.assert_allclose(result.radius_of_gyration, expected, rtol=1e-6)

    average = align.AverageStructure(adk, adk, select="name CA", ref_frame=0).run()
    align.AlignTraj(adk, average.results.universe, select="name CA", in_memory=True).run()
    expected = rms.RMSF(alphas).run().results.rmsf
    np.testing.assert_allclose(result.rmsf, expected, atol=2e-4)


def test_no_more_than_a_block_is_in_memory():
    frames = np.random.default_rng(1).normal(size=(50, 6, 3))
    source = InMemory(frames)
    blocks = []
    selected = np.arange(6)
    small = analyse(source, selected, np.ones(6), frames_per_block=8, on_block=blocks.append)
    assert source.largest_read == 8
    assert sum(blocks) == 2 * 50
    whole = analyse(source, selected, np.ones(6), frames_per_block=50)
    np.testing.assert_allclose(small.rmsf, whole.rmsf, rtol=1e-12)
    np.testing.assert_array_equal(small.rmsd, whole.rmsd)


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 7), min_size=1, max_size=5))
@settings(deadline=None)
def test_moments_of_blocks_are_those_of_the_whole(seed, sizes):
    samples = np.random.default_rng(seed).normal(1e3, 1.0, size=(sum(sizes), 3))
    moments = RunningMoments((3,))
    for block in np.split(samples, np.cumsum(sizes)[:-1]):
        moments.add(block)
    np.testing.assert_allclose(moments.mean, samples.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(moments.variance, samples.var(axis=0), rtol=1e-6, atol=1e-9)


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_superposition_undoes_a_rigid_motion_and_never_mirrors(seed):
    random = np.random.default_rng(seed)
    reference = random.normal(size=(7, 3))
    reference -= reference.mean(axis=0)
    rotation, _ = np.linalg.qr(random.normal(size=(3, 3)))
    if np.linalg.det(rotation) < 0:
        rotation[:, 0] *= -1
    moved = (reference @ rotation + random.normal(size=3))[None]
    np.testing.assert_allclose(superposed(moved, reference)[0], reference, atol=1e-9)
    mirrored = superposed(reference[None] * [1, 1, -1], reference)[0]
    assert np.abs(mirrored - reference).max() > 1e-3


def test_gyration_of_two_equal_masses_is_half_their_distance():
    frames = np.array([[[0.0, 0, 0], [0, 0, 4.0]]])
    np.testing.assert_allclose(radii_of_gyration(frames, np.array([2.0, 2.0])), [2.0])
