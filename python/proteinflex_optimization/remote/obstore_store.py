"""A `Store` by obstore: retries, back-off and time-outs are its own.

obstore runs its requests in threads that a forked child does not have: a request there would wait
for ever. So where a process has made one, its children are refused with an error that says what to
do instead.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .._needed import needed
from ..errors import InvalidArgumentError, InvalidTypeError, ObjectChangedError, RemoteError
from .requests import need_threads, waited
from .stores import ObjectInfo
from .translation import Translation
from .urls import encoded, object_url, without_credentials

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .stores import Progress


TIMEOUT_VARIABLE = "PROTEINFLEX_REMOTE_TIMEOUT"
# Seconds for which a request is tried again. A store that answers at all does so within
# a few; object stores shed load for up to about a minute.
DEFAULT_TIMEOUT = 60.0
# The longest pause between two tries, in seconds, where the time-out allows it.
LONGEST_PAUSE = 5.0
# A pause is any time up to so many times the last one. They grow from 3 on: twice the last one is,
# on average, no longer than the first.
PAUSE_GROWTH = 4
# The time ends the tries, not their number.
MOST_TRIES = 1_000_000
# But web servers that have no lists say so as those that are out of order do.
MOST_TRIES_OF_LISTS = 2
# Bytes of a long object that are sent at a time.
PART = 8 << 20
# Up to so many bytes an object is created by one request, under the condition that there is none. A
# longer one goes in parts, for which obstore knows no condition.
CONDITIONAL = 64 << 20

WORKERS_VARIABLE = "TOKIO_WORKER_THREADS"
# One that reads files or asks for addresses, and one of ours that waits.
OTHER_THREADS = 2

_first_user: int | None = None


class ObstoreStore:
    """Objects below a URL, or in a store of obstore that the caller has made."""

    def __init__(self, url: str, store: Any = None) -> None:
        self._obstore = module = _obstore()
        self.is_given = store is not None
        self._full_url = url
        self._prefix = ""
        lists = None
        if store is None:
            self._check_fork()
            # A connection that stalls is given up early enough to try again, a slow one is not.
            seconds = _timeout()
            options: dict[str, Any] = {
                "timeout": timedelta(seconds=seconds),
                "connect_timeout": timedelta(seconds=min(5.0, seconds)),
                "read_timeout": timedelta(seconds=min(15.0, seconds / 4)),
            }
            if url.startswith("http://") or os.environ.get("AWS_ALLOW_HTTP", "").lower() == "true":
                options["allow_http"] = True
            pause = min(LONGEST_PAUSE, seconds / 10)
            retries = {
                "max_retries": MOST_TRIES,
                # A try that fails before this is followed by another one.
                "retry_timeout": timedelta(seconds=seconds - pause),
                "backoff": {
                    "init_backoff": timedelta(seconds=min(0.1, pause)),
                    "base": PAUSE_GROWTH,
                    "max_backoff": timedelta(seconds=pause),
                },
            }
            with _Errors(without_credentials(url)):
                if url.startswith("file://"):
                    store = module.store.from_url(encoded(url))
                else:
                    store = module.store.from_url(
                        encoded(url), client_options=options, retry_config=retries
                    )
                if url.startswith(("http://", "https://")):
                    retries["max_retries"] = MOST_TRIES_OF_LISTS
                    lists = module.store.from_url(
                        encoded(url), client_options=options, retry_config=retries
                    )
        elif "://" in url:
            self._prefix = urlsplit(url).path.strip("/")
        else:
            self._prefix = url.strip("/")
        self._store = store
        self._lists = lists or store
        self.url = without_credentials(url).rstrip("/")

    def head(self, name: str) -> ObjectInfo:
        """Return what the store says of an object."""
        with self._errors(name):
            if "?" in self._full_url:
                # What was signed for reading may not be asked for otherwise.
                path, options = self._path(name), {"range": (0, 1)}
                meta = waited(lambda: self._obstore.get(self._store, path, options=options)).meta
            else:
                path = self._path(name)
                meta = waited(lambda: self._obstore.head(self._store, path))
        return _info(name, meta)

    def read(self, name: str, start: int, end: int, version: str | None) -> memoryview:
        """Return exactly these bytes of an object, of this version where one is given."""
        if start >= end:
            return memoryview(b"")
        options: dict[str, Any] = {"range": (start, end)}
        if version is not None and version.startswith('"'):
            options["if_match"] = version
        with self._errors(name):
            found = self._obstore.get(self._store, self._path(name), options=options)
            if version is not None and _version(found.meta) != version:
                # A web server that knows no conditions, or gives weak ETags or none.
                raise _changed(self._shown(name))
            read = memoryview(found.bytes())
        if len(read) != end - start:
            raise RemoteError(
                errno.EIO,
                f"the server sent {len(read)} bytes where {end - start} were asked for",
                self._shown(name),
            )
        return read

    def read_first(self, name: str, length: int) -> tuple[ObjectInfo, memoryview]:
        """Return what the store says of an object, and its first bytes: one request."""
        with self._errors(name):
            options = {"range": (0, length)}
            try:
                found = self._obstore.get(self._store, self._path(name), options=options)
            except Exception as error:
                if "416" in str(error):
                    # There is no first byte in what is empty.
                    return self.head(name), memoryview(b"")
                raise
            first = memoryview(found.bytes())
        info = _info(name, found.meta)
        if len(first) != min(length, info.size):
            raise RemoteError(
                errno.EIO,
                f"the server sent {len(first)} bytes where {min(length, info.size)} were asked for",
                self._shown(name),
            )
        return info, first

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects whose names begin so, in any depth."""
        # obstore takes whole directories as prefixes.
        directory = prefix.rpartition("/")[0]
        below = self._path(directory) if directory else self._prefix
        with self._errors(prefix):
            batches = iter(waited(lambda: self._obstore.list(self._lists, prefix=below or None)))
        while True:
            with self._errors(prefix):
                batch = waited(lambda: next(batches, None))
            if batch is None:
                return
            for meta in batch:
                name = meta["path"].removeprefix(self._prefix).lstrip("/")
                if name.startswith(prefix):
                    yield _info(name, meta)

    def create(self, name: str, path: Path, progress: Progress | None = None) -> ObjectInfo:
        """Store the file at `path`: all of it or, where this fails or is killed, nothing."""
        size = path.stat().st_size
        target = self._path(name)
        if size <= CONDITIONAL:
            with self._errors(name):
                content = path.read_bytes()
                result = waited(
                    lambda: self._obstore.put(self._store, target, content, mode="create")
                )
            if progress is not None:
                progress(size)
        else:
            self._refuse_existing(name)
            with self._errors(name):
                parts = _parts(path, progress)
                result = waited(lambda: self._obstore.put(self._store, target, parts))
        found = self.head(name)
        if found.size != size or (result["e_tag"] or found.version) != found.version:
            raise _changed(self._shown(name))
        return found

    def _refuse_existing(self, name: str) -> None:
        try:
            self.head(name)
        except FileNotFoundError:
            return
        raise FileExistsError(errno.EEXIST, "there is an object of that name", self._shown(name))

    def delete(self, name: str) -> None:
        """Remove an object; that there is none is not an error."""
        try:
            with self._errors(name):
                path = self._path(name)
                waited(lambda: self._obstore.delete(self._store, path))
        except FileNotFoundError:
            pass

    def __repr__(self) -> str:
        return f"<ObstoreStore {self.url!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        if self.is_given:
            raise InvalidTypeError(
                f"{self!r} was made of store=, which may hold credentials, so it is not pickled: open "
                "it in each process, or use a URL and let the environment give the credentials"
            )
        if self._full_url != without_credentials(self._full_url):
            raise InvalidTypeError(
                f"the URL of {self!r} has credentials, so it is not pickled: open it in each process"
            )
        return (ObstoreStore, (self._full_url,))

    def _path(self, name: str) -> str:
        return f"{self._prefix}/{name}".strip("/") if self._prefix else name

    def _shown(self, name: str) -> str:
        return object_url(self.url, name)

    def _errors(self, name: str) -> _Errors:
        self._check_fork()
        return _Errors(self._shown(name))

    @staticmethod
    def _check_fork() -> None:
        global _first_user
        process = os.getpid()
        if _first_user is None:
            _check_threads()
            _first_user = process
        if _first_user != process:
            raise RemoteError(
                errno.ENOTSUP,
                "objects can't be read in a process that was forked from one that has read some: start "
                'it by "spawn" or "forkserver" (multiprocessing_context= of a DataLoader)',
            )


class _Errors(Translation):
    """Of obstore."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        # A panic of Rust is no `Exception`.
        if type(error).__name__ == "PanicException":
            text = f"obstore has failed: {without_credentials(str(error))}"
            raise RemoteError(errno.EIO, text, self.shown) from None
        super().__exit__(kind, error, trace)

    def translate(self, error: Exception, text: str) -> None:
        whole, text = text, _cause(text)
        from obstore import exceptions

        if isinstance(error, FileNotFoundError) and "Error performing DELETE" in text:
            # An upload that failed was given up, and the first request to do so had no response.
            raise RemoteError(errno.EIO, "the upload was broken off", self.shown) from None
        if isinstance(error, FileNotFoundError):
            raise FileNotFoundError(errno.ENOENT, "there is no such object", self.shown) from None
        denied = (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError)
        if isinstance(error, denied) or _is_denied(whole):
            raise PermissionError(errno.EACCES, f"access is denied: {text}", self.shown) from None
        if isinstance(error, exceptions.PreconditionError):
            raise _changed(self.shown) from None
        is_read = re.search("performing (GET|HEAD)", text)
        if isinstance(error, exceptions.AlreadyExistsError) and not is_read:
            raise FileExistsError(
                errno.EEXIST, "there is an object of that name", self.shown
            ) from None
        if isinstance(error, exceptions.NotSupportedError) and "ange" in text:
            raise RemoteError(
                errno.ENOTSUP, "the server does not send parts of objects (ranges)", self.shown
            ) from None
        if isinstance(error, NotImplementedError):
            text = "a web server takes no objects; expected an object store such as s3://"
            raise RemoteError(errno.ENOTSUP, text, self.shown) from None
        if re.search("performing PROPFIND.* status code: (400|405|501)", text):
            text = "a web server has no list of what it holds; expected the URL of one object"
            raise RemoteError(errno.ENOTSUP, text, self.shown) from None
        if "object with invalid path" in text:
            text = f"an object here has a name that can't be read: {text}"
        if "Unable to canonicalize filesystem root" in text:
            text = "there is no such directory: make it first"
            raise FileNotFoundError(errno.ENOENT, text, self.shown) from None
        if "<Code>NoSuchBucket</Code>" in whole:
            raise FileNotFoundError(errno.ENOENT, "there is no such bucket", self.shown) from None
        if isinstance(error, (exceptions.BaseError, OSError)):
            number = re.search(r"\(os error (\d+)\)", whole)
            raise RemoteError(int(number[1]) if number else errno.EIO, text, self.shown) from None
        if isinstance(error, ValueError):
            raise InvalidArgumentError(f"url={self.shown!r} is not valid: {text}") from None


def _check_threads() -> None:
    """Refuse where obstore's runtime, Tokio, can't start its threads: it would panic or never answer."""
    n_workers = len(os.sched_getaffinity(0))
    with contextlib.suppress(ValueError):
        n_workers = int(os.environ.get(WORKERS_VARIABLE, ""))
    try:
        need_threads(n_workers + OTHER_THREADS)
    except BlockingIOError as error:
        raise BlockingIOError(
            errno.EAGAIN,
            f"{error.strerror}; obstore needs {n_workers + OTHER_THREADS}, with "
            f"{WORKERS_VARIABLE}=1 {1 + OTHER_THREADS}",
        ) from None


def _obstore() -> Any:
    with needed("obstore", "remote"):
        import obstore
        import obstore.exceptions
        import obstore.store
    return obstore


def _cause(text: str) -> str:
    """Return the first line of a message, and the cause that is hidden in the library's own view."""
    first, _, inside = text.partition("\n")
    if code := re.search("<Code>([A-Za-z0-9]+)</Code>", text):
        # Of S3. The rest of what it sends may repeat what it was sent.
        said = re.search("<Message>([^<]*)</Message>", text)
        return f"{first.partition('<')[0].rstrip(' :')}: {code[1]}" + (
            f": {said[1]}" if said else ""
        )
    named = re.findall(r'(?:message|error): "([^"]+)"', inside)
    if "TimedOut" in inside:
        named.append("timed out")
    elif re.search("IncompleteMessage|UnexpectedEof", inside):
        named.append("the connection was closed too early")
    return f"{first}: {named[-1]}" if named and named[-1] not in first else first


def _is_denied(text: str) -> bool:
    # S3 answers 400 where credentials have expired.
    return (
        re.search("status code: 40[13]|<Code>(ExpiredToken|InvalidToken)</Code>", text) is not None
    )


def _changed(shown: str) -> ObjectChangedError:
    return ObjectChangedError(
        errno.ESTALE, "another object has taken the place of what was opened", shown
    )


def _info(name: str, meta: Any) -> ObjectInfo:
    return ObjectInfo(name, meta["size"], _version(meta), meta["last_modified"])


def _version(meta: Any) -> str:
    """Return the ETag, or what tells versions from each other where there is none."""
    return meta["e_tag"] or f"{meta['last_modified']} {meta['size']}"


def _parts(path: Path, progress: Progress | None) -> Iterator[bytes]:
    with path.open("rb") as file:
        while part := file.read(PART):
            yield part
            if progress is not None:
                progress(len(part))


def _timeout() -> float:
    text = os.environ.get(TIMEOUT_VARIABLE, "")
    with contextlib.suppress(ValueError):
        if 0 < (seconds := float(text)) < 1e6:
            return seconds
    if text:
        raise InvalidArgumentError(
            f"{TIMEOUT_VARIABLE}={text!r} is not valid: expected a number of seconds above 0 and "
            "below 1e6"
        )
    return DEFAULT_TIMEOUT
