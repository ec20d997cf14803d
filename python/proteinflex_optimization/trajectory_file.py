"""Trajectories in files of their own, outside of any cache."""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _native
from ._arguments import path_text, renamed
from ._at_exit import at_exit
from ._publish import Publication
from ._system_errors import naming
from .errors import InvalidArgumentError
from .topology import Topology

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from .types import Precision, Profile, StrPath


class TrajectoryFileWriter(_native.TrajectoryFileWriter):
    """Writes the file of a trajectory frame by frame. Made by `create_trajectory`.

    As a context manager it is closed on leaving the block without an error; after an error, or where
    it is never closed, there is no file. Of a process that is killed a hidden file remains beside
    the path, and of one that was refused its name, as it is taken by now. One thread at a time may use
    it.
    """

    _publication: Publication
    _finalizer: weakref.finalize[Any, Any]
    _is_finished = _is_refused = _is_published = False

    @property
    def path(self) -> Path:
        """Where the file will be."""
        return self._publication.target

    def close(self) -> Path:
        """Finish the file and give it its name, durably. A second call does nothing.

        Returns
        -------
        Path
            Where it is.

        Raises
        ------
        InvalidArgumentError
            There is no frame: then the writer stays open. Or a file has appeared at the path, and
            `overwrite` is not set: then what was written is a hidden file beside it, which the
            message names, and which a later call gives its name once that is free. Or what was
            written was discarded.
        OSError
            The disk is full, for example. Then there is no file.
        """
        if not self._is_published:
            if not self._is_finished:
                self._finish()
                self._is_finished = True
            try:
                self._publication.publish()
            except InvalidArgumentError as error:
                # Somebody has taken the name, and these frames are nowhere else.
                self._finalizer.detach()
                self._is_refused = True
                kept = str(self._publication.temporary)
                raise InvalidArgumentError(
                    f"{error}; what was written is whole in {kept!r}: rename that, or make room and "
                    "call close() again"
                ) from None
            except BaseException:
                self.discard()
                raise
            self._is_published = True
            self._publication.discard()
        return self.path

    def discard(self) -> None:
        """Drop what was written: what was at the path stays."""
        self._finalizer.detach()
        if not self._is_of_parent:
            self._publication.discard()
        self._drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._is_of_parent:
            # A child that was forked inside a `with` block: the parent goes on.
            return
        try:
            if kind is None:
                self.close()
        finally:
            if not self._is_refused:
                self.discard()

    def __repr__(self) -> str:
        return f"<TrajectoryFileWriter {str(self.path)!r}>"


def create_trajectory(
    path: StrPath,
    metadata: dict[str, Any] | None = None,
    *,
    data_id: str | None = None,
    precision: Precision | None = None,
    profile: Profile = "default",
    compress: bool = True,
    overwrite: bool = False,
    structure: Any = None,
) -> TrajectoryFileWriter:
    """Write a trajectory to a file of its own, which `open_trajectory` opens.

    The file is there whole once the writer is closed, and not at all before. To keep the frames of a
    job that may be killed, write to a cache: `DataHandler.trajectory_writer`.

    Parameters
    ----------
    path : str or path
        The file; by custom its name ends in ``.fxt``.
    metadata : dict, optional
        Plain values that are kept with it.
    data_id : str, optional
        Its name inside. Default: the name of the file without the suffix.
    precision, profile : optional
        As for `DataHandler`.
    compress : bool
        Whether to compress, without loss but for `precision`.
    overwrite : bool
        Whether a file that is there is replaced, when the new one is whole.
    structure : object, optional
        The topology that is kept with the frames: what `Topology.of` takes.

    Returns
    -------
    TrajectoryFileWriter
        With ``append(frames, **per_frame)``, as that of a cache has it.

    Raises
    ------
    InvalidArgumentError
        Something is there already, or an argument makes no sense.
    OSError
        The directory is not there, or nothing can be written to it.

    Examples
    --------
    >>> with create_trajectory("run.fxt") as writer:  # doctest: +SKIP
    ...     writer.append(frames, time=times)  # (n, n_atoms, 3) in Å, (n,) in ps
    """
    checked = Path(path_text("path", path))
    with renamed("source", "structure"):
        topology = None if structure is None else Topology.of(structure)
    publication = Publication(checked, overwrite=overwrite)
    stem = os.fsencode(publication.target.stem).decode(errors="replace")
    name = stem if data_id is None else data_id
    with naming(checked, str(publication.temporary)):
        try:
            writer = TrajectoryFileWriter(
                publication.temporary, name, metadata, precision, profile, compress
            )
            if topology is not None:
                writer._set_topology(topology._encoded)
        except BaseException:
            publication.discard()
            raise
    writer._publication = publication
    writer._finalizer = weakref.finalize(writer, _discard, publication, os.getpid())
    _writers.add(writer)
    return writer


_writers: weakref.WeakSet[TrajectoryFileWriter] = weakref.WeakSet()


@at_exit
def _discard_all() -> None:
    for writer in list(_writers):
        if not writer._is_refused:
            writer.discard()


def _discard(publication: Publication, process: int) -> None:
    if process == os.getpid():
        publication.discard()
