"""Cached trajectories as files of the formats that MDAnalysis writes."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import MDAnalysis
import numpy as np
from MDAnalysis.lib.mdamath import triclinic_vectors
from MDAnalysis.units import convert

from proteinflex_optimization._arguments import callback, instance, path_text
from proteinflex_optimization._cells import is_turned
from proteinflex_optimization._integrations import integration
from proteinflex_optimization._log import get_logger
from proteinflex_optimization._publish import published
from proteinflex_optimization._system_errors import is_of_system
from proteinflex_optimization.errors import InvalidArgumentError
from proteinflex_optimization.integrations.mdanalysis.frame_places import (
    FORMATS,
    Format,
    check_frame,
)
from proteinflex_optimization.integrations.mdanalysis.paths import text_path
from proteinflex_optimization.integrations.mdanalysis.reader import reader_arguments
from proteinflex_optimization.integrations.mdanalysis.topology import topology_to_universe
from proteinflex_optimization.integrations.mdanalysis.topology_places import (
    lost_columns,
    make_writable,
)
from proteinflex_optimization.integrations.mdanalysis.whole_writer import WholeWriter
from proteinflex_optimization.trajectory import Trajectory

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from proteinflex_optimization.types import StrPath

logger = get_logger()

OBSERVABLE_KINDS = "biuf"
"""Of dtypes, those that an import takes again."""
OBSERVABLE_NAME = re.compile(r"[^/.\0][^/\0]*(/(?!value$)[^/.\0][^/\0]*)?")
"""What is found again under its name: an element of H5MD, or one in a group of elements."""

LARGEST_STEP = np.iinfo(np.int32).max
MOST_STEPS_PER_FRAME = 1000
DCD_TOLERANCE = 1e-3
"""How far a time that is read from a DCD may be from the stored one, in distances of frames."""


def export_trajectory(
    trajectory: Trajectory,
    path: StrPath,
    *,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """Write a stored trajectory, which is in Å, in any format that MDAnalysis writes, or one of ours.

    Parameters
    ----------
    trajectory : Trajectory
        From `DataHandler.open`.
    path : str or path
        The file; its suffix (``.xtc``, ``.dcd``, ``.trr``, ``.nc``, ``.h5md``, …) says the format.
        It appears when it is complete. ``.fxt``, ``.npz`` and ``.zarr`` are written as by `export_fxt`,
        `export_npz` and `export_zarr`.
    overwrite : bool
        Whether a file that is there may be replaced.
    progress : callable, optional
        Called with the number of frames that are written and of all.

    Returns
    -------
    list of str
        The fields that the format has no place for, or none for the values that are stored: steps
        beyond 32 bits, times that float32 can't tell apart, boxes that some frames lack; and the
        arrays and values that belong to no frame. ``topology`` where the format has no place for it,
        else its columns that are not all written as they are: PDB has chain ids of one letter and
        residue numbers up to 9999, for example.

    Raises
    ------
    InvalidArgumentError
        Something is there; MDAnalysis writes no trajectories with this suffix; or a frame has a value
        that the format can't hold, such as a NaN in XTC. Nothing appears at `path`.
    OSError
        It can't be written, for example because the disk is full (`errno.ENOSPC`). Nothing appears.
    ImportError
        The format needs another library: ``.h5md`` needs h5py.

    Notes
    -----
    All formats hold coordinates as float32; XTC rounds them to 0.01 Å. DCD has one time between
    frames, for all of them. XTC, TRR, NetCDF and H5MD have to have times and steps: where none are
    stored, the number of the frame is written, which is logged.
    """
    instance("trajectory", trajectory, Trajectory, "a Trajectory")
    callback("progress", progress)
    if trajectory.n_frames == 0:
        raise InvalidArgumentError("trajectory is not valid: it has no frames to export")
    path = path_text("path", path)
    suffix = Path(path).suffix.lower()
    left_out: list[str]
    if suffix in (".fxt", ".zarr"):
        name: Literal["fxt", "zarr"] = "fxt" if suffix == ".fxt" else "zarr"
        left_out = getattr(integration(name), f"export_{name}")(
            trajectory, path, overwrite=overwrite, progress=progress
        )
        return left_out
    if suffix == ".npz":
        left_out = integration("npz").export_npz(trajectory, path, overwrite=overwrite)
        if progress is not None:
            progress(trajectory.n_frames, trajectory.n_frames)
        return left_out
    if trajectory.n_atoms == 0:
        raise InvalidArgumentError(
            "trajectory is not valid: it has no atoms to export; only .fxt, .npz and .zarr have a place "
            "for none"
        )
    places = FORMATS.get(suffix, Format())
    static = list(trajectory._beside_frames())
    universe, lost = _universe(trajectory, suffix)
    options = _options(trajectory, universe.trajectory.given, places)
    kept = _kept(trajectory, universe.trajectory, places)
    if options.get("dt"):
        kept.add("time")
    _leave_out(universe.trajectory, kept, Path(path).name, places)
    with published(path, overwrite=overwrite) as hidden, text_path(hidden) as named:
        writer = WholeWriter(
            named, Path(path), lambda name: _writer(name, path, trajectory, options)
        )
        # What overflows is refused by its value.
        with closing(writer), np.errstate(over="ignore", invalid="ignore"):
            for done, ts in enumerate(universe.trajectory, 1):
                check_frame(ts, suffix, universe.trajectory, places)
                try:
                    with _quiet():
                        writer.write(universe.atoms)
                except Exception as error:
                    if isinstance(error, OSError) or is_of_system(error):
                        raise
                    raise InvalidArgumentError(
                        f"frame {ts.frame} can't be written as {suffix}: {error}"
                    ) from error
                if progress is not None:
                    progress(done, trajectory.n_frames)
        writer.check(trajectory.n_frames)
    return [name for name in [*trajectory.fields, *static] if name not in kept] + lost


@np.errstate(over="ignore", invalid="ignore")
def _universe(trajectory: Trajectory, suffix: str) -> tuple[Any, list[str]]:
    """Return the universe to be written, and what of its topology the format has no place for."""
    if trajectory.topology is None:
        universe = MDAnalysis.Universe.empty(trajectory.n_atoms)
        lost = []
    else:
        universe = topology_to_universe(trajectory.topology)
        lost = lost_columns(trajectory.topology, suffix)
        make_writable(universe, suffix)
    name, arguments = reader_arguments(trajectory)
    universe.load_new(name, **arguments)
    return universe, lost


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep MDAnalysis from telling what it makes up, also where warnings are errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _writer(name: str, path: StrPath, trajectory: Trajectory, options: dict[str, Any]) -> Any:
    suffix = Path(name).suffix.lower()
    # Formats of one frame have writers of their own.
    multiframe = True if trajectory.n_frames > 1 else None
    try:
        return MDAnalysis.Writer(name, trajectory.n_atoms, multiframe=multiframe, **options)
    except RuntimeError as error:
        raise ImportError(f"MDAnalysis can't write {suffix} here: {error}") from error
    except (TypeError, ValueError) as error:
        many = f", and one that holds {trajectory.n_frames} frames" if multiframe else ""
        raise InvalidArgumentError(
            f"path={str(path)!r} is not valid: expected a suffix of a trajectory format that "
            f"MDAnalysis writes, such as .xtc or .dcd{many}"
        ) from error


def _options(trajectory: Trajectory, given: set[str], places: Format) -> dict[str, Any]:
    """Return what MDAnalysis's writer of the format has to be told."""
    if places.even_times:
        return _even_times(trajectory.time if "time" in given else None)
    if places.declares_fields:
        return {name: name in given for name in ("velocities", "forces")}
    return {}


def _kept(trajectory: Trajectory, reader: Any, places: Format) -> set[str]:
    """Return the fields that the format has a place for, as they are stored."""
    kept: set[str] = {"frames"} | (places.fields & reader.given)
    observables = _observables(reader, places)
    kept |= {
        name
        for name in observables
        if np.asarray(reader.ts.data[name]).dtype.kind in OBSERVABLE_KINDS
        and OBSERVABLE_NAME.fullmatch(name)
        and ("/" not in name or name.split("/")[0] not in observables)
    }
    if "box" in kept and not _box_can_be_written(trajectory, places):
        kept.discard("box")
    if "step" in kept:
        steps = trajectory.read(field="step")
        fits = (steps >= -LARGEST_STEP - 1) & (steps <= LARGEST_STEP)
        if not (fits & (steps == np.rint(steps))).all():
            kept.discard("step")
    if "time" in kept and places.float32_times:
        times = np.asarray(trajectory.time)
        with np.errstate(over="ignore"):
            written = times.astype(np.float32)
        if len(np.unique(written)) < len(np.unique(times)) or np.isinf(written).any():
            kept.discard("time")
    return kept


def _observables(reader: Any, places: Format) -> set[str]:
    names: set[str] = (reader.given - places.fields) & reader.ts.data.keys()
    return names if places.has_observables else set()


def _leave_out(reader: Any, kept: set[str], file: str, places: Format) -> None:
    """Let the reader give only what the format can hold, and log what the writer makes up."""
    for name in ({"box", "step"} | _observables(reader, places)) & (reader.given - kept):
        reader.leave_out(name)
    reader.gives_missing_as_nan = not places.may_lack_fields
    made_up = {"time", "step"} & places.fields - reader.given
    if made_up:
        logger.warning(
            "%s: the trajectory has no %s; the format needs it, so the number of the frame is written",
            file,
            " and no ".join(sorted(made_up)),
        )


@np.errstate(over="ignore", invalid="ignore")
def _box_can_be_written(trajectory: Trajectory, places: Format) -> bool:
    """Whether lengths and angles say all of a box, and whether all frames have one if they must."""
    stored = cast("NDArray[Any]", trajectory._boxes())
    item = stored.shape[1:]
    if item not in ((3, 3), (6,)):
        return False
    lengths = stored.reshape(len(stored), -1)[:, : 3 if item == (6,) else 9]
    has_one = lengths.any(axis=1) & ~np.isnan(stored).all(axis=tuple(range(1, stored.ndim)))
    if places.needs_box_in_all and not (has_one.all() or not has_one.any()):
        return False
    boxes = stored[has_one].astype(np.float32)  # As MDAnalysis has them.
    if not np.isfinite(boxes).all():
        return False
    if item == (6,) and places.box_as_vectors:
        return all(triclinic_vectors(box).any() for box in boxes)
    if item == (6,):
        return bool((boxes >= 0).all() and (boxes[:, 3:] <= 180).all())
    return not bool(is_turned(boxes).any())


def _even_times(times: NDArray[Any] | None) -> dict[str, Any]:
    """Return DCD's way to write times: their distance, and how many of it come before the first.

    A distance of 0 says that there are no times. DCD holds the distance of steps as float32, so its
    error grows with each frame; other numbers of steps between frames round it otherwise.
    """
    if times is None or len(times) < 2 or not np.isfinite(times).all() or not times[1] > times[0]:
        return {"dt": 0.0}
    distance = float(times[-1] - times[0]) / (len(times) - 1)
    first = round(float(times[0]) / distance) if distance > 0 else LARGEST_STEP
    if abs(first) >= LARGEST_STEP:
        return {"dt": 0.0}
    index = first + np.arange(len(times))
    farthest = np.abs(index).argmax()
    distance = float(times[farthest] / index[farthest])
    steps = np.arange(1, 1 + min(MOST_STEPS_PER_FRAME, LARGEST_STEP // max(1, abs(first))))
    delta = np.float32(convert(distance, "ps", "AKMA") / steps)
    read = convert(delta.astype(np.float64), "AKMA", "ps") * steps
    for chosen in (0, np.abs(read - distance).argmin()):
        if np.abs(index * read[chosen] - times).max() <= DCD_TOLERANCE * distance:
            n_steps = int(steps[chosen])
            return {"dt": distance, "nsavc": n_steps, "istart": first * n_steps}
    return {"dt": 0.0}
