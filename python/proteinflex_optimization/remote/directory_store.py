"""A cache directory of this machine, or one that is mounted, as a source of objects.

Nothing is written, locked or marked as used there, so it may be read-only and belong to others.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

from ..errors import ObjectChangedError, RemoteError
from .stores import ObjectInfo


class DirectoryStore:
    """The files below a directory; they are replaced and removed, and never written again."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = Path(directory).absolute()
        self.url = str(self.directory)

    def head(self, name: str) -> ObjectInfo:
        """Return size and version of a file.

        Raises
        ------
        FileNotFoundError
            There is none of this name, and the directory is there.
        RemoteError
            The directory is not there, or holds no cache.
        """
        try:
            descriptor = self._open(name)
        except FileNotFoundError:
            self._check_cache()
            raise
        try:
            return _info(name, os.fstat(descriptor))
        finally:
            os.close(descriptor)

    def read(self, name: str, start: int, end: int, version: str | None) -> memoryview:
        """Return exactly these bytes of a file, of this version where one is given."""
        descriptor = self._open(name)
        try:
            if version is not None and _info(name, os.fstat(descriptor)).version != version:
                text = "another file has taken the place of what was opened"
                raise ObjectChangedError(errno.ESTALE, text, self._shown(name))
            parts = bytearray()
            while part := os.pread(descriptor, end - start - len(parts), start + len(parts)):
                parts += part
        finally:
            os.close(descriptor)
        if len(parts) != end - start:
            text = f"the file has {len(parts)} bytes where {end - start} were asked for"
            raise RemoteError(errno.EIO, text, self._shown(name))
        return memoryview(parts)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the files whose names begin so, in any depth.

        Raises
        ------
        PermissionError
            After all others: permissions deny a look into a folder.
        RemoteError
            Entries are wanted, and the directory holds no cache.
        """
        if prefix:
            # Another directory may be a large one.
            self._check_cache()
        top = self.directory / prefix.rpartition("/")[0]
        denied: list[PermissionError] = []

        def pass_over(error: OSError) -> None:
            if isinstance(error, PermissionError):
                denied.append(error)
            elif not isinstance(error, FileNotFoundError):  # Else it was removed meanwhile.
                raise error

        for folder, _, files in os.walk(top, onerror=pass_over):
            for file in sorted(files):
                path = Path(folder, file)
                name = path.relative_to(self.directory).as_posix()
                if name.startswith(prefix):
                    try:
                        info = _info(name, path.lstat())
                    except OSError as error:
                        pass_over(error)
                        continue
                    yield info
        if denied:
            raise denied[0]

    def __repr__(self) -> str:
        return f"<DirectoryStore {self.url!r}>"

    def _check_cache(self) -> None:
        if not (self.directory / "entries").is_dir():
            text = "there is no cache in the directory: is its file system mounted?"
            raise RemoteError(errno.ENOENT, text, self.url)

    def _open(self, name: str) -> int:
        # What is not a file, such as a symlink, is not an entry; a pipe in its place must not be waited for.
        path = self.directory / name
        if not stat.S_ISREG(path.lstat().st_mode):
            raise FileNotFoundError(errno.ENOENT, "this is not a file", self._shown(name))
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)

    def _shown(self, name: str) -> str:
        return str(self.directory / name)


def _info(name: str, found: os.stat_result) -> ObjectInfo:
    # The time of modification is that of the last use.
    version = f"{found.st_dev}-{found.st_ino}-{found.st_size}"
    modified = datetime.fromtimestamp(found.st_mtime, timezone.utc)
    return ObjectInfo(name, found.st_size, version, modified)
