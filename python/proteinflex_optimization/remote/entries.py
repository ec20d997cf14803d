"""Entries as objects: their names, what tells their contents apart, and reading one whole.

An entry's object has the name of its file in a cache directory, so that a directory and a copy of it
in an object store are the same to a reader.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from io import FileIO
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol, TypeGuard

from .requests import finished
from .stores import ObjectInfo, Store
from .urls import object_url

PIECE = 8 << 20
"""Bytes that are read at a time."""
IN_FLIGHT = 4
"""Reads at once: a connection alone seldom has a store's whole speed."""
TRAILER = 64
"""The last bytes of the file of an entry: docs/format-trajectory.md."""
TRAILER_MAGIC = b"\x89PFXend\n"
HEAD = 4096
"""First bytes that are compared: they hold the id, the time and, mostly, the metadata."""

_KEY = re.compile(r"[st]-[0-9a-f]{32}")
_BEGINNING = re.compile(r"[st]-[0-9a-f]{1,31}")
_NAME = re.compile(r"(?:.*/)?([st]-[0-9a-f]{32})\.fxt")


class Source(Protocol):
    """What entries are read from: a `Store`, or a directory."""

    url: str

    def head(self, name: str) -> ObjectInfo:
        """Return what is known of an object without reading it."""
        ...

    def read(self, name: str, start: int, end: int, version: str | None) -> memoryview:
        """Return exactly these bytes of an object."""
        ...

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects whose names begin so."""
        ...


def is_writable(source: Source) -> TypeGuard[Store]:
    """Return whether entries can be sent there: to all but directories of others."""
    return hasattr(source, "create")


def is_key(text: str) -> bool:
    """Return whether this is the whole key of an entry."""
    return _KEY.fullmatch(text) is not None


def may_begin_key(text: object) -> bool:
    """Return whether this may mean an entry by the beginning of its key."""
    return isinstance(text, str) and _BEGINNING.fullmatch(text) is not None


def object_name(key: str) -> str:
    """Return the name of an entry's file in a cache directory, and of its object."""
    return f"entries/{key[2:4]}/{key}.fxt"


def key_of(name: str) -> str | None:
    """Return the key of the entry whose file or object has this name; None where it is of none."""
    found = _NAME.fullmatch(name)
    return found and found[1]


class Identity(NamedTuple):
    """What tells an entry from another under the same key, without reading all of it."""

    size: int
    head: bytes
    trailer: bytes

    @property
    def content(self) -> bytes:
        """The content id: of arrays, fields and topology, and not of metadata and times."""
        return self.trailer[24:40]

    @property
    def is_whole(self) -> bool:
        """Whether it ends as an entry of this size does; one that was cut off does not."""
        size = int.from_bytes(self.trailer[16:24], "little")
        return self.trailer.startswith(TRAILER_MAGIC) and size == self.size


def identity_of_file(file: BinaryIO) -> Identity:
    """Return that of an entry's file."""
    size = os.fstat(file.fileno()).st_size
    head = file.read(HEAD)
    file.seek(max(0, size - TRAILER))
    return Identity(size, head, file.read())


def identity_of_object(source: Source, info: ObjectInfo) -> Identity:
    """Return that of an object."""
    name, size, version, _ = info
    if size <= HEAD:
        whole = bytes(source.read(name, 0, size, version))
        return Identity(size, whole, whole[-TRAILER:])
    head = source.read(name, 0, HEAD, version)
    trailer = source.read(name, size - TRAILER, size, version)
    return Identity(size, bytes(head), bytes(trailer))


class Download:
    """Reads an object into a file, several pieces at once.

    Parameters
    ----------
    source, info
        Where it is and which one.
    patience : float
        Seconds without a piece after which it has failed.
    check : callable, optional
        Called before each piece; what it raises ends the download.
    progress : callable, optional
        Called with the number of bytes of each piece that was written.
    """

    def __init__(
        self,
        source: Source,
        info: ObjectInfo,
        patience: float,
        *,
        check: Callable[[], object] = lambda: None,
        progress: Callable[[int], object] = lambda _: None,
    ) -> None:
        self._source, self._info, self._patience = source, info, patience
        self._check, self._progress = check, progress
        self.failure: Exception | None = None
        """The error of the source, where that is why it failed."""
        self._path = ""

    def __call__(self, path: Path) -> None:
        """Write all bytes of the object to a file that is there and empty."""
        self._path = str(path)
        with path.open("r+b", buffering=0) as file:
            self._check()
            for start, piece in self._pieces():
                self._write(file, start, piece)
                self._progress(len(piece))
                self._check()

    def _pieces(self) -> Iterator[tuple[int, memoryview]]:
        """Yield the pieces as they come, each with where it begins."""
        name, size, version, _ = self._info
        reads = (
            (at, partial(self._source.read, name, at, min(at + PIECE, size), version))
            for at in range(0, size, PIECE)
        )
        shown = object_url(self._source.url, name)
        try:
            yield from finished(reads, IN_FLIGHT, patience=self._patience, shown=shown)
        except Exception as error:
            self.failure = error
            raise

    def _write(self, file: FileIO, start: int, piece: memoryview) -> None:
        try:
            file.seek(start)
            while piece:
                piece = piece[file.write(piece) :]
        except OSError as error:
            error.filename = self._path  # Python names none, and it tells which disk is full.
            raise

    def of_object(self, error: Exception) -> Exception:
        """Return an error of the file as one of the object: the file is gone by now."""
        shown = object_url(self._source.url, self._info.name)
        return type(error)(str(error).replace(self._path, shown) if self._path else str(error))
