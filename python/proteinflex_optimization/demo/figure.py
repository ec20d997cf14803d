"""The picture of a run: where the protein is flexible, and how it moved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .analysis import Flexibility


def draw(
    path: Path,
    flexibility: Flexibility,
    *,
    labels: list[str],
    confidence: NDArray[np.float32],
    frame_time: float,
    title: str,
) -> None:
    """Write a PNG with RMSF per residue above RMSD and radius of gyration over time.

    Parameters
    ----------
    path : Path
        Of the PNG file.
    flexibility : Flexibility
        In Å.
    labels : list of str
        One per residue, such as ``PHE 47``.
    confidence : ndarray
        (n_residues,) per-residue confidence; drawn where it says anything.
    frame_time : float
        Between frames, in ps.
    title : str
        Above the figure.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (upper, lower) = plt.subplots(2, 1, figsize=(9, 6.5), layout="constrained")
    residues = np.arange(len(labels))
    upper.bar(residues, flexibility.rmsf, color="#3b6ea5", width=0.8)
    upper.set_ylabel("RMSF of Cα (Å)")
    upper.set_xlim(-0.8, len(labels) - 0.2)
    every = max(1, len(labels) // 36)
    upper.set_xticks(residues[::every], labels[::every], rotation=90, fontsize=7)
    _draw_confidence(upper, residues, confidence)

    time = frame_time * np.arange(1, len(flexibility.rmsd) + 1)
    lower.plot(time, flexibility.rmsd, color="#3b6ea5", label="RMSD to the first frame")
    lower.set_xlabel("time (ps)")
    lower.set_ylabel("RMSD of Cα (Å)", color="#3b6ea5")
    gyration = lower.twinx()
    gyration.plot(time, flexibility.radius_of_gyration, color="#c4622d", lw=1)
    gyration.set_ylabel("radius of gyration (Å)", color="#c4622d")
    figure.suptitle(title)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _draw_confidence(axes: Any, residues: NDArray[Any], confidence: NDArray[np.float32]) -> None:
    known = np.isfinite(confidence)
    if not known.any() or np.ptp(confidence[known]) == 0:
        return
    twin = axes.twinx()
    twin.plot(residues[known], confidence[known], "o-", color="#8a8a8a", ms=3, lw=0.8)
    twin.set_ylabel("confidence (B-factor column)", color="#6a6a6a")
