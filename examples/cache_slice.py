"""Cache a trajectory, and read some atoms of some frames without decoding the rest.

python examples/cache_slice.py DIRECTORY
"""

import sys

import numpy as np
from proteinflex_optimization import DataHandler

N_FRAMES, N_ATOMS = 400, 300


def simulate() -> np.ndarray:
    """Make a chain whose atoms jiggle, in Å: (n_frames, n_atoms, 3) float32."""
    random = np.random.default_rng(1)
    chain = np.cumsum(random.normal(0, 1.5, (N_ATOMS, 3)), axis=0)
    return (chain + random.normal(0, 0.3, (N_FRAMES, N_ATOMS, 3))).astype(np.float32)


def main(directory: str) -> None:
    handler = DataHandler(directory, max_cache_size=1.0, precision=0.001)
    frames = simulate()
    key = handler.store_trajectory(
        {"frames": frames, "time": np.arange(N_FRAMES) * 2.0}, "chain", {"temperature": 300.0}
    )
    with handler.open(key) as trajectory:
        loop = trajectory.read(start=100, stop=300, atoms=slice(40, 60))
        fluctuation = np.sqrt(((loop - loop.mean(axis=0)) ** 2).sum(axis=2).mean(axis=0))
        error = np.abs(loop - frames[100:300, 40:60]).max()
        print(f"{trajectory!r}")
        print(
            f"RMSF of atoms 40 to 59: {fluctuation.mean():.2f} Å; rounded by {error:.4f} Å at most"
        )


if __name__ == "__main__":
    main(sys.argv[1])
