"""Real trajectories, all of which come with packages or are made by one.

The adenylate kinase and YiiP files are MDAnalysis' own test data. The villin headpiece in its box of
rigid water is simulated once from a structure that OpenMM ships, and kept in the user's cache.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.float32]

VILLIN_FRAMES = 100
VILLIN_STEPS_PER_FRAME = 250  # of 2 fs


@dataclass(frozen=True)
class DataSet:
    """Coordinates in Å, (n_frames, n_atoms, 3), and what is asked of them."""

    name: str
    origin: str
    frames: Frames
    protein: NDArray[np.intp]
    #: Whether it was read from an XTC file, so that a grid of 0.01 Å loses nothing.
    is_on_grid: bool = False


def data_sets(names: list[str] | None = None) -> Iterator[DataSet]:
    """Yield every data set that can be had here, or those that are named."""
    for name, make in SETS.items():
        if names is None or name in names:
            try:
                yield make(name)
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


def villin(name: str) -> DataSet:
    """Full precision, rigid water and X-H bonds, 0.5 ps between frames."""
    import openmm.app

    path = _cache() / f"villin-{VILLIN_FRAMES}x{VILLIN_STEPS_PER_FRAME}.npz"
    if not path.exists():
        _simulate_villin(path)
    with np.load(path) as saved:
        frames, protein = saved["frames"], saved["protein"]
    origin = f"OpenMM {openmm.__version__}, TIP3P box, rigid water and X–H bonds, 0.5 ps apart"
    return DataSet(name, origin, frames, protein)


SETS = {
    "adk_dcd": adk_dcd,
    "adk_namd": adk_namd,
    "villin": villin,
    "adk_trr": adk_trr,
    "adk_xtc": adk_xtc,
    "yiip": yiip,
}


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


def _simulate_villin(path: Path) -> None:
    import openmm
    from openmm import app, unit

    print(f"simulating the villin box once, for {path}", file=sys.stderr)
    pdb = app.PDBFile(str(Path(app.__file__).parent / "data" / "test.pdb"))
    system = app.ForceField("amber99sb.xml", "tip3p.xml").createSystem(
        pdb.topology,
        nonbondedMethod=app.PME,
        nonbondedCutoff=0.9 * unit.nanometer,
        constraints=app.HBonds,
    )
    integrator = openmm.LangevinMiddleIntegrator(300, 1, 0.002)
    integrator.setRandomNumberSeed(1)
    simulation = app.Simulation(pdb.topology, system, integrator)
    simulation.context.setPositions(pdb.positions)
    simulation.minimizeEnergy(maxIterations=50)
    simulation.context.setVelocitiesToTemperature(300, 1)
    simulation.step(1000)
    frames = []
    for number in range(VILLIN_FRAMES):
        simulation.step(VILLIN_STEPS_PER_FRAME)
        state = simulation.context.getState(getPositions=True, enforcePeriodicBox=True)
        frames.append(state.getPositions(asNumpy=True).value_in_unit(unit.angstrom))
        if sys.stderr.isatty():
            print(f"\r{number + 1} of {VILLIN_FRAMES} frames", end="", file=sys.stderr)
    water = {"HOH", "WAT", "Cl", "CL", "Na", "NA"}
    protein = [a.index for a in pdb.topology.atoms() if a.residue.name not in water]
    part = path.with_suffix(f".{os.getpid()}.npz")
    np.savez(part, frames=np.asarray(frames, np.float32), protein=np.asarray(protein, np.intp))
    part.rename(path)
