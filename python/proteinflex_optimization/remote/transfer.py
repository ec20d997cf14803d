"""Entries sent to a URL and fetched from one: whole, verified, and never over another content."""

from __future__ import annotations

import contextlib
import errno
import fcntl
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .. import _native
from .._arguments import callback, path_text
from .._log import get_logger
from ..errors import (
    CacheFullError,
    CacheKeyError,
    CorruptDataError,
    InvalidArgumentError,
    ObjectChangedError,
    ProteinFlexError,
    RemoteError,
    UnsupportedFormatError,
)
from .directory_store import DirectoryStore
from .entries import (
    Download,
    Identity,
    Source,
    identity_of_file,
    identity_of_object,
    key_of,
    object_name,
)
from .stores import ObjectInfo, Store, open_store
from .urls import is_url, object_url, without_credentials

if TYPE_CHECKING:
    from ..types import TransferredEntry

    Progress = Callable[[int, int], object]

PATIENCE = 300.0
"""Seconds without a piece of an entry after which a pull gives up; a store's own time-outs and
repeated tries come before."""

logger = get_logger()


def target(url: str, store: Any = None) -> Store:
    """Open what entries are sent to."""
    if not is_url(url) and store is None:
        raise InvalidArgumentError(
            f"url={url!r} is not valid: expected a URL, such as 's3://bucket/prefix'"
        )
    return open_store(url, store)


def push(
    handler: _native.DataHandler, key: str, target: Store, progress: Progress | None = None
) -> TransferredEntry:
    """Send an entry of a cache; `DataHandler.push` says more."""
    callback("progress", progress)
    key = _native.DataHandler.info(handler, key)["key"]
    name = object_name(key)
    path = Path(handler.cache_dir) / name
    with _held(handler, path) as ours:
        there = _identity(target, name)
        is_new = there is None
        if there is None:
            _check_whole(handler, key)
            sent = 0

            def count(n_bytes: int) -> None:
                nonlocal sent
                sent += n_bytes
                if progress is not None:
                    progress(sent, ours.size)

            try:
                target.create(name, path, count)
            except (FileExistsError, ObjectChangedError):
                is_new = False  # Another one sends it, too.
            there = _identity(target, name)
        if there is None or (is_new and there.content != ours.content):
            text = "what is there now is not what was sent: another one may have removed or replaced it"
            raise RemoteError(errno.EIO, text, f"{target.url}/{name}")
        is_new = is_new and there == ours
    _compare(key, there, f"{target.url}/{name}", ours, str(path))
    return {"key": key, "url": f"{target.url}/{name}", "bytes": ours.size, "copied": is_new}


def pull(
    handler: _native.DataHandler,
    url: str,
    store: Any = None,
    progress: Progress | None = None,
) -> list[TransferredEntry]:
    """Fetch an entry, or all below a URL or directory; `DataHandler.pull` says more."""
    callback("progress", progress)
    source, infos, failures = _found(url, store)
    _check_space(handler, infos)
    done, total = 0, sum(info.size for info in infos.values())

    def count(n_bytes: int) -> None:
        nonlocal done
        done += n_bytes
        if progress is not None:
            progress(done, total)

    reports: list[TransferredEntry] = []
    for key, listed in infos.items():
        info, before = listed, done
        try:
            try:
                is_new = _pull_one(handler, source, key, info, count)
            except (CorruptDataError, OSError):
                now = _head(source, info.name)
                is_same = now is not None and now.size == info.size and now.version == info.version
                if is_same or (now is None and len(infos) == 1):
                    raise
                done, total = before, total - info.size + (now.size if now else 0)
                count(0)
                if now is None:
                    # Removed or evicted since it was listed.
                    logger.info("%s/%s is not there any more", source.url, info.name)
                    continue
                info = now
                is_new = _pull_one(handler, source, key, info, count)
        except (OSError, ProteinFlexError) as error:
            failures.append(error)
        else:
            shown = object_url(source.url, info.name)
            reports.append({"key": key, "url": shown, "bytes": info.size, "copied": is_new})
    if len(failures) == 1:
        raise failures[0]
    if failures:
        texts = "; ".join(str(failure) for failure in failures[:MAX_SHOWN])
        raise ProteinFlexError(
            f"{len(failures)} of {len(infos)} entries of {source.url} were not fetched: {texts}"
        ) from failures[0]
    return reports


MAX_SHOWN = 5
"""More errors than this in one message help nobody."""


def _pull_one(
    handler: _native.DataHandler,
    source: Source,
    key: str,
    info: ObjectInfo,
    count: Callable[[int], object],
) -> bool:
    """Fetch an entry where there is none of its key; returns whether it was fetched."""
    shown = object_url(source.url, info.name)
    if not _has(handler, key):
        download = Download(source, info, PATIENCE, progress=count)
        try:
            if handler._adopt(key, info.size, download):
                return True
        except (CorruptDataError, UnsupportedFormatError) as error:
            raise type(error)(f"it is not fetched: {download.of_object(error)}") from None
    path = Path(handler.cache_dir) / object_name(key)
    with _held(handler, path) as ours:
        _compare(key, identity_of_object(source, info), shown, ours, str(path))
    count(info.size)
    return False


def _found(url: str, store: Any) -> tuple[Source, dict[str, ObjectInfo], list[Exception]]:
    """Return a source, the entries of it that a URL or path means, by their keys, and what is closed."""
    if not isinstance(url, str) or (store is None and not is_url(url)):
        url = path_text("url", url)
    path = urlsplit(url).path if is_url(url) else url
    key = key_of(path)
    if store is None and not is_url(url) and not Path(url).exists():
        raise FileNotFoundError(errno.ENOENT, "there is no such directory or entry", url)
    if key is not None:
        directory, _, name = url.rpartition("/")
        if urlsplit(url).query:
            # It was signed, and so is of this object only.
            directory, name = url, ""
        source = _open(directory, store)
        return source, {key: source.head(name)}, []
    source = _open(url, store)
    found: dict[str, ObjectInfo] = {}
    closed: list[Exception] = []
    try:
        for info in source.list("entries/"):
            key = key_of(info.name)
            # Other files, such as one that is being written, are not entries.
            if key is not None and info.name == object_name(key):
                found[key] = info
    except PermissionError as error:
        if not found:
            raise
        closed.append(error)
    if not found:
        raise InvalidArgumentError(
            f"url={without_credentials(url)!r} is not valid: there are no entries below, expected "
            "the URL of an entry (…/t-….fxt), or what `push` was given"
        )
    return source, found, closed


def _open(url: str, store: Any) -> Source:
    return open_store(url, store) if store is not None or is_url(url) else DirectoryStore(url)


def _identity(source: Source, name: str) -> Identity | None:
    try:
        return identity_of_object(source, source.head(name))
    except FileNotFoundError:
        return None


def _head(source: Source, name: str) -> ObjectInfo | None:
    try:
        return source.head(name)
    except FileNotFoundError:
        return None


def _has(handler: _native.DataHandler, key: str) -> bool:
    return _native.DataHandler.__contains__(handler, key)


@contextlib.contextmanager
def _held(handler: _native.DataHandler, path: Path) -> Any:
    """Yield the identity of an entry, which is evicted only if evicting others does not suffice."""
    try:
        with path.open("rb") as file:
            with contextlib.suppress(OSError):  # There may be no locks.
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            yield identity_of_file(file)
    except FileNotFoundError:
        if path.exists():
            raise
        raise CacheKeyError(
            f"nothing is stored under {path.stem!r} in {handler.cache_dir} any more: it was evicted "
            "or removed meanwhile"
        ) from None


def _check_whole(handler: _native.DataHandler, key: str) -> None:
    report = _native.DataHandler.verify(handler, key)
    for damage in report["damaged"]:
        raise CorruptDataError(f"{damage['reason']}; it is not sent")


def _check_space(handler: _native.DataHandler, infos: dict[str, ObjectInfo]) -> None:
    """Refuse to fetch what could only be kept by evicting a part of it, also of what is here."""
    n_bytes = 0
    for key, info in infos.items():
        with contextlib.suppress(CacheKeyError):
            if _has(handler, key) and _native.DataHandler.info(handler, key)["pinned"]:
                continue
        n_bytes += info.size
    stats = _native.DataHandler.get_cache_stats(handler)
    free = stats["max_bytes"] - stats["pinned_bytes"]
    if n_bytes > free:
        raise CacheFullError(
            f"{n_bytes} bytes don't fit into {handler.cache_dir}, which may hold {free} beside what "
            "is pinned: raise max_cache_size, or fetch single entries; nothing was changed"
        )


def _compare(key: str, there: Identity, shown: str, ours: Identity, path: str) -> None:
    """Refuse another content under the same key."""
    if there == ours:
        return
    if not there.is_whole:
        raise CorruptDataError(
            f"{shown} is not a whole entry: it was cut off or is damaged, or is still being written "
            "by another program; where it stays so, remove it; nothing was changed"
        )
    if there.content == ours.content:
        logger.warning(
            "%s has the same data as %s, stored at another time or with other metadata: both stay as "
            "they are",
            shown,
            path,
        )
        return
    raise InvalidArgumentError(
        f"key={key!r} is not valid: {shown} has another content under this key than {path}, expected "
        "the same or none; remove one of them, or store yours under another data_id; nothing was "
        "changed"
    )
