"""A cached trajectory side by side with the files that MD programs write.

The data is real: an XTC of 47,681 atoms and a DCD of 3,341 atoms that MDAnalysis ships for its tests.
What is compared is what an analysis does: read every frame, and read one frame at random.

    python benches/peers/trajectory.py
"""

from __future__ import annotations

import shutil
import tempfile
import warnings
from pathlib import Path

import numpy as np
from _compare import medians, table
from proteinflex_optimization import DataHandler


def main() -> None:
    """Print a table for each data set."""
    warnings.simplefilter("ignore")
    directory = Path(tempfile.mkdtemp(prefix="flexopt-bench-"))
    try:
        from MDAnalysisTests import datafiles

        compare(directory, "XTC, 10 frames of 47,681 atoms", datafiles.GRO, datafiles.XTC, None)
        compare(directory, "DCD, 98 frames of 3,341 atoms", datafiles.PSF, datafiles.DCD, None)
        compare(directory, "DCD, at 0.001 Å", datafiles.PSF, datafiles.DCD, 0.001)
    finally:
        shutil.rmtree(directory)


def compare(
    directory: Path, title: str, topology: str, trajectory: str, precision: float | None
) -> None:
    """Store one trajectory, read it in each way, and print what that took."""
    import MDAnalysis

    universe = MDAnalysis.Universe(topology, trajectory)
    frames = np.array([universe.atoms.positions for _ in universe.trajectory])
    compressed = DataHandler(directory / "compressed")
    plain = DataHandler(directory / "plain", enable_compression=False)
    coded = compressed.open(
        compressed.store_trajectory({"frames": frames}, title, precision=precision)
    )
    raw_key = plain.store_trajectory({"frames": frames}, title)
    if precision is None:
        assert coded.read().tobytes() == frames.tobytes()
    else:
        assert np.abs(coded.read() - frames).max() <= precision / 2 * (1 + 1e-6)
    order = np.random.default_rng(1).permutation(len(frames))

    def by_mdanalysis() -> None:
        for _ in universe.trajectory:
            pass

    def at_random_by_mdanalysis() -> None:
        for index in order:
            universe.trajectory[index]

    def at_random() -> None:
        for index in order:
            coded[index]

    every = medians(
        {
            "MDAnalysis, original file": by_mdanalysis,
            "ours, compressed": lambda: coded.read(),
            "ours, plain": lambda: plain.load_data(raw_key)["frames"].max(),
        }
    )
    single = medians(
        {"MDAnalysis, original file": at_random_by_mdanalysis, "ours, compressed": at_random}
    )
    original = Path(trajectory).stat().st_size
    sizes = {
        "MDAnalysis, original file": original,
        "ours, compressed": coded.stored_bytes,
        "ours, plain": plain.info(raw_key)["stored_bytes"],
    }
    reference = "MDAnalysis, original file"
    rows = [
        [
            name,
            f"{100 * (1 - sizes[name] / frames.nbytes):.1f}",
            f"{1e3 * every[name]:.2f}",
            f"{every[reference] / every[name]:.1f} ×",
            f"{single[reference] / single[name]:.1f} ×" if name in single else "",
        ]
        for name in every
    ]
    columns = ["", "% saved", "ms, every frame", "speed", "speed, random frame"]
    print(table(title, columns, rows))


if __name__ == "__main__":
    main()
