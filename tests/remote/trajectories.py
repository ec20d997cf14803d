"""Trajectories that the tests of this folder put behind servers."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import numpy as np
from proteinflex_optimization import create_trajectory
from proteinflex_optimization.topology import Topology

N_FRAMES, N_ATOMS, CHUNK = 640, 700, 64


def frames(n_frames: int = N_FRAMES, n_atoms: int = N_ATOMS) -> np.ndarray:
    """Atoms that jitter: nothing that compresses to less than a server's buffers."""
    generator = np.random.default_rng(n_atoms)
    start = generator.normal(0, 20, (1, n_atoms, 3))
    return (start + generator.normal(0, 0.5, (n_frames, n_atoms, 3))).astype(np.float32)


def molecules(n_frames: int = N_FRAMES, n_atoms: int = 600) -> np.ndarray:
    """Rigid water that turns and drifts: coded so that any frame is decoded alone."""
    random = np.random.default_rng(1)
    drift = random.normal(0, 0.1, (n_frames, n_atoms // 3, 3)).cumsum(0)
    oxygen = random.uniform(0, 30, (1, n_atoms // 3, 3)) + drift
    axes = np.linalg.qr(random.normal(size=(n_frames, n_atoms // 3, 3, 3)))[0]
    ends = np.array([[0.9572, 0, 0], [-0.2400, 0.9266, 0]]) @ axes
    whole = np.concatenate([oxygen[:, :, None], oxygen[:, :, None] + ends], axis=2)
    return (whole.reshape(n_frames, -1, 3).round(3)).astype(np.float32)


FRAMES = frames()
TIMES = np.arange(N_FRAMES) * 0.5


def write(path: Path, coordinates: np.ndarray = FRAMES, **options: object) -> Path:
    """Write coordinates with the times 0, 0.5, …, a chunk at a time."""
    with create_trajectory(path, {"temperature": 300}, **options) as writer:
        for start in range(0, len(coordinates), CHUNK):
            block = coordinates[start : start + CHUNK]
            writer.append(block, time=0.5 * np.arange(start, start + len(block)))
    return path


@functools.cache
def stored(n_atoms: int = N_ATOMS, *, backwards: bool = False) -> bytes:
    """Return the file of `frames`, which is written once."""
    coordinates = FRAMES if n_atoms == N_ATOMS else frames(3 * CHUNK, n_atoms)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "run.fxt"
        return write(path, coordinates[::-1].copy() if backwards else coordinates).read_bytes()


def topology(n_atoms: int = N_ATOMS) -> Topology:
    import MDAnalysis

    universe = MDAnalysis.Universe.empty(n_atoms, n_atoms, atom_resindex=range(n_atoms))
    universe.add_TopologyAttr("names", ["CA"] * n_atoms)
    universe.add_TopologyAttr("resnames", ["ALA"] * n_atoms)
    universe.add_TopologyAttr("resids", np.arange(1, n_atoms + 1))
    return Topology.of(universe)
