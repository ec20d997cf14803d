"""Trajectory files into the cache: one file, or the parts of a run."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from proteinflex_optimization import _native
from proteinflex_optimization._arguments import callback, flag, instance, real, whole
from proteinflex_optimization._log import get_logger
from proteinflex_optimization.errors import InvalidArgumentError, InvalidTypeError
from proteinflex_optimization.integrations.mdanalysis.reader import TrajectoryReadError
from proteinflex_optimization.integrations.mdanalysis.source import DEFAULTS, TrajectoryFile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from proteinflex_optimization.data_handler import DataHandler
    from proteinflex_optimization.types import Precision, Profile, StrPath

logger = get_logger()

BLOCK_BYTES = 32 << 20
"""Bytes of coordinates in memory at a time, at most, unless one frame has more."""

GAP = 1.5
"""Distances of frames between two parts, from which on something is missing."""


def import_trajectory(
    handler: DataHandler,
    topology: Any,
    trajectory: StrPath | Sequence[StrPath],
    data_id: str,
    metadata: dict[str, Any] | None = None,
    *,
    format: Any = None,
    topology_format: Any = None,
    overlap: Literal["remove", "keep"] = "remove",
    allow_truncated: bool = False,
    precision: Precision | None = None,
    profile: Profile | None = None,
    frames_per_block: int = 64,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> str:
    """Store a trajectory that MDAnalysis can read: XTC, TRR, DCD, NetCDF and many others.

    Parameters
    ----------
    handler : DataHandler
        The cache.
    topology : str or path or None
        What MDAnalysis takes, or a `Topology`: it is kept in the entry, that of a PDB or mmCIF file
        as `Topology.of` reads it. None where the trajectory tells its number of atoms by itself.
    trajectory : str, path or sequence of these
        A file, or the parts of a run in their order.
    data_id : str
        The name of the trajectory in the cache.
    metadata : dict, optional
        Plain values that are kept with it.
    format, topology_format : str, optional
        MDAnalysis's names of formats, such as ``'LAMMPSDUMP'``, where the suffix does not tell them.
    overlap : {'remove', 'keep'}
        What to do with frames of a part that come at or after the beginning of the next one, as a
        run leaves them that was continued from a checkpoint: the later part has them, too. Times
        tell, or steps where there are none or they are rounded to one. ``'keep'`` takes all frames
        of all parts.
    allow_truncated : bool
        Whether of a file that was cut, or grows, the whole frames are stored, rather than nothing.
    precision : float or dict, optional
        As for `DataHandler.store_trajectory`: of coordinates in Å, velocities in Å/ps, forces in
        kJ/mol/nm. None takes the handler's, which keeps every bit as MDAnalysis gives them
        (float32) unless it was made with one.
    profile : {'default', 'archive'}, optional
        As for `DataHandler.store_trajectory`.
    frames_per_block : int
        Frames in memory at a time, at most.
    progress : callable, optional
        Called with the number of frames that were read and of all.
    **options
        For MDAnalysis's reader. ``dt`` (ps between frames) is for files without times: the times that
        a file has are kept, which is logged.

    Returns
    -------
    str
        The key. The entry has ``frames`` and, as far as the file has them, ``box`` (six lengths and
        angles, Å and degrees), ``velocities`` (Å/ps), ``forces`` (kJ/mol/nm), ``time`` (ps),
        ``step``, and the other numbers of each frame under MDAnalysis's names.

    Raises
    ------
    InvalidArgumentError
        MDAnalysis can't read it, or would read something else than what the file means.
    TrajectoryReadError
        The file ends before its last frame, can't be read there, or has changed meanwhile. Nothing
        appears in the cache.

    Notes
    -----
    Nothing is made up: a field that a frame lacks is NaN there, frames without positions are left
    out, and so are times that MDAnalysis would count in steps of 1 ps. What is left out is logged.
    """
    if overlap not in ("remove", "keep"):
        raise InvalidArgumentError(f"overlap={overlap!r} is not valid: expected 'remove' or 'keep'")
    instance("handler", handler, _native.DataHandler, "a DataHandler")
    callback("progress", progress)
    flag("allow_truncated", allow_truncated)
    whole("frames_per_block", frames_per_block)
    _check_number_of_ps("dt", options.get("dt"), above=0)
    _check_number_of_ps("time_offset", options.get("time_offset"), above=-math.inf)
    several: Any = trajectory
    # Of a file that is open, the items are its lines.
    is_one = isinstance(several, (str, bytes, bytearray, os.PathLike)) or hasattr(several, "read")
    if is_one or not isinstance(several, Iterable):
        several = [several]
    given = [os.fsdecode(path) if isinstance(path, bytes) else path for path in several]
    for path in given:
        if not isinstance(path, (str, os.PathLike)):
            raise InvalidTypeError(
                f"trajectory={path!r} is not valid: expected a path, or several of them"
            )
    if not given:
        raise InvalidArgumentError("trajectory=[] is not valid: expected at least one file")
    dt = options.pop("dt", None)  # By which MDAnalysis would count the times of a DCD file anew.
    parts: list[_Part] = []
    try:
        for path in given:
            file = TrajectoryFile(
                topology, path, format=format, topology_format=topology_format, **options
            )
            parts.append(_Part(file, allow_truncated=allow_truncated))
        structure = parts[0].file.topology()
        begin = options.get("time_offset") or 0
        run = _Run(parts, overlap=overlap, dt=dt, begin=begin, progress=progress)
        while True:
            writer = handler._import_writer(data_id, metadata, precision=precision, profile=profile)
            try:
                with writer:
                    if structure is not None:
                        writer._set_topology(structure._encoded)
                    for block in _blocks(run.frames(), frames_per_block):
                        writer.append(block.pop("frames"), **block)
                    run.check()
                break
            except _FieldsChanged:
                continue
    finally:
        for part in parts:
            part.file.close()
    run.tell()
    return str(writer.key)


def _check_number_of_ps(name: str, value: Any, *, above: float) -> None:
    expected = "a finite number of ps" + ("" if above else " above 0")
    if value is not None:
        real(name, value, lambda ps: above < ps < math.inf, expected)


class _Part:
    """A file of a run: where it begins, and at which time or step the next part takes over."""

    def __init__(self, file: TrajectoryFile, *, allow_truncated: bool) -> None:
        self.file = file
        self.allow_truncated = allow_truncated
        self.until: tuple[str, float] | None = None
        self.next_begins = np.inf
        self.until_step: float | None = None
        self._last: list[float] = []
        self.n_overlapping = 0
        self.n_without_positions = 0
        if file.findings.cut is not None:
            if not allow_truncated:
                raise TrajectoryReadError(
                    f"{file.path} is cut or damaged: {file.findings.cut} "
                    "(allow_truncated=True, or --allow-truncated, stores the frames before)"
                )
            logger.warning(
                "%s is cut: %s; its whole frames are taken", file.path, file.findings.cut
            )
        self.first = file.first()
        if not self.first:
            raise InvalidArgumentError(
                f"trajectory={str(file.path)!r} is not valid: none of its {file.n_frames} frames has "
                "positions"
            )

    def frames(self) -> Iterator[dict[str, Any]]:
        self.n_overlapping = self.n_without_positions = 0
        frames = islice(self.file.frames(), self.file.n_frames - self.file.findings.last_is_cut)
        number = 0
        while True:
            try:
                found = next(frames, None)
            except TrajectoryReadError as error:
                if not (self.allow_truncated and number):
                    raise
                logger.warning("%s; the frames before are taken", error)
                return
            if found is None:
                return
            number += 1
            if not found:
                self.n_without_positions += 1
            elif self._is_overlapping(found):
                self.n_overlapping += 1
                found = {}
            elif self.until is not None:
                self._last = [*self._last[-1:], float(found[self.until[0]])]
            yield found

    def _is_overlapping(self, found: dict[str, Any]) -> bool:
        """Whether the next part has a frame, too."""
        if self.until is None:
            return False
        name, limit = self.until
        rounding = self.next_begins - limit
        if self.until_step is not None and abs(found[name] - self.next_begins) <= 2 * rounding:
            return bool(found["step"] >= self.until_step)  # Of times that are one when rounded.
        return bool(found[name] > limit)

    def gap(self) -> str | None:
        """Say that frames between this part and the next seem to be missing."""
        if self.until is None or len(self._last) < 2:
            return None
        before, last = self._last
        if self.next_begins - last <= GAP * (last - before):
            return None
        return (
            f"it ends at {self.until[0]} {last:g}, and the next part begins at {self.next_begins:g}"
        )


class _Run:
    """The frames of all parts, each with the same fields."""

    def __init__(
        self,
        parts: list[_Part],
        *,
        overlap: str,
        dt: float | None,
        begin: float,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._parts = parts
        self._dt = None if dt is None else _dt_for(parts, dt)
        self._begin = begin
        self._progress = progress
        self._fields = {name: np.asarray(value) for name, value in parts[0].first.items()}
        self._excluded: set[str] = set()
        self._missing: dict[str, int] = {}
        self._n_frames = 0
        self._expects_order = overlap == "remove"
        self._last_time = -np.inf
        self._n_out_of_order = 0
        for part in parts[1:]:
            if part.file.n_atoms != parts[0].file.n_atoms:
                raise InvalidArgumentError(
                    f"trajectory={str(part.file.path)!r} has {part.file.n_atoms} atoms, expected "
                    f"{parts[0].file.n_atoms} as {parts[0].file.path}"
                )
            _check_atoms(part.file, parts[0].file)
        if overlap == "remove" and len(parts) > 1:
            self._find_overlaps()

    def _find_overlaps(self) -> None:
        counters = [name for name in ("time", "step") if all(name in p.first for p in self._parts)]
        if not counters:
            logger.warning(
                "%s … %s: without times or steps, frames that both of two parts have are not "
                "recognised",
                self._parts[0].file.path,
                self._parts[-1].file.path,
            )
            return
        for name in counters:
            firsts = self._firsts(name)
            if _is_ascending(firsts):
                steps = self._firsts("step") if "step" in counters else []
                for part, after in zip(self._parts, firsts[1:], strict=False):
                    part.until = (name, after - _rounding(name, after))
                    part.next_begins = after
                if _is_ascending(steps):
                    for part, step in zip(self._parts, steps[1:], strict=False):
                        part.until_step = step
                return
        firsts = self._firsts(counters[0])
        late = next(i for i in range(1, len(firsts)) if firsts[i] <= firsts[i - 1])
        raise InvalidArgumentError(
            f"trajectory is not valid: {self._parts[late].file.path} begins at {counters[0]} "
            f"{firsts[late]:g}, and {self._parts[late - 1].file.path} before it at "
            f"{firsts[late - 1]:g}; expected the parts of one run in their order "
            "(overlap='keep', or --overlap keep, takes all frames of runs that each count from the "
            "beginning)"
        )

    def _firsts(self, name: str) -> list[float]:
        return [float(part.first[name]) for part in self._parts]

    def frames(self) -> Iterator[dict[str, Any]]:
        total = sum(part.file.n_frames for part in self._parts)
        self._missing = {}
        self._n_frames = n_read = self._n_out_of_order = 0
        self._last_time = -np.inf
        for part in self._parts:
            for found in part.frames():
                n_read += 1
                if found:
                    yield self._completed(found)
                    self._n_frames += 1
                if self._progress is not None:
                    self._progress(n_read, total)
        if self._progress is not None and n_read < total:
            self._progress(total, total)

    def _completed(self, found: dict[str, Any]) -> dict[str, Any]:
        """Give a frame all fields of the trajectory."""
        if self._dt is not None:
            found["time"] = np.float64(self._begin + self._n_frames * self._dt)
            self._fields["time"] = np.asarray(found["time"])
        for name in self._excluded:
            found.pop(name, None)
        for name, value in found.items():
            if name not in self._fields:
                # It begins late: from the first frame on, with NaN.
                self._fields[name] = np.asarray(value)
                if self._n_frames:
                    raise _FieldsChanged
            if np.shape(value) != self._fields[name].shape:
                raise InvalidArgumentError(
                    f"the field {name!r} changes its shape from {self._fields[name].shape} to "
                    f"{np.shape(value)} in frame {self._n_frames}: expected one shape in all frames"
                )
        for name in self._fields.keys() - found.keys():
            like = self._fields[name]
            if like.dtype.kind != "f":
                self._excluded.add(name)
                del self._fields[name]
                raise _FieldsChanged
            found[name] = np.full_like(like, DEFAULTS.get(name, np.nan))
            self._missing[name] = self._missing.get(name, 0) + 1
        if "time" in self._fields:
            self._n_out_of_order += bool(found["time"] <= self._last_time)
            self._last_time = found["time"]
        return {name: np.asarray(found[name], self._fields[name].dtype) for name in self._fields}

    def check(self) -> None:
        """Refuse a run of no frames, or of a file that has changed meanwhile."""
        for part in self._parts:
            part.file.check_unchanged(may_grow=part.allow_truncated)
        if self._n_frames == 0:
            raise InvalidArgumentError(
                f"trajectory={str(self._parts[0].file.path)!r} is not valid: no whole frame of it has "
                "positions"
            )

    def tell(self) -> None:
        """Say what is not in the entry as it is in the files."""
        first = self._parts[0].file.path
        for part in self._parts:
            file = part.file
            if part.n_without_positions:
                logger.warning(
                    "%s: %d of %d frames have no positions and are left out",
                    file.path,
                    part.n_without_positions,
                    file.n_frames,
                )
            if part.n_overlapping and part.until is not None:
                logger.warning(
                    "%s: %d of %d frames are left out, for the next part has them from %s %g on",
                    file.path,
                    part.n_overlapping,
                    file.n_frames,
                    part.until[0],
                    part.next_begins,
                )
            for note in [*file.findings.notes, *filter(None, [part.gap()])]:
                logger.warning("%s: %s", file.path, note)
            if file.findings.left_out:
                logger.warning("%s: left out: %s", file.path, ", ".join(file.findings.left_out))
        for name, count in self._missing.items():
            if name not in DEFAULTS:
                logger.warning(
                    "%s: %d of %d frames have no %s; it is NaN there",
                    first,
                    count,
                    self._n_frames,
                    name,
                )
        if self._expects_order and self._n_out_of_order:
            logger.warning(
                "%s: the times of %d of %d frames are not later than those of the frame before",
                first,
                self._n_out_of_order,
                self._n_frames,
            )
        for name in sorted(self._excluded):
            logger.warning("%s: left out: %s, which some frames lack", first, name)


def _check_atoms(file: TrajectoryFile, first: TrajectoryFile) -> None:
    """Refuse a part whose atoms are others, or in another order, where both files tell."""
    if file.format != first.format:
        return
    for atom, (found, expected) in enumerate(
        zip(file.findings.atoms, first.findings.atoms, strict=False)
    ):
        if found != expected:
            raise InvalidArgumentError(
                f"trajectory={str(file.path)!r} has {found!r} as atom {atom}, expected {expected!r} as "
                f"{first.path}; all parts need the same atoms in the same order"
            )


class _FieldsChanged(Exception):  # noqa: N818, a turn and no error
    """The trajectory is begun again, for its fields are others than was thought."""


def _dt_for(parts: list[_Part], dt: float) -> float | None:
    """Return the time step of a run; None where its files have times of their own."""
    for part in parts:
        if "time" in part.first:
            logger.warning(
                "%s: dt (%g ps) is not used, for the file has times, %g ps in its first frame",
                part.file.path,
                dt,
                part.first["time"],
            )
            return None
    return dt


def _is_ascending(values: list[float]) -> bool:
    return all(one < other for one, other in pairwise(values))


def _rounding(name: str, value: float) -> float:
    """Return how far a time or step may be from another that means the same."""
    # Times are float32 in most files.
    return float(np.spacing(np.float32(abs(value)))) / 2 if name == "time" else 0.5


def _blocks(frames: Iterator[dict[str, Any]], most: int) -> Iterator[dict[str, NDArray[Any]]]:
    collected: dict[str, list[Any]] = {}
    for found in frames:
        for name, value in found.items():
            collected.setdefault(name, []).append(value)
        size = max(1, min(most, BLOCK_BYTES // max(1, found["frames"].nbytes)))
        if len(collected["frames"]) >= size:
            yield {name: np.array(values) for name, values in collected.items()}
            collected = {}
    if collected:
        yield {name: np.array(values) for name, values in collected.items()}
