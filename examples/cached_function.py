"""
A function that is computed once
================================

All against all: the RMSD of each pair of conformations, with a progress bar, and kept for the next
time.
"""

import time

import matplotlib.pyplot as plt
import numpy as np
from MDAnalysis.analysis.rms import rmsd
from MDAnalysisTests.datafiles import DCD, PSF
from proteinflex_optimization import DataHandler, track

# %%
# Adenylate kinase on its way from closed to open, of MDAnalysis's test data: every second frame,
# the Cα atoms.

cache = DataHandler("cache")
if "adk" not in cache:
    cache.import_trajectory(PSF, DCD, "adk")
trajectory = cache.open("adk")
calphas = trajectory.to_universe().select_atoms("name CA").indices

# %%
# Arguments count by their content, and so does the source of the function: whatever changes, it is
# computed again.


@cache.memoize
def all_against_all(content: str, atoms: np.ndarray, stride: int) -> np.ndarray:
    """RMSD of each pair of frames after superposition, in Å."""
    frames = trajectory.read(step=stride, atoms=atoms).astype(float)
    matrix = np.zeros((len(frames), len(frames)))
    for i in track(range(len(frames)), "pairs"):
        for j in range(i):
            matrix[i, j] = matrix[j, i] = rmsd(frames[i], frames[j], superposition=True)
    return matrix


# %%
# The trajectory counts by its ``content_id``, which is a hash of what is in it.

for _ in range(2):
    began = time.perf_counter()
    matrix = all_against_all(trajectory.content_id, calphas, 2)
    print(f"{1000 * (time.perf_counter() - began):.1f} ms")

figure, axes = plt.subplots(figsize=(4.8, 4), layout="constrained")
image = axes.imshow(matrix, cmap="viridis", origin="lower", extent=(0, 98, 0, 98))
figure.colorbar(image, label="RMSD of Cα, Å")
axes.set(xlabel="frame", ylabel="frame")
figure.savefig("rmsd.png")
