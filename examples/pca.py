"""
Principal components, with MDAnalysis and with dask
===================================================

One cached trajectory, two ways: MDAnalysis's own analysis, frame by frame, and a covariance that
dask sums up chunk by chunk, in parallel and for trajectories that are larger than the memory.
"""

import dask
import matplotlib.pyplot as plt
import numpy as np
from MDAnalysis.analysis import align, pca
from MDAnalysisTests.datafiles import DCD, PSF
from proteinflex_optimization import DataHandler

# %%
# Adenylate kinase on its way from closed to open: 98 frames of 3,341 atoms, of MDAnalysis's test
# data. They are imported once.

cache = DataHandler("cache")
if "adk" not in cache:
    cache.import_trajectory(PSF, DCD, "adk")
trajectory = cache.open("adk")
universe = trajectory.to_universe()
print(repr(trajectory))

# %%
# MDAnalysis: the Cα atoms, superposed on their average. The superposed frames are stored, too.

average = align.AverageStructure(universe, select="name CA", ref_frame=0).run()
align.AlignTraj(universe, average.results.universe, select="name CA", in_memory=True).run()
of_mdanalysis = pca.PCA(universe, select="name CA").run().results.variance[:3]
frames = universe.trajectory.timeseries(universe.select_atoms("name CA"), order="fac")
cache.store_trajectory({"frames": frames}, "adk, superposed")
superposed = cache.open("adk, superposed")

# %%
# dask: nothing is read before ``compute``, and each task reads the chunks that it needs from the
# cache by itself.

array = superposed.to_dask().reshape(len(superposed), -1).astype(np.float64)
centred = array - array.mean(axis=0)
covariance = centred.T @ centred / (len(superposed) - 1)
covariance, projected_on = dask.compute(covariance, centred)
variances, vectors = np.linalg.eigh(covariance)
of_dask = variances[::-1][:3]
print("variance, Å²:", of_mdanalysis.round(2), "and", of_dask.round(2))
assert np.allclose(of_mdanalysis, of_dask, rtol=1e-3)

# %%
# The first component is the way itself.

projected = projected_on @ vectors[:, ::-1][:, :2]
figure, axes = plt.subplots(figsize=(5.5, 4), layout="constrained")
points = axes.scatter(
    projected[:, 0], projected[:, 1], c=np.arange(len(superposed)), cmap="viridis", s=18
)
figure.colorbar(points, label="frame")
share = 100 * of_dask / variances.sum()
axes.set(xlabel=f"PC 1, Å ({share[0]:.0f} %)", ylabel=f"PC 2, Å ({share[1]:.0f} %)")
figure.savefig("pca.png")
