"""Caches behind a cache: where a miss is looked for, in order, and what is found is kept here.

A tier never makes a call fail that another tier, or a plain miss, can serve: what goes wrong with one
is a warning and a number in the statistics, and then it is left alone for a while.
"""

from __future__ import annotations

import logging
import os
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar

from .. import _native
from .._log import get_logger
from ..errors import (
    CacheKeyError,
    CorruptDataError,
    InvalidArgumentError,
    InvalidTypeError,
    ObjectChangedError,
    UnsupportedFormatError,
)
from .directory_store import DirectoryStore
from .entries import Download, is_key
from .stores import ObjectInfo
from .tier import Tier, source_of
from .urls import is_url

if TYPE_CHECKING:
    from ..types import UpstreamStats

READ_SECONDS = 30.0
"""How long a tier may take for the next piece of an entry before it counts as broken."""

Value = TypeVar("Value")
logger = get_logger()


class Copied(Enum):
    """What became of an entry that was to be copied from a tier."""

    HERE = "it is in the cache"
    NOT_KEPT = "the cache can't hold it"
    FAILED = "the tier could not give it"


class Tiers:
    """The upstreams of one handler, in the order in which they are asked."""

    def __init__(self, upstream: Any) -> None:
        self.tiers = [Tier(source_of(one)) for one in _listed(upstream)]
        self._renew()
        _all.add(self)

    def __bool__(self) -> bool:
        """Return whether there are any."""
        return bool(self.tiers)

    def _renew(self) -> None:
        self._guard = threading.Lock()
        self._copying: dict[str, tuple[threading.Lock, int]] = {}
        self._promoting: set[str] = set()

    def search(
        self, handler: _native.DataHandler, name: str, kinds: tuple[str, ...] = ("t", "s")
    ) -> Iterator[tuple[Tier, str, ObjectInfo]]:
        """Yield the entries that a name means, one for each tier that has it.

        Parameters
        ----------
        handler : DataHandler
            That makes keys.
        name : str
            A whole key, or a `data_id`.
        kinds : tuple of str
            Which kinds of entry, by the first letter of a key.

        Raises
        ------
        InvalidArgumentError
            A tier has a structure and a trajectory of this id, and both kinds are asked for.
        """
        if is_key(name):
            keys = [name] if name[0] in kinds else []
        else:
            try:
                keys = [handler.key_for(name, _KINDS[kind]) for kind in kinds]
            except InvalidArgumentError:
                return  # No id, and so of nothing.
        for tier in self.tiers:
            found = tier.find(*keys)
            if len(found) > 1:
                raise InvalidArgumentError(
                    f"{name!r} may mean more than one entry of {tier.source.url}: "
                    f"{', '.join(key for key, _ in found)}; use a whole key"
                )
            for key, info in found:
                yield tier, key, info

    def contains(self, handler: _native.DataHandler, name: str) -> bool:
        """Return whether any tier has an entry of this name."""
        try:
            return any(True for _ in self.search(handler, name))
        except InvalidArgumentError:
            return True  # More than one.

    def use(
        self,
        handler: _native.DataHandler,
        name: str,
        function: Callable[[_native.DataHandler, str], Value],
    ) -> Value | None:
        """Call a function on the entry of this name, which is copied here before.

        Parameters
        ----------
        handler : DataHandler
            The cache to copy it to; one that can't hold it is left as it is.
        name : str
            A whole key, or a `data_id`.
        function : callable
            Called with a handler that has the entry, and its key. What it gets may be gone afterwards.

        Returns
        -------
        object
            What the function returned; None where no tier could give the entry.

        Raises
        ------
        OSError
            It fits neither here nor into the directory for temporary files.
        """
        for tier, key, info in self.search(handler, name):
            copied = self.copy(handler, tier, key, info)
            if copied is Copied.HERE:
                tier.hits += 1
                try:
                    return function(handler, key)
                except CacheKeyError:
                    copied = Copied.NOT_KEPT  # Evicted by now.
            if copied is Copied.NOT_KEPT:
                with tempfile.TemporaryDirectory(prefix="proteinflex-") as directory:
                    # Arrays that are views of a file stay so after it was removed.
                    scratch = _native.DataHandler(directory, durable=False)
                    if self.copy(scratch, tier, key, info, is_last=True) is Copied.HERE:
                        tier.hits += 1
                        return function(scratch, key)
        return None

    def copy(
        self,
        handler: _native.DataHandler,
        tier: Tier,
        key: str,
        info: ObjectInfo,
        check: Callable[[], object] = lambda: None,
        *,
        is_last: bool = False,
    ) -> Copied:
        """Copy an entry of a tier into a cache; each once, however many threads ask for it.

        Where `is_last`, there is no other cache to try, and what is wrong with this one is raised.
        """
        with self._one_at_a_time(f"{handler.cache_dir}/{key}"):
            if _native.DataHandler.__contains__(handler, key):
                return Copied.HERE
            try:
                is_copied = self._copy(handler, tier, key, info, check)
                if not is_copied and (newer := tier.find(key)):
                    # Replaced while it was read.
                    is_copied = self._copy(handler, tier, key, newer[0][1], check)
            except AbandonedError:
                raise
            except Exception as error:
                if is_last:
                    raise
                # Who opened it by read_only=True knows.
                level = logging.DEBUG if _is_read_only(handler) else logging.WARNING
                place = tier.source.url
                logger.log(level, "%s of %s is not kept: %s", key, place, error)
                return Copied.NOT_KEPT
            return Copied.HERE if is_copied else Copied.FAILED

    @staticmethod
    def _copy(
        handler: _native.DataHandler,
        tier: Tier,
        key: str,
        info: ObjectInfo,
        check: Callable[[], object],
    ) -> bool:
        """Copy an entry; returns whether the tier could give it. Raises what is wrong here."""
        download = Download(tier.source, info, READ_SECONDS, check=check)
        try:
            handler._adopt(key, info.size, download)
        except (CorruptDataError, UnsupportedFormatError) as error:
            tier.damaged(info, download.of_object(error))
            return False
        except Exception:
            if download.failure is None:
                raise
            if not isinstance(download.failure, ObjectChangedError):
                tier.failed(download.failure)
            return False
        tier.bytes += info.size
        return True

    def promote(self, handler: _native.DataHandler, tier: Tier, key: str, info: ObjectInfo) -> None:
        """Copy an entry in the background; what fails is logged. The end of the program ends it."""
        with self._guard:
            if key in self._promoting:
                return
            self._promoting.add(key)
        main, process = threading.main_thread(), os.getpid()

        def check() -> None:
            if not main.is_alive() or os.getpid() != process:
                raise AbandonedError

        def run() -> None:
            try:
                self.copy(handler, tier, key, info, check)
            except AbandonedError:
                pass
            except Exception:
                logger.exception("%s of %s is not kept", key, tier.source.url)
            finally:
                with self._guard:
                    self._promoting.discard(key)

        # Not daemonic: one that is inside of the compiled module when Python ends would be killed there.
        thread = threading.Thread(target=run, name="proteinflex-promote", daemon=False)
        try:
            thread.start()
        except RuntimeError as error:
            # No more threads can be started: what was asked for is read where it is.
            logger.warning("%s of %s is not kept: %s", key, tier.source.url, error)
            with self._guard:
                self._promoting.discard(key)

    def explained(self, error: CacheKeyError) -> CacheKeyError:
        """Return the error of a miss, which names the tiers that were not asked."""
        silent = [tier.source.url for tier in self.tiers if tier.is_left_alone]
        if not silent:
            return error
        return CacheKeyError(
            f"{error}; it may be in {', '.join(silent)}, which does not work and is left alone for a "
            "while: the log says why"
        )

    def stats(self) -> list[UpstreamStats]:
        """Return the statistics of all tiers."""
        return [tier.stats() for tier in self.tiers]

    @contextmanager
    def _one_at_a_time(self, what: str) -> Iterator[None]:
        with self._guard:
            lock, users = self._copying.get(what, (threading.Lock(), 0))
            self._copying[what] = lock, users + 1
        try:
            with lock:
                yield
        finally:
            with self._guard:
                users = self._copying[what][1] - 1
                if users:
                    self._copying[what] = lock, users
                else:
                    del self._copying[what]

    def pickled(self) -> list[str]:
        """Return the upstreams as they are pickled: paths, and URLs without credentials."""
        for tier in self.tiers:
            source = tier.source
            is_opened_by_url = is_url(source.url) and not getattr(source, "is_given", False)
            if not isinstance(source, DirectoryStore) and not is_opened_by_url:
                raise InvalidTypeError(
                    f"the upstream {source.url!r} is in a store that was passed, which is not "
                    "pickled; expected a URL, which can be opened elsewhere"
                )
        return [tier.source.url for tier in self.tiers]


def _listed(upstream: Any) -> list[Any]:
    """Return the upstreams that an argument names."""
    if isinstance(upstream, _native.DataHandler):
        raise InvalidTypeError(
            f"upstream is of type {type(upstream).__name__}: expected its directory, "
            f"{str(upstream.cache_dir)!r}"
        )
    if isinstance(upstream, (str, bytes, os.PathLike)) or hasattr(upstream, "head"):
        return [upstream]
    try:
        return list(upstream)
    except TypeError:
        raise InvalidTypeError(
            f"upstream is of type {type(upstream).__name__}: expected a list of paths of cache "
            "directories and URLs"
        ) from None


class AbandonedError(Exception):
    """The program ends, or this is a copy of it that was forked."""


_KINDS: dict[str, Any] = {"s": "structure", "t": "trajectory"}

_all: weakref.WeakSet[Tiers] = weakref.WeakSet()


def _after_fork() -> None:
    # A lock that another thread held would never be released in the child.
    for tiers in list(_all):
        tiers._renew()


os.register_at_fork(after_in_child=_after_fork)


def _is_read_only(handler: _native.DataHandler) -> bool:
    options = handler._arguments()[1]
    return bool(options["read_only"])
