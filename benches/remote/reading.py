"""A trajectory read over the network, beside other ways to do so: S3 (moto) and a plain HTTP server.

Each way opens the URL in a process of its own and reads frames at random, the protein of all frames, or
all of them; servers are processes of their own on the loopback, which wait for the added latency before
each response. Rounds of all ways alternate; medians count. What was moved is counted by the server.

    python benches/remote/reading.py [--latencies 0,10,50] [--rounds 3] [--servers http,s3]
        [--zarrtraj PYTHON]

zarrtraj needs a zarr below 3, so it has an environment of its own, whose Python is named:

    python -m venv zarrtraj && zarrtraj/bin/pip install zarrtraj
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "peers"))
sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from _compare import table
from _files import Files, make, size
from _layout import stored_bytes
from proteinflex_optimization import open_trajectory
from remote.servers import RangeServer, moto, new_bucket, range_server

N_RANDOM = 20
TASKS = {"frames": f"{N_RANDOM} frames at random", "atoms": "the protein", "all": "all frames"}
NAMES = {"ours": "run.fxt", "zarrtraj": "run.zarrmd", "h5py": "run.h5md", "copy": "run.xtc"}
SHOWN = {
    "ours": "ours",
    "zarrtraj": "zarrtraj",
    "h5py": "H5MD, h5py + fsspec",
    "copy": "XTC, copied first",
}


@dataclass
class Place:
    """A server and the URL of the files there."""

    name: str
    url: str
    gate: RangeServer
    environment: dict[str, str]


class Way:
    """The process that reads in one way."""

    def __init__(self, name: str, python: str) -> None:
        command = [python, str(Path(__file__).with_name("_contender.py")), name]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

    def read(self, **asked: Any) -> dict[str, Any]:
        """Let it read, and return what it says."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        reply: dict[str, Any] = json.loads(self.process.stdout.readline())
        return reply

    def end(self) -> None:
        """Let the process end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


@dataclass
class Found:
    """What one way took for one task at one latency."""

    seconds: list[float]
    n_frames: int = 0
    requests: int = 0
    moved: int = 0


def main() -> None:
    """Print the tables."""
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="flexopt-bench-") as name, ExitStack() as stack:
        files = make(Path(name), options.repeats, options.zarrtraj)
        ways = {}
        for way in [*NAMES, "raw"]:
            if way == "zarrtraj" and not files.has_zarr:
                continue
            ways[way] = Way(way, options.zarrtraj if way == "zarrtraj" else sys.executable)
            stack.callback(ways[way].end)
        print(sizes(files))
        for place in places(files, stack, options.servers):
            compare(place, files, ways, options.latencies, options.rounds)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])

    def numbers(text: str) -> list[int]:
        return [int(number) for number in text.split(",")]

    parser.add_argument("--latencies", type=numbers, default=[0, 10, 50], help="in ms")
    parser.add_argument("--rounds", type=int, default=3, help="how often all take their turn")
    parser.add_argument("--repeats", type=int, default=10, help="of the ten frames there are")
    parser.add_argument("--servers", type=lambda text: text.split(","), default=["http", "s3"])
    parser.add_argument("--zarrtraj", metavar="PYTHON", help="of an environment that has it")
    return parser.parse_args()


def sizes(files: Files) -> str:
    """Return the table of the files."""
    raw = files.n_frames * files.n_atoms * 12
    title = f"{files.n_frames} frames of {files.n_atoms:,} atoms: adk_xtc, {raw / 1e6:.1f} MB raw"
    there = {way: files.directory / name for way, name in NAMES.items()}
    rows = [
        [SHOWN[way], f"{size(path) / 1e6:.1f}", f"{100 * size(path) / raw:.1f}"]
        for way, path in there.items()
        if path.exists()
    ]
    return table(title, ["", "MB", "% of raw"], rows)


def places(files: Files, stack: ExitStack, servers: list[str]) -> list[Place]:
    """Start the servers and put the files there."""
    found = []
    if "http" in servers:
        gate = stack.enter_context(range_server())
        gate.serve(files.directory)
        found.append(Place("HTTP", gate.url, gate, {}))
    if "s3" in servers:
        gate = stack.enter_context(range_server())
        bucket = new_bucket("bench", gate, stack.enter_context(moto()))
        for path in files.directory.rglob("*"):
            if path.is_file():
                bucket.put(str(path.relative_to(files.directory)), path.read_bytes())
        found.append(Place("S3", bucket.url, gate, bucket.environment))
    return found


def compare(
    place: Place, files: Files, ways: dict[str, Way], latencies: list[int], rounds: int
) -> None:
    """Print the tables of one server."""
    chosen = random.Random(1).choices(range(files.n_frames), k=N_RANDOM)
    asked = {"frames": chosen, "atoms": files.protein, "environment": place.environment}
    # zarrtraj reads from object stores only.
    names = [way for way in ways if way != "raw" and (way != "zarrtraj" or place.name == "S3")]
    found: dict[tuple[int, str, str], Found] = {}
    decoding: dict[int, list[float]] = {latency: [] for latency in latencies}
    for latency in latencies:
        place.gate.delay(latency / 1000)
        for turn in range(-1, rounds):
            for task in TASKS:
                sums = {}
                for way in [*names, "raw"] if task == "all" else names:
                    name = NAMES["ours" if way == "raw" else way]
                    before = len(place.gate.requests()) if turn < 0 else 0
                    url = f"{place.url}/{name}"
                    read = ways[way].read(url=url, task=task, check=turn < 0, **asked)
                    if turn < 0:
                        # The first time is for imports and counts.
                        log = place.gate.requests()[before:]
                        moved = sum(entry["sent"] for entry in log)
                        found[latency, task, way] = Found([], read["n_frames"], len(log), moved)
                        sums[way] = read["sum"] / 1e6
                    else:
                        found[latency, task, way].seconds.append(read["seconds"])
                # Within what rounding to the grid of another format changes.
                for way, total in sums.items():
                    off = abs(total - sums["ours"]) / abs(sums["ours"])
                    assert way == "raw" or off < 1e-6, (way, task, sums)
            if turn >= 0:
                decoding[latency].append(locally(files))
    print(speeds(place, found, latencies, names))
    print(moves(place, found, latencies, names, files, chosen))
    print(parts(place, found, latencies, decoding))


def locally(files: Files) -> float:
    """Return the seconds that decoding takes where the file is in memory."""
    started = time.perf_counter()
    with open_trajectory(files.directory / NAMES["ours"]) as trajectory:
        for _ in trajectory.iter_chunks():
            pass
    return time.perf_counter() - started


def speeds(
    place: Place, found: dict[tuple[int, str, str], Found], latencies: list[int], names: list[str]
) -> str:
    """Return frames per second."""
    rows = []
    for task, shown in TASKS.items():
        for way in names:
            rates = [
                f"{result.n_frames / statistics.median(result.seconds):.1f}"
                for result in (found[latency, task, way] for latency in latencies)
            ]
            rows.append([shown, SHOWN[way], *rates])
    columns = ["", "frames per second", *(f"{latency} ms" for latency in latencies)]
    return table(f"{place.name}: frames per second, with opening", columns, rows)


def moves(
    place: Place,
    found: dict[tuple[int, str, str], Found],
    latencies: list[int],
    names: list[str],
    files: Files,
    chosen: list[int],
) -> str:
    """Return what was moved, and for ours how much of that was needed."""
    path = files.directory / NAMES["ours"]
    needed = {
        "frames": stored_bytes(path, frames=chosen),
        "atoms": stored_bytes(path, atoms=files.protein),
        "all": stored_bytes(path),
    }
    rows = []
    for task, shown in TASKS.items():
        for way in names:
            result = found[latencies[0], task, way]
            ratio = f"{result.moved / needed[task]:.2f}" if way == "ours" else ""
            per_frame = f"{result.requests / result.n_frames:.2f}"
            moved = f"{result.moved / 1e6:.2f}"
            rows.append([shown, SHOWN[way], moved, ratio, str(result.requests), per_frame])
    columns = ["", "", "MB moved", "÷ stored chunks asked for", "requests", "requests per frame"]
    return table(f"{place.name}: bytes and requests, with opening", columns, rows)


def parts(
    place: Place,
    found: dict[tuple[int, str, str], Found],
    latencies: list[int],
    decoding: dict[int, list[float]],
) -> str:
    """Return all frames beside a raw read of their bytes and decoding them from memory."""
    rows = []
    for latency in latencies:
        decoded = statistics.median(decoding[latency])
        whole = statistics.median(found[latency, "all", "ours"].seconds)
        raw = statistics.median(found[latency, "all", "raw"].seconds)
        numbers = [f"{1000 * seconds:.0f}" for seconds in (raw, decoded, whole)]
        rows.append([f"{latency} ms", *numbers, f"{(raw + decoded) / whole:.2f}"])
    columns = ["", "raw ranged read, ms", "decoding, ms", "ours, ms", "(raw + decoding) ÷ ours"]
    return table(f"{place.name}: all frames beside what they are made of", columns, rows)


if __name__ == "__main__":
    main()
