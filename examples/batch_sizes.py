"""Choose batches for proteins of different length from a few memory peaks that were observed.

    python examples/batch_sizes.py DIRECTORY

It runs without a GPU as well: the batches then fit into the memory of the machine.
"""

import sys

from proteinflex_optimization import GPUManager

LENGTHS = [64, 80, 95, 120, 128, 150, 250, 256, 300, 400, 512]


def peak_mb(batch_size: int, length: int) -> float:
    """Stand in for a model that attends to pairs of residues: what `measure` would observe."""
    return 500 + batch_size * length * (0.05 + length * 2e-4)


def main(directory: str) -> None:
    manager = GPUManager({"fold": 2000}, state_dir=directory)
    gpus = manager.get_available_gpus()
    print(f"{len(gpus)} GPUs" if gpus else "no GPU: the memory of the machine counts")
    with manager.reserve("fold", max_gpus=2) as indices:
        for batch_size, length in [(1, 128), (2, 128), (2, 256), (4, 256)]:
            # In a job: with manager.measure("fold", batch_size, length): predict(...)
            peak = peak_mb(batch_size, length)
            manager.observe("fold", batch_size, peak, length, gpu_indices=indices)
        for length in (128, 512):
            batch_size = manager.get_optimal_batch_size("fold", indices, length=length)
            print(f"{length} residues: {batch_size} at a time")
        for batch in manager.plan_batches("fold", LENGTHS, indices):
            lengths = [LENGTHS[item] for item in batch["items"]]
            device = "CPU" if batch["gpu"] is None else f"GPU {batch['gpu']}"
            print(f"{device}: {lengths}, padded to {batch['length']}")


if __name__ == "__main__":
    main(sys.argv[1])
