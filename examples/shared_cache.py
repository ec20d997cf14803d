"""
One cache, many processes
=========================

Four workers need the same eight results, in an order of their own. Each result is computed once:
who comes second waits for the first, and loads.
"""

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
from proteinflex_optimization import DataHandler

PROTEINS = [f"protein {number}" for number in range(8)]


def embed(protein: str, worker: int) -> dict[str, np.ndarray | float | int]:
    """Stand for a model: some computation, and who did it from when to when."""
    began = time.time()
    matrix = np.random.default_rng(len(protein)).normal(size=(64, 64))
    while time.time() < began + 0.15:
        vectors = np.linalg.svd(matrix)[0]
    return {"embedding": vectors[:, :8], "worker": worker, "began": began, "ended": time.time()}


def work(worker: int) -> list[tuple[str, float]]:
    """Ask for every protein, as each process does: no process knows of the others."""
    cache = DataHandler("shared cache")
    came = []
    for protein in np.random.default_rng(worker).permutation(PROTEINS).tolist():
        result = cache.get_or_compute(protein, partial(embed, protein, worker))
        came.append((protein, time.time()))
        assert result["embedding"].shape == (64, 8)
    return came


# %%
# A pool of four; on a cluster these are jobs on several hosts that see one directory.

DataHandler("shared cache").clear()  # Of an earlier run.

with ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("fork")) as pool:
    by_worker = list(pool.map(work, range(4)))

cache = DataHandler("shared cache")
stats = cache.get_cache_stats()
print(f"4 workers had {sum(map(len, by_worker))} results; {stats['entries']} were computed")

# %%
# Who computed what, and when the others had it:

figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
results = {protein: cache[cache.key_for(protein, "structure")] for protein in PROTEINS}
zero = min(result["began"] for result in results.values())
for number, (protein, result) in enumerate(results.items()):
    began, took = result["began"] - zero, result["ended"] - result["began"]
    axes.barh(result["worker"], took, left=began, color=f"C{number}", label=protein)
for worker, came in enumerate(by_worker):
    for protein, at in came:
        if results[protein]["worker"] != worker:
            axes.plot(at - zero, worker, "o", color=f"C{PROTEINS.index(protein)}", mec="black")
axes.set(yticks=range(4), yticklabels=[f"worker {n}" for n in range(4)], xlabel="seconds")
axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), title="bar: computed\ndot: loaded")
axes.invert_yaxis()
figure.savefig("shared.png")
