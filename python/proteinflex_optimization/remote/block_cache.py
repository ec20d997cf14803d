"""A bounded directory of blocks that were read from objects, which processes share."""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from .._arguments import instance, path_text, real, text, whole
from .._log import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..types import StrPath

logger = get_logger()

BLOCK = 64 << 10
"""Bytes of a block. A read fetches whole blocks, so larger ones move more than is asked for; smaller
ones are more files."""
SUFFIX = ".block"
DIGEST = 16
USED_AGAIN = 60.0
"""Seconds for which a use is not noted again."""
KEPT = 0.75
"""The part of the limit that eviction leaves."""
BETWEEN_SCANS = 0.05
"""The part of the limit that a process writes before it looks at the directory again."""
WRITERS = 4
"""Processes that may write at once and stay below the limit."""
ABANDONED = 3600.0
"""Seconds after which a temporary file is one that its writer left."""
AHEAD = 5.0
"""Seconds by which a time is ahead of the clock that was noted before a clock was set back."""


class BlockCache:
    """Blocks of objects in a directory of this machine, for `open_trajectory(url, cache=…)`.

    Any number of threads and processes may use the same directory. Each block has a checksum: a
    damaged one is fetched again. Blocks of an object that was replaced are never used, for they
    are kept by its version (ETag) and by what its first bytes are.

    Parameters
    ----------
    directory : str or path
        It is made when the first block is kept.
    max_size : float
        In GB of 10^9 bytes. Beyond it, what was used least recently is removed.

    Raises
    ------
    InvalidArgumentError
        `max_size` is not above 0 and below 1e9, or `directory` is empty or a URL.
    """

    def __init__(self, directory: StrPath, max_size: float = 10.0) -> None:
        expected = "a number of GB above 0 and below 1e9"
        self.max_size = real("max_size", max_size, lambda gb: 0 < gb < 1e9, expected)
        self.directory = Path(path_text("directory", directory)).absolute()
        self._unscanned = float("inf")
        self._has_warned = False

    def get(self, object_key: str, number: int) -> bytes | None:
        """Return a block of an object; None where it is not there, or damaged."""
        path = self._path(object_key, number)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._warn("read", error)
            return None
        with suppress(OSError):  # It may be another user's, or read-only.
            if abs(time.time() - path.stat().st_mtime) > USED_AGAIN:
                os.utime(path)
        block = content[DIGEST:]
        if content[:DIGEST] == _digest(path.name, block):
            return block
        self.remove(object_key, number)
        return None

    def remove(self, object_key: str, number: int) -> None:
        """Forget a block of an object."""
        with suppress(OSError):
            self._path(object_key, number).unlink(missing_ok=True)

    def put(self, object_key: str, number: int, block: bytes | memoryview) -> None:
        """Keep a block of an object; where it can't be written, that is a warning."""
        path = self._path(object_key, number)
        instance("block", block, (bytes, bytearray, memoryview), "bytes")
        temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                # Not synced: what a crash leaves of it is damaged, and fetched again.
                with temporary.open("xb") as file:
                    file.write(_digest(path.name, block))
                    file.write(block)
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            self._unscanned += len(block) + DIGEST
            if self._unscanned > BETWEEN_SCANS * self.max_size * 1e9:
                self._unscanned = 0
                self._evict()
        except OSError as error:
            self._warn("write", error)

    def _evict(self) -> None:
        limit = self.max_size * 1e9
        files = sorted(self._files())
        used = sum(size for _, size, _ in files)
        # The next look is after a part of the limit was written.
        if used <= limit * (1 - WRITERS * BETWEEN_SCANS):
            return
        refused = None
        for _, size, path in files:
            if used <= KEPT * limit:
                break
            try:
                path.unlink(missing_ok=True)
                used -= size
            except OSError as error:
                refused = error  # It may be another user's.
        if refused and used > limit:
            self._warn("remove", refused)

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        """Give the blocks: when each was used, its size, and where it is."""
        now = time.time()
        for folder in self.directory.iterdir():
            if len(folder.name) != 2 or not folder.is_dir():
                continue
            entries: list[os.DirEntry[str]] = []
            with suppress(OSError):  # Of another user, who may keep it to himself.
                entries = list(os.scandir(folder))
            for entry in entries:
                with suppress(OSError):
                    found = entry.stat(follow_symlinks=False)
                    if found.st_mtime > now + AHEAD:
                        with suppress(OSError):
                            os.utime(entry.path)  # It gets old from now on.
                    if entry.name.endswith(SUFFIX):
                        yield min(found.st_mtime, now), found.st_size, Path(entry.path)
                    elif entry.name.endswith(".tmp") and now - found.st_mtime > ABANDONED:
                        Path(entry.path).unlink()

    def _path(self, object_key: str, number: int) -> Path:
        key = f"{text('object_key', object_key)}\0{whole('number', number, 0)}"
        name = hashlib.blake2b(key.encode(errors="surrogatepass"), digest_size=16).hexdigest()
        return self.directory / name[:2] / f"{name}{SUFFIX}"

    def _warn(self, action: str, error: OSError) -> None:
        if not self._has_warned:
            self._has_warned = True
            logger.warning(
                "cannot %s blocks in the cache %s: %s; what is read is fetched each time",
                action,
                self.directory,
                error,
            )

    def __reduce__(self) -> tuple[type[BlockCache], tuple[str, float]]:
        return BlockCache, (str(self.directory), self.max_size)

    def __repr__(self) -> str:
        return f"BlockCache({str(self.directory)!r}, max_size={self.max_size:g})"


def _digest(name: str, block: bytes | memoryview) -> bytes:
    """Return the checksum of a block, which also is that of its name: a moved file is damaged."""
    digest = hashlib.blake2b(block, digest_size=DIGEST)
    digest.update(name.encode())
    return digest.digest()
