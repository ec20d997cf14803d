"""MDAnalysis reads cached trajectories, and what MDAnalysis reads can be cached.

Importing this module registers a reader for the files of cache entries:

    universe = to_universe(handler.open(key), "protein.pdb")
    key = import_trajectory(handler, "protein.pdb", "run.xtc", "protein1_md")
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

try:
    import MDAnalysis
    from MDAnalysis.coordinates import base
    from MDAnalysis.lib.util import store_init_arguments
except ImportError as error:
    raise ImportError("this needs MDAnalysis: install it with `pip install MDAnalysis`") from error

from proteinflex_optimization._publish import published
from proteinflex_optimization.errors import InvalidArgumentError, ProteinFlexError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from proteinflex_optimization.data_handler import DataHandler
    from proteinflex_optimization.trajectory import Trajectory

ANGSTROM_PER_NM = np.float32(10)
BLOCK_BYTES = 16 << 20
"""How much is decoded at a time while frames are read one after the other."""


class TrajectoryReadError(ProteinFlexError):
    """A stored frame can't be read.

    MDAnalysis takes any `OSError` and `EOFError` for the end of the trajectory, so none may reach it.
    """


class CachedTrajectoryReader(base.ReaderBase):  # type: ignore[misc]
    """Reads an entry of a cache, for MDAnalysis.

    Lengths are in Å, as `TrajectoryReporter` and `import_trajectory` store them. ``velocities``
    (Å/ps) and ``forces`` (kJ/mol/nm) are used where they are stored, ``box`` as three vectors or as
    lengths and angles, ``time`` in ps; other scalars per frame are in ``ts.data``.
    """

    format = "FXT"
    units = {  # noqa: RUF012, MDAnalysis's protocol
        "time": "ps",
        "length": "Angstrom",
        "velocity": "Angstrom/ps",
        "force": "kJ/(mol*nm)",
    }

    @store_init_arguments  # type: ignore[untyped-decorator]
    def __init__(self, filename: Any, **kwargs: Any) -> None:
        super().__init__(filename, **kwargs)
        self._trajectory = _open(self.filename)
        fields = self._trajectory.fields
        self._fields = [name for name in fields if name != "frames"]
        times = self._trajectory.time
        if "dt" in self._ts_kwargs:
            self._fields = [name for name in self._fields if name != "time"]
        elif times is not None and len(times) > 1:
            self._ts_kwargs["dt"] = float(times[1] - times[0])
        self.ts = self._Timestep(
            self._trajectory.n_atoms,
            positions=True,
            velocities="velocities" in fields,
            forces="forces" in fields,
            **self._ts_kwargs,
        )
        per_frame = max(1, self._trajectory.raw_bytes // max(1, self._trajectory.n_frames))
        self._block_frames = max(1, BLOCK_BYTES // per_frame)
        self._block: dict[str, NDArray[Any]] = {}
        self._block_start = 0
        self._reopen()
        self._read_next_timestep()

    @staticmethod
    def parse_n_atoms(filename: Any, **kwargs: Any) -> int:
        """Give the number of atoms of the trajectory in this file."""
        return int(_open(filename).n_atoms)

    @property
    def n_frames(self) -> int:
        """The number of frames."""
        return int(self._trajectory.n_frames)

    @property
    def n_atoms(self) -> int:
        """The number of atoms."""
        return int(self._trajectory.n_atoms)

    def close(self) -> None:
        """Forget what was read ahead."""
        self._block = {}

    def timeseries(
        self,
        asel: Any = None,
        atomgroup: Any = None,
        start: int | None = None,
        stop: int | None = None,
        step: int | None = None,
        order: str | None = "fac",
    ) -> NDArray[np.float32]:
        """Read the coordinates of some atoms in some frames, all at once."""
        if order != "fac" or asel is not None or self.transformations:
            series: NDArray[np.float32] = super().timeseries(
                asel=asel, atomgroup=atomgroup, start=start, stop=stop, step=step, order=order
            )
            return series
        if atomgroup is not None and len(atomgroup) == 0:
            raise ValueError("Timeseries requires at least one atom to analyze")
        start, stop, step = self.check_slice_indices(start, stop, step)
        frames = range(start, stop, step)
        if len(frames) == 0:
            n_atoms = self.n_atoms if atomgroup is None else len(atomgroup)
            return np.empty((0, n_atoms, 3), np.float32)
        atoms = None if atomgroup is None else atomgroup.indices
        end = None if step < 0 and stop < 0 else stop
        return self._read("frames", start, end, step, atoms).astype(np.float32, copy=False)

    def _reopen(self) -> None:
        # MDAnalysis's name for where a reader stands; the frame itself is never before the first.
        self._frame = -1
        self.ts.frame = 0

    def _read_next_timestep(self, ts: Any = None) -> Any:
        if self._frame + 1 >= self.n_frames:
            raise EOFError
        return self._read_frame(self._frame + 1)

    def _read_frame(self, frame: int) -> Any:
        if not 0 <= frame < self.n_frames:
            raise IndexError(f"frame {frame} of a trajectory of {self.n_frames} frames")
        block_end = self._block_start + len(self._block.get("frames", ()))
        if not self._block_start <= frame < block_end:
            self._read_ahead(frame, following=bool(self._block) and frame == block_end)
        ts, index = self.ts, frame - self._block_start
        self._frame = ts.frame = frame
        ts.positions = self._block["frames"][index]
        for name in self._fields:
            self._set(ts, name, self._block[name][index])
        return ts

    def _read_ahead(self, frame: int, *, following: bool) -> None:
        """Decode the frames that come next; one alone where frames are picked here and there."""
        stop = min(frame + self._block_frames, self.n_frames) if following else frame + 1
        names = ["frames", *self._fields]
        self._block = {name: self._read(name, frame, stop, 1, None) for name in names}
        self._block_start = frame

    def _set(self, ts: Any, name: str, value: Any) -> None:
        if name == "velocities":
            ts.velocities = value
        elif name == "forces":
            # MDAnalysis converts in place what it is given.
            ts.forces = value
            if self.convert_units:
                self.convert_forces_from_native(ts._forces)
        elif name == "box" and np.shape(value) == (3, 3):
            ts.triclinic_dimensions = value
        elif name == "box" and np.shape(value) == (6,):
            ts.dimensions = value
        elif np.ndim(value) == 0:
            ts.data[name] = value.item() if name == "time" else value

    def _read(
        self, field: str, start: int, stop: int | None, step: int, atoms: Any
    ) -> NDArray[Any]:
        try:
            return self._trajectory.read(start, stop, step, atoms=atoms, field=field)
        except (OSError, EOFError) as error:
            raise TrajectoryReadError(f"{self.filename}: {error}") from error


def to_universe(trajectory: Trajectory, topology: Any, **kwargs: Any) -> Any:
    """Give an `MDAnalysis.Universe` of a topology and a stored trajectory in Å.

    Parameters
    ----------
    trajectory : Trajectory
        From `DataHandler.open`.
    topology : str or path or Topology
        Whatever MDAnalysis takes.
    **kwargs
        For `MDAnalysis.Universe`.
    """
    return MDAnalysis.Universe(topology, str(path_of(trajectory)), format="FXT", **kwargs)


def import_trajectory(
    handler: DataHandler,
    topology: Any,
    trajectory: Any,
    data_id: str,
    metadata: dict[str, Any] | None = None,
    *,
    precision: float | None = None,
    profile: str | None = None,
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
    with handler.trajectory_writer(
        data_id, metadata, precision=precision, profile=profile
    ) as writer:
        for block in _blocks(frames, block_frames):
            writer.append(block.pop("frames"), **block)
            if progress is not None:
                progress(int(writer.n_frames), len(frames))
        # MDAnalysis ends a loop without a word where it can't read on.
        if writer.n_frames != len(frames):
            raise TrajectoryReadError(
                f"{trajectory}: only {writer.n_frames} of its {len(frames)} frames can be read; the "
                "file is cut or damaged"
            )
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
    path: str | os.PathLike[str],
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
            for done, _ in enumerate(universe.trajectory, 1):
                writer.write(universe.atoms)
                if progress is not None:
                    progress(done, trajectory.n_frames)
    return [name for name in trajectory.fields if name not in kept]


def _even_times(times: NDArray[Any] | None) -> dict[str, Any]:
    """Give DCD's way to write times: their distance, and how many of it come before the first."""
    if times is None or len(times) < 2 or times[1] <= times[0]:
        return {}
    step = float(times[1] - times[0])
    first = round(float(times[0]) / step)
    even = (first + np.arange(len(times))) * step
    # Times were single precision in many files.
    if not np.allclose(times, even, rtol=1e-5, atol=1e-3 * step):
        return {}
    return {"dt": step, "istart": first}


def path_of(trajectory: Trajectory) -> Path:
    """Give the file of a stored trajectory, as the reader takes it."""
    key = trajectory.key
    return Path(trajectory.cache_dir) / "entries" / key[2:4] / f"{key}.fxt"


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


def _open(filename: Any) -> Trajectory:
    from proteinflex_optimization.data_handler import DataHandler

    path = Path(str(filename)).absolute()
    directory = path.parents[2] if len(path.parents) > 2 else path
    if not (path.is_file() and path.parents[1].name == "entries"):
        raise InvalidArgumentError(
            f"filename={str(filename)!r} is not valid: expected the file of an entry in a cache, "
            "as path_of(trajectory) gives it"
        )
    return DataHandler(directory).open(path.stem)
