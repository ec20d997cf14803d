"""`Trajectory`, with what is plain Python: iteration, and coming back from a pickle."""

from __future__ import annotations

from collections.abc import Iterator
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


def reopen(cache_dir: str, key: str, content_id: str) -> Trajectory:
    """Open the trajectory that was pickled elsewhere.

    Raises
    ------
    CacheKeyError
        Nothing is stored under the key any more, or something else is.
    """
    from .data_handler import DataHandler

    trajectory = DataHandler(cache_dir).open(key)
    if trajectory.content_id != content_id:
        raise CacheKeyError(
            f"the trajectory under {key!r} in {cache_dir} was replaced after it had been pickled: "
            "open it again by its key"
        )
    return trajectory
