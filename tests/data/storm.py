"""What a cache has to stand: many processes at once, kills, damage, full and read-only disks, size.

    python tests/data/storm.py                      tables of all that was tried, and of what went wrong
    python tests/data/storm.py long                 the same for as long as `make soak`
    python tests/data/storm.py kills count=100      one of them, as JSON

Every value that is read is computed again and compared bit for bit; values that are wrong, entries that are
lost and moments beyond the limit are counted. Any error but the one that is right ends the program with a
traceback.
"""

from __future__ import annotations

import contextlib
import errno
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from proteinflex_optimization import DataHandler
from proteinflex_optimization.errors import CacheFullError, CacheKeyError, CorruptDataError

LIMIT = 3_000_000
# What the largest structure takes: stores in progress count, and make room when they are done.
LARGEST = 250_000
IDS = 60
# What must not happen; the tests require none of it.
WRONG, EXCEEDED, LOST = "wrong values", "limit exceeded", "entries or frames lost"


# --- values that can be computed again ---------------------------------------------------------------


def structure(number: int, version: int) -> dict:
    """Make the structure of a number, in one of its versions: from some bytes to 200 kB."""
    generator = np.random.default_rng((number, version))
    size = int(generator.integers(1, 50_000)) if number % 3 else int(generator.integers(1, 500))
    x = generator.normal(size=size).astype(np.float32)
    return {"number": number, "version": version, "x": x}


def frames(number: int, first: int, count: int) -> np.ndarray:
    """Make frames of 200 atoms of a trajectory."""
    atoms = np.arange(600, dtype=np.float32).reshape(200, 3)
    times = np.arange(first, first + count, dtype=np.float32)[:, None, None]
    return atoms + times * np.float32(0.25) + np.float32(number)


def compare(found: np.ndarray, expected: np.ndarray, done: Counter) -> None:
    """Count a value as wrong unless every bit is right."""
    done[WRONG] += found.shape != expected.shape or found.tobytes() != expected.tobytes()


def check(found: dict, done: Counter) -> None:
    """Compare a structure with what it must be."""
    compare(found["x"], structure(found["number"], found["version"])["x"], done)


def check_trajectory(handler: DataHandler, number: int, done: Counter) -> None:
    """Compare a trajectory with what it must be, while others evict and replace it."""
    with handler.open(handler.key_for(f"t{number}")) as trajectory:
        first = 0
        for chunk in trajectory.iter_chunks():
            compare(chunk, frames(number, first, len(chunk)), done)
            first += len(chunk)
        done[LOST] += first != 40 + number
    done["trajectories read"] += 1


def check_limit(handler: DataHandler, in_progress: int, done: Counter) -> None:
    """Look whether the limit is kept, but for stores in progress."""
    used = handler.get_cache_stats()["used_bytes"]
    done["looks at the limit"] += 1
    done[EXCEEDED] += used > LIMIT + in_progress * LARGEST


# --- many processes ------------------------------------------------------------------------------------


def processes(seconds: float = 10, workers: int = 8) -> dict[str, int]:
    """Store, read, evict, pin, remove and verify in many processes at once."""
    with directory() as path:
        DataHandler(path, max_cache_size=LIMIT / 1e9)
        context = multiprocessing.get_context("spawn")
        with context.Pool(workers) as pool:
            given = [(path, seed, workers, seconds) for seed in range(workers)]
            jobs = [pool.apply_async(worker, arguments) for arguments in given]
            done = Counter()
            for job in jobs:
                done.update(job.get(timeout=seconds + 200))
        handler = DataHandler(path)
        assert handler.verify()["ok"]
        check_limit(handler, 0, done)
        stats = handler.get_cache_stats()
        assert stats["corrupt"] == stats["set_aside"] == 0, stats
        assert not list(path.glob("entries/*/.*.tmp"))
    return dict(done) | {"processes": workers}


def worker(path: Path, seed: int, workers: int, seconds: float) -> Counter:
    """Do whatever comes to mind until the time is over."""
    choose = random.Random(seed)
    handlers = [DataHandler(path), DataHandler(path, durable=False, enable_compression=False)]
    done: Counter = Counter({WRONG: 0, EXCEEDED: 0, LOST: 0})
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        handler = choose.choice(handlers)
        number, what = choose.randrange(IDS), choose.random()
        key = handler.key_for(str(number), "structure")
        try:
            if what < 0.4:
                handler.store_structure(structure(number, choose.randrange(4)), str(number))
                done["stores"] += 1
            elif what < 0.5:
                data = {"frames": frames(number, 0, 40 + number)}
                handler.store_trajectory(data, f"t{number}")
                done["stores"] += 1
            elif what < 0.75:
                check(handler.load_data(key), done)
                done["structures read"] += 1
            elif what < 0.88:
                check_trajectory(handler, number, done)
            elif what < 0.92:
                assert handler.verify(key)["ok"]
                done["verified"] += 1
            elif what < 0.94:
                handler.remove(key)
                done["removed"] += 1
            elif what < 0.96:
                handler.pin(key)
                time.sleep(0.01)
                handler.unpin(key)
                done["pinned"] += 1
            elif what < 0.99:
                check_limit(handler, workers, done)
            else:
                handler.cleanup()
                done["cleaned up"] += 1
        except CacheKeyError:
            done["misses"] += 1
        except CacheFullError:
            # All that is not pinned at the moment is smaller than what was to be stored.
            done["refused"] += 1
    done["evictions"] = sum(handler.get_cache_stats()["evictions"] for handler in handlers)
    return done


# --- kills ---------------------------------------------------------------------------------------------


def kills(count: int = 20) -> dict[str, int]:
    """Kill writers at random moments, and look at what they leave."""
    context = multiprocessing.get_context("fork")
    choose = random.Random(1)
    done: Counter = Counter({WRONG: 0, EXCEEDED: 0, LOST: 0})
    # Without locks: whoever is killed while holding one keeps it.
    flushed = context.RawValue("q", 0)
    stored = context.RawValue("q", 0)
    # Which version of each structure is in the cache that evicts nothing, or none.
    returned = context.RawArray("q", [-1] * IDS)
    with directory() as path, directory() as roomy:
        DataHandler(path, max_cache_size=LIMIT / 1e9)
        shared = (path, roomy, flushed, stored, returned)
        for number in range(count):
            victim = context.Process(target=write_for_ever, args=(number, *shared))
            victim.start()
            time.sleep(choose.uniform(0.01, 0.25))
            victim.kill()
            victim.join()
            assert victim.exitcode == -signal.SIGKILL
            handler = DataHandler(path)
            for key in handler.keys("structure"):
                check(handler.load_data(key), done)
                done["structures read after a kill"] += 1
            check_kept(DataHandler(roomy), returned, done)
            check_limit(handler, 1, done)
            if flushed.value:
                with handler.trajectory_writer("md", resume=True) as writer:
                    done[LOST] += writer.n_frames < flushed.value
                    found = writer.read()
                    compare(found, frames(0, 0, len(found)), done)
                    done["frames recovered"] += len(found)
                    writer.suspend()
        done["kills"] = count
        done["stores before a kill"] = stored.value
        handler.cleanup()
        assert handler.verify()["ok"]
        assert not list(path.glob("entries/*/.*.tmp")), "what the dead have left goes"
    return dict(done)


def check_kept(handler: DataHandler, returned, done: Counter) -> None:
    """Look whether each store that returned is there, or a later one that could not say so any more."""
    for number, version in enumerate(returned):
        if version < 0:
            continue
        key = handler.key_for(str(number), "structure")
        if key not in handler:
            done[LOST] += 1
            continue
        found = handler.load_data(key)
        check(found, done)
        done[LOST] += found["version"] < version
        done["stores looked for after a kill"] += 1


def write_for_ever(seed: int, path: Path, roomy: Path, flushed, stored, returned) -> None:
    """Store structures and go on with a trajectory, until killed."""
    choose = random.Random(seed)
    handler = DataHandler(path, durable=False)
    keeps_all = DataHandler(roomy, durable=False)
    writer = handler.trajectory_writer("md", resume=True)
    while True:
        number = choose.randrange(IDS)
        made = structure(number, seed)
        handler.store_structure(made, str(number))
        keeps_all.store_structure(made, str(number))
        returned[number] = seed
        stored.value += 2
        if writer.n_frames < 500:
            writer.append(frames(0, writer.n_frames, 3))
            if choose.random() < 0.3:
                writer.flush()
                flushed.value = writer.n_frames


# --- damage --------------------------------------------------------------------------------------------


def damage(step: int = 7) -> dict[str, int]:
    """Flip bytes, cut, empty, replace and remove entries, before and while somebody has them open."""
    done: Counter = Counter({WRONG: 0})
    with directory() as path:
        for plain in (False, True):
            handler = DataHandler(path, enable_compression=not plain, durable=False)
            for number, n_frames in ((1, 3), (2, 400)):
                data = {"frames": frames(number, 0, n_frames), "name": "x" * 100}
                key = handler.store_trajectory(data, str(number))
                file = path / "entries" / key[2:4] / f"{key}.fxt"
                whole = file.read_bytes()

                def attack(change, what: str, handler=handler, key=key, data=data) -> None:
                    attacked(handler, key, data, change, done)
                    done[what] += 1
                    handler.store_trajectory(data, data_id(key, handler))

                for offset in offsets(len(whole), step):

                    def flip(file=file, offset=offset) -> None:
                        with file.open("r+b") as opened:
                            opened.seek(offset)
                            byte = opened.read(1)[0]
                            opened.seek(offset)
                            opened.write(bytes([byte ^ (1 << offset % 8)]))

                    attack(flip, "bytes flipped")
                for length in (0, 1, 63, 64, len(whole) // 2, len(whole) - 65, len(whole) - 1):
                    attack(lambda length=length, file=file: os.truncate(file, length), "files cut")
                attack(lambda file=file: file.unlink(), "files removed")
                attack(lambda file=file: replace(file, b"no entry at all"), "files replaced")
                attack(lambda file=file, whole=whole: replace(file, whole), "files replaced")
    return dict(done)


def data_id(key: str, handler: DataHandler) -> str:
    """Find the small number that was stored under a key."""
    return next(str(number) for number in range(9) if handler.key_for(str(number)) == key)


def attacked(handler: DataHandler, key: str, data: dict, change, done: Counter) -> None:
    """Read an entry that is changed, by somebody who has it open and by somebody who opens it."""
    held = handler.open(key)
    change()
    for read in (lambda: held.read(), lambda: handler.load_data(key)["frames"]):
        try:
            compare(read(), data["frames"], done)
            done["reads of damaged files that were given"] += 1
        except (CorruptDataError, CacheKeyError):
            done["reads of damaged files that were refused"] += 1


def offsets(length: int, step: int) -> list[int]:
    """Choose bytes: of small files all over, of others at both ends and some of what is between."""
    if length < 20_000:
        return list(range(0, length, step))
    ends = {*range(0, 300, step), *range(max(0, length - 600), length, step)}
    return sorted({*ends, *range(0, length, max(1, length // 40))})


def replace(file: Path, content: bytes) -> None:
    """Put another file in a file's place."""
    other = file.with_name("other")
    other.write_bytes(content)
    other.replace(file)


# --- the disk ------------------------------------------------------------------------------------------


def disk() -> dict[str, int]:
    """Fill a small disk, run out of files, and make a disk read-only."""
    if subprocess.run(["unshare", "-Urm", "true"], capture_output=True).returncode == 0:
        command = ["unshare", "-Urm", sys.executable, __file__, "small_disk"]
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return limited_files()


def small_disk() -> dict[str, int]:
    """As `disk`, where this process may mount one."""
    done: Counter = Counter({WRONG: 0, LOST: 0})
    with directory() as path:
        for options, reason in (("size=2m", "disk full"), ("nr_inodes=400", "out of files")):
            mount("-t", "tmpfs", "-o", options, "none", str(path))
            handler = DataHandler(path, enable_compression=False)
            stored, full = [], 0
            for number in range(500):
                try:
                    stored.append(handler.store_structure(structure(number, 1), str(number)))
                except OSError as error:
                    expect(error, errno.ENOSPC)
                    full += 1
                    if full == 5:
                        break
            assert full == 5
            done[reason] += full
            for key in stored:
                if key in handler:
                    check(handler.load_data(key), done)
                else:
                    done[LOST] += 1
            assert not list(path.glob("entries/*/.*.tmp"))
            for key in stored[: len(stored) // 2]:
                handler.remove(key)
            again = handler.store_structure(structure(1, 2), "again")
            check(handler.load_data(again), done)
            done["entries looked at after it"] += len(stored)
            mount("-o", "remount,ro", str(path))
            reader = DataHandler(path)
            for key in set(reader.keys()):
                check(reader.load_data(key), done)
                done["read from a read-only disk"] += 1
            assert reader.get_cache_stats()["entries"] == len(reader.keys())
            for refused in (
                lambda reader=reader: reader.store_structure({"x": 1}, "x"),
                lambda reader=reader: reader.remove(reader.keys()[0]),
                lambda reader=reader: reader.pin(reader.keys()[0]),
                lambda reader=reader: reader.trajectory_writer("x"),
            ):
                try:
                    refused()
                    raise AssertionError("changed a read-only disk")
                except OSError as error:
                    expect(error, errno.EROFS)
                    done["refused by a read-only disk"] += 1
            subprocess.run(["umount", "-l", str(path)], check=True)
    return dict(done)


def expect(error: OSError, number: int) -> None:
    """Check which error it was."""
    if error.errno != number:
        raise error


def mount(*arguments: str) -> None:
    """Mount something in this process's own name space."""
    subprocess.run(["mount", *arguments], check=True)


def limited_files() -> dict[str, int]:
    """As a full disk, where none can be mounted: no file may grow beyond 100 kB."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    done: Counter = Counter({WRONG: 0, LOST: 0})
    with directory() as path:
        handler = DataHandler(path, enable_compression=False)
        key = handler.store_structure({"x": np.zeros(100)}, "small")
        for number in range(20):
            with contextlib.suppress(OSError):
                handler.store_structure({"x": np.zeros(100_000 + number)}, str(number))
                raise AssertionError("wrote beyond the limit of the system")
            done["files that could not grow"] += 1
        done[LOST] += handler.keys() != [key]
        compare(handler.load_data(key)["x"], np.zeros(100), done)
    return dict(done)


# --- size ----------------------------------------------------------------------------------------------


def large(gigabytes: float = 50) -> dict[str, float]:
    """Write a trajectory of many gigabytes that compresses to little; memory and opening stay small."""
    n_atoms = 100_000
    block = np.zeros((50, n_atoms, 3), np.float32)
    block += np.arange(n_atoms, dtype=np.float32)[:, None]
    with directory() as path:
        handler = DataHandler(path)
        count = max(4, round(gigabytes * 1e9 / block.nbytes))
        peaks = []
        with handler.trajectory_writer("large") as writer:
            for number in range(count):
                writer.append(block)
                if number % 10 == 9:
                    writer.flush()
                if number in (count // 4, count - 1):
                    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
        started = time.perf_counter()
        trajectory = handler.open(writer.key)
        opened = time.perf_counter() - started
        started = time.perf_counter()
        last = trajectory[-1]
        read = time.perf_counter() - started
        done: Counter = Counter({WRONG: 0, LOST: 0})
        compare(last, block[0], done)
        done[LOST] += len(trajectory) != count * len(block)
        # The index is what grows: some bytes for each chunk and block of rows.
        assert peaks[1] - peaks[0] < 200, peaks
        assert opened < 1, opened
    return dict(done) | {
        "GB written": round(count * block.nbytes / 1e9, 1),
        "MiB of memory after a quarter": peaks[0],
        "MiB of memory at the end": peaks[1],
        "ms to open": round(1e3 * opened, 1),
        "ms to read the last frame": round(1e3 * read, 1),
    }


# -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def directory():
    """Make a directory for as long as it is needed."""
    path = Path(tempfile.mkdtemp(prefix="flexopt-storm-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


ALL = {
    "processes": processes,
    "kills": kills,
    "damage": damage,
    "disk": disk,
    "large": large,
}
# As `make test` and `make soak` do.
BRIEF = {
    "processes": {"seconds": 10},
    "kills": {"count": 20},
    "damage": {"step": 37},
    "large": {"gigabytes": 0.5},
}
LONG = {
    "processes": {"seconds": 60},
    "kills": {"count": 100},
    "damage": {"step": 1},
    "large": {"gigabytes": 50},
}


def report(options: dict[str, dict]) -> None:
    """Do all, and print what was tried and what of it went wrong."""
    results = {name: function(**options.get(name, {})) for name, function in ALL.items()}
    bad = (WRONG, EXCEEDED, LOST)
    print("| | " + " | ".join(bad) + " |\n| --- | --- | --- | --- |")
    for name, done in results.items():
        print(f"| `{name}` | " + " | ".join(f"{done.get(what, '–')}" for what in bad) + " |")
    print("\n| what | how often |\n| --- | --- |")
    for done in results.values():
        for what in sorted(done.keys() - set(bad)):
            print(f"| {what} | {done[what]:,} |")


def main() -> None:
    """Run one, or all."""
    if sys.argv[1:] in ([], ["long"]):
        report(LONG if len(sys.argv) > 1 else BRIEF)
        return
    name, *options = sys.argv[1:]
    given = {key: json.loads(value) for key, value in (one.split("=") for one in options)}
    print(json.dumps((ALL | {"small_disk": small_disk})[name](**given)))


if __name__ == "__main__":
    main()
