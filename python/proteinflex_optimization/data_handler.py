"""`DataHandler`, with what needs other parts of the package."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from . import _native
from ._integrations import integration
from .errors import CacheKeyError, GPUError
from .trajectory import Trajectory
from .types import CacheStats, GPUMemory, Profile, StrPath


class DataHandler(_native.DataHandler):  # noqa: D101, its documentation is the native class's
    __doc__ = _native.DataHandler.__doc__

    def open(self, key: str) -> Trajectory:
        """Open a trajectory without reading its frames.

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
        return Trajectory(self, key)

    def import_trajectory(
        self,
        topology: Any,
        trajectory: StrPath,
        data_id: str,
        metadata: dict[str, Any] | None = None,
        *,
        precision: float | None = None,
        profile: Profile | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> str:
        """Store a trajectory that MDAnalysis can read: XTC, TRR, DCD, NetCDF and many others.

        Parameters
        ----------
        topology : str or path or None
            What MDAnalysis takes; None where the trajectory tells its number of atoms by itself.
        trajectory : str or path
            What MDAnalysis takes.
        data_id : str
            The name of the trajectory in the cache.
        metadata : dict, optional
            Plain values that are kept with it.
        precision, profile : optional
            As for `store_trajectory`; the unit is Å.
        progress : callable, optional
            Called with the number of frames that are stored and of all.

        Returns
        -------
        str
            The key. Lengths are in Å, times in ps.

        Raises
        ------
        ImportError
            MDAnalysis is not installed.
        ProteinFlexError
            The file ends before its last frame; nothing appears in the cache.
        """
        key: str = integration("mdanalysis").import_trajectory(
            self,
            topology,
            trajectory,
            data_id,
            metadata,
            precision=precision,
            profile=profile,
            progress=progress,
        )
        return key

    def import_structure(
        self,
        source: Any,
        data_id: str,
        metadata: dict[str, Any] | None = None,
        *,
        model: int | Literal["all"] = 1,
        altlocs: Literal["best", "all"] = "best",
        plddt: bool | None = None,
    ) -> str:
        """Store a PDB or mmCIF file, or a structure of gemmi, Biotite or OpenMM, as plain arrays.

        Parameters
        ----------
        source : str or path or object
            A file, plain or compressed; a `gemmi.Structure`; Biotite's `AtomArray` or `AtomArrayStack`;
            OpenMM's `PDBFile`, `PDBxFile` or `Modeller`, or a pair of topology and positions.
        data_id : str
            The name of the structure in the cache.
        metadata : dict, optional
            Plain values that are kept with it.
        model : int or 'all'
            Which model, counted from 1; ``'all'`` for an ensemble of the same atoms.
        altlocs : {'best', 'all'}
            Which alternative locations: those with the highest occupancy, or all.
        plddt : bool, optional
            Whether the B-factors are a predictor's confidence. Default: where the file says so.

        Returns
        -------
        str
            The key. `integrations.structures.read_structure` says what is stored.

        Raises
        ------
        InvalidArgumentError
            It can't be read, has no atoms, no such model, or models of different atoms; the message
            has file and line.
        ImportError
            gemmi is not installed.
        """
        read_structure = integration("structures").read_structure
        data = read_structure(source, model=model, altlocs=altlocs, plddt=plddt)
        return self.store_structure(data, data_id, metadata)

    def get_cache_stats(self) -> CacheStats:
        """Return how full the cache is, and how it has been used.

        Returns
        -------
        dict
            ``usage_percent``, ``used_bytes`` and ``max_bytes``; ``entries``, ``structures``,
            ``trajectories`` and ``unfinished``; ``raw_bytes`` and ``saved_percent``;
            ``pinned_bytes``; ``set_aside``; ``hits``, ``misses``, ``evictions`` and ``corrupt``,
            which count what this object has seen; ``cache_dir``; ``memory``: ``resident_bytes`` and
            ``mapped_bytes`` of this process, and ``gpus``: index, used and total MB of each.
        """
        stats = super().get_cache_stats()
        stats["memory"]["gpus"] = _gpu_memory()
        return stats


def _gpu_memory() -> list[GPUMemory]:
    """Memory in MB of each GPU; nothing where there is no working driver."""
    from .gpu import GPUManager

    try:
        gpus = GPUManager().get_available_gpus()
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


def reopen(cache_dir: str, key: str, content_id: str) -> Trajectory:
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
    trajectory = DataHandler(cache_dir).open(key)
    if trajectory.content_id != content_id:
        raise CacheKeyError(
            f"the trajectory under {key!r} in {cache_dir} was replaced after it had been pickled: "
            "open it again by its key"
        )
    return trajectory
