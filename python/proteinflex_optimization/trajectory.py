"""`Trajectory`, with what is plain Python: iteration, and objects of other libraries."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

from numpy.typing import NDArray

from . import _native
from ._integrations import integration
from .errors import InvalidArgumentError
from .topology import Topology
from .types import AtomSelection


class Trajectory(_native.Trajectory):  # noqa: D101, its documentation is the native class's
    __doc__ = _native.Trajectory.__doc__

    @cached_property
    def topology(self) -> Topology | None:
        """The atoms, residues, chains and bonds that it was stored with; None where it has none.

        Raises
        ------
        CorruptDataError
            It is damaged.
        """
        encoded = self._topology()
        return None if encoded is None else Topology._from_bytes(encoded)

    def _needed_topology(self) -> Topology:
        """Return the topology that a call has to do with where none is passed."""
        if self.topology is None:
            raise InvalidArgumentError(
                f"topology=None is not valid: trajectory {self.data_id!r} was stored without its "
                "topology; pass a topology or its file, or store it with structure="
            )
        return self.topology

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Yield one frame after the other, while a thread decodes the next ones (`iter_chunks`)."""
        for chunk in self.iter_chunks():
            yield from chunk

    def __dask_tokenize__(self) -> tuple[str, str]:
        """Name the content, so that dask needs not read it to tell whether it has changed."""
        return ("proteinflex_optimization.Trajectory", self.content_id)

    def _repr_html_(self) -> str:
        """Show in a notebook what it holds."""
        from ._html import trajectory

        return trajectory(self)

    def to_universe(self, topology: Any = None) -> Any:
        """Return an `MDAnalysis.Universe` of a topology and this trajectory, which is in Å.

        Parameters
        ----------
        topology : str or path or Topology, optional
            Anything that MDAnalysis takes as a topology. Default: the one it was stored with.

        Raises
        ------
        InvalidArgumentError
            The topology has another number of atoms, or there is none.
        ImportError
            MDAnalysis is not installed.
        """
        return integration("mdanalysis").to_universe(self, topology)

    def to_mdtraj(
        self,
        topology: Any = None,
        *,
        start: int | None = None,
        stop: int | None = None,
        step: int | None = None,
        atoms: AtomSelection | None = None,
    ) -> Any:
        """Return frames of this trajectory, which is in Å, as an `mdtraj.Trajectory` in nm.

        Parameters
        ----------
        topology : str or path or mdtraj.Topology or Topology, optional
            Of all atoms. Default: the one it was stored with.
        start, stop, step : int, optional
            Which frames, as in a slice.
        atoms : optional
            Which atoms, as for `read`.

        Raises
        ------
        InvalidArgumentError
            The topology has another number of atoms, or there is none.
        ImportError
            mdtraj is not installed.
        """
        to_mdtraj = integration("mdtraj").to_mdtraj
        return to_mdtraj(self, topology, start=start, stop=stop, step=step, atoms=atoms)

    def to_dask(self, field: str = "frames", *, frames_per_chunk: int | None = None) -> Any:
        """Return a field as a dask array, of which workers read what they need.

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
        to_dask = integration("dask").to_dask
        return to_dask(self, field, frames_per_chunk=frames_per_chunk)
