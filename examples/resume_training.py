"""Train with torch, save in the background, and go on from the newest whole checkpoint.

python examples/resume_training.py DIRECTORY EPOCHS
"""

import sys

import torch
from proteinflex_optimization import CheckpointManager


def main(directory: str, epochs: int) -> None:
    torch.manual_seed(0)
    inputs = torch.randn(256, 16)
    targets = inputs @ torch.randn(16, 1)
    model = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    checkpoints = CheckpointManager(directory, max_checkpoints=3)

    first = 0
    if latest := checkpoints.latest():
        # Verified, and without pickle: loading runs no code.
        saved = checkpoints.load_checkpoint(latest)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        first = saved["run"]["epoch"] + 1
        print(f"going on at epoch {first}")

    for epoch in range(first, epochs):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(inputs), targets)
        loss.backward()
        optimizer.step()
        # The state is copied before this returns; the disk is waited for by a thread.
        checkpoints.create_checkpoint_async(
            f"epoch-{epoch:04d}",
            {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "run": {"epoch": epoch},
            },
            metadata={"loss": loss.item()},
        )
    checkpoints.wait()
    newest = checkpoints.list_checkpoints()[-1]
    print(f"{newest['checkpoint_id']}: loss {newest['metadata']['loss']:.6f}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
