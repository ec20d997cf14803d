"""A cached trajectory as a torch dataset, against the same frames as one tensor in memory.

What is timed is one epoch of a `DataLoader` with batches of 32, without worker processes: in the order
of the frames, and shuffled. A process keeps 256 MB here of what was decoded or verified, into which all fit
together; `PROTEINFLEX_DECODED_MB=0` shows how it is without.

    python benches/peers/torch_dataset.py
"""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

import MDAnalysis
import numpy as np
import torch
from _compare import medians, table
from MDAnalysisTests import datafiles
from proteinflex_optimization import DataHandler
from proteinflex_optimization.integrations.torch import TrajectoryDataset
from torch.utils.data import DataLoader, TensorDataset

REPEATS = 10

os.environ.setdefault("PROTEINFLEX_DECODED_MB", "256")


def main() -> None:
    """Print the table."""
    warnings.simplefilter("ignore")
    directory = Path(tempfile.mkdtemp(prefix="flexopt-bench-"))
    try:
        universe = MDAnalysis.Universe(datafiles.PSF, datafiles.DCD)
        frames = np.tile(universe.trajectory.timeseries(order="fac"), (REPEATS, 1, 1))
        coded, exact = DataHandler(directory / "coded"), DataHandler(directory / "exact")
        plain = DataHandler(directory / "plain", 1, False)
        key = coded.store_trajectory({"frames": frames}, "md", precision=0.001)
        for handler in (exact, plain):
            handler.store_trajectory({"frames": frames}, "md")
        # Numbers without a molecule's shape, whose chunks can only be decoded whole.
        half = frames[: len(frames) // 2].astype(np.float64)
        packed = coded.store_trajectory({"frames": half}, "packed")
        datasets = {
            "a tensor in memory": TensorDataset(torch.from_numpy(frames)),
            "plain, `copy=False`": TrajectoryDataset(plain.open(key), copy=False),
            "plain": TrajectoryDataset(plain.open(key)),
            "compressed, 0.001 Å": TrajectoryDataset(coded.open(key)),
            "compressed, every bit": TrajectoryDataset(exact.open(key)),
            "compressed, packed": TrajectoryDataset(coded.open(packed)),
        }
        ordered = medians({name: epoch(it, False) for name, it in datasets.items()}, rounds=5)
        shuffled = medians({name: epoch(it, True) for name, it in datasets.items()}, rounds=5)
        rows = [
            [name, *(f"{len(dataset) / timed[name]:,.0f}" for timed in (ordered, shuffled))]
            for name, dataset in datasets.items()
        ]
        title = f"torch, {len(frames)} frames of {frames.shape[1]:,} atoms"
        print(table(title, ["frames per second", "in order", "shuffled"], rows))
    finally:
        shutil.rmtree(directory)


def epoch(dataset: Any, shuffle: bool) -> Any:
    """Give a function that takes every batch once."""

    def run() -> None:
        for _ in DataLoader(dataset, batch_size=32, shuffle=shuffle):
            pass

    return run


if __name__ == "__main__":
    main()
