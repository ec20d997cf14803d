"""Files of ours, which mdtraj loads by its own functions."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import mdtraj.core.trajectory
from mdtraj.formats.registry import FormatRegistry

from proteinflex_optimization._arguments import renamed
from proteinflex_optimization.errors import InvalidArgumentError
from proteinflex_optimization.trajectory import open_trajectory

from .frames import to_mdtraj
from .topology import topology_to_mdtraj


def load_fxt(
    filename: Any,
    top: Any = None,
    stride: int | None = None,
    atom_indices: Any = None,
    frame: int | None = None,
) -> Any:
    """Load a `.fxt` file; what `mdtraj.load` calls.

    Parameters
    ----------
    filename, top, stride, atom_indices, frame
        As of `mdtraj.load`. Without `top`, the topology that is in the file.

    Returns
    -------
    mdtraj.Trajectory

    Raises
    ------
    InvalidArgumentError
        There is no `top`, and no topology in the file.
    """
    with renamed("topology", "top"), FXTTrajectoryFile(filename) as file:
        if frame is not None:
            file.seek(frame)
        n_frames = None if frame is None else 1
        return file.read_as_traj(top, n_frames, stride, atom_indices)


class FXTTrajectoryFile:
    """A `.fxt` file as `mdtraj.open` and `mdtraj.iterload` want it.

    Parameters
    ----------
    filename : str or path
        The file.
    mode : str
        ``'r'``; `save_mdtraj` writes.
    force_overwrite : bool
        Without effect: mdtraj passes it.
    """

    distance_unit = "angstroms"

    def __init__(self, filename: Any, mode: str = "r", force_overwrite: bool = True) -> None:
        if mode != "r":
            raise InvalidArgumentError(
                f"mode={mode!r} is not valid: expected 'r'; save_mdtraj writes .fxt files"
            )
        with renamed("path_or_url", "filename"):
            self._trajectory = open_trajectory(filename)
        self._position = 0

    def read_as_traj(
        self,
        topology: Any,
        n_frames: int | None = None,
        stride: int | None = None,
        atom_indices: Any = None,
    ) -> Any:
        """Read the next `n_frames` of every `stride`-th frame, or all that are left."""
        start, step = self._position, stride or 1
        stop = len(self) if n_frames is None else min(start + n_frames * step, len(self))
        self._position = stop
        return to_mdtraj(
            self._trajectory, topology, start=start, stop=stop, step=step, atoms=atom_indices
        )

    def seek(self, offset: int, whence: int = 0) -> None:
        """Go to a frame, counted from the first, from here or from the end."""
        position = offset + (0, self._position, len(self))[whence]
        if not 0 <= position <= len(self):
            raise InvalidArgumentError(
                f"offset={offset} is not valid: expected a frame of {len(self)}"
            )
        self._position = position

    def tell(self) -> int:
        """Return the number of the next frame."""
        return self._position

    def close(self) -> None:
        """Do nothing: the file is closed with the last reference."""

    def __len__(self) -> int:
        return self._trajectory.n_frames

    def __enter__(self) -> FXTTrajectoryFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _parse_topology(top: Any, **options: Any) -> Any:
    """Give mdtraj the topology that is in a `.fxt` file; it has no way to add a suffix to those it knows."""
    if not isinstance(top, (str, os.PathLike)) or Path(top).suffix != ".fxt":
        return _parsed(top, **options)
    found = open_trajectory(top).topology
    if found is None:
        raise InvalidArgumentError(
            f"top={os.fspath(top)!r} is not valid: there is no topology in this file; expected another "
            "file's, such as top='protein.pdb', or an mdtraj.Topology"
        )
    return topology_to_mdtraj(found)


_parsed: Any = getattr(mdtraj.core.trajectory, "_parse_topology", None)
if _parsed is not None:  # It is no part of mdtraj's interface, and may go.
    mdtraj.core.trajectory._parse_topology = _parse_topology
FormatRegistry.register_loader(".fxt")(load_fxt)
FormatRegistry.register_fileobject(".fxt")(FXTTrajectoryFile)
