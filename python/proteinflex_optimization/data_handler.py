"""`DataHandler`, with what needs other parts of the package."""

from __future__ import annotations

import functools
import os
import platform
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from . import _native
from ._arguments import path_text, renamed
from ._fingerprint import Paths
from ._importing import ImportingCache
from ._log import get_logger
from ._open_writers import kept_at_exit
from .errors import (
    CacheKeyError,
    CorruptDataError,
    GPUError,
    InvalidArgumentError,
    InvalidTypeError,
    UnsupportedFormatError,
)
from .memoize import Memoized, checked_options, memoized
from .remote.urls import is_url
from .topology import Topology
from .trajectory import Trajectory
from .types import (
    CacheStats,
    EntryInfo,
    EntryKind,
    GPUMemory,
    Precision,
    Profile,
)

if TYPE_CHECKING:
    from .gpu import GPUManager

_log = get_logger(__name__)

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class DataHandler(ImportingCache):  # noqa: D101, its documentation is the native class's
    __doc__ = ImportingCache.__doc__

    def open(self, key: str) -> Trajectory:
        """Open a trajectory without reading its frames.

        One that is in an upstream only is read from there, what is asked for, while it is copied here in
        the background.

        Parameters
        ----------
        key : str
            From `store_trajectory`, `TrajectoryWriter.close` or `key_for`.

        Returns
        -------
        Trajectory

        Raises
        ------
        CacheKeyError
            Nothing is stored under this key.
        InvalidArgumentError
            It is a structure.
        """
        is_upstream_first = self._is_upstream_first(key)
        if is_upstream_first and (found := self._open_upstream(key)) is not None:
            return found
        try:
            return Trajectory(self, key)
        except InvalidTypeError:
            raise
        except (CacheKeyError, InvalidArgumentError) as error:
            # Also where a structure of this id is here: a trajectory comes first, as in one directory.
            found = None if is_upstream_first else self._open_upstream(key)
            if found is None:
                if isinstance(error, CacheKeyError):
                    raise self._tiers.explained(error) from None
                raise
            return found

    def _open_upstream(self, name: str) -> Trajectory | None:
        """Open a trajectory in the first upstream that has it, and begin to copy it here."""
        for tier, key, info in self._tiers.search(self, name, kinds=("t",)):
            with tier.reading(info):
                trajectory = Trajectory(tier.place(info))
                if self.key_for(trajectory.data_id) != key:
                    raise CorruptDataError(f"it belongs to {trajectory.data_id!r}")
                self._tiers.promote(self, tier, key, info)
                return trajectory
        return None

    def store_trajectory(  # type: ignore[override]
        self,
        trajectory_data: dict[str, Any],
        data_id: str,
        metadata: dict[str, Any] | None = None,
        *,
        precision: Precision | None = None,
        profile: Profile | None = None,
        structure: Any = None,
    ) -> str:
        """Store a trajectory; an older one of the same id is replaced.

        Parameters
        ----------
        trajectory_data : dict
            ``frames``: (n_frames, n_atoms, 3) float32 or float64, or an iterable of frames or blocks
            of them, which is never held in memory whole. Any further array whose first axis is
            n_frames is per-frame data (``time``, ``velocities``, …); anything else is stored as in
            `store_structure`. ``time``, ``step``, ``box``, ``energy``, ``velocities`` and ``forces``
            are per-frame data, also as lists, and have to fit; but a ``box`` of shape (3,), (6,) or
            (3, 3) is that of all frames (beside three frames, (3, 3) without zeros are three lengths
            for each). How many frames an iterable has is known at its end: then the
            arrays beside it are compared and stored.
        data_id : str
            The name of the trajectory.
        metadata : dict, optional
            Plain values that can be read without the data.
        precision, profile
            As for the constructor, for this trajectory.
        structure : object, optional
            The topology that is kept with the frames, which `Trajectory.topology` returns: what
            `Topology.of` takes, such as an OpenMM or mdtraj topology, a universe or a file; or the key
            or id of an entry of this cache.

        Returns
        -------
        str
            The key for `load_data` and `open`.

        Raises
        ------
        InvalidArgumentError
            A field has a wrong shape, length or type, or `structure` another number of atoms; the
            message names it. Nothing was written.
        CacheFullError
            It does not fit below the limit. Of an iterable, and of frames that are compressed, the size
            shows as they are written: others may have been evicted for the first of them.
        UnsupportedFormatError
            A newer version of this package has stored the one that is there: `remove` it first.
        """
        topology = None if structure is None else self._topology_of(structure)._encoded
        return super().store_trajectory(
            trajectory_data,
            data_id,
            metadata,
            precision=precision,
            profile=profile,
            topology=topology,
        )

    def trajectory_writer(
        self,
        data_id: str,
        metadata: dict[str, Any] | None = None,
        *,
        precision: Precision | None = None,
        profile: Profile | None = None,
        resume: bool = False,
        overwrite: bool = False,
        structure: Any = None,
    ) -> _native.TrajectoryWriter:
        """Write a trajectory frame by frame.

        What was flushed survives any crash; it becomes visible under its key when the writer is
        closed, which leaving its `with` block without an error does. One that nobody closes is
        flushed when it is collected or the program ends, and stays unfinished.

        Parameters
        ----------
        data_id, metadata, precision, profile, structure
            As in `store_trajectory`.
        resume : bool
            Whether to go on with the trajectory of this id where there is one: an unfinished one from
            its last durable frame, a finished one from its last frame (``n_frames`` says how many
            there are). What is there is never encoded again, and its metadata, precision, profile and
            topology stay what they were. A finished one is served as it is until the longer one is
            closed. The trajectory is claimed when the first frame is appended, or at the first
            `flush` or `truncate`; a rival that was faster makes that a `WriterConflictError`.
        overwrite : bool
            Whether to begin an empty trajectory where there is one. An unfinished one is dropped now,
            a finished one is replaced when the new one is closed.

        Raises
        ------
        InvalidArgumentError
            There is a trajectory of this id, finished or not, and neither `resume` nor `overwrite` is
            set, or both are; another writer has it open (the message says which process on which
            host, and when it gave its last sign of life); it has another `precision`, `profile` or
            topology than the one to resume it with; or an argument makes no sense.
        CorruptDataError
            What is to be resumed is damaged.
        UnsupportedFormatError
            A newer version of this package has written the one that is there.
        """
        topology = None if structure is None else self._topology_of(structure)
        writer = super().trajectory_writer(
            data_id,
            metadata,
            precision=precision,
            profile=profile,
            resume=resume,
            overwrite=overwrite,
        )
        if topology is not None:
            try:
                writer._set_topology(topology._encoded)
            except BaseException:
                writer.suspend()
                raise
        return kept_at_exit(writer)

    @renamed("source", "structure")
    def _topology_of(self, structure: Any) -> Topology:
        """Return the topology of what was passed: also of an entry, by its key or id."""
        if not isinstance(structure, str):
            return Topology.of(structure)
        # The id of an entry may be a URL.
        is_file = not is_url(structure) and Path(path_text("structure", structure)).is_file()
        try:
            entry = self.info(structure)
        except (CacheKeyError, InvalidArgumentError):
            entry = None
        if entry is not None and is_file:
            raise InvalidArgumentError(
                f"structure={structure!r} is not valid: there is an entry and a file of this name; "
                "expected the key of the entry, or a pathlib.Path"
            )
        if entry is None:
            if not is_file and not is_url(structure):
                raise InvalidArgumentError(
                    f"structure={structure!r} is not valid: expected the key or id of an entry, or "
                    "a file"
                )
            return Topology.of(structure)
        if entry["kind"] == "structure":
            return Topology.of(self.load_data(entry["key"]))
        topology = self.open(entry["key"]).topology
        if topology is None:
            raise InvalidArgumentError(
                f"structure={structure!r} is not valid: this trajectory was stored without its "
                "topology; expected an entry that has one, or what `Topology.of` takes"
            )
        return topology

    @overload
    def memoize(
        self, function: Callable[Parameters, Result], /
    ) -> Memoized[Parameters, Result]: ...
    @overload
    def memoize(
        self,
        function: None = None,
        /,
        *,
        kind: EntryKind = "structure",
        ignore: Iterable[str] = (),
        paths: Paths = "content",
        timeout: float | None = None,
    ) -> Callable[[Callable[Parameters, Result]], Memoized[Parameters, Result]]: ...
    def memoize(
        self,
        function: Any = None,
        /,
        *,
        kind: EntryKind = "structure",
        ignore: Iterable[str] = (),
        paths: Paths = "content",
        timeout: float | None = None,
    ) -> Any:
        """Keep in the cache what a function returns; a decorator, with or without arguments.

        A call is known by the function's qualified name, its source, what it encloses, and its
        arguments with their defaults. Functions that it calls, globals and constants of classes that
        it uses are not looked at: pass them as arguments. Nor is what a `functools.cached_property` of
        an object keeps, which follows from the rest, also where another value was assigned to it.

        Parameters
        ----------
        function : callable
            A function or method that is defined by ``def``, and returns what `store_structure` or
            `store_trajectory` can store.
        kind : {'structure', 'trajectory'}
            As what its results are stored: any value, or dicts with ``frames``.
        ignore : sequence of str
            Parameters on which the result does not depend, such as ``verbose`` or ``self``; of a
            function that wraps another, its own.
        paths : {'content', 'mtime'}
            Whether a `pathlib.Path` among the arguments stands for the bytes and the name of its
            file, or for its place, size and time of modification. A str is a text.
        timeout : float, optional
            The most seconds that a call waits for another thread or process that computes the same;
            then it raises `TimeoutError`. Default: no limit.

        Returns
        -------
        Memoized
            To be called as the function. The first call and every later one return equal values,
            both as they were read back from the cache: arrays are read-only, tuples stay tuples.
            Several processes that ask at once compute it once. ``key_for(…)`` tells the key, for
            `remove`, `pin` or `info`.

        Raises
        ------
        InvalidArgumentError
            It is a lambda, a generator or a coroutine; or it has no such parameter.
        InvalidTypeError
            When it is called: an argument has no content that can be told.

        Notes
        -----
        joblib, dask and others send functions of a script or notebook to their processes by value,
        without a source. As an argument of the call such a function counts by its compiled code there,
        so the script and these processes do not find each other's results. A function of a module that
        they import counts the same everywhere; so does the function that is memoized.
        """
        options = checked_options(kind, ignore, paths, timeout)

        def decorate(function: Any) -> Any:
            return memoized(function, self, *options)

        return decorate if function is None else decorate(function)

    def _repr_html_(self) -> str:
        """Show in a notebook how full the cache is, and its newest entries."""
        from ._html import MAX_LISTED, MAX_ROWS, cache

        stats = self.get_cache_stats()
        found = self.entries() if stats["entries"] <= MAX_LISTED else []
        found.sort(key=lambda info: info["created"], reverse=True)
        return cache(stats, found[:MAX_ROWS])

    def entries(self, kind: EntryKind | None = None) -> list[EntryInfo]:
        """Describe all entries without reading their data; a table for `pandas.DataFrame`.

        Parameters
        ----------
        kind : {'structure', 'trajectory'}, optional
            Only these.

        Returns
        -------
        list of dict
            What `info` returns of each. One that is damaged, or that a newer version of this package
            stored, is left out, with a warning in the log.
        """
        found: list[EntryInfo] = []
        for key in self.keys(kind):
            try:
                found.append(self.info(key))
            except UnsupportedFormatError as error:
                _log.warning("%s; it is left out", error)
            except (CacheKeyError, CorruptDataError):
                continue  # It may have been evicted since, and damage is logged where it is met.
        return found

    def get_cache_stats(self) -> CacheStats:
        """Return how full the cache is, and how it has been used.

        Returns
        -------
        dict
            ``usage_percent``, ``used_bytes`` and ``max_bytes``; ``entries``, ``structures``,
            ``trajectories`` and ``unfinished``; ``raw_bytes`` and ``saved_percent``;
            ``pinned_bytes``; ``quarantined``; ``hits``, ``misses``, ``evictions`` and ``corrupt``,
            which count what this object has seen; ``cache_dir``; ``memory``: ``resident_bytes`` and
            ``mapped_bytes`` of this process, and ``gpus``: index, used and total MB of each;
            ``upstream``: of each upstream its ``url``, ``hits``, ``misses``, ``errors``, ``bytes`` and
            whether it is ``available``, as this object has seen it.
        """
        stats = super().get_cache_stats()
        stats["memory"]["gpus"] = _gpu_memory()
        stats["upstream"] = self._tiers.stats()
        return stats


@functools.cache
def _gpu_manager() -> GPUManager:
    """Make one for all calls: each manager says once that there is no GPU."""
    from .gpu import GPUManager

    return GPUManager()


def _gpu_memory() -> list[GPUMemory]:
    """Memory in MB of each GPU; nothing where there is no working driver."""
    try:
        gpus = _gpu_manager().get_available_gpus()
    except GPUError:
        return []
    return [
        {
            "index": gpu["index"],
            "used": gpu["memory_total"] - gpu["memory_free"],
            "total": gpu["memory_total"],
        }
        for gpu in gpus
    ]


def reopen(cache_dir: str, key: str, version: str, read_only: bool) -> Trajectory:
    """Open the trajectory that was pickled elsewhere.

    Raises
    ------
    CacheKeyError
        Nothing is stored under the key any more, or something else is; or the directory is not there.
    """
    if not Path(cache_dir).is_dir():
        # Making it, as a new handler does, would hide that a file system is not mounted.
        raise CacheKeyError(
            f"the cache {cache_dir} of the trajectory {key!r} is not there on {platform.node()}: "
            "is its file system mounted?"
        )
    trajectory = DataHandler(cache_dir, read_only=read_only).open(key)
    if trajectory._version() != version:
        raise CacheKeyError(
            f"the trajectory under {key!r} in {cache_dir} was replaced after it had been pickled: "
            "open it again by its key"
        )
    return trajectory


# What the parent computes is not what its forked children compute.
os.register_at_fork(after_in_child=_native._let_go_of_claims)
