"""
Training on trajectories, with torch, and going on
==================================================

Frames of a cached trajectory as a ``Dataset``, checkpoints in the background, and a run that is
interrupted and goes on as if it had not been.
"""

import matplotlib.pyplot as plt
import torch
from MDAnalysisTests.datafiles import DCD, PSF
from proteinflex_optimization import CheckpointManager, DataHandler
from proteinflex_optimization.integrations.torch import TrajectoryDataset
from torch.utils.data import DataLoader

# %%
# Each 20th atom of adenylate kinase on its way from closed to open, of MDAnalysis's test data. An
# item is a frame; with ``num_workers`` each process reads the cache by itself.

torch.set_num_threads(1)  # A model as small as this one is fastest so.
cache = DataHandler("cache")
if "adk" not in cache:
    cache.import_trajectory(PSF, DCD, "adk")
dataset = TrajectoryDataset(cache.open("adk"), atoms=slice(0, None, 20))
frames = torch.stack(list(dataset))
mean, scale = frames.mean(dim=0), frames.std()

# %%
# An autoencoder with a single number in the middle: how far open is it? ``latest()`` is the newest
# checkpoint that is whole. Its states are verified, and loading them runs no code.


def train(directory: str, epochs: int, interrupted_after: int | None = None) -> list[float]:
    """Train, or go on; return the loss of all epochs."""
    torch.manual_seed(0)
    size = mean.numel()
    model = torch.nn.Sequential(
        torch.nn.Linear(size, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1),
        torch.nn.Linear(1, 32), torch.nn.Tanh(), torch.nn.Linear(32, size),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    order = torch.Generator()
    losses: list[float] = []
    checkpoints = CheckpointManager(directory, max_checkpoints=3)
    if latest := checkpoints.latest():
        saved = checkpoints.load_checkpoint(latest)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        losses = saved["run"]["losses"]
        print(f"going on at epoch {len(losses)}")
    for epoch in range(len(losses), epochs):
        order.manual_seed(epoch)
        total = 0.0
        for batch in DataLoader(dataset, batch_size=16, shuffle=True, generator=order):
            wanted = ((batch - mean) / scale).flatten(1)
            loss = torch.nn.functional.mse_loss(model(wanted), wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        losses.append(total / len(dataset))
        # The states are copied before this returns; a thread waits for the disk.
        checkpoints.create_checkpoint_async(
            f"epoch-{epoch:04d}",
            {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "run": {"losses": losses},
            },
        )
        if len(losses) == interrupted_after:
            break
    checkpoints.wait()
    return losses


# %%
# Interrupted after 8 epochs, and called again:

first = train("training", 20, interrupted_after=8)
resumed = train("training", 20)

# %%
# It has come to the last bit where a run that was never interrupted comes.

whole = train("training whole", 20)
assert resumed == whole
print(f"loss {resumed[-1]:.4f}, equal: {resumed == whole}")

figure, axes = plt.subplots(figsize=(6.5, 3.2), layout="constrained")
axes.semilogy(range(1, 21), whole, color="#bbbbbb", linewidth=5, label="without interruption")
axes.semilogy(range(1, 9), first[:8], color="#2a7fb8", label="first run")
axes.semilogy(range(9, 21), resumed[8:], color="#c8553d", label="went on")
axes.set(xlabel="epoch", ylabel="loss")
axes.legend()
figure.savefig("training.png")
