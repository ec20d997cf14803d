"""What float64 takes that holds float32 values: the entries of both, side by side.

OpenMM, MDAnalysis and mdtraj compute or read in single precision, and programs convert and scale in
double. Each kind of such doubles is made of real coordinates, stored and read by one thread, with the
float32 array that it came from. Times are the process's own.

    python benches/peers/doubles.py [--sets adk_dcd,adk_xtc] [--rounds 3] [--data DIR]
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _compare import medians, table
from _trajectory.data import DataSet, data_sets
from numpy.typing import NDArray
from proteinflex_optimization import DataHandler

NM = np.float32(10)


def main() -> None:
    """Print a table for each data set."""
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument(
        "--sets",
        type=lambda text: text.split(","),
        default=["adk_dcd", "adk_namd", "adk_xtc", "yiip"],
    )
    parser.add_argument("--rounds", type=int, default=3, help="0: only sizes")
    parser.add_argument("--data", type=Path, help="where simulated sets are kept")
    options = parser.parse_args()
    ways: dict[str, dict[str, Any]] = {
        "lossless": {},
        "lossless, archive": {"profile": "archive"},
        "at 0.001": {"precision": 0.001},
        "at 0.001, archive": {"precision": 0.001, "profile": "archive"},
    }
    columns = [
        "doubles",
        "stored",
        "float32, bits per number",
        "float64",
        "size",
        "encode",
        "decode",
    ]
    for data in data_sets(options.sets, options.data):
        rows = [
            [origin, way, *compared(floats, doubles, arguments, options.rounds)]
            for origin, floats, doubles in origins(data)
            for way, arguments in ways.items()
            # A spacing in Å says nothing of coordinates in nm.
            if "precision" not in arguments or np.allclose(floats, doubles, rtol=1e-3)
        ]
        print(table(f"{data.name}: float64 ÷ float32", columns, rows), flush=True)


def origins(data: DataSet) -> Iterator[tuple[str, NDArray[np.float32], NDArray[np.float64]]]:
    """Yield kinds of doubles, each with the floats that they came from."""
    angstrom = data.frames
    yield "widened", angstrom, angstrom.astype(np.float64)
    if data.is_on_grid:
        whole = np.rint(angstrom * 100)
        nm = whole.astype(np.float32) * np.float32(1 / 1000)
        yield "nm of XTC × 10", nm, nm.astype(np.float64) * 10
        text = whole.astype(np.float64) / 100
        yield "decimals parsed", text.astype(np.float32), text
    else:
        nm = angstrom / NM
        yield "nm × 10", nm, nm.astype(np.float64) * 10
        yield "Å ÷ 10", angstrom, angstrom.astype(np.float64) / 10
    # Sums of these have more bits than a float: nothing to be narrowed without a precision.
    yield "all bits", angstrom, angstrom.astype(np.float64) + 1e-9 / 3


def compared(
    floats: NDArray[np.float32],
    doubles: NDArray[np.float64],
    options: dict[str, Any],
    rounds: int,
) -> list[str]:
    """Store and read both; the ratios of sizes and times."""
    directory = Path(tempfile.mkdtemp(prefix="flexopt-bench-"))
    try:
        handler = DataHandler(directory, durable=False)
        contenders: dict[str, Callable[[], object]] = {}
        bits = []
        for name, frames in (("float32", floats), ("float64", doubles)):
            key = store(handler, frames, name, options)
            bits.append(8 * handler.info(key)["stored_bytes"] / frames.size)
            contenders[f"write {name}"] = lambda frames=frames: store(handler, frames, "w", options)
            contenders[f"read {name}"] = lambda key=key: read(handler, key)
        if rounds:
            seconds = medians(contenders, rounds=rounds, clock=time.process_time)
    finally:
        shutil.rmtree(directory)
    sizes = [f"{bits[0]:.2f}", f"{bits[1]:.2f}", f"{bits[1] / bits[0]:.3f}"]
    if not rounds:
        return [*sizes, "", ""]
    times = (seconds[f"{work} float64"] / seconds[f"{work} float32"] for work in ("write", "read"))
    return [*sizes, *(f"{ratio:.2f}" for ratio in times)]


def store(handler: DataHandler, frames: NDArray[Any], name: str, options: dict[str, Any]) -> str:
    """Store frames, and check what comes back."""
    key = handler.store_trajectory({"frames": frames}, name, **options)
    if name != "w":
        with handler.open(key) as opened:
            found = opened.read()
        spacing = options.get("precision")
        if spacing is None:
            assert found.tobytes() == frames.tobytes()
        else:
            assert np.abs(found.astype(np.float64) - frames).max() <= spacing / 2
    return key


def read(handler: DataHandler, key: str) -> None:
    """Open an entry and read all of it."""
    with handler.open(key) as opened:
        opened.read()


if __name__ == "__main__":
    main()
