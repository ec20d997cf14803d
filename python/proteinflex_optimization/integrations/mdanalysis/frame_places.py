"""What of a frame the formats that MDAnalysis writes have a place for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from MDAnalysis.coordinates.GRO import GROWriter
from MDAnalysis.coordinates.PDB import PDBWriter

from proteinflex_optimization.errors import InvalidArgumentError

if TYPE_CHECKING:
    from numpy.typing import NDArray

XTC_STEPS_PER_ANGSTROM = 100
XTC_LARGEST = (np.iinfo(np.int32).max - 2) / XTC_STEPS_PER_ANGSTROM
"""In Å: libxdrfile ends the process where coordinates, or their range, go beyond."""
XTC_UNCOMPRESSED_ATOMS = 9
XTC_NEAREST = 26_000.0
"""In Å: libxdrfile reads beyond its table of sizes where no two atoms, one after the other in the file,
are nearer than 2,642,245 steps of the grid, all three axes added up. Float32 may be some steps off."""


@dataclass(frozen=True)
class Format:
    """What a format has a place for, besides the coordinates."""

    fields: frozenset[str] = frozenset()
    has_observables: bool = False
    """Whether single numbers of a frame have a place under their own names."""
    box_as_vectors: bool = False
    """Whether lengths and angles of which no cell can be made have no place, or can't be told from
    CHARMM's vectors."""
    needs_box_in_all: bool = False
    """Whether a box is written of all frames or of none."""
    may_lack_fields: bool = False
    """Whether a frame may have no velocities or forces, where others have some."""
    declares_fields: bool = False
    """Whether the writer has to be told beforehand whether there are velocities and forces."""
    float32_times: bool = False
    even_times: bool = False
    """Whether there is one time between frames, for all of them."""
    largest: float = np.inf
    """Of coordinates and their ranges, in Å."""
    nearest: float = np.inf
    """Of the distances of atoms from the one before them, what the least one may be, in Å."""
    limits: tuple[float, float] = (-np.inf, np.inf)
    """Of coordinates, in Å: for which the columns of a text have a place."""
    velocity_limits: tuple[float, float] = (-np.inf, np.inf)
    """So of velocities, in Å/ps."""


FORMATS = {
    ".dcd": Format(frozenset({"box"}), box_as_vectors=True, even_times=True),
    ".h5md": Format(
        frozenset({"box", "time", "step", "velocities", "forces"}),
        has_observables=True,
        box_as_vectors=True,
        needs_box_in_all=True,
        float32_times=True,
    ),
    ".nc": Format(
        frozenset({"box", "time", "velocities", "forces"}),
        needs_box_in_all=True,
        declares_fields=True,
        float32_times=True,
    ),
    ".trr": Format(
        frozenset({"box", "time", "step", "velocities", "forces", "lambda"}),
        box_as_vectors=True,
        may_lack_fields=True,
        float32_times=True,
    ),
    ".xtc": Format(
        frozenset({"box", "time", "step"}),
        box_as_vectors=True,
        float32_times=True,
        largest=XTC_LARGEST,
        nearest=XTC_NEAREST,
    ),
}
FORMATS[".ncdf"] = FORMATS[".nc"]
FORMATS[".gro"] = Format(
    frozenset({"box", "velocities"}),
    box_as_vectors=True,
    limits=(10 * GROWriter.gro_coor_limits["min"], 10 * GROWriter.gro_coor_limits["max"]),
    velocity_limits=(-999.9995, 9999.9995),
)
FORMATS[".pdb"] = FORMATS[".ent"] = Format(
    limits=(PDBWriter.pdb_coor_limits["min"], PDBWriter.pdb_coor_limits["max"])
)
"""By suffix; of others, only the coordinates are certain."""


def check_frame(ts: Any, suffix: str, reader: Any, places: Format) -> None:
    """Refuse a frame that has a value which the format can't hold.

    Raises
    ------
    InvalidArgumentError
        It names frame, atom and value.
    """
    given = {"frames": ts.positions}
    if ts.has_velocities:
        given["velocities"] = ts.velocities
    if ts.has_forces:
        given["forces"] = ts.forces
    for name, values in given.items():
        wrong = np.isfinite(reader.stored(name)) & ~np.isfinite(values)
        _refuse(wrong, ts, suffix, name, reader, "a number that float32 can hold")
    if ts.has_velocities:
        least, most = places.velocity_limits
        expected = f"velocities from {least:.6g} to {most:.6g} Å/ps"
        outside = (ts.velocities <= least) | (ts.velocities >= most)
        _refuse(outside, ts, suffix, "velocities", reader, expected)
    positions, (least, most), largest = ts.positions, places.limits, places.largest
    if np.isfinite(most):
        expected = f"finite coordinates from {least:.6g} to {most:.6g} Å"
        outside = ~((positions > least) & (positions <= most))
        _refuse(outside, ts, suffix, "frames", reader, expected)
    if np.isfinite(largest):
        expected = f"finite coordinates within ±{largest:.3g} Å, and of no larger range"
        _refuse(~(np.abs(positions) <= largest), ts, suffix, "frames", reader, expected)
        # What is compressed is the distance from the least coordinate.
        distance = positions - positions.min(axis=0)
        _refuse(distance > largest, ts, suffix, "frames", reader, expected)
        if 3 * distance.max() > places.nearest and len(positions) > XTC_UNCOMPRESSED_ATOMS:
            _check_neighbours(ts, suffix, places.nearest)


def _check_neighbours(ts: Any, suffix: str, nearest: float) -> None:
    """Refuse a frame whose neighbours in file order are all too far from each other to be compressed."""
    apart = np.abs(np.diff(ts.positions.astype(np.float64), axis=0)).sum(axis=1)
    if apart.min() > nearest:
        raise InvalidArgumentError(
            f"frame {ts.frame} can't be written as {suffix}: each atom is {apart.min():.0f} Å or more from "
            f"the one before it, x, y and z added up; expected one of them within {nearest:.0f} Å"
        )


def _refuse(
    wrong: NDArray[np.bool_], ts: Any, suffix: str, name: str, reader: Any, expected: str
) -> None:
    if not wrong.any():
        return
    atom, axis = (int(found[0]) for found in np.nonzero(wrong))
    what = "xyz"[axis] if name == "frames" else f"{name}.{'xyz'[axis]}"
    raise InvalidArgumentError(
        f"frame {ts.frame} can't be written as {suffix}: atom {atom} has "
        f"{what}={reader.stored(name)[atom, axis]:g}, expected {expected}"
    )
