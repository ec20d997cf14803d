"""The cache of `DataHandler` with others behind it, and what sends entries to them and fetches them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from .. import _native
from .._reopen import attributes, reopen
from ..errors import CacheKeyError, InvalidArgumentError
from ..types import EntryInfo, EntryKind, Precision, Profile, StoredData, StrPath, TransferredEntry
from . import transfer
from .entries import is_writable, may_begin_key
from .tiers import Tiers

Value = TypeVar("Value")

DIRECTORY_VARIABLE = "PROTEINFLEX_CACHE_DIR"
"""Names the cache directory where none is given."""

DEFAULT_SIZE = float("100")
"""This very object stands for none: the limit of the directory stays what it is."""


class TieredCache(_native.DataHandler):  # noqa: D101, its documentation is the native class's
    __doc__: str | None = (_native.DataHandler.__doc__ or "").replace(
        "Raises\n------",
        """upstream : sequence of str or path, optional
    Caches where what is missing here is looked for, in order: directories, to which nothing is ever
    written, and URLs such as ``s3://bucket/prefix``. `load_data`, `open`, `info`, `get_or_compute` and
    what `memoize` returns copy what they find there into this cache, within its limit; ``in`` only
    looks. All else is about this directory alone. An upstream that does not work is a warning in the
    log, and is left alone for a minute.

Raises
------""",
        1,
    )
    _tiers: Tiers

    def __init__(
        self,
        cache_dir: StrPath | None = None,
        max_cache_size: float | None = DEFAULT_SIZE,
        enable_compression: bool = True,
        *,
        precision: Precision | None = None,
        profile: Profile = "default",
        verify: bool = True,
        durable: bool = True,
        read_only: bool = False,
        upstream: StrPath | Sequence[Any] = (),
    ) -> None:
        """Open the directory; `DataHandler` says more."""
        # Before a directory is made.
        tiers = Tiers(upstream)
        try:
            super().__init__(
                cache_dir,
                None if max_cache_size is DEFAULT_SIZE else max_cache_size,  # type: ignore[arg-type]
                enable_compression,
                precision=precision,
                profile=profile,
                verify=verify,
                durable=durable,
                read_only=read_only,
            )
        except OSError as error:
            if cache_dir is not None or error.errno is None or os.environ.get(DIRECTORY_VARIABLE):
                raise
            text = f"{error.strerror} for the default cache directory; choose another by cache_dir= or "
            text += DIRECTORY_VARIABLE
            raise type(error)(error.errno, text, error.filename) from None
        self._tiers = tiers

    # Of the class that users know, in errors about its arguments.
    __init__.__qualname__ = "DataHandler.__init__"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the directory, the options, and the upstreams without credentials."""
        arguments, options = self._arguments()
        if self._tiers:
            options["upstream"] = self._tiers.pickled()
        recipe = (type(self), TieredCache, arguments, options)
        return reopen, recipe, self.__getstate__()

    def __getstate__(self) -> dict[str, Any] | None:
        """Return what a subclass has added."""
        return attributes(self, "_tiers")

    def __contains__(self, key: object) -> bool:
        """Return whether there is an entry of this name, here or in an upstream."""
        if super().__contains__(key):
            return True
        return isinstance(key, str) and self._tiers.contains(self, key)

    def __getitem__(self, key: str) -> StoredData:
        """Return what `load_data` returns."""
        return self.load_data(key)

    def load_data(self, cache_key: str) -> StoredData:  # noqa: D102, it is the native method's
        return self._here_or_upstream(_native.DataHandler.load_data, cache_key)

    load_data.__doc__ = _native.DataHandler.load_data.__doc__

    def info(self, key: str) -> EntryInfo:  # noqa: D102, it is the native method's
        return self._here_or_upstream(_native.DataHandler.info, key)

    info.__doc__ = _native.DataHandler.info.__doc__

    def _here_or_upstream(
        self, function: Callable[[_native.DataHandler, str], Value], key: str
    ) -> Value:
        is_upstream_first = self._is_upstream_first(key)
        found = self._tiers.use(self, key, function) if is_upstream_first else None
        if found is not None:
            return found
        try:
            return function(self, key)
        except CacheKeyError as error:
            found = None if is_upstream_first else self._tiers.use(self, key, function)
            if found is None:
                raise self._tiers.explained(error) from None
            return found

    def _is_upstream_first(self, key: object) -> bool:
        """Return whether an entry here has at most a key that begins so: one of this name is first."""
        return bool(self._tiers) and may_begin_key(key) and not super().__contains__(key)

    def get_or_compute(  # noqa: D102, it is the native method's
        self,
        data_id: str,
        function: Callable[[], dict[str, Any]],
        *,
        kind: EntryKind = "structure",
        metadata: dict[str, Any] | None = None,
        timeout: float | None = None,
    ) -> StoredData:
        if self._tiers and callable(function):
            key = self.key_for(data_id, kind)
            if not super().__contains__(key):
                found = self._tiers.use(self, key, _native.DataHandler.load_data)
                if found is not None:
                    return found
        return super().get_or_compute(
            data_id, function, kind=kind, metadata=metadata, timeout=timeout
        )

    get_or_compute.__doc__ = _native.DataHandler.get_or_compute.__doc__

    def push(
        self,
        key: str,
        url: str | None = None,
        *,
        store: Any = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> TransferredEntry:
        """Send an entry to an object store, whence others pull it or have it as an upstream.

        It is verified before, appears there whole or not at all, and is compared with what was sent.
        What is there already is never replaced.

        Parameters
        ----------
        key : str
            The key or id of an entry of this directory.
        url : str, optional
            Below which it is stored, such as ``s3://bucket/prefix``; the object's name is that of its
            file in a cache directory. Default: the first upstream that is a URL.
        store : object, optional
            A store of obstore or a file system of fsspec, as for `open_trajectory`.
        progress : callable, optional
            Called with the number of bytes that were sent and of all.

        Returns
        -------
        dict
            ``key``; ``url`` of the object; ``bytes``; ``copied``, which is false where the same
            content was there already.

        Raises
        ------
        CacheKeyError
            Nothing is stored under this key here.
        CorruptDataError
            It is damaged, and was not sent; or what is there under its name is not whole.
        InvalidArgumentError
            There is another content under this key, or no URL.
        RemoteError, PermissionError
            The store does not work, or does not let it in.
        """
        if url is not None:
            return transfer.push(self, key, transfer.target(url, store), progress)
        for tier in self._tiers.tiers:
            if is_writable(tier.source):
                return transfer.push(self, key, tier.source, progress)
        raise InvalidArgumentError(
            "url=None is not valid: expected a URL, as no upstream of this handler is one"
        )

    def pull(
        self,
        url: str,
        *,
        store: Any = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> list[TransferredEntry]:
        """Fetch an entry, or all that there are below a URL, into this directory.

        Each is verified before it appears, and what is here already is never replaced; so a pull that
        was ended is done again and goes on after the last whole entry. Of a place that is in use, what
        was replaced since it was listed is fetched as it is now, and what was removed is passed over.

        Parameters
        ----------
        url : str
            Of the object of one entry (``…/t-….fxt``), or what `push` was given; a cache directory
            will do, too.
        store : object, optional
            A store of obstore or a file system of fsspec, as for `open_trajectory`.
        progress : callable, optional
            Called with the number of bytes that are here and of all.

        Returns
        -------
        list of dict
            Of each entry what `push` returns.

        Raises
        ------
        InvalidArgumentError
            There are no entries, or one is here with another content.
        CacheFullError
            They don't all fit below the limit. Nothing was changed.
        CorruptDataError
            An entry is damaged there; it is not fetched.
        RemoteError, FileNotFoundError, PermissionError
            The store does not work, has no such object, or does not give it.
        ProteinFlexError
            Several entries were not fetched, and all others were.
        """
        return transfer.pull(self, url, store, progress)
