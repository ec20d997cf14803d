"""
Batches for many proteins
=========================

Proteins of different length, grouped into batches that fit, from a few memory peaks that were
observed.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle
from proteinflex_optimization import GPUManager

# %%
# Without a GPU, the batches fit the memory of the machine: this is what runs here. What the task
# needs is observed: in a job by ``with manager.measure("fold", batch_size, length): predict(...)``;
# here by numbers of a model that attends to all pairs of residues, in MB.


def peak(batch_size: int, length: int) -> float:
    """Return the peak of a batch, in MB."""
    return 500 + batch_size * length * (0.05 + length * 5e-4)


manager = GPUManager({"fold": 2000}, state_dir=Path.cwd() / "gpu-state")
gpus = manager.allocate_gpus("fold")
for batch_size, length in [(1, 128), (2, 128), (2, 256), (4, 256)]:
    manager.observe("fold", batch_size, peak(batch_size, length), length, gpu_indices=gpus)
print("GPUs:", gpus or "none")

# %%
# How many fit at once follows from a model that no observation contradicts, and that is never too
# low.

for length in (128, 512, 1024):
    batch_size = manager.get_optimal_batch_size("fold", gpus, length=length)
    print(f"{length} residues: {batch_size} at a time")

# %%
# Sixty lengths, spread as those of a proteome are. The plan pads as little as possible.

lengths = np.random.default_rng(1).lognormal(5.3, 0.6, 60).astype(int).clip(40, 900).tolist()
plan = manager.plan_batches("fold", lengths, gpus)
used = sum(lengths[item] ** 2 for batch in plan for item in batch["items"])
padded = sum(len(batch["items"]) * batch["length"] ** 2 for batch in plan)
print(f"{len(plan)} batches; {100 * used / padded:.0f} % of the pairs of residues are no padding")
assert sorted(item for batch in plan for item in batch["items"]) == list(range(60))

# %%
# Each row is a protein, each block a batch; what is pale is padding.

figure, axes = plt.subplots(figsize=(6.5, 4), layout="constrained")
row = 0
for number, batch in enumerate(plan):
    colour = f"C{number % 10}"
    size = len(batch["items"])
    axes.add_patch(Rectangle((0, row), batch["length"], size, color=colour, alpha=0.25, lw=0))
    for item in sorted(batch["items"], key=lambda item: lengths[item]):
        axes.add_patch(Rectangle((0, row + 0.1), lengths[item], 0.8, color=colour, lw=0))
        row += 1
axes.set(xlim=(0, max(lengths)), ylim=(0, row), xlabel="residues", ylabel="proteins")
figure.savefig("batches.png")
manager.release_gpus("fold")
