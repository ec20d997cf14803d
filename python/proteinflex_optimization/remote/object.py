"""One object at one version, of which ranges are read."""

from __future__ import annotations

import hashlib
import os
from functools import partial
from typing import TYPE_CHECKING, Any

from .._arguments import path_text
from ..errors import InvalidTypeError
from .block_cache import BLOCK, BlockCache
from .requests import run_all
from .stores import open_store
from .urls import is_url, object_url, split_url

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..types import StrPath
    from .stores import ObjectInfo, Store

REQUEST = 4 << 20
"""Bytes of one request, at most: a long read is several of them at the same time."""


class RemoteObject:
    """What the compiled module reads instead of a file.

    Parameters
    ----------
    store : Store
        Where it is.
    name : str
        Its name there.
    info : ObjectInfo, optional
        What is known of it: its size and the version to which it is pinned. Default: the store is
        asked, by a request that brings its first bytes along.
    cache : BlockCache, optional
        Where blocks of it are kept.
    beginning : str, optional
        The digest of its first bytes. Default: that of those that the store sends along.

    Raises
    ------
    FileNotFoundError
        There is none.
    PermissionError
        It may not be read.
    RemoteError
        The server gave no usable answer.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        info: ObjectInfo | None = None,
        cache: BlockCache | None = None,
        beginning: str = "",
    ) -> None:
        self._store = store
        self._name = name
        self._first = b""
        if info is None:
            (found,) = run_all([partial(store.read_first, name, BLOCK)])
            info, first = found
            self._first = bytes(first)
            beginning = hashlib.blake2b(self._first, digest_size=16).hexdigest()
        self._info: ObjectInfo = info
        # Without a version, a block could be of what was there before.
        self._cache = None if info.version is None else cache
        self._given_cache = cache
        self._used: set[int] = set()
        self.url = object_url(store.url, name)
        self.size = info.size
        # A path does not tell one store from another, nor every version one content from another. The
        # first bytes do: they hold the name of what is stored, and when it was.
        self._beginning = beginning
        self._key = f"{self.url}\0{info.version}\0{beginning}"
        if self._cache is not None and self._first and self._cache.get(self._key, 0) is None:
            self._cache.put(self._key, 0, self._first)
            self._used.add(0)

    def read_ranges(self, starts: Sequence[int], ends: Sequence[int]) -> list[bytes]:
        """Return the bytes of ranges, several requests for which are in flight at the same time.

        Raises
        ------
        ObjectChangedError
            Another object has taken its place.
        InterruptedError
            The call that needs them was interrupted.
        RemoteError
            The server gave no usable answer. `PermissionError` and `FileNotFoundError` likewise.
        """
        ranges = list(zip(starts, ends, strict=True))
        known = len(self._first)
        wanted = [(max(start, known), end) for start, end in ranges if end > known]
        read = iter(self._read_blocks(wanted) if self._cache else self._read(wanted))
        return [
            self._first[start:end] + (next(read) if end > known else b"") for start, end in ranges
        ]

    def distrust(self) -> None:
        """Remove what this object has used of the cache: some of it was damaged before it got there."""
        if self._cache is not None:
            for number in self._used.copy():
                self._cache.remove(self._key, number)
            self._used.clear()

    def _read(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Fetch ranges as they are."""
        cuts = [
            [(at, min(at + REQUEST, end)) for at in range(start, end, REQUEST)]
            for start, end in ranges
        ]
        parts = iter(run_all([partial(self._request, *cut) for one in cuts for cut in one]))
        joined = []
        for one in cuts:
            found = [next(parts) for _ in one]
            joined.append(found[0] if len(found) == 1 else b"".join(found))
        return joined

    def _request(self, start: int, end: int) -> bytes:
        return bytes(self._store.read(self._name, start, end, self._info.version))

    def _read_blocks(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Take blocks from the cache, and fetch and keep those that are not there."""
        assert self._cache is not None
        numbers = sorted(
            {n for start, end in ranges for n in range(start // BLOCK, -(-end // BLOCK))}
        )
        self._used.update(numbers)
        found = {number: self._cache.get(self._key, number) for number in numbers}
        runs: list[list[int]] = []
        for number in (number for number, block in found.items() if block is None):
            if runs and runs[-1][-1] + 1 == number:
                runs[-1].append(number)
            else:
                runs.append([number])
        fetched = self._read(
            [(run[0] * BLOCK, min((run[-1] + 1) * BLOCK, self.size)) for run in runs]
        )
        for run, content in zip(runs, fetched, strict=True):
            for place, number in enumerate(run):
                block = found[number] = content[place * BLOCK : (place + 1) * BLOCK]
                self._cache.put(self._key, number, block)
        return [self._cut(found, start, end) for start, end in ranges]

    @staticmethod
    def _cut(blocks: dict[int, bytes | None], start: int, end: int) -> bytes:
        first = start // BLOCK
        whole = b"".join(blocks[number] or b"" for number in range(first, -(-end // BLOCK)))
        return whole[start - first * BLOCK : end - first * BLOCK]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the place and the version: the store refuses where it has credentials."""
        arguments = self._store, self._name, self._info, self._given_cache, self._beginning
        return RemoteObject, arguments

    def __repr__(self) -> str:
        return f"<RemoteObject {self.url!r}, {self.size} bytes>"


def open_object(
    path_or_url: StrPath, store: Any = None, cache: StrPath | BlockCache | None = None
) -> RemoteObject:
    """Open an object by its URL, or by its path in a store that the caller has made."""
    text = os.fspath(path_or_url)
    if not isinstance(text, str):
        raise InvalidTypeError(f"path_or_url is of type {type(text).__name__}: expected a str")
    if is_url(text):
        directory, name = split_url(text)
    else:
        directory, _, name = text.rpartition("/")
    if cache is not None and not isinstance(cache, BlockCache):
        if not isinstance(cache, (str, bytes, os.PathLike)):
            raise InvalidTypeError(
                f"cache is of type {type(cache).__name__}: expected a path or a BlockCache"
            )
        cache = BlockCache(path_text("cache", cache))
    return RemoteObject(open_store(directory, store), name, cache=cache)
