"""Real trajectories, all of which come with packages or are made by one.

The adenylate kinase and YiiP files are MDAnalysis' own test data. The villin headpiece, in its box of
rigid water at several intervals and alone in implicit water, is simulated once from a structure that
OpenMM ships, and kept in the user's cache or in a folder that is named.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.float32]

STEP = 0.002  # ps


@dataclass(frozen=True)
class Run:
    """A simulation: how many frames, and steps between two of them."""

    n_frames: int
    interval: int
    is_solvated: bool = True


@dataclass(frozen=True)
class DataSet:
    """Coordinates in Å, (n_frames, n_atoms, 3), and what is asked of them."""

    name: str
    origin: str
    frames: Frames
    protein: NDArray[np.intp]
    #: Whether it was read from an XTC file, so that a grid of 0.01 Å loses nothing.
    is_on_grid: bool = False


def data_sets(names: list[str] | None = None, directory: Path | None = None) -> Iterator[DataSet]:
    """Yield every data set that can be had here, or those that are named.

    Parameters
    ----------
    names
        Some of `SETS`; by default all but those of `ON_REQUEST`, which are long to simulate.
    directory
        Where simulated ones are kept.
    """
    wanted = [name for name in SETS if name not in ON_REQUEST] if names is None else names
    for name in wanted:
        try:
            make = SETS[name]
            yield simulated(name, make, directory) if isinstance(make, Run) else make(name)
        except ImportError as error:
            print(f"{name}: left out, {error}", file=sys.stderr)


def adk_dcd(name: str) -> DataSet:
    """Full precision, flexible bonds, frames of a transition path."""
    from MDAnalysisTests import datafiles

    origin = "CHARMM, a transition path, flexible bonds (MDAnalysisTests `DCD`)"
    return _read(name, origin, datafiles.PSF, datafiles.DCD)


def adk_namd(name: str) -> DataSet:
    """Full precision, flexible bonds, implicit solvent."""
    from MDAnalysisTests import datafiles

    origin = "NAMD, targeted dynamics, flexible bonds (MDAnalysisTests `DCD_NAMD_GBIS`)"
    return _read(name, origin, datafiles.PSF_NAMD_GBIS, datafiles.DCD_NAMD_GBIS)


def adk_trr(name: str) -> DataSet:
    """Full precision, rigid water, 100 ps between frames."""
    from MDAnalysisTests import datafiles

    origin = "GROMACS, TIP4P box, 100 ps apart (MDAnalysisTests `TRR`)"
    return _read(name, origin, datafiles.GRO, datafiles.TRR)


def adk_xtc(name: str) -> DataSet:
    """Give the same run as `adk_trr`, as GROMACS rounded it."""
    from MDAnalysisTests import datafiles

    origin = "the same run from its XTC file (MDAnalysisTests `XTC`)"
    return _read(name, origin, datafiles.GRO, datafiles.XTC, is_on_grid=True)


def yiip(name: str) -> DataSet:
    """Give a membrane protein with lipids and water, 5 frames far apart."""
    from MDAnalysisTests import datafiles

    origin = "GROMACS, membrane protein, 20 ns apart (MDAnalysisTests `XTC_MEMPROT`)"
    return _read(name, origin, datafiles.GRO_MEMPROT, datafiles.XTC_MEMPROT, is_on_grid=True)


def simulated(name: str, run: Run, directory: Path | None = None) -> DataSet:
    """Full precision, rigid X-H bonds, and in a box rigid water."""
    import openmm

    path = (directory or _cache()) / f"{name}-{run.n_frames}x{run.interval}.npz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _simulate_villin(path, run)
    with np.load(path) as saved:
        frames, protein = saved["frames"], saved["protein"]
    water = "TIP3P box, rigid water and X–H bonds" if run.is_solvated else "GBn2, rigid X–H bonds"
    origin = f"OpenMM {openmm.__version__}, {water}, {run.interval * STEP:g} ps apart"
    return DataSet(name, origin, frames, protein)


SETS: dict[str, Run | Callable[[str], DataSet]] = {
    "adk_dcd": adk_dcd,
    "adk_namd": adk_namd,
    "villin": Run(100, 250),
    "villin_implicit": Run(100, 250, is_solvated=False),
    "villin_0.1ps": Run(128, 50),
    "villin_1ps": Run(64, 500),
    "villin_10ps": Run(10, 5000),
    "adk_trr": adk_trr,
    "adk_xtc": adk_xtc,
    "yiip": yiip,
}

#: Sets that are only made where they are named.
ON_REQUEST = ("villin_implicit", "villin_0.1ps", "villin_1ps", "villin_10ps")


def _read(
    name: str, origin: str, topology: str, trajectory: str, is_on_grid: bool = False
) -> DataSet:
    import MDAnalysis

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        universe = MDAnalysis.Universe(topology, trajectory)
        frames = np.array([universe.atoms.positions for _ in universe.trajectory], dtype=np.float32)
    protein = universe.select_atoms("protein").indices
    return DataSet(name, origin, frames, protein, is_on_grid)


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    directory = Path(base) / "proteinflex-optimization" / "benches"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def _simulate_villin(path: Path, run: Run) -> None:
    import openmm
    from openmm import app, unit

    print(f"simulating the villin headpiece once, for {path}", file=sys.stderr)
    pdb = app.PDBFile(str(Path(app.__file__).parent / "data" / "test.pdb"))
    solvent = {"HOH", "WAT", "Cl", "CL", "Na", "NA"}
    model = app.Modeller(pdb.topology, pdb.positions)
    if not run.is_solvated:
        model.delete([r for r in model.topology.residues() if r.name in solvent])
    water = "tip3p.xml" if run.is_solvated else "implicit/gbn2.xml"
    method = app.PME if run.is_solvated else app.NoCutoff
    system = app.ForceField("amber99sb.xml", water).createSystem(
        model.topology,
        nonbondedMethod=method,
        nonbondedCutoff=0.9 * unit.nanometer,
        constraints=app.HBonds,
    )
    integrator = openmm.LangevinMiddleIntegrator(300, 1, STEP)
    integrator.setRandomNumberSeed(1)
    simulation = app.Simulation(model.topology, system, integrator)
    simulation.context.setPositions(model.positions)
    simulation.minimizeEnergy(maxIterations=50)
    simulation.context.setVelocitiesToTemperature(300, 1)
    simulation.step(1000)
    frames = []
    for number in range(run.n_frames):
        simulation.step(run.interval)
        state = simulation.context.getState(getPositions=True, enforcePeriodicBox=run.is_solvated)
        frames.append(state.getPositions(asNumpy=True).value_in_unit(unit.angstrom))
        if sys.stderr.isatty():
            print(f"\r{number + 1} of {run.n_frames} frames", end="", file=sys.stderr)
    protein = [a.index for a in model.topology.atoms() if a.residue.name not in solvent]
    part = path.with_suffix(f".{os.getpid()}.npz")
    np.savez(part, frames=np.asarray(frames, np.float32), protein=np.asarray(protein, np.intp))
    part.rename(path)
