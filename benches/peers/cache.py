"""The cache side by side with diskcache and joblib.Memory, and with reading trajectories again.

    python benches/peers/cache.py [small] [many] [writer] [view] [ahead] [analysis]

Stores are compared twice. diskcache does not sync each store by default, and joblib never does: so they
stand beside `durable=False`, which is as safe from the end of a process and as unsafe from a power cut.
`durable=True`, the default, stands beside diskcache with SQLite told to sync.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from _compare import medians, table
from proteinflex_optimization import DataHandler

AT_ONCE = 100
ENTRIES = 100_000
PART = os.urandom(20_480)


def main() -> None:
    """Print the tables that were asked for, or all."""
    warnings.simplefilter("ignore")
    parts = {
        "small": small,
        "many": many,
        "writer": writer,
        "view": view,
        "ahead": ahead,
        "analysis": analysis,
    }
    for name in sys.argv[1:] or parts:
        directory = Path(tempfile.mkdtemp(prefix="flexopt-bench-"))
        try:
            parts[name](directory)
        finally:
            shutil.rmtree(directory)


def structure(n_atoms: int = 1000) -> dict[str, Any]:
    """Make a structure of 20 kB, as a predictor gives it."""
    random = np.random.default_rng(1)
    return {
        "coordinates": random.normal(scale=20, size=(n_atoms, 3)).astype(np.float32),
        "residues": np.arange(n_atoms, dtype=np.int32),
        "sequence": "ACDEFGHIKL" * (n_atoms // 50),
        "plddt": random.uniform(50, 100, n_atoms // 5),
    }


def small(directory: Path) -> None:
    """Store and load small entries, each under a new name."""
    import diskcache
    import joblib

    data = structure()
    numbers = count()
    ours = DataHandler(directory / "ours", durable=False, enable_compression=False)
    packed = DataHandler(directory / "packed", durable=False)
    durable = DataHandler(directory / "durable", enable_compression=False)
    # Each of the 256 folders is made, and made durable, once in a cache's life.
    filler = DataHandler(directory / "durable", durable=False)
    for number in range(1500):
        filler.store_structure({}, str(number))
    cache = diskcache.Cache(str(directory / "diskcache"))
    synced = diskcache.Cache(str(directory / "synced"), sqlite_synchronous=2)
    memory = joblib.Memory(str(directory / "joblib"), verbose=0)
    log = os.open(directory / "log", os.O_CREAT | os.O_RDWR)
    os.pwrite(log, bytes(AT_ONCE * len(PART)), 0)
    os.fsync(log)

    @memory.cache
    def computed(number: int) -> dict[str, Any]:
        return data

    def each(action: Callable[[int], object]) -> Callable[[], None]:
        return lambda: [action(next(numbers)) for _ in range(AT_ONCE)] and None

    stores = medians(
        {
            "ours": each(lambda i: ours.store_structure(data, str(i))),
            "ours, compressed": each(lambda i: packed.store_structure(data, str(i))),
            "diskcache": each(lambda i: cache.set(str(i), data)),
            "joblib.Memory": each(computed),
        },
        rounds=15,
    )
    synced_stores = medians(
        {
            "ours, durable": each(lambda i: durable.store_structure(data, str(i))),
            "diskcache, synchronous=FULL": each(lambda i: synced.set(str(i), data)),
            "a file that is made and synced": each(partial(made, directory)),
            "a part of a file that is written over and synced": each(partial(written_over, log)),
        },
        rounds=5,
    )
    os.close(log)
    keys = [ours.store_structure(data, f"l{i}") for i in range(AT_ONCE)]
    packed_keys = [packed.store_structure(data, f"l{i}") for i in range(AT_ONCE)]
    for i in range(AT_ONCE):
        cache.set(f"l{i}", data)
        computed(-i)
    loads = medians(
        {
            "ours": lambda: [ours.load_data(key) for key in keys],
            "ours, compressed": lambda: [packed.load_data(key) for key in packed_keys],
            "diskcache": lambda: [cache.get(f"l{i}") for i in range(AT_ONCE)],
            "joblib.Memory": lambda: [computed(-i) for i in range(AT_ONCE)],
        },
        rounds=31,
    )
    times("Store a structure of 20 kB, not synced", stores, AT_ONCE)
    times("Store a structure of 20 kB, synced", synced_stores, AT_ONCE)
    times("Load a structure of 20 kB", loads, AT_ONCE)


def made(directory: Path, number: int) -> None:
    """Make a file durable: the least that a store of a file can do, were it never read meanwhile."""
    file = os.open(directory / f"made-{number}", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    os.pwrite(file, PART, 0)
    os.fsync(file)
    os.close(file)


def written_over(log: int, number: int) -> None:
    """Make a part of a file durable, whose place on the disk is known: the least that anybody can do."""
    os.pwrite(log, PART, number % AT_ONCE * len(PART))
    os.fdatasync(log)


def many(directory: Path) -> None:
    """Ask a cache of very many small entries."""
    data = {"x": np.arange(8.0)}
    handler = DataHandler(directory, durable=False)
    numbers = count()

    def store(some: int) -> float:
        started = time.perf_counter()
        for _ in range(some):
            handler.store_structure(data, str(next(numbers)))
        return (time.perf_counter() - started) / some

    store(1000)
    few = store(1000)
    store(ENTRIES - 3000)
    a_lot = store(1000)
    key = handler.key_for("7", "structure")

    def scan() -> int:
        return sum(
            file.stat().st_size
            for folder in os.scandir(directory / "entries")
            for file in os.scandir(folder.path)
        )

    def new() -> DataHandler:
        return DataHandler(directory)

    seconds = medians(
        {
            "open the directory": new,
            "get_cache_stats(), first of a process": lambda: new().get_cache_stats(),
            "get_cache_stats(), again": handler.get_cache_stats,
            "os.scandir and stat of each file": scan,
            "load_data": lambda: handler.load_data(key),
        },
        rounds=5,
    )
    assert handler.get_cache_stats()["entries"] == ENTRIES
    seconds["store, among 1,000 entries"] = few
    seconds[f"store, among {ENTRIES:,} entries"] = a_lot
    limit = handler.get_cache_stats()["used_bytes"] / 1e9
    handler = DataHandler(directory, max_cache_size=limit, durable=False)
    stores = [store(1) for _ in range(ENTRIES // 50)]
    seconds["store into a full cache, mean"] = statistics.mean(stores)
    seconds["the slowest of these, which evicts 1 %"] = max(stores)
    rows = [[name, f"{1e3 * value:.2f}"] for name, value in seconds.items()]
    print(table(f"A cache of {ENTRIES:,} entries", ["", "ms"], rows))


def writer(directory: Path) -> None:
    """Write a trajectory with and without making every hundredth frame durable."""
    handler = DataHandler(directory)
    frames = walk(2000, 3000)
    numbers = count()

    def write(every: int | None) -> Callable[[], None]:
        def run() -> None:
            with handler.trajectory_writer(str(next(numbers))) as trajectory:
                for number in range(0, len(frames), 10):
                    trajectory.append(frames[number : number + 10])
                    if every and (number + 10) % every == 0:
                        trajectory.flush()

        return run

    seconds = medians({"no flush": write(None), "flush every 100 frames": write(100)}, rounds=7)
    rows = [
        [
            name,
            f"{len(frames) / value:.0f}",
            f"{frames.nbytes / value / 1e6:.0f}",
            f"{seconds['no flush'] / value:.2f}",
        ]
        for name, value in seconds.items()
    ]
    columns = ["", "frames/s", "MB/s", "speed ÷ no flush"]
    print(table("Write 2,000 frames of 3,000 atoms, ten at a time", columns, rows))


def view(directory: Path) -> None:
    """Load 1 GB of plain frames as a view of the file, beside what NumPy does with its own format."""
    frames = np.zeros((1000, 83_334, 3), np.float32)
    frames += np.arange(len(frames), dtype=np.float32)[:, None, None]
    np.save(directory / "frames.npy", frames)
    checked = DataHandler(directory / "ours", enable_compression=False)
    key = checked.store_trajectory({"frames": frames}, "md")
    trusting = DataHandler(directory / "ours", enable_compression=False, verify=False)

    def numpy() -> Any:
        return np.load(directory / "frames.npy", mmap_mode="r")

    loads: dict[str, Callable[[], Any]] = {
        "ours, verify=False": lambda: trusting.load_data(key)["frames"],
        "numpy.load(mmap_mode='r')": numpy,
        "ours, verify=True": lambda: checked.load_data(key)["frames"],
        "numpy.load": lambda: np.load(directory / "frames.npy"),
    }
    for name, load in loads.items():
        loaded = load()
        assert np.array_equal(loaded[::97, ::997], frames[::97, ::997])
        assert loaded.flags.writeable == (name == "numpy.load"), "a view of a file is read-only"
        del loaded
    seconds = medians(loads, rounds=9)
    read = medians({name: lambda load=load: load().max() for name, load in loads.items()}, rounds=5)
    rows = [[name, f"{1e3 * seconds[name]:.2f}", f"{1e3 * read[name]:.0f}"] for name in loads]
    print(table("1 GB of plain frames", ["", "ms to load", "ms to load and read all"], rows))


def ahead(directory: Path) -> None:
    """Compute something of every frame, with and without decoding the next ones meanwhile.

    Each thread decodes alone here. The CPU time of the calling thread tells what decoding ahead takes off
    it; the time of the clock shows that only where another core is free.
    """
    handler = DataHandler(directory)
    key = handler.store_trajectory({"frames": walk(2000, 3000)}, "md")
    block = handler.open(key).chunk_frames
    starts = range(0, 2000, block)
    on_thread: dict[str, list[float]] = {}

    def compute(chunk: Any) -> float:
        centred = chunk - chunk.mean(axis=1, keepdims=True)
        return float(np.sqrt((centred * centred).sum(axis=2)).mean())

    def timed(name: str, run: Callable[[Any], object]) -> Callable[[], None]:
        def once() -> None:
            trajectory, started = handler.open(key), time.thread_time()
            run(trajectory)
            on_thread.setdefault(name, []).append(time.thread_time() - started)

        return once

    contenders: dict[str, Callable[[Any], object]] = {
        "read, then compute": lambda opened: [
            compute(opened.read(start, start + block)) for start in starts
        ],
        "iter_chunks": lambda opened: [compute(chunk) for chunk in opened.iter_chunks()],
        "read only": lambda opened: [opened.read(start, start + block) for start in starts],
    }
    before = os.environ.get("PROTEINFLEX_NUM_THREADS")
    os.environ["PROTEINFLEX_NUM_THREADS"] = "1"
    try:
        seconds = medians({name: timed(name, run) for name, run in contenders.items()}, rounds=15)
    finally:
        del os.environ["PROTEINFLEX_NUM_THREADS"]
        if before is not None:
            os.environ["PROTEINFLEX_NUM_THREADS"] = before
    rows = [
        [name, f"{1e3 * value:.0f}", f"{1e3 * statistics.median(on_thread[name]):.0f}"]
        for name, value in seconds.items()
    ]
    columns = ["", "ms", "CPU ms of the calling thread"]
    print(table("Distances from the centre, 2,000 frames of 3,000 atoms", columns, rows))


def walk(n_frames: int, n_atoms: int) -> Any:
    """Make a trajectory whose atoms move a little from frame to frame."""
    random = np.random.default_rng(2)
    start = random.uniform(0, 60, (1, n_atoms, 3))
    steps = random.normal(scale=0.05, size=(n_frames, n_atoms, 3))
    return (start + np.cumsum(steps, axis=0)).astype(np.float32)


def analysis(directory: Path) -> None:
    """Measure end-to-end distances again and again, from the cache and from the original file.

    Trajectories are opened again each time, except where frames that were decoded before may be used.
    """
    import MDAnalysis
    import mdtraj
    from MDAnalysisTests import datafiles

    def ends(chunk: Any) -> Any:
        return np.linalg.norm(chunk[:, -1] - chunk[:, 0], axis=1)

    def by_universe(universe: Any) -> Any:
        return np.concatenate([ends(universe.atoms.positions[None]) for _ in universe.trajectory])

    for title, topology, mdtraj_topology, trajectory in (
        ("XTC, 10 frames of 47,681 atoms", datafiles.GRO, datafiles.GRO, datafiles.XTC),
        ("DCD, 98 frames of 3,341 atoms", datafiles.PSF, datafiles.PDB_small, datafiles.DCD),
    ):
        universe = MDAnalysis.Universe(topology, trajectory)
        frames = np.array([universe.atoms.positions for _ in universe.trajectory])
        contenders: dict[str, Callable[[], Any]] = {}
        for name, options in {
            "ours, every bit": {},
            "ours, at 0.001 Å": {"precision": 0.001},
            "ours, plain": {"enable_compression": False},
        }.items():
            handler = DataHandler(directory / title / name, **options)
            key = handler.store_trajectory({"frames": frames}, title)

            def again(cached: Any) -> Any:
                return np.concatenate([ends(chunk) for chunk in cached.iter_chunks()])

            contenders[name] = lambda handler=handler, key=key: again(handler.open(key))
            if not options:
                contenders[f"{name}, same handle"] = partial(again, handler.open(key))
                reader = handler.open(key).to_universe(topology)
                contenders[f"{name}, by MDAnalysis"] = partial(by_universe, reader)
        top = mdtraj.load_topology(mdtraj_topology)
        contenders["MDAnalysis"] = partial(by_universe, universe)
        contenders["mdtraj"] = lambda path=trajectory, top=top: ends(
            10 * mdtraj.load(path, top=top).xyz
        )
        expected = ends(frames)
        with quiet():
            for contender in contenders.values():
                np.testing.assert_allclose(contender(), expected, rtol=1e-3)
            seconds = medians(contenders, rounds=15)
        rows = [
            [
                name,
                f"{1e3 * value:.1f}",
                f"{seconds['MDAnalysis'] / value:.1f} ×",
                f"{seconds['mdtraj'] / value:.1f} ×",
            ]
            for name, value in seconds.items()
        ]
        columns = ["", "ms", "speed ÷ MDAnalysis", "speed ÷ mdtraj"]
        print(table(f"End-to-end distance, every frame read: {title}", columns, rows))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what libraries print by themselves out of the tables."""
    sys.stdout.flush()
    kept = os.dup(1)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        try:
            yield
        finally:
            os.dup2(kept, 1)
            os.close(kept)


def times(title: str, seconds: dict[str, float], calls: int) -> None:
    """Print what one call takes, and how much faster ours is."""
    ours = next(iter(seconds))
    rows = [
        [name, f"{1e6 * value / calls:.0f}", f"{value / seconds[ours]:.1f}"]
        for name, value in seconds.items()
    ]
    print(table(title, ["", "µs", f"÷ {ours}"], rows))


if __name__ == "__main__":
    main()
