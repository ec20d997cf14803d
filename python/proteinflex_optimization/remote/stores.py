"""What is read from, and written to, elsewhere than in files: object stores and web servers.

`open_store` makes a `Store` of a URL with obstore, or of a store that the caller has made. Both
kinds raise the same errors, whose messages have no credentials: `FileNotFoundError`,
`PermissionError`, `FileExistsError`, `ObjectChangedError`, and `RemoteError` for all else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from ..errors import InvalidArgumentError, InvalidTypeError
from .urls import checked_url, without_credentials

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

    Progress = Callable[[int], object]


class ObjectInfo(NamedTuple):
    """What a store says of an object."""

    name: str
    """Below the store's URL."""
    size: int
    """Bytes."""
    version: str | None
    """The ETag, or else when it was modified, by which the object is told from one that takes its
    place; None where the store tells neither."""
    modified: datetime | None
    """When it was written."""


class Store(Protocol):
    """Objects below a URL. Any thread may use it; calls release the GIL while they wait."""

    url: str
    """Without credentials and without a slash at the end."""

    def head(self, name: str) -> ObjectInfo:
        """Return what the store says of an object."""
        ...

    def read(self, name: str, start: int, end: int, version: str | None) -> memoryview:
        """Return exactly these bytes of an object, of this version where one is given.

        Raises
        ------
        ObjectChangedError
            Another object has taken its place.
        """
        ...

    def read_first(self, name: str, length: int) -> tuple[ObjectInfo, memoryview]:
        """Return what the store says of an object, and its first bytes: all where it has fewer."""
        ...

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects whose names begin so, in any depth."""
        ...

    def create(self, name: str, path: Path, progress: Progress | None = None) -> ObjectInfo:
        """Store the file at `path`: all of it or, where this fails or is killed, nothing.

        Parameters
        ----------
        progress : callable, optional
            Called with the number of bytes that were sent since its last call.

        Raises
        ------
        FileExistsError
            There is an object of that name.
        """
        ...

    def delete(self, name: str) -> None:
        """Remove an object; that there is none is not an error."""
        ...


def open_store(url: str, store: Any = None) -> Store:
    """Open what is below a URL.

    Parameters
    ----------
    url : str
        ``s3://bucket/prefix``, ``gs://``, ``az://``, ``https://host/path``. With `store`, a path in
        it or such a URL.
    store : object, optional
        A store of obstore or a file system of fsspec, for credentials and settings that the
        environment does not have. Paths are below its root.

    Raises
    ------
    InvalidArgumentError, InvalidTypeError
        The URL is not of a known kind, or `store` is neither.
    ImportError
        obstore is not installed: ``pip install "proteinflex-optimization[remote]"``.
    """
    if store is None:
        from .obstore_store import ObstoreStore

        if urlsplit(checked_url(url)).scheme == "memory":
            raise InvalidArgumentError(
                f"url={without_credentials(url)!r} is not valid: what is stored there is gone with "
                "this process; expected s3://, gs://, az://, http:// or https://, or store= with a "
                "store in memory"
            )
        return ObstoreStore(url)
    # First: obstore has one as well.
    if hasattr(store, "cat_file") and hasattr(store, "info"):
        from .fsspec_store import FsspecStore

        return FsspecStore(url, store)
    root = type(store).__module__.partition(".")[0]
    if root == "obstore" or hasattr(store, "client_options"):
        from .obstore_store import ObstoreStore

        return ObstoreStore(url, store)
    raise InvalidTypeError(
        f"store is of type {type(store).__name__} for {without_credentials(url)!r}: expected a store "
        "of obstore or a file system of fsspec"
    )
