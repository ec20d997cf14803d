"""One cache behind another: what it was asked for, and whether it works."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from .._arguments import path_text
from .._log import get_logger
from ..errors import (
    CorruptDataError,
    InvalidArgumentError,
    InvalidTypeError,
    ProteinFlexError,
    UnsupportedFormatError,
)
from .directory_store import DirectoryStore
from .entries import Source, is_writable, object_name
from .object import RemoteObject
from .requests import within
from .stores import ObjectInfo, open_store
from .urls import is_url, without_credentials

if TYPE_CHECKING:
    from ..types import StrPath, UpstreamStats

LOOKUP_SECONDS = 10.0
"""How long a tier may take to say whether it has an entry; one that takes longer counts as broken."""
LEFT_ALONE_SECONDS = 60.0
"""For how long nobody asks a tier that is broken."""
MAX_DAMAGED = 10_000
"""So many damaged objects are remembered, so that they are not read again."""

logger = get_logger()


class Tier:
    """One upstream, what it was asked for, and whether it works."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.hits = self.misses = self.errors = self.bytes = 0
        self._asked_again_at = 0.0
        self._is_broken = self._has_refused = False
        self._damaged: dict[str, ObjectInfo] = {}

    @property
    def is_left_alone(self) -> bool:
        """Whether it is broken and not asked at present."""
        return self._is_broken and time.monotonic() < self._asked_again_at

    def find(self, *keys: str) -> list[tuple[str, ObjectInfo]]:
        """Return what it has that can be used, of keys of which one is meant."""
        found: list[tuple[str, ObjectInfo]] = []
        missing = 0
        for key in keys:
            if self.is_left_alone:
                break
            name = object_name(key)
            try:
                shown = f"{self.source.url}/{name}"
                info = within(LOOKUP_SECONDS, shown, partial(self.source.head, name))
            except FileNotFoundError:
                missing += 1
            except Exception as error:
                self.failed(error)
                continue
            else:
                if self._damaged.get(name) != info:
                    found.append((key, info))
            self._is_broken = False
        self.misses += 0 < missing == len(keys)
        return found

    def failed(self, error: Exception) -> None:
        """Count an error; where the tier is broken, leave it alone for a while."""
        if isinstance(error, FileNotFoundError):
            self.misses += 1  # Removed since it was looked for.
            return
        self.errors += 1
        text = without_credentials(str(error))
        if isinstance(error, PermissionError):
            # Perhaps of one entry only; and S3 says so of what is not there, to who may not list.
            if not self._has_refused:
                self._has_refused = True
                logger.warning(
                    "the upstream %s refuses what it is asked: %s", self.source.url, text
                )
            return
        self._asked_again_at = time.monotonic() + LEFT_ALONE_SECONDS
        if not self._is_broken:
            self._is_broken = True
            logger.warning(
                "the upstream %s does not work and is left alone for %g s at a time: %s",
                self.source.url,
                LEFT_ALONE_SECONDS,
                text,
            )

    def damaged(self, info: ObjectInfo, error: Exception) -> None:
        """Count an object that is not what it should be; it is not read again."""
        self.errors += 1
        if len(self._damaged) < MAX_DAMAGED:
            self._damaged[info.name] = info
        text = without_credentials(str(error))
        logger.warning("%s/%s is not used: %s", self.source.url, info.name, text)

    @contextmanager
    def reading(self, info: ObjectInfo) -> Iterator[None]:
        """Take the errors of reading one of its objects, which is then gone on without."""
        try:
            yield
        except (CorruptDataError, UnsupportedFormatError) as error:
            self.damaged(info, error)
        except (OSError, ProteinFlexError) as error:
            self.failed(error)
        else:
            self.hits += 1

    def place(self, info: ObjectInfo) -> StrPath | RemoteObject:
        """Return of what a `Trajectory` is made that reads one of its objects."""
        if is_writable(self.source):
            return RemoteObject(self.source, info.name, info)
        return f"{self.source.url}/{info.name}"

    def stats(self) -> UpstreamStats:
        """Return what this object has seen of it."""
        return {
            "url": self.source.url,
            "hits": self.hits,
            "misses": self.misses,
            "errors": self.errors,
            "bytes": self.bytes,
            "available": not self.is_left_alone,
        }


def source_of(given: Any) -> Source:
    """Return what one item of `upstream` means."""
    if is_url(given):
        return open_store(given)
    if isinstance(given, (str, os.PathLike)):
        path = os.fspath(given)
        if not path or "\0" in path:
            raise InvalidArgumentError(
                f"upstream has the item {path!r}: expected the path of a cache directory, or a URL"
            )
        return DirectoryStore(path_text("upstream", path))
    if all(hasattr(given, name) for name in ("url", "head", "read", "list")):
        return given  # type: ignore[no-any-return]
    raise InvalidTypeError(
        f"upstream has an item of type {type(given).__name__}: expected the path of a cache "
        "directory, a URL, or what remote.stores.open_store(url, store) returns"
    )
