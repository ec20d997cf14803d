"""`Trajectory` and what opens it by its file: iteration, and objects of other libraries."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import _native
from ._arguments import path_text
from ._integrations import integration
from .errors import InvalidArgumentError, ProteinFlexError
from .remote.urls import is_url
from .topology import Topology
from .types import AtomSelection, StrPath

if TYPE_CHECKING:
    from .remote.block_cache import BlockCache
    from .remote.object import RemoteObject


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

    @cached_property
    def _one_box(self) -> NDArray[Any] | None:
        """The unit cell that was stored for all frames, as vectors or lengths and angles, if one was."""
        if not any(array["name"] == "box" for array in self._info()["arrays"]):
            return None
        box: NDArray[Any] = self._beside_frames()["box"]
        return np.append(box, [90.0] * 3) if box.shape == (3,) else box

    def _boxes(
        self, start: int | None = None, stop: int | None = None, step: int | None = None
    ) -> NDArray[Any] | None:
        """Return the unit cells of frames, read-only where one was stored for all; None without."""
        if "box" in self.fields:
            boxes = self.read(start, stop, step, field="box")
            if boxes.shape[1:] == (3,):  # Lengths, which are NaN where a frame has none.
                boxes = np.hstack([boxes, np.where(np.isnan(boxes), boxes, 90)])
            return boxes
        if self._one_box is None:
            return None
        n_frames = len(range(*slice(start, stop, step).indices(self.n_frames)))
        return np.broadcast_to(self._one_box, (n_frames, *self._one_box.shape))

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

    def __dask_tokenize__(self) -> tuple[str, ...]:
        """Name what it holds, so that dask needs not read it to tell whether it has changed."""
        return ("proteinflex_optimization.Trajectory", self.data_id, self._version())

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

    def iter_mdtraj(
        self,
        topology: Any = None,
        *,
        chunk: int | None = None,
        stride: int = 1,
        atoms: AtomSelection | None = None,
    ) -> Iterator[Any]:
        """Go through the frames as `mdtraj.Trajectory` objects of some frames each.

        Parameters
        ----------
        topology, atoms
            As for `to_mdtraj`.
        chunk : int, optional
            How many frames each of them has; the last one may have fewer. Default: as many as are
            decoded together.
        stride : int
            Take every n-th frame.

        Raises
        ------
        InvalidArgumentError
            `chunk` or `stride` is below 1, or the topology has another number of atoms.
        ImportError
            mdtraj is not installed.
        """
        iter_mdtraj = integration("mdtraj").iter_mdtraj
        return iter_mdtraj(self, topology, chunk=chunk, stride=stride, atoms=atoms)  # type: ignore[no-any-return]

    def to_xarray(self) -> Any:
        """Return all per-frame fields as an `xarray.Dataset`.

        Returns
        -------
        xarray.Dataset
            ``positions`` of dimensions (time, atom, xyz), ``velocities`` and ``forces`` alike where
            they are stored, ``box`` and all other fields by their names. Coordinates: ``atom``,
            ``xyz``, ``time`` where it is stored, and where the topology is: ``atom_name``,
            ``residue_name``, ``residue_number`` and ``chain_id`` of each atom. Units are in
            ``attrs``: angstrom, ps, angstrom/ps, kJ/mol/nm, as the integrations store them. Nothing
            is read before it is needed where dask is installed, in chunks of whole stored chunks;
            else all is read now.

        Raises
        ------
        ImportError
            xarray is not installed.
        """
        return integration("xarray").to_xarray(self)

    def view(self, topology: Any = None) -> Any:
        """Show the molecule in a notebook: a widget of nglview, which reads a frame when it shows it.

        Parameters
        ----------
        topology : str or path or Topology, optional
            As for `to_universe`.

        Returns
        -------
        nglview.NGLWidget

        Raises
        ------
        InvalidArgumentError
            The topology has another number of atoms, or there is none.
        ImportError
            nglview or MDAnalysis is not installed.
        """
        return integration("nglview").view(self, topology)

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
            Equal content has equal names (tokens) where it was coded alike (`content_id`), and
            changed content another.

        Raises
        ------
        ImportError
            dask is not installed.
        """
        to_dask = integration("dask").to_dask
        return to_dask(self, field, frames_per_chunk=frames_per_chunk)


def open_trajectory(
    path_or_url: StrPath, *, store: Any = None, cache: StrPath | BlockCache | None = None
) -> Trajectory:
    """Open the file of a trajectory, wherever it lies, without reading its frames.

    It may be an entry of a cache, a copy of one elsewhere, or made by `create_trajectory`; or an
    object in an object store or behind a web server, of which the chunks that are asked for are
    read by ranges. Every chunk is checked each time it is read. Nothing is written, locked or made
    beside a file, and nothing of it is mapped, for others may change it.

    Parameters
    ----------
    path_or_url : str or path
        The file, such as ``run.fxt``, or its URL: ``s3://bucket/run.fxt``, ``gs://``, ``az://``,
        ``https://``. Credentials and endpoints are those of the environment (``AWS_…``, …).
    store : object, optional
        A store of obstore or a file system of fsspec, in which `path_or_url` is a path, for
        credentials and settings that the environment does not have.
    cache : str, path or BlockCache, optional
        A directory of this machine where what is read of objects is kept, up to 10 GB or what a
        `BlockCache` says. Processes may share it. Default: nothing is kept on the disk.

    Returns
    -------
    Trajectory
        It pickles as the path or the URL, never with credentials; where the file or object was
        replaced meanwhile, to load or read it is an error. With `store` it does not pickle.

    Raises
    ------
    FileNotFoundError
        There is none.
    UnsupportedFormatError
        It is something else, such as a directory, a pipe or an XTC file; or of a newer format.
    CorruptDataError
        It is damaged or cut short; the message names the part.
    InvalidArgumentError
        It is a structure, a trajectory that is not finished, or a URL of another kind.
    PermissionError
        The object may not be read.
    RemoteError
        The server gave no usable answer.
    ImportError
        A URL, and obstore is not installed: ``pip install "proteinflex-optimization[remote]"``.
    """
    if store is None and not is_url(path_or_url):
        if cache is not None:
            raise InvalidArgumentError(
                f"cache={str(cache)!r} is not valid: expected None for a file; it keeps parts of "
                "objects that are read by their URLs"
            )
        return Trajectory(path_text("path_or_url", path_or_url))
    from .remote.object import open_object

    return Trajectory(open_object(path_or_url, store, cache))


def reopen(path: StrPath, version: str) -> Trajectory:
    """Open the file of a trajectory that was opened before, also elsewhere.

    Raises
    ------
    ProteinFlexError
        Another file is there now.
    """
    return _same(open_trajectory(path), version)


def reopen_object(of: RemoteObject, version: str) -> Trajectory:
    """Open the object of a trajectory that was opened before, also elsewhere.

    Raises
    ------
    ObjectChangedError
        Another object is there now.
    """
    return _same(Trajectory(of), version)


def _same(trajectory: Trajectory, version: str) -> Trajectory:
    if trajectory._version() != version:
        raise ProteinFlexError(
            f"{trajectory.url or trajectory.path} was replaced since its trajectory was opened: open "
            "it again"
        )
    return trajectory
