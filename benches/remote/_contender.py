"""One way to read a trajectory from a server, in a process of its own: `reading.py` tells it what to do.

    python _contender.py NAME

A line of JSON on standard input names a URL and a task; the reply has the seconds that it took, from
opening the URL to the last frame, and the sum of all coordinates that were read, by which the ways are
held against each other. Some ways need other versions of libraries than ours, so nothing is imported that
the way does not need.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

POSITIONS = "particles/trajectory/position/value"
"""In nm, as GROMACS has them; what is read through MDAnalysis is in Å, as ours is."""


def ours(url: str, task: str, frames: list[int], atoms: tuple[int, int]) -> Iterator[Any]:
    from proteinflex_optimization import open_trajectory

    with open_trajectory(url) as trajectory:
        if task == "frames":
            yield from (trajectory[number] for number in frames)
        elif task == "atoms":
            yield trajectory.read(atoms=slice(*atoms))
        else:
            yield from trajectory.iter_chunks()


def zarrtraj(url: str, task: str, frames: list[int], atoms: tuple[int, int]) -> Iterator[Any]:
    from zarrtraj import ZARRH5MDReader

    options = {"client_kwargs": {"endpoint_url": os.environ["AWS_ENDPOINT_URL"]}}
    reader = ZARRH5MDReader(url, storage_options=options)
    yield from _of_reader(reader, task, frames, atoms)


def h5py(url: str, task: str, frames: list[int], atoms: tuple[int, int]) -> Iterator[Any]:
    import fsspec
    import h5py

    options: dict[str, Any] = {"skip_instance_cache": True}
    if url.startswith("s3"):
        options["client_kwargs"] = {"endpoint_url": os.environ["AWS_ENDPOINT_URL"]}
    filesystem = fsspec.filesystem(url.partition(":")[0], **options)
    with filesystem.open(url) as remote, h5py.File(remote) as file:
        positions = file[POSITIONS]
        if task == "frames":
            yield from (positions[number] for number in frames)
        elif task == "atoms":
            yield positions[:, slice(*atoms)]
        else:
            yield from (positions[number] for number in range(len(positions)))


def copy(url: str, task: str, frames: list[int], atoms: tuple[int, int]) -> Iterator[Any]:
    from MDAnalysis.coordinates.XTC import XTCReader

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "copy.xtc"
        path.write_bytes(b"".join(raw(url)))
        yield from _of_reader(XTCReader(str(path)), task, frames, atoms)


def _of_reader(
    reader: Any, task: str, frames: list[int], atoms: tuple[int, int]
) -> Iterator[np.ndarray]:
    """Read by an MDAnalysis reader."""
    with reader:
        if task == "frames":
            yield from (reader[number].positions for number in frames)
        elif task == "atoms":
            yield from (step.positions[slice(*atoms)] for step in reader)
        else:
            yield from (step.positions for step in reader)


def raw(url: str, **_: object) -> Iterator[Any]:
    """Read all bytes by one range: what the server and the connection take by themselves."""
    import obstore
    from obstore.store import from_url

    directory, name = url.rsplit("/", 1)
    store = from_url(directory, client_options={"allow_http": True})
    size = obstore.head(store, name)["size"]
    yield memoryview(obstore.get_range(store, name, start=0, end=size))


WAYS = {way.__name__: way for way in (ours, zarrtraj, h5py, copy, raw)}


def main() -> None:
    """Do what is asked until the input ends."""
    warnings.simplefilter("ignore")
    way = WAYS[sys.argv[1]]
    for line in sys.stdin:
        asked = json.loads(line)
        os.environ.update(asked.pop("environment"))
        is_check = asked.pop("check")
        n_frames, total = 0, 0.0
        started = time.perf_counter()
        for array in way(**asked):
            # Readers of MDAnalysis use one array for all frames.
            if is_check and way is not raw:
                n_frames += 1 if array.ndim == 2 else len(array)
                total += float(np.sum(array, dtype=np.float64)) * (10 if way is h5py else 1)
        seconds = time.perf_counter() - started
        print(json.dumps({"seconds": seconds, "n_frames": n_frames, "sum": total}), flush=True)


if __name__ == "__main__":
    main()
