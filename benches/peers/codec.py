"""How coordinates are coded, side by side with XTC files and with pcodec.

The data is real: trajectories that MDAnalysis ships for its tests. Each is stored and read by one
thread, as XTC is; pcodec packs the same floats, in the better of two orders. The times of one thread are the
process's own, so that other users of the machine don't count. Two threads need a quiet machine: each
number of them has a process of its own, and these take turns.

    python benches/peers/codec.py
"""

from __future__ import annotations

import os

os.environ.setdefault("PROTEINFLEX_NUM_THREADS", "1")

import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from _compare import medians, table
from proteinflex_optimization import DataHandler, Trajectory


def main() -> None:
    """Print a table of sizes and one of times."""
    warnings.simplefilter("ignore")
    from MDAnalysisTests import datafiles

    directory = Path(tempfile.mkdtemp(prefix="flexopt-bench-"))
    try:
        sets = {
            "XTC, solvated, 10 × 47,681": (datafiles.GRO, datafiles.XTC),
            "XTC, membrane, 5 × 43,480": (datafiles.GRO_MEMPROT, datafiles.XTC_MEMPROT),
            "TRR, solvated, 10 × 47,681": (datafiles.GRO, datafiles.TRR),
            "TRR, wrapped atom by atom, 10 × 47,681": (datafiles.GRO, datafiles.TRR),
            "DCD, flexible, 98 × 3,341": (datafiles.PSF, datafiles.DCD),
            "DCD, dense, 100 × 3,341": (datafiles.PSF_NAMD_GBIS, datafiles.DCD_NAMD_GBIS),
        }
        sizes(directory, sets)
        frames = positions(datafiles.GRO, datafiles.XTC)
        times(directory, datafiles.GRO, frames)
        times(directory, datafiles.GRO, turned(frames))
        threads(directory, datafiles.GRO, datafiles.XTC)
    finally:
        shutil.rmtree(directory)


def sizes(directory: Path, sets: dict[str, tuple[str, str]]) -> None:
    """Print what each set takes, lossless."""
    rows = []
    for name, (topology, trajectory) in sets.items():
        frames = positions(topology, trajectory, wrap="wrapped" in name)
        stored = store(DataHandler(directory / "sizes"), frames, name)
        raw, ours = frames.nbytes, stored.stored_bytes
        file = Path(trajectory).stat().st_size
        rows.append(
            [
                name,
                f"{100 * ours / raw:.1f} %",
                f"{100 * packed(frames) / raw:.1f} %",
                f"{ours / packed(frames):.2f}",
                f"{ours / file:.2f}" if trajectory.endswith(".xtc") else "–",
            ]
        )
    columns = ["data, frames × atoms", "ours, of raw", "pcodec, of raw", "÷ pcodec", "÷ XTC file"]
    print(table("Lossless sizes", columns, rows))


def times(directory: Path, topology: str, frames: np.ndarray) -> None:
    """Print how long storing and reading take, next to XTC.

    Each reading opens the entry again, so that no frame is found that was decoded before. XTC's index of
    frames is there already; the file is opened for one frame only.
    """
    import MDAnalysis
    from MDAnalysis.coordinates.XTC import XTCReader

    path = directory / f"{len(frames)}.xtc"
    atoms = MDAnalysis.Universe(topology).atoms

    def write_xtc(path: Path = directory / "out.xtc") -> None:
        with MDAnalysis.Writer(str(path), len(atoms)) as writer:
            for frame in frames:
                atoms.positions = frame
                writer.write(atoms)

    write_xtc(path)
    universe = MDAnalysis.Universe(topology, str(path))
    handler = DataHandler(directory / "times")
    key = store(handler, frames, f"read {len(frames)}").key
    order = np.random.default_rng(1).permutation(len(frames))

    def write() -> None:
        handler.store_trajectory({"frames": frames}, "written")

    def set_positions() -> None:
        for frame in frames:
            atoms.positions = frame

    def read() -> None:
        with handler.open(key) as opened:
            opened.read()

    def read_xtc() -> None:
        for _ in universe.trajectory:
            pass

    def random() -> None:
        with handler.open(key) as opened:
            for index in order:
                opened[index]

    def random_xtc() -> None:
        for index in order:
            universe.trajectory[index]

    def one() -> None:
        with handler.open(key) as opened:
            opened[len(frames) // 2]

    def one_xtc() -> None:
        with XTCReader(str(path)) as opened:
            opened[len(frames) // 2]

    cases = {
        "write all": (write, write_xtc),
        "read all": (read, read_xtc),
        "read each frame, in random order": (random, random_xtc),
        "open and read one frame": (one, one_xtc),
    }
    rows = []
    for name, (ours, theirs) in cases.items():
        contenders = {"ours": ours, "xtc": theirs, "set": set_positions}
        seconds = medians(contenders, clock=time.process_time)
        xtc = seconds["xtc"] - (seconds["set"] if ours is write else 0.0)
        rows.append(
            [
                name,
                f"{1e3 * seconds['ours']:.2f} ms",
                f"{1e3 * xtc:.2f} ms",
                f"{xtc / seconds['ours']:.1f}",
            ]
        )
    columns = [
        f"{len(frames)} frames of {frames.shape[1]:,} atoms",
        "ours",
        "XTC by MDAnalysis",
        "times as fast",
    ]
    print(table("Speed, one thread", columns, rows))


def threads(directory: Path, topology: str, trajectory: str) -> None:
    """Print how much faster two threads are than one, on as many frames as chunks are made of."""
    path = directory / "frames.npy"
    np.save(path, turned(positions(topology, trajectory)))
    processes = {count: worker(count, path, directory / f"threads {count}") for count in (1, 2)}
    rows = []
    for name in ("write all", "read all", "read every tenth frame"):
        seconds = medians({str(count): ask(process, name) for count, process in processes.items()})
        one, two = seconds["1"], seconds["2"]
        rows.append([name, f"{1e3 * one:.1f} ms", f"{1e3 * two:.1f} ms", f"{one / two:.2f}"])
    for process in processes.values():
        process.communicate()
    columns = ["120 frames of 47,681 atoms", "one thread", "two threads", "times as fast"]
    print(table("Two threads", columns, rows))


def turned(frames: np.ndarray) -> np.ndarray:
    """Turn frames in all twelve ways that leave coordinates the numbers they are, one after the other."""
    axes = [(0, 1, 2), (1, 2, 0), (2, 0, 1)]
    signs = [(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)]
    return np.concatenate(
        [frames[..., order] * np.float32(sign) for order in axes for sign in signs]
    )


def worker(count: int, path: Path, directory: Path) -> subprocess.Popen[str]:
    """Start a process that works with so many threads."""
    environment = os.environ | {"PROTEINFLEX_NUM_THREADS": str(count)}
    command = [sys.executable, __file__, str(path), str(directory)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)


def ask(process: subprocess.Popen[str], name: str) -> Callable[[], object]:
    """Give what has a process do something once."""

    def done() -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(name + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == name + "\n"

    return done


def work(path: Path, directory: Path) -> None:
    """Do what is asked for, line by line."""
    frames = np.load(path)
    handler = DataHandler(directory)
    stored = store(handler, frames, "read")
    for number, line in enumerate(sys.stdin):
        match line.strip():
            case "write all":
                written = store(handler, frames, f"written {number}")
                handler.remove(written.key)
            case "read all":
                with handler.open(stored.key) as opened:
                    opened.read()
            case _:
                with handler.open(stored.key) as opened:
                    opened[::10]
        print(line, end="", flush=True)


def positions(topology: str, trajectory: str, wrap: bool = False) -> np.ndarray:
    """All frames of a trajectory; the box may cut the molecules."""
    import MDAnalysis

    universe = MDAnalysis.Universe(topology, trajectory)
    frames = []
    for _ in universe.trajectory:
        if wrap:
            universe.atoms.wrap(compound="atoms")
        frames.append(universe.atoms.positions)
    return np.array(frames)


def store(handler: DataHandler, frames: np.ndarray, name: str) -> Trajectory:
    """Store frames, and check that they come back bit by bit."""
    stored = handler.open(handler.store_trajectory({"frames": frames}, name))
    if not name.startswith("written"):
        assert stored.read().tobytes() == frames.tobytes()
    return stored


def packed(frames: np.ndarray) -> int:
    """Bytes that pcodec takes, in time or all x, then all y, then all z."""
    from pcodec import ChunkConfig, standalone

    orders = [(1, 2, 0), (2, 0, 1)]
    arranged = [np.ascontiguousarray(frames.transpose(order)).ravel() for order in orders]
    config = ChunkConfig(compression_level=8)
    return min(len(standalone.simple_compress(floats, config)) for floats in arranged)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        work(*map(Path, sys.argv[1:]))
    else:
        main()
