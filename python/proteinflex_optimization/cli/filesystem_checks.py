"""What `flexopt doctor` tries in a directory, and what each result means for this package."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from proteinflex_optimization._filesystem import is_local
from proteinflex_optimization.cli.mounts import Mount, other_mounts
from proteinflex_optimization.cli.output import size

__all__ = ["CHECKS", "Check", "Place", "UnknownError"]

CLOCK_SKEW_SECONDS = 5.0
LEAST_FREE = 1 << 30
ROUNDS = 20
"""How often threads race for one name."""


@dataclass(frozen=True)
class Place:
    """Where the checks work."""

    scratch: Path
    """An empty directory of theirs."""
    mount: Mount | None

    @property
    def is_local(self) -> bool:
        """Tell whether no other host changes what is here, as far as this package knows."""
        return is_local(self.scratch)


@dataclass(frozen=True)
class Check:
    """One thing that is tried."""

    name: str
    needed: bool
    """Whether a directory without it can't be used."""
    run: Callable[[Place], str]
    """Returns details; raises what is wrong."""
    if_so: str
    """What it means for this package that it holds."""
    if_not: str
    """What it means that it does not hold, or can't be known."""


class UnknownError(Exception):
    """It can't be found out from here."""


def _expect(condition: bool, otherwise: str) -> None:
    if not condition:
        raise AssertionError(otherwise)


def _rename_replaces(place: Place) -> str:
    old, new = place.scratch / "old", place.scratch / "new"
    old.write_text("old")
    new.write_text("new")
    with old.open() as reader:
        new.replace(old)
        _expect(reader.read() == "old", "an open file changed when another was renamed over it")
    _expect(old.read_text() == "new", "the renamed file is not there")
    return ""


def _exclusive_create(place: Place) -> str:
    for number in range(ROUNDS):
        path = place.scratch / f"exclusive-{number}"
        barrier = threading.Barrier(4)
        made: list[int] = []

        def make(path: Path = path, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            try:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            except FileExistsError:
                return
            made.append(1)  # noqa: B023, the threads end in this round

        threads = [threading.Thread(target=make) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        _expect(len(made) == 1, f"{len(made)} of 4 have made one file")
    return f"{ROUNDS} races"


def _sync(place: Place) -> str:
    started = time.perf_counter()
    with (place.scratch / "synced").open("wb") as file:
        file.write(b"x" * 4096)
        file.flush()
        os.fsync(file.fileno())
    descriptor = os.open(place.scratch, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return f"{1e3 * (time.perf_counter() - started):.1f} ms for 4 KiB"


def _written_is_read(place: Place) -> str:
    path = place.scratch / "written"
    with path.open("wb") as one, path.open("rb") as other:
        for number in range(4):
            one.write(bytes([number]) * 5000)
            one.flush()
            other.seek(5000 * number)
            _expect(
                other.read() == bytes([number]) * 5000, "a reader does not see what was written"
            )
    return ""


def _mapping(place: Place) -> str:
    path = place.scratch / "mapped"
    path.write_bytes(b"data" * 1024)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        path.unlink()
        _expect(view[-4:] == b"data", "a mapped file changed when it was removed")
    _expect(place.is_local, "not known as one of this host alone")
    return ""


def _shared_mapping(place: Place) -> str:
    path = place.scratch / "shared"
    path.write_bytes(bytes(4096))
    with (
        path.open("r+b") as one,
        path.open("r+b") as other,
        mmap.mmap(one.fileno(), 4096) as writer,
        mmap.mmap(other.fileno(), 4096) as reader,
    ):
        writer[0:4] = b"seen"
        _expect(reader[0:4] == b"seen", "one mapping does not see what another wrote")
    return ""


def _hard_links(place: Place) -> str:
    path, second = place.scratch / "linked", place.scratch / "second"
    path.write_text("text")
    os.link(path, second)
    _expect(path.stat().st_nlink == 2, "the number of names of a file is not counted")
    _expect(second.read_text() == "text", "a second name leads elsewhere")
    return ""


def _reserved_space(place: Place) -> str:
    with (place.scratch / "reserved").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 1 << 20)
    return ""


def _locks_of_descriptors(place: Place) -> str:
    path = place.scratch / "lock"
    with path.open("w") as one, path.open("w") as other:
        fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _expect(not _can_lock(other.fileno()), "two descriptors got the same exclusive lock")
    return ""


def _can_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


TRY_LOCK = """
import fcntl, sys
with open(sys.argv[1]) as file:
    try: fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError: print("excluded")
    else: print("locked")
"""


def _is_excluded(path: Path) -> bool:
    """Tell whether another process is kept from locking a file."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", TRY_LOCK, os.fsencode(path)],
        capture_output=True,
        timeout=30,
        check=False,
    )
    if done.returncode:
        reason = (done.stderr.decode(errors="replace").strip().splitlines() or ["it failed"])[-1]
        raise UnknownError(f"another process can't try: {reason}")
    return done.stdout.strip() == b"excluded"


def _locks_of_processes(place: Place) -> str:
    path = place.scratch / "lock"
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _expect(_is_excluded(path), "two processes got the same exclusive lock")
    return ""


def _locks_of_mounts(place: Place) -> str:
    path = place.scratch / "lock"
    tried = 0
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        token = os.urandom(16)
        os.write(file.fileno(), token)
        os.fsync(file.fileno())
        for directory in other_mounts(place.scratch):
            there = directory / "lock"
            try:
                is_same = there.read_bytes() == token
            except OSError:
                is_same = False
            if is_same:
                tried += 1
                excluded = _is_excluded(there)
                _expect(excluded, f"the mount at {directory.parent} got the same exclusive lock")
    here = f"{tried} other mount{'' if tried == 1 else 's'} here" if tried else ""
    if place.is_local:
        return here or "mounted once"
    raise UnknownError(
        f"no host can tell what another one's lock does{f'; {here} excluded' if here else ''}"
    )


def _clock(place: Place) -> str:
    path = place.scratch / "touched"
    path.write_text("")
    os.utime(path, (0, 0))
    before = time.time()
    path.touch()
    skew = path.stat().st_mtime - before
    _expect(
        abs(skew) < CLOCK_SKEW_SECONDS,
        f"the file server's clock is {abs(skew):.0f} s {'ahead' if skew > 0 else 'behind'}",
    )
    return f"to {max(abs(skew), 0.1):.1f} s"


def _space(place: Place) -> str:
    found = os.statvfs(place.scratch)
    free, total = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
    detail = f"{size(free)} free of {size(total)}"
    _expect(free >= LEAST_FREE, f"only {detail}")
    _expect(found.f_favail == 0 or found.f_favail > 1000, f"only {found.f_favail} more files fit")
    return detail


def _quota(place: Place) -> str:
    """Ask the kernel for this user's quota, where the file system is on a device of this host."""
    source = None if place.mount is None else place.mount.source
    call = getattr(ctypes.CDLL(None, use_errno=True), "quotactl", None)
    if source is None or not source.startswith("/dev/") or call is None:
        if place.is_local:
            return "this kind of file system has none"
        raise UnknownError("the file server may have one: `quota -s`, or its own command, shows it")
    get_user_quota = 0x800007 << 8
    block = ctypes.create_string_buffer(128)
    if call(get_user_quota, os.fsencode(source), os.getuid(), block):
        code = ctypes.get_errno()
        if code in (errno.ESRCH, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL):
            return "none for this user"
        raise UnknownError(f"the system does not say ({os.strerror(code)}); try `quota -s`")
    # struct dqblk: the hard and soft limit in KiB, then the bytes in use.
    hard, soft, used = struct.unpack_from("=QQQ", block.raw)
    limit = 1024 * (hard or soft)
    if not limit:
        return "none for this user"
    detail = f"{size(used)} of {size(limit)} used"
    _expect(limit - used >= LEAST_FREE, f"only {size(max(limit - used, 0))} left: {detail}")
    return detail


CHECKS = (
    Check(
        "rename replaces a file in one step",
        True,
        _rename_replaces,
        "What is published appears whole.",
        "A reader could see half a file: use another file system.",
    ),
    Check(
        "of several that make one file, one succeeds",
        True,
        _exclusive_create,
        "Each writer gets a name of its own, also without locks.",
        "Two writers could take one file: use another file system.",
    ),
    Check(
        "files and directories can be synced",
        True,
        _sync,
        "What was stored survives a power cut, as far as the disk keeps its word.",
        "A power cut may take what was stored: use another file system.",
    ),
    Check(
        "what was written is read at once",
        True,
        _written_is_read,
        "Processes of this host see each other's files.",
        "Data could be read that is older than what was stored: use another file system.",
    ),
    Check(
        "files may be mapped",
        False,
        _mapping,
        "Views that are asked for (mmap=True, plain arrays) are borrowed from the file.",
        "Nothing is mapped: everything is read and checked, at about the same speed.",
    ),
    Check(
        "mappings of one file share their memory",
        False,
        _shared_mapping,
        "Progress is counted in shared memory.",
        "Processes see each other's progress later.",
    ),
    Check(
        "hard links",
        False,
        _hard_links,
        "Unchanged components of checkpoints share one copy.",
        "Each checkpoint has its own copy of all its components.",
    ),
    Check(
        "disk space can be reserved",
        False,
        _reserved_space,
        "A full disk is noticed before a file grows.",
        "A full disk is noticed when a file grows.",
    ),
    Check(
        "locks exclude two descriptors",
        False,
        _locks_of_descriptors,
        "Threads wait for each other.",
        "What is stored is right all the same; the same thing may be computed twice. Not for "
        "GPU reservations (state_dir).",
    ),
    Check(
        "locks exclude two processes",
        False,
        _locks_of_processes,
        "Processes of this host wait for each other.",
        "What is stored is right all the same; the same thing may be computed twice. Not for "
        "GPU reservations (state_dir).",
    ),
    Check(
        "locks exclude other mounts and hosts",
        False,
        _locks_of_mounts,
        "This host is the only one, or its mounts wait for each other.",
        "No result relies on it. Hosts may compute the same thing twice, and together exceed a "
        "cache's limit until the next store.",
    ),
    Check(
        "clocks agree",
        False,
        _clock,
        "Ages of entries and of signs of life are right.",
        "Entries may be evicted in another order, and an ended writer is noticed later.",
    ),
    Check(
        "there is space, and room for more files",
        False,
        _space,
        "",
        "A store may fail with 'No space left on device'; what is there stays whole.",
    ),
    Check(
        "no quota is in the way",
        False,
        _quota,
        "",
        "A store may fail with 'Disk quota exceeded'; what is there stays whole.",
    ),
)
