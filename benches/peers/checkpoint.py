"""Checkpoints side by side with torch.save, safetensors, pickle and plain write and fsync.

python benches/peers/checkpoint.py [MiB]
"""

from __future__ import annotations

import os
import pickle
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from _compare import medians, table
from proteinflex_optimization import CheckpointManager

TENSORS = 64
SMALL_VALUES = 64_000


def main() -> None:
    """Print both tables."""
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 256
    directory = Path(tempfile.mkdtemp(prefix="flexopt-bench-"))
    try:
        large(directory, size)
        small(directory)
    finally:
        shutil.rmtree(directory)


def large(directory: Path, size: int) -> None:
    """Compare on a model's tensors: bound by the disk."""
    import torch
    from safetensors.torch import load_file, save_file

    count = (size << 20) // 4 // TENSORS
    state = {f"layer{i}.weight": torch.randn(count) for i in range(TENSORS)}
    raw = b"".join(tensor.numpy().tobytes() for tensor in state.values())
    manager = CheckpointManager(directory / "ours", max_checkpoints=1)
    saves = {
        "plain write + fsync": lambda: write_durably(directory / "raw", raw),
        "ours, durable, checksummed": lambda: manager.create_checkpoint("c", {"model": state}),
        "safetensors + fsync": lambda: saved(directory / "st", lambda p: save_file(state, p)),
        "torch.save + fsync": lambda: saved(directory / "pt", lambda p: torch.save(state, p)),
        "pickle 5 + fsync": lambda: saved(directory / "pkl", lambda p: dump(state, p)),
    }
    save = medians(saves, rounds=5)
    path = manager.latest()
    loads = {
        "ours, verified, mapped": lambda: touch(manager.load_checkpoint(path)["model"]),
        "ours, mapped, not verified": lambda: manager.load_checkpoint(path, verify=False),
        "safetensors": lambda: touch(load_file(directory / "st")),
        "torch.load": lambda: touch(torch.load(directory / "pt", weights_only=True)),
        "pickle 5": lambda: touch(pickle.loads((directory / "pkl").read_bytes())),
    }
    load = medians(loads, rounds=5)
    print_table(f"Save {size} MiB of float32 tensors", save, "plain write + fsync")
    print_table(f"Load {size} MiB of float32 tensors, every byte read", load, "torch.load")


def small(directory: Path) -> None:
    """Compare on many small values: bound by the walk over them."""
    state = {
        f"key{i}": (i, i / 3, f"text {i}", None, [True, b"x"]) for i in range(SMALL_VALUES // 8)
    }
    manager = CheckpointManager(directory / "small", max_checkpoints=1)
    save = medians(
        {
            "ours, durable, checksummed": lambda: manager.create_checkpoint("c", {"s": state}),
            "pickle 5 + fsync": lambda: saved(directory / "small.pkl", lambda p: dump(state, p)),
        }
    )
    path = manager.latest()
    load = medians(
        {
            "ours, verified": lambda: manager.load_checkpoint(path),
            "pickle 5": lambda: pickle.loads((directory / "small.pkl").read_bytes()),
        }
    )
    print_table(f"Save {SMALL_VALUES} small values", save, "pickle 5 + fsync")
    print_table(f"Load {SMALL_VALUES} small values", load, "pickle 5")


def write_durably(path: Path, raw: bytes) -> None:
    """Write and sync, as plainly as can be."""
    with path.open("wb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())


def saved(path: Path, save: Any) -> None:
    """Save with a library, then sync what it wrote."""
    save(path)
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def dump(state: Any, path: Path) -> None:
    """Pickle into a file."""
    with path.open("wb") as file:
        pickle.dump(state, file, protocol=5)


def touch(state: Any) -> float:
    """Read every byte of a state's tensors."""
    return float(sum(np.asarray(tensor).view(np.uint32).max() for tensor in state.values()))


def print_table(title: str, seconds: dict[str, float], reference: str) -> None:
    """Print times and their ratio to one of them."""
    rows = [
        [name, f"{1e3 * value:.1f}", f"{value / seconds[reference]:.2f}"]
        for name, value in seconds.items()
    ]
    print(table(title, ["", "ms", f"÷ {reference}"], rows))


if __name__ == "__main__":
    main()
