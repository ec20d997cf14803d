"""Checkpoints side by side with torch.save, safetensors, DCP, joblib, pickle and plain write and fsync.

python benches/peers/checkpoint.py [MiB of the large state, 1024 by default]
"""

from __future__ import annotations

import os
import pickle
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
import torch.distributed.checkpoint as dcp
from _compare import medians, table
from proteinflex_optimization import CheckpointManager
from safetensors.torch import load_file, save_file

LAYERS = 24
SMALL_VALUES = 64_000
ATOMS = 100_000

State = dict[str, Any]


def main() -> None:
    """Print the tables."""
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 1024
    directory = Path(tempfile.mkdtemp(prefix="flexopt-bench-", dir=os.environ.get("BENCH_DIR")))
    try:
        large(directory, size)
        small_values(directory)
        simulation(directory)
        tiny(directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def training_state(size: int) -> State:
    """Make a model and its AdamW state after a step, together `size` MiB: three tensors a weight."""
    width = int((size * (1 << 20) / 4 / 3 / LAYERS) ** 0.5)
    model = torch.nn.ModuleDict(
        {f"layer{i}": torch.nn.Linear(width, width, bias=False) for i in range(LAYERS)}
    )
    optimizer = torch.optim.AdamW(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    optimizer.zero_grad()
    return {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": 1}


def tensors_of(state: State) -> dict[str, torch.Tensor]:
    """List the tensors alone, which is what safetensors holds."""
    flat = {f"model.{name}": tensor for name, tensor in state["model"].items()}
    for number, moments in state["optimizer"]["state"].items():
        for name, tensor in moments.items():
            flat[f"optimizer.{number}.{name}"] = tensor
    return flat


def large(directory: Path, size: int) -> None:
    """Compare (a) a model with its optimizer, and (e) the same with one part in a hundred changed."""
    state = training_state(size)
    tensors = tensors_of(state)
    raw = b"".join(tensor.numpy().tobytes() for tensor in tensors.values())
    ours = CheckpointManager(directory / "ours", max_checkpoints=1, link_unchanged=False)
    saves: dict[str, Callable[[], object]] = {
        "plain write + fsync": lambda: write_durably(directory / "raw", raw),
        "ours, durable, checksummed": lambda: ours.create_checkpoint("c", state),
        "safetensors + fsync": lambda: saved(directory / "st", lambda p: save_file(tensors, p)),
        "torch.save + fsync": lambda: saved(directory / "pt", lambda p: torch.save(state, p)),
        "joblib + fsync": lambda: saved(directory / "jl", lambda p: joblib.dump(state, p)),
        "pickle 5 + fsync": lambda: saved(directory / "pkl", lambda p: dump(state, p)),
        "torch DCP + fsync": lambda: save_dcp(directory / "dcp", state),
    }
    report(f"(a) Save {size} MiB of model and optimizer", saves, "plain write + fsync")
    path = ours.latest() or ""
    loads: dict[str, Callable[[], object]] = {
        "ours, verified, mapped": lambda: touch(ours.load_checkpoint(path)),
        "ours, verified, in memory of its own": lambda: touch(
            ours.load_checkpoint(path, mmap=False)
        ),
        "safetensors": lambda: touch(load_file(directory / "st")),
        "torch.load": lambda: touch(torch.load(directory / "pt", weights_only=True)),
        "torch.load, mmap": lambda: touch(
            torch.load(directory / "pt", weights_only=True, mmap=True)
        ),
        "joblib": lambda: touch(joblib.load(directory / "jl")),
        "pickle 5": lambda: touch(pickle.loads((directory / "pkl").read_bytes())),
    }
    report(f"(a) Load {size} MiB, every byte read", loads, "torch.load")
    untouched: dict[str, Callable[[], object]] = {
        "ours, mapped, not verified": lambda: ours.load_checkpoint(path, verify=False),
        "safetensors": lambda: load_file(directory / "st"),
        "torch.load, mmap": lambda: torch.load(directory / "pt", weights_only=True, mmap=True),
    }
    report(f"(a) Load {size} MiB, no byte read", untouched, "torch.load, mmap")
    for name in ("raw", "st", "pt", "jl", "pkl"):
        (directory / name).unlink()
    shutil.rmtree(directory / "dcp")
    in_background(ours, state, tensors, size)
    ours.wait()
    shutil.rmtree(directory / "ours")

    linking = CheckpointManager(directory / "linked", max_checkpoints=2)
    writing = CheckpointManager(directory / "written", max_checkpoints=2, link_unchanged=False)
    frozen = {f"layer{i}": {"w": tensor} for i, tensor in enumerate(tensors.values())}
    head = torch.zeros(size * (1 << 20) // 100 // 4)
    counter = iter(range(10**6))

    def save(manager: CheckpointManager) -> None:
        number = next(counter)
        head.fill_(float(number))
        manager.create_checkpoint(f"s{number}", {**frozen, "head": {"w": head}})

    def wait() -> None:
        # Old checkpoints are removed in the background: not while the other one is measured.
        linking.wait()
        writing.wait()

    saves = {"written again": lambda: save(writing), "linked": lambda: save(linking)}
    changed = medians(saves, rounds=5, after=wait)
    print_table(f"(e) Save {size} MiB of which 1 % changed", changed, "written again")
    shutil.rmtree(directory / "linked")
    shutil.rmtree(directory / "written")


def in_background(
    manager: CheckpointManager, state: State, tensors: dict[str, torch.Tensor], size: int
) -> None:
    """Measure how long the caller of an asynchronous save is held."""
    targets = [torch.empty_like(tensor) for tensor in tensors.values()]

    def copy() -> None:
        for target, tensor in zip(targets, tensors.values(), strict=True):
            target.copy_(tensor)

    # What is saved in between is not measured.
    held = {
        "memcpy, by torch": copy,
        "create_checkpoint_async": lambda: manager.create_checkpoint_async("b", state),
    }
    seconds = medians(held, rounds=5, after=manager.wait)
    print_table(f"Time that the caller is held, {size} MiB", seconds, "memcpy, by torch")
    manager.release_memory()


def small_values(directory: Path) -> None:
    """Compare (b) many small values: bound by the walk over them."""
    state = {
        f"key{i}": (i, i / 3, f"text {i}", None, [True, b"x"]) for i in range(SMALL_VALUES // 8)
    }
    manager = CheckpointManager(directory / "small", max_checkpoints=1)
    path = directory / "small.pkl"
    saves: dict[str, Callable[[], object]] = {
        "ours, durable, checksummed": lambda: manager.create_checkpoint("c", {"s": state}),
        "pickle 5 + fsync": lambda: saved(path, lambda p: dump(state, p)),
        "torch.save + fsync": lambda: saved(directory / "s.pt", lambda p: torch.save(state, p)),
    }
    report(f"(b) Save {SMALL_VALUES} small values", saves, "pickle 5 + fsync")
    made = manager.latest() or ""
    loads: dict[str, Callable[[], object]] = {
        "ours, verified": lambda: manager.load_checkpoint(made),
        "pickle 5": lambda: pickle.loads(path.read_bytes()),
        "torch.load": lambda: torch.load(directory / "s.pt", weights_only=True),
    }
    report(f"(b) Load {SMALL_VALUES} small values", loads, "pickle 5")
    del loads["torch.load"]
    print_table(
        f"(b) Load {SMALL_VALUES} small values, with the garbage collector",
        medians(loads, rounds=21, collect=True),
        "pickle 5",
    )


def simulation(directory: Path) -> None:
    """Compare (c) the state of a simulation: positions, velocities, a box, and 10 MB of XML."""
    rng = np.random.default_rng(1)
    state = {
        "positions": rng.normal(size=(ATOMS, 3)),
        "velocities": rng.normal(size=(ATOMS, 3)),
        "box": np.eye(3),
        "system": "<Particle mass='12.01'/>" * (10_000_000 // 24),
        "step": 5_000_000,
    }
    raw = state["positions"].tobytes() + state["velocities"].tobytes() + state["system"].encode()
    manager = CheckpointManager(directory / "md", max_checkpoints=1, link_unchanged=False)
    saves: dict[str, Callable[[], object]] = {
        "plain write + fsync": lambda: write_durably(directory / "raw", raw),
        "ours, durable, checksummed": lambda: manager.create_checkpoint("c", {"md": state}),
        "pickle 5 + fsync": lambda: saved(directory / "md.pkl", lambda p: dump(state, p)),
        "joblib + fsync": lambda: saved(directory / "md.jl", lambda p: joblib.dump(state, p)),
        "torch.save + fsync": lambda: saved(directory / "md.pt", lambda p: torch.save(state, p)),
    }
    report(f"(c) Save a simulation of {ATOMS} atoms", saves, "plain write + fsync")


def tiny(directory: Path) -> None:
    """Compare (d) next to nothing: bound by how often the disk is waited for."""
    state = {"step": 7, "lr": 1e-3, "weights": np.arange(16.0)}
    raw = pickle.dumps(state, protocol=5)
    manager = CheckpointManager(directory / "tiny", max_checkpoints=3)
    number = iter(range(10**6))

    def renamed() -> None:
        write_durably(directory / "t.tmp", raw)
        (directory / "t.tmp").replace(directory / "t")

    saves: dict[str, Callable[[], object]] = {
        "write + fsync + rename": renamed,
        "ours, durable, checksummed": lambda: manager.create_checkpoint(
            f"s{next(number)}", {"s": state}
        ),
        "torch.save + fsync": lambda: saved(directory / "t.pt", lambda p: torch.save(state, p)),
        "torch DCP + fsync": lambda: save_dcp(directory / "tdcp", {"w": torch.arange(16.0)}),
    }
    report("(d) Save a tiny state", saves, "write + fsync + rename", rounds=31)


def save_dcp(directory: Path, state: State) -> None:
    """Save by torch's distributed checkpoints, in one process, and sync its files."""
    shutil.rmtree(directory, ignore_errors=True)
    dcp.save(state, checkpoint_id=directory, no_dist=True)
    for path in directory.iterdir():
        sync(path)


def write_durably(path: Path, raw: bytes) -> None:
    """Write and sync, as plainly as can be."""
    with path.open("wb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())


def saved(path: Path, save: Callable[[Path], object]) -> None:
    """Save with a library, then sync what it wrote."""
    save(path)
    sync(path)


def sync(path: Path) -> None:
    """Wait until a file is durable."""
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def dump(state: Any, path: Path) -> None:
    """Pickle into a file."""
    with path.open("wb") as file:
        pickle.dump(state, file, protocol=5)


def touch(state: Any) -> float:
    """Read every byte of a state's tensors."""
    if isinstance(state, torch.Tensor):
        return float(state.detach().numpy().reshape(-1).view(np.uint32).max())
    if isinstance(state, dict):
        return max((touch(value) for value in state.values()), default=0.0)
    return 0.0


def report(
    title: str, contenders: dict[str, Callable[[], object]], reference: str, rounds: int = 5
) -> None:
    """Measure contenders and print their times and ratios."""
    print_table(title, medians(contenders, rounds=rounds), reference)


def print_table(title: str, seconds: dict[str, float], reference: str) -> None:
    """Print times and their ratio to one of them."""
    rows = [
        [name, f"{1e3 * value:.1f}", f"{value / seconds[reference]:.2f}"]
        for name, value in seconds.items()
    ]
    print(table(title, ["", "ms", f"÷ {reference}"], rows))


if __name__ == "__main__":
    main()
