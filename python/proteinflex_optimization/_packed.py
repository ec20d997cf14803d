"""Compressed files: every stream is read, where Python's functions leave out what follows a damaged one."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from proteinflex_optimization._arguments import path_text
from proteinflex_optimization._filesystem import refuse_other_than_a_file
from proteinflex_optimization.errors import InvalidArgumentError

__all__ = ["checked_path", "packer_of", "unpacked", "without_suffix"]

SUFFIXES = (".gz", ".bz2", ".xz")

STREAMS: dict[bytes, Callable[[], Any]] = {
    b"\x1f\x8b\x08": partial(zlib.decompressobj, 16 + zlib.MAX_WBITS),
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ\0": lzma.LZMADecompressor,
}
"""By how compressed files begin: gzip, bzip2 and xz."""

PACKERS = dict(zip(STREAMS, ("gzip", "bzip2", "xz"), strict=True)) | {b"\x28\xb5\x2f\xfd": "zstd"}
"""What a file is compressed with, by how it begins."""

BLOCK_BYTES = 1 << 14
"""Decompressed at a time: of zeros, this becomes many times as much."""


def unpacked(name: str, path: Path) -> Iterator[bytes]:
    """Yield what is in a file, decompressed if it is compressed.

    Raises
    ------
    InvalidArgumentError
        The argument ``name`` is a file whose compressed data is damaged.
    """
    with path.open("rb") as file:
        new_stream = _kind_of(file)
        try:
            yield from iter(file.read, b"") if new_stream is None else _all(file, new_stream)
        except (EOFError, ValueError, zlib.error, lzma.LZMAError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise InvalidArgumentError(
                f"{name}={str(path)!r} is not valid: its compressed data is cut short or damaged "
                f"({error}); get it again"
            ) from error


def without_suffix(name: str) -> str:
    """Return the name that a file has once it is unpacked."""
    path = Path(name)
    return path.stem if path.suffix.lower() in SUFFIXES else name


def checked_path(name: str, path: Any) -> str:
    """Return a path as text; that there is nothing is not an error. A compressed file is read to its end.

    Raises
    ------
    InvalidArgumentError
        The argument ``name`` is no path, or that of a pipe, say, or of damaged compressed data.
    """
    text = path_text(name, path)
    if Path(text).exists():
        refuse_other_than_a_file(name, Path(text))
        with Path(text).open("rb") as file:
            is_packed = _kind_of(file) is not None
        if is_packed:
            for _ in unpacked(name, Path(text)):
                pass
    return text


def _kind_of(file: BinaryIO) -> Callable[[], Any] | None:
    """Return what makes a decompressor of a file at its beginning, and go back there."""
    beginning = file.read(max(map(len, STREAMS)))
    file.seek(0)
    return next((new for magic, new in STREAMS.items() if beginning.startswith(magic)), None)


def packer_of(path: Path) -> str | None:
    """Name what a file is compressed with; None where it is not compressed."""
    with path.open("rb") as file:
        beginning = file.read(max(map(len, PACKERS)))
    return next((name for magic, name in PACKERS.items() if beginning.startswith(magic)), None)


def _all(file: BinaryIO, new_stream: Callable[[], Any]) -> Iterator[bytes]:
    stream, is_begun = new_stream(), False
    for block in iter(partial(file.read, BLOCK_BYTES), b""):
        # Between streams, zeros fill up blocks of archives.
        packed = block if is_begun else block.lstrip(b"\0")
        while packed:
            yield stream.decompress(packed)
            packed, is_begun = b"", True
            if stream.eof:
                packed = stream.unused_data.lstrip(b"\0")
                stream, is_begun = new_stream(), False
    if is_begun:
        raise EOFError("it ends within a stream")
