"""The reader by which MDAnalysis reads `.fxt` files; importing this module registers it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from MDAnalysis.coordinates import base
from MDAnalysis.lib.util import store_init_arguments

from proteinflex_optimization._cells import TURNED, is_turned
from proteinflex_optimization._log import get_logger
from proteinflex_optimization.errors import ProteinFlexError
from proteinflex_optimization.integrations.mdanalysis.writer import FXTWriter
from proteinflex_optimization.trajectory import open_trajectory, reopen

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from proteinflex_optimization.trajectory import Trajectory

logger = get_logger()

BLOCK_BYTES = 16 << 20
"""How much is decoded at a time while frames are read one after the other."""


class TrajectoryReadError(ProteinFlexError):
    """A stored frame can't be read.

    MDAnalysis takes any `OSError` and `EOFError` for the end of the trajectory, so none may reach it.
    """


class FXTReader(base.ReaderBase):  # type: ignore[misc]
    """Reads the file of a trajectory, in a cache or not, for MDAnalysis.

    Lengths are in Å, as `TrajectoryReporter` and `import_trajectory` store them. ``velocities``
    (Å/ps) and ``forces`` (kJ/mol/nm) are used where they are stored, ``box`` as three vectors, as
    lengths and angles or as lengths alone, per frame or one for all, ``time`` in ps; other scalars per
    frame are in ``ts.data``, but for ``dt`` and ``time_offset``, by which MDAnalysis would change the
    times. Where ``box``, ``velocities`` or ``forces`` is NaN all over, a frame has none; nor has it a
    box where the vectors are turned against the axes, which is logged.
    """

    format = "FXT"
    units = FXTWriter.units

    @store_init_arguments  # type: ignore[untyped-decorator]
    def __init__(self, filename: Any, *, opened: Trajectory | None = None, **kwargs: Any) -> None:
        super().__init__(filename, **kwargs)
        # Given where it can't be opened by a name alone, as from a store that the caller has made.
        self._trajectory = open_trajectory(self.filename) if opened is None else opened
        fields = self._trajectory.fields
        if "box" not in fields and self._trajectory._one_box is not None:
            fields.append("box")
        self._fields = [name for name in fields if name != "frames" and self._has_place(name)]
        if "dt" in self._ts_kwargs:
            self._fields = [name for name in self._fields if name != "time"]
        elif "time" in self._fields and self.n_frames > 1:
            # Only these: each chunk of times is a request where they are elsewhere.
            times = self._read("time", 0, 2, 1, None)
            self._ts_kwargs["dt"] = float(times[1] - times[0])
        self.ts = self._Timestep(
            self._trajectory.n_atoms,
            positions=True,
            velocities="velocities" in self._fields,
            forces="forces" in self._fields,
            **self._ts_kwargs,
        )
        per_frame = max(1, self._trajectory.raw_bytes // max(1, self._trajectory.n_frames))
        self._frames_per_block = max(1, BLOCK_BYTES // per_frame)
        self._block: dict[str, NDArray[Any]] = {}
        self._block_start = 0
        self.gives_missing_as_nan = self._has_said = False
        self._reopen()
        self._read_next_timestep()

    @staticmethod
    def parse_n_atoms(filename: Any, **kwargs: Any) -> int:
        """Return the number of atoms of the trajectory in this file."""
        return int(open_trajectory(filename).n_atoms)

    @property
    def n_frames(self) -> int:
        """The number of frames."""
        return int(self._trajectory.n_frames)

    @property
    def n_atoms(self) -> int:
        """The number of atoms."""
        return int(self._trajectory.n_atoms)

    def copy(self) -> FXTReader:
        """Return a reader of the same file; one that was replaced is an error."""
        if self._trajectory.url is None:
            reopen(self.filename, self._trajectory._version())
        copied: FXTReader = super().copy()
        return copied

    def close(self) -> None:
        """Forget what was read ahead."""
        self._block = {}

    def Writer(self, filename: Any, n_atoms: int | None = None, **kwargs: Any) -> FXTWriter:  # noqa: N802, MDAnalysis's protocol
        """Return a writer of this format, for as many atoms unless told otherwise."""
        return FXTWriter(filename, self.n_atoms if n_atoms is None else n_atoms, **kwargs)

    @property
    def given(self) -> set[str]:
        """The stored fields that have a place in MDAnalysis's frames, besides the positions."""
        return set(self._fields)

    def _has_place(self, name: str) -> bool:
        if name in ("velocities", "forces"):
            return True  # Which always have the shape of the frames.
        if name in ("dt", "time_offset"):
            return False  # MDAnalysis's own, by which it makes other times.
        item = self._read(name, 0, 0, 1, None).shape[1:]
        return item in ((3, 3), (6,)) if name == "box" else item == ()

    def leave_out(self, name: str) -> None:
        """Give frames without a field, for a format that can't hold what is stored."""
        self._fields.remove(name)
        self.ts.data.pop(name, None)
        if name == "box":
            self.ts.dimensions = None

    def stored(self, name: str) -> NDArray[Any]:
        """Return a field of the frame as it is stored, before it becomes float32."""
        value: NDArray[Any] = self._block[name][self._frame - self._block_start]
        return value

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
        stop = frame + 1
        if following:
            # Up to the end of a chunk, where chunks are not too large: what is decoded whole is kept.
            chunk = self._trajectory.chunk_frames
            step = chunk if chunk <= self._frames_per_block else 1
            stop = min((frame + self._frames_per_block) // step * step, self.n_frames)
        names = ["frames", *self._fields]
        self._block = {name: self._read(name, frame, stop, 1, None) for name in names}
        self._block_start = frame

    def _set(self, ts: Any, name: str, value: Any) -> None:
        if name in ("velocities", "forces"):
            if not self.gives_missing_as_nan and _is_missing(value):
                setattr(ts, f"has_{name}", False)
                return
            # MDAnalysis converts in place what it is given.
            setattr(ts, name, value)
            if name == "forces" and self.convert_units:
                self.convert_forces_from_native(ts._forces)
        elif name == "box" and _is_missing(value):
            ts.dimensions = None
        elif name == "box" and np.shape(value) == (3, 3):
            ts.triclinic_dimensions = None if self._is_turned(value) else value
        elif name == "box" and np.shape(value) == (6,):
            ts.dimensions = value
        elif np.ndim(value) == 0:
            ts.data[name] = value.item() if name == "time" else value

    def _is_turned(self, box: Any) -> bool:
        turned = bool(is_turned(box))
        if turned and not self._has_said:
            self._has_said = True
            logger.warning("%s: frames have no box where %s", self.filename, TURNED)
        return turned

    def _read(
        self, field: str, start: int, stop: int | None, step: int, atoms: Any
    ) -> NDArray[Any]:
        try:
            if field == "box" and (boxes := self._trajectory._boxes(start, stop, step)) is not None:
                return boxes
            return self._trajectory.read(start, stop, step, atoms=atoms, field=field)
        except (OSError, EOFError) as error:
            raise TrajectoryReadError(f"{self.filename}: {error}") from error


def reader_arguments(trajectory: Trajectory) -> tuple[str, dict[str, Any]]:
    """Return what MDAnalysis is given for this reader: a name, and keyword arguments."""
    if trajectory.url is None:
        return str(trajectory.path), {"format": "FXT"}
    return trajectory.url, {"format": "FXT", "opened": trajectory}


def _is_missing(value: NDArray[Any]) -> bool:
    """Whether a frame has no such field, of which other frames have some: it is NaN all over."""
    return value.size > 0 and bool(np.isnan(value.flat[0]) and np.isnan(value).all())
