"""
An error bound, and what it saves
=================================

Coordinates may be rounded to a decimal grid, by an error that you choose.
"""

import matplotlib.pyplot as plt
import MDAnalysis
import numpy as np
from MDAnalysisTests.datafiles import DCD, PSF
from proteinflex_optimization import DataHandler

# %%
# A trajectory of adenylate kinase, 98 frames of 3,341 atoms in full precision: from closed to open.

frames = MDAnalysis.Universe(PSF, DCD).trajectory.timeseries(order="fac")
frames.shape, frames.dtype

# %%
# The same frames once for each precision.

cache = DataHandler("cache")
spacings = [None, 0.0001, 0.001, 0.01, 0.1]
saved, errors = [], []
for spacing in spacings:
    key = cache.store_trajectory({"frames": frames}, f"adk {spacing}", precision=spacing)
    with cache.open(key) as trajectory:
        saved.append(100 * (1 - trajectory.stored_bytes / trajectory.raw_bytes))
        errors.append(np.abs(trajectory[:] - frames).max())
        print(
            f"{spacing or 'every bit'}: {saved[-1]:.1f} % saved, error {errors[-1]:.6f} Å at most"
        )

# %%
# The error is never more than half of the spacing, beside the last bit of the float32 itself.

assert all(
    error <= (spacing or 0) / 2 + 1e-5 for spacing, error in zip(spacings, errors, strict=True)
)

figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
bars = axes.bar(["every bit", "0.0001", "0.001", "0.01", "0.1"], saved, color="#2a7fb8")
axes.bar_label(bars, fmt="%.0f %%")
axes.set(xlabel="precision=, Å", ylabel="saved, % of float32", ylim=(0, 100))
figure.savefig("precision.png")
