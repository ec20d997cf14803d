"""`Trajectory`, with what is plain Python: iteration, and coming back from a pickle."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from . import _native
from .errors import CacheKeyError


class Trajectory(_native.Trajectory):  # noqa: D101, its documentation is the native class's
    __doc__ = _native.Trajectory.__doc__

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Give one frame after the other, while a thread decodes the next ones (`iter_chunks`)."""
        for chunk in self.iter_chunks():
            yield from chunk

    def __dask_tokenize__(self) -> tuple[str, str]:
        """Name the content, so that dask needs not read it to tell whether it has changed."""
        return ("proteinflex_optimization.Trajectory", self.content_id)

    def to_universe(self, topology: Any) -> Any:
        """Give an `MDAnalysis.Universe` of a topology and this trajectory, which is in Å.

        Parameters
        ----------
        topology : str or path
            Whatever MDAnalysis takes as a topology.

        Raises
        ------
        ImportError
            MDAnalysis is not installed.
        """
        from .integrations.mdanalysis import to_universe

        return to_universe(self, topology)

    def to_mdtraj(
        self,
        topology: Any,
        *,
        start: int | None = None,
        stop: int | None = None,
        step: int | None = None,
        atoms: Any = None,
    ) -> Any:
        """Give frames of this trajectory, which is in Å, as an `mdtraj.Trajectory` in nm.

        Parameters
        ----------
        topology : str or path or mdtraj.Topology
            Of all atoms.
        start, stop, step : int, optional
            Which frames, as in a slice.
        atoms : optional
            Which atoms, as for `read`.

        Raises
        ------
        InvalidArgumentError
            The topology has another number of atoms.
        ImportError
            mdtraj is not installed.
        """
        from .integrations.mdtraj import to_mdtraj

        return to_mdtraj(self, topology, start=start, stop=stop, step=step, atoms=atoms)

    def to_dask(self, field: str = "frames", *, frames_per_chunk: int | None = None) -> Any:
        """Give a field as a dask array, of which workers read what they need.

        Parameters
        ----------
        field : str
            Which of `fields`.
        frames_per_chunk : int, optional
            Frames in a chunk of the dask array, rounded up to whole stored chunks. Default: as many
            as fit into dask's ``array.chunk-size``.

        Returns
        -------
        dask.array.Array
            Equal content has equal names (tokens), and changed content another.

        Raises
        ------
        ImportError
            dask is not installed.
        """
        from .integrations.dask import to_dask

        return to_dask(self, field, frames_per_chunk=frames_per_chunk)


def reopen(cache_dir: str, key: str, content_id: str) -> Trajectory:
    """Open the trajectory that was pickled elsewhere.

    Raises
    ------
    CacheKeyError
        Nothing is stored under the key any more, or something else is; or the directory is not there.
    """
    from .data_handler import DataHandler

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
