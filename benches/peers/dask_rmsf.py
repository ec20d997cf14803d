"""RMSF of one trajectory by two processes of a dask cluster, against one.

Both read the same directory; the result has to be the same to the last bit. Compressed frames are
decoded by the workers, so this also measures how decoding in several processes adds up. The CPU time of
the busiest worker tells how the work is shared even where other programs use the cores.

    python benches/peers/dask_rmsf.py
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
import warnings
from pathlib import Path

# Each process is to use one core, whether it is the only one or not.
os.environ["PROTEINFLEX_NUM_THREADS"] = "1"

import numpy as np
from _compare import medians, table
from dask.distributed import Client, LocalCluster
from MDAnalysisTests import datafiles
from proteinflex_optimization import DataHandler, Trajectory
from proteinflex_optimization.integrations.dask import rmsf
from proteinflex_optimization.integrations.mdanalysis import import_trajectory

REPEATS = 20
FRAMES_PER_BLOCK = 128


def main() -> None:
    """Print the table."""
    warnings.simplefilter("ignore")
    directory = Path(tempfile.mkdtemp(prefix="flexopt-bench-"))
    try:
        trajectory = stored(DataHandler(directory))
        seconds, busiest, results = compared(trajectory)
        assert all(np.array_equal(result, results["this process"]) for result in results.values())
        rows = [
            [
                name,
                f"{elapsed:.2f}",
                f"{seconds['cluster of 1'] / elapsed:.2f} ×",
                f"{statistics.median(busiest[name]):.2f}",
            ]
            for name, elapsed in seconds.items()
        ]
        title = f"RMSF of {trajectory.n_frames} frames of {trajectory.n_atoms} atoms, lossless"
        print(table(title, ["", "s", "speed", "CPU s of the busiest worker"], rows))
    finally:
        shutil.rmtree(directory)


def stored(handler: DataHandler) -> Trajectory:
    """Store real frames, several times over so that there are enough."""
    source = handler.open(import_trajectory(handler, datafiles.PSF, datafiles.DCD, "source"))
    with handler.trajectory_writer("md") as writer:
        for _ in range(REPEATS):
            writer.append(source[:])
    return handler.open(writer.key)


def compared(
    trajectory: Trajectory,
) -> tuple[dict[str, float], dict[str, list[float]], dict[str, object]]:
    """Give medians, CPU seconds of the busiest worker in each round, and results, by contender."""
    results: dict[str, object] = {}
    busiest: dict[str, list[float]] = {}

    def cpu_seconds(client: Client | None) -> dict[str, float]:
        return {"": time.process_time()} if client is None else client.run(time.process_time)

    def by(name: str, client: Client | None) -> None:
        before = cpu_seconds(client)
        scheduler = "synchronous" if client is None else client
        results[name] = rmsf(trajectory, frames_per_block=FRAMES_PER_BLOCK, scheduler=scheduler)
        used = [seconds - before[worker] for worker, seconds in cpu_seconds(client).items()]
        busiest.setdefault(name, []).append(max(used))

    options = {"threads_per_worker": 1, "dashboard_address": None}
    with (
        LocalCluster(n_workers=1, **options) as one,
        LocalCluster(n_workers=2, **options) as two,
        Client(one, set_as_default=False) as client_of_one,
        Client(two, set_as_default=False) as client_of_two,
    ):
        seconds = medians(
            {
                "this process": lambda: by("this process", None),
                "cluster of 1": lambda: by("cluster of 1", client_of_one),
                "cluster of 2": lambda: by("cluster of 2", client_of_two),
            },
            rounds=5,
        )
    return seconds, busiest, results


if __name__ == "__main__":
    main()
