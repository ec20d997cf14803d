"""MDAnalysis reads cached trajectories, and what MDAnalysis reads can be cached.

Importing this module registers a reader for the files of cache entries:

    universe = to_universe(handler.open(key), "protein.pdb")
    key = import_trajectory(handler, "protein.pdb", "run.xtc", "protein1_md")
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

try:
    import MDAnalysis
except ImportError as error:
    raise ImportError(
        'this needs MDAnalysis: install it with `pip install "proteinflex-optimization[formats]"`'
    ) from error

from proteinflex_optimization._publish import published
from proteinflex_optimization.errors import InvalidArgumentError
from proteinflex_optimization.integrations.mdanalysis_reader import (
    CachedTrajectoryReader,
    TrajectoryReadError,
    path_of,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from proteinflex_optimization.data_handler import DataHandler
    from proteinflex_optimization.trajectory import Trajectory
    from proteinflex_optimization.types import Profile, StrPath

__all__ = [
    "CachedTrajectoryReader",
    "TrajectoryReadError",
    "export_trajectory",
    "import_trajectory",
    "path_of",
    "to_universe",
]

ANGSTROM_PER_NM = np.float32(10)


def to_universe(trajectory: Trajectory, topology: Any, **kwargs: Any) -> Any:
    """Return an `MDAnalysis.Universe` of a topology and a stored trajectory in Å.

    Parameters
    ----------
    trajectory : Trajectory
        From `DataHandler.open`.
    topology : str or path or Topology
        Anything that MDAnalysis takes.
    **kwargs
        For `MDAnalysis.Universe`.
    """
    return MDAnalysis.Universe(topology, str(path_of(trajectory)), format="FXT", **kwargs)


def import_trajectory(
    handler: DataHandler,
    topology: Any,
    trajectory: StrPath,
    data_id: str,
    metadata: dict[str, Any] | None = None,
    *,
    precision: float | None = None,
    profile: Profile | None = None,
    block_frames: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> str:
    """Store a trajectory that MDAnalysis can read: XTC, TRR, DCD, NetCDF and many others.

    Parameters
    ----------
    handler : DataHandler
        The cache.
    topology : str or path or None
        What MDAnalysis takes; None where the trajectory tells its number of atoms by itself.
    trajectory : str or path
        What MDAnalysis takes.
    data_id : str
        The name of the trajectory in the cache.
    metadata : dict, optional
        Plain values that are kept with it.
    precision : float, optional
        In Å; None keeps every bit of the coordinates as MDAnalysis gives them (float32).
    profile : {'default', 'archive'}, optional
        As for `DataHandler.store_trajectory`.
    block_frames : int
        Frames in memory at a time.
    progress : callable, optional
        Called with the number of frames that are stored and of all.

    Returns
    -------
    str
        The key. The entry has ``frames`` and, as far as the file has them, ``box`` (six lengths and
        angles, Å and degrees), ``velocities`` (Å/ps) and ``forces`` (kJ/mol/nm), and ``time`` (ps).

    Raises
    ------
    TrajectoryReadError
        The file ends before its last frame, or can't be read there. Nothing appears in the cache.
    """
    sources = (str(trajectory),) if topology is None else (topology, str(trajectory))
    try:
        frames = MDAnalysis.Universe(*sources).trajectory
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(
            f"trajectory={str(trajectory)!r} with topology={str(topology)!r} is not valid: expected "
            f"files that MDAnalysis can read together ({error})"
        ) from error
    writer = handler.trajectory_writer(
        data_id, metadata, precision=precision, profile=profile, overwrite=True
    )
    try:
        with writer:
            for block in _blocks(frames, block_frames):
                writer.append(block.pop("frames"), **block)
                if progress is not None:
                    progress(int(writer.n_frames), len(frames))
            # MDAnalysis ends a loop without a word where it can't read on.
            if writer.n_frames != len(frames):
                raise TrajectoryReadError(
                    f"{trajectory}: only {writer.n_frames} of its {len(frames)} frames can be read; "
                    "the file is cut or damaged"
                )
    except BaseException:
        # An unfinished entry that is begun again is empty: nobody can use a part of a file.
        handler.trajectory_writer(data_id, overwrite=True).suspend()
        raise
    return str(writer.key)


KEPT_BY = {
    ".dcd": ("frames", "box"),
    ".h5md": ("frames", "box", "time", "velocities", "forces"),
    ".nc": ("frames", "box", "time", "velocities", "forces"),
    ".trr": ("frames", "box", "time", "velocities", "forces"),
    ".xtc": ("frames", "box", "time"),
}
"""Which fields a format has a place for; of others, only the coordinates are certain."""


def export_trajectory(
    trajectory: Trajectory,
    path: StrPath,
    *,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """Write a stored trajectory, which is in Å, in any format that MDAnalysis writes.

    Parameters
    ----------
    trajectory : Trajectory
        From `DataHandler.open`.
    path : str or path
        The file; its suffix (``.xtc``, ``.dcd``, ``.trr``, ``.nc``, ``.h5md``, …) says the format.
        It appears when it is complete.
    overwrite : bool
        Whether a file that is there may be replaced.
    progress : callable, optional
        Called with the number of frames that are written and of all.

    Returns
    -------
    list of str
        The fields that the format has no place for.

    Raises
    ------
    InvalidArgumentError
        Something is there, or MDAnalysis writes no trajectories with this suffix.
    ImportError
        The format needs another library: ``.h5md`` needs h5py.

    Notes
    -----
    All formats hold coordinates as float32; XTC rounds them to 0.01 Å. DCD has one time between
    frames, for all of them.
    """
    suffix = Path(path).suffix.lower()
    universe = MDAnalysis.Universe.empty(trajectory.n_atoms)
    universe.load_new(str(path_of(trajectory)), format="FXT")
    kept = {"frames", *KEPT_BY.get(suffix, ())}
    options: dict[str, Any] = {}
    if suffix == ".dcd":
        options = _even_times(trajectory.time)
        kept |= {"time"} if options else set()
    elif suffix == ".h5md":
        # Single numbers of each frame are observables there.
        kept |= {name for name in trajectory.fields if name in universe.trajectory.ts.data}
        kept -= universe.trajectory.leave_out_steps_beyond(np.iinfo(np.int32).max)
    with published(path, overwrite=overwrite) as hidden:
        try:
            writer = MDAnalysis.Writer(str(hidden), trajectory.n_atoms, multiframe=True, **options)
        except RuntimeError as error:
            raise ImportError(f"MDAnalysis can't write {suffix} here: {error}") from error
        except (TypeError, ValueError) as error:
            raise InvalidArgumentError(
                f"path={str(path)!r} is not valid: expected a suffix of a trajectory format that "
                "MDAnalysis writes, such as .xtc or .dcd"
            ) from error
        with writer:
            for done, ts in enumerate(universe.trajectory, 1):
                try:
                    writer.write(universe.atoms)
                except ValueError as error:
                    raise InvalidArgumentError(
                        f"frame {ts.frame} can't be written as {suffix}: {error}"
                    ) from error
                if progress is not None:
                    progress(done, trajectory.n_frames)
    return [name for name in trajectory.fields if name not in kept]


def _even_times(times: NDArray[Any] | None) -> dict[str, Any]:
    """Return DCD's way to write times: their distance, and how many of it come before the first."""
    if times is None or len(times) < 2 or times[1] <= times[0]:
        return {}
    step = float(times[1] - times[0])
    first = round(float(times[0]) / step)
    even = (first + np.arange(len(times))) * step
    # Times were single precision in many files.
    if not np.allclose(times, even, rtol=1e-5, atol=1e-3 * step):
        return {}
    return {"dt": step, "istart": first}


def _blocks(frames: Any, size: int) -> Iterator[dict[str, NDArray[Any]]]:
    collected: dict[str, list[Any]] = {}
    for ts in frames:
        found: dict[str, Any] = {"frames": ts.positions.copy(), "time": np.float64(ts.time)}
        if ts.dimensions is not None:
            found["box"] = ts.dimensions.copy()
        if ts.has_velocities:
            found["velocities"] = ts.velocities.copy()
        if ts.has_forces:
            found["forces"] = ts.forces * ANGSTROM_PER_NM
        for name, value in found.items():
            collected.setdefault(name, []).append(value)
        if len(collected["frames"]) == size:
            yield {name: np.array(values) for name, values in collected.items()}
            collected = {}
    if collected:
        yield {name: np.array(values) for name, values in collected.items()}
