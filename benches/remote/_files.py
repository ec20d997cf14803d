"""The same frames in the files that people put on servers."""

from __future__ import annotations

import subprocess
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

WRITE_ZARRMD = """
import sys, warnings
warnings.simplefilter("ignore")
import MDAnalysis, numcodecs, zarrtraj
# The smallest that it writes of these frames, of what was tried.
options = {"precision": 2, "compressor": numcodecs.Blosc("zstd", 9, numcodecs.Blosc.BITSHUFFLE)}
universe = MDAnalysis.Universe(sys.argv[1], sys.argv[2])
n_frames = universe.trajectory.n_frames
n_atoms = universe.atoms.n_atoms
with MDAnalysis.Writer(sys.argv[3], n_atoms=n_atoms, n_frames=n_frames, **options) as writer:
    for _ in universe.trajectory:
        writer.write(universe.atoms)
"""


@dataclass(frozen=True)
class Files:
    """Where they are, and what is in them."""

    directory: Path
    n_frames: int
    n_atoms: int
    protein: tuple[int, int]
    has_zarr: bool


def make(directory: Path, repeats: int, other_python: str | None) -> Files:
    """Write a solvated protein that GROMACS rounded to 0.01 Å, several times over.

    Its ten frames are real; what repeats them is that no longer one comes with a package. No format here
    looks back as far as from one frame to its repetition.
    """
    import MDAnalysis
    from MDAnalysis.coordinates.H5MD import H5MDWriter
    from MDAnalysisTests import datafiles
    from proteinflex_optimization import create_trajectory

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        universe = MDAnalysis.Universe(datafiles.GRO, datafiles.XTC)
        atoms = universe.atoms
        protein = universe.select_atoms("protein").indices
        xtc = directory / "run.xtc"
        n_frames = repeats * universe.trajectory.n_frames
        dt = universe.trajectory.dt
        with (
            MDAnalysis.Writer(str(xtc), n_atoms=len(atoms)) as as_xtc,
            H5MDWriter(
                str(directory / "run.h5md"), len(atoms), n_frames=n_frames,
                compression="gzip", velocities=False, forces=False,
            ) as as_h5md,
            create_trajectory(directory / "run.fxt", structure=datafiles.GRO) as ours,
        ):  # fmt: skip
            number = 0
            for _ in range(repeats):
                for step in universe.trajectory:
                    step.time, step.frame = number * dt, number
                    step.data["step"] = number
                    as_xtc.write(atoms)
                    as_h5md.write(atoms)
                    ours.append(atoms.positions[np.newaxis], time=np.array([step.time]))
                    number += 1
        if other_python:
            command = [other_python, "-c", WRITE_ZARRMD, datafiles.GRO, str(xtc)]
            subprocess.run([*command, str(directory / "run.zarrmd")], check=True)
    bounds = int(protein[0]), int(protein[-1]) + 1
    assert len(protein) == bounds[1] - bounds[0]
    return Files(directory, number, len(atoms), bounds, bool(other_python))


def size(path: Path) -> int:
    """Return the bytes of a file, or of all files of a directory."""
    if path.is_file():
        return path.stat().st_size
    return sum(part.stat().st_size for part in path.rglob("*") if part.is_file())
