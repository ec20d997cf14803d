"""Trajectories, and files of them, that several tests make."""

import numpy as np
from MDAnalysis.lib.formats.libmdaxdr import TRRFile, XTCFile

N_FRAMES, N_ATOMS = 30, 25
UNIT = np.eye(3, dtype=np.float32)


def data():
    rng = np.random.default_rng(1)
    return {
        "frames": rng.normal(0, 10, (N_FRAMES, N_ATOMS, 3)).astype(np.float32),
        "velocities": rng.normal(0, 1, (N_FRAMES, N_ATOMS, 3)).astype(np.float32),
        "forces": rng.normal(0, 100, (N_FRAMES, N_ATOMS, 3)).astype(np.float32),
        "box": np.tile(np.diag([30.0, 40.0, 50.0]), (N_FRAMES, 1, 1)),
        "time": 6.0 + 2.0 * np.arange(N_FRAMES),
        "step": 3000 + 1000 * np.arange(N_FRAMES),
        "potential": rng.normal(-1e5, 10, N_FRAMES),
        "labels": rng.normal(0, 1, (N_FRAMES, 4)),
    }


def coordinates(frame, n_atoms=4):
    return np.full((n_atoms, 3), frame, np.float32)


def write_trr(path, has_x, has_v, *, has_box=lambda i: True, n_frames=6):
    with TRRFile(str(path), "w") as file:
        for i in range(n_frames):
            x = coordinates(i) if has_x(i) else None
            v = coordinates(i) if has_v(i) else None
            file.write(x, v, None, UNIT * has_box(i), i, float(i), 0.0, 4)
    return path


def write_xtc(path, times, *, steps=None, n_atoms=4):
    with XTCFile(str(path), "w") as file:
        for i, time in enumerate(times):
            step = i if steps is None else steps[i]
            file.write(coordinates(time, n_atoms), UNIT, step, float(time), 1000)
    return path
