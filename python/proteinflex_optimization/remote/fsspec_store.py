"""A `Store` by a file system of fsspec, for the many kinds of storage that only that knows.

It has no conditional requests: that an object was replaced is seen by the checksums of what is read
from it, and then by its version.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import re
import secrets
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from ..errors import InvalidTypeError, RemoteError
from .stores import ObjectInfo
from .translation import Translation
from .urls import object_url, without_credentials

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .stores import Progress

WHOLE = frozenset({"memory", "s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "oci", "hf"})
"""Protocols of what publishes an object when all of it was sent. All others are taken to write in
place, where one that is killed leaves a part."""

LEFTOVER = re.compile(r"\.fxt\.[0-9a-f]{16}\.tmp$")
"""What a file is called until it is whole,"""
LEFT_FOR = timedelta(days=1)
"""and after how long nobody is taken to send it any more."""


class FsspecStore:
    """Objects below a path of a file system."""

    def __init__(self, url: str, filesystem: Any) -> None:
        self.is_given = True
        self._filesystem = filesystem
        root = str(filesystem._strip_protocol(url))
        self._root = root.rstrip("/")
        # Not every one takes "/name" for "name".
        self._above = f"{self._root}/" if root else ""
        self.url = without_credentials(url).rstrip("/")

    def head(self, name: str) -> ObjectInfo:
        """Return what the file system says of an object."""
        with self._errors(name):
            self._filesystem.invalidate_cache(self._root)
            return self._info(name, self._filesystem.info(self._path(name)))

    def read(self, name: str, start: int, end: int, version: str | None) -> memoryview:
        """Return exactly these bytes of an object; `version` can't be asked for."""
        if start >= end:
            return memoryview(b"")
        with self._errors(name):
            read = memoryview(self._filesystem.cat_file(self._path(name), start=start, end=end))
        if len(read) != end - start:
            raise RemoteError(
                errno.EIO,
                f"the file system gave {len(read)} bytes where {end - start} were asked for",
                self._shown(name),
            )
        return read

    def read_first(self, name: str, length: int) -> tuple[ObjectInfo, memoryview]:
        """Return what the file system says of an object, and its first bytes."""
        info = self.head(name)
        return info, self.read(name, 0, min(length, info.size), None)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects whose names begin so, in any depth."""
        directory = prefix.rpartition("/")[0]
        with self._errors(prefix):
            self._filesystem.invalidate_cache(self._root)
            found = self._filesystem.find(self._path(directory), detail=True)
        for path, details in sorted(found.items()):
            name = path.removeprefix(self._root).lstrip("/")
            if name.startswith(prefix):
                yield self._info(name, details)

    def create(self, name: str, path: Path, progress: Progress | None = None) -> ObjectInfo:
        """Store the file at `path` where there is no object of that name."""
        target, size = self._path(name), path.stat().st_size
        with self._errors(name):
            self._refuse_existing(name)
            self._filesystem.makedirs(target.rpartition("/")[0], exist_ok=True)
            if _publishes_whole(self._filesystem):
                self._filesystem.put_file(str(path), target)
            else:
                self._put_and_rename(path, name)
        if progress is not None:
            progress(size)
        return self.head(name)

    def _put_and_rename(self, path: Path, name: str) -> None:
        # Of one's own: another one may send the same.
        target = self._path(name)
        temporary = f"{target}.{secrets.token_hex(8)}.tmp"
        try:
            self._filesystem.put_file(str(path), temporary)
            if not self._link(temporary, name):
                # It may replace what is there.
                self._refuse_existing(name)
                self._filesystem.mv(temporary, target)
        finally:
            with contextlib.suppress(Exception):  # After a move there is none.
                self._filesystem.rm_file(temporary)
            with contextlib.suppress(Exception):  # They are in nobody's way.
                self._remove_leftovers(target.rpartition("/")[0])

    def _remove_leftovers(self, directory: str) -> None:
        """Remove from one directory what was sent by processes that were killed."""
        for path in self._filesystem.ls(directory, detail=False):
            if LEFTOVER.search(path):
                modified = self._filesystem.modified(path)
                modified = modified.replace(tzinfo=modified.tzinfo or timezone.utc)
                if datetime.now(timezone.utc) - modified > LEFT_FOR:
                    self._filesystem.rm_file(path)

    def _link(self, temporary: str, name: str) -> bool:
        """Give a file its name, which nothing must have; returns whether there are hard links."""
        try:
            self._filesystem.link(temporary, self._path(name))
        except FileExistsError:
            raise self._existing(name) from None
        except (AttributeError, NotImplementedError, OSError):
            return False
        return True

    def _refuse_existing(self, name: str) -> None:
        self._filesystem.invalidate_cache(self._root)
        if self._filesystem.exists(self._path(name)):
            raise self._existing(name)

    def _existing(self, name: str) -> FileExistsError:
        return FileExistsError(errno.EEXIST, "there is an object of that name", self._shown(name))

    def delete(self, name: str) -> None:
        """Remove an object; that there is none is not an error."""
        try:
            with self._errors(name):
                self._filesystem.rm_file(self._path(name))
        except FileNotFoundError:
            pass

    def __repr__(self) -> str:
        return f"<FsspecStore {self.url!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        raise InvalidTypeError(
            f"{self!r} was made of store=, which may hold credentials, so it is not pickled: open it "
            "in each process, or use a URL and let the environment give the credentials"
        )

    def _path(self, name: str) -> str:
        return f"{self._above}{name}".rstrip("/") if name else self._root

    def _info(self, name: str, details: dict[str, Any]) -> ObjectInfo:
        size = details.get("size")
        if size is None:
            raise RemoteError(
                errno.EIO, "the file system does not tell its size", self._shown(name)
            )
        version = next(
            (str(details[key]) for key in ("ETag", "etag", "e_tag", "md5") if details.get(key)),
            None,
        )
        modified = details.get("LastModified", details.get("last_modified"))
        if version is None and (modified or details.get("mtime")):
            version = f"{modified or details['mtime']} {size}"
        return ObjectInfo(name, int(size), version, modified)

    def _shown(self, name: str) -> str:
        return object_url(self.url, name)

    def _errors(self, name: str) -> _Errors:
        return _Errors(self._shown(name))


class _Errors(Translation):
    """Of file systems."""

    def translate(self, error: Exception, text: str) -> None:
        cause = error.__cause__
        if isinstance(cause, Exception) and _is_of_connection(cause):
            # The file system of the web takes whatever goes wrong for an object that is not there.
            error, text = cause, without_credentials(str(cause))
        text = text.partition("\n")[0]
        status = getattr(error, "status", None) if _is_of_connection(error) else None
        if status is not None:
            text = f"{status} {getattr(error, 'message', '')}"
        if isinstance(error, FileNotFoundError) or status in (404, 410):
            raise FileNotFoundError(errno.ENOENT, "there is no such object", self.shown) from None
        if isinstance(error, PermissionError) or status in (401, 403):
            raise PermissionError(errno.EACCES, f"access is denied: {text}", self.shown) from None
        # Each library has its own: nothing else tells them from those of a connection.
        text = f"{type(error).__name__}: {text}"
        number = error.errno if isinstance(error, OSError) else None
        raise RemoteError(number or errno.EIO, text, self.shown) from None


def _is_of_connection(error: Exception) -> bool:
    is_of_aiohttp = type(error).__module__.partition(".")[0] == "aiohttp"
    return is_of_aiohttp or isinstance(error, (TimeoutError, asyncio.TimeoutError))


def _publishes_whole(filesystem: Any) -> bool:
    while hasattr(inner := getattr(filesystem, "fs", None), "protocol"):
        filesystem = inner  # Of a wrapper.
    protocol = filesystem.protocol
    return not WHOLE.isdisjoint((protocol,) if isinstance(protocol, str) else protocol)
