"""Real trajectories, all of which come with packages or are made by one.

The adenylate kinase and YiiP files are MDAnalysis' own test data. The villin headpiece, in its box of
rigid water at several intervals and alone in implicit water, is simulated once from a structure that
OpenMM ships, and kept in the user's cache or in a folder that is named. Sets of the same box are frames of
one simulation, for it takes far longer than all that is measured.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.float32]

#: In ps. So long a step needs hydrogens of this mass, in Da, which changes how fast they move, not where.
STEP, HYDROGEN_MASS = 0.004, 1.5
#: Steps before the first frame counts.
WARM_UP = 500
SOLVENT = {"HOH", "WAT", "Cl", "CL", "Na", "NA"}


#: What the name of a set ends with that is another one, cut.
CUT = "_cut"


@dataclass(frozen=True)
class Run:
    """What is kept of a simulation: how many frames, and steps between two of them."""

    n_frames: int
    interval: int
    is_solvated: bool = True
    #: Whether each atom is put into the box by itself, not each molecule.
    is_cut: bool = False


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
            if isinstance(make, Run):
                yield simulated(name, make, directory or _cache(), wanted)
            else:
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


def amber_nc(name: str) -> DataSet:
    """Give frames close in time, with three decimals."""
    from MDAnalysisTests import datafiles

    origin = "Amber, rigid water, close in time, three decimals (MDAnalysisTests `NCDF`)"
    return _read(name, origin, datafiles.PRMncdf, datafiles.NCDF)


def simulated(name: str, run: Run, directory: Path, names: Sequence[str] = ()) -> DataSet:
    """Full precision, rigid X-H bonds, and in a box rigid water.

    Parameters
    ----------
    name, run
        The set.
    directory
        Where it is kept.
    names
        Sets that are made with it, where they are not there and of the same box.
    """
    import openmm

    path = _path(directory, name, run)
    if not path.exists():
        others = [(other, SETS[other]) for other in names]
        missing = {path: run}
        for other, make in others:
            if isinstance(make, Run) and make.is_solvated == run.is_solvated:
                missing.setdefault(_path(directory, other, make), make)
        directory.mkdir(parents=True, exist_ok=True)
        _simulate_villin(
            run.is_solvated, {to: what for to, what in missing.items() if not to.exists()}
        )
    with np.load(path) as saved:
        frames, protein = saved["frames"], saved["protein"]
    if run.is_cut:
        frames = _cut(frames)
    water = "TIP3P box, rigid water and X–H bonds" if run.is_solvated else "OBC, rigid X–H bonds"
    origin = f"OpenMM {openmm.__version__}, {water}, {run.interval * STEP:g} ps apart"
    if run.is_cut:
        origin += ", each atom put into the box by itself"
    return DataSet(name, origin, frames, protein)


SETS: dict[str, Run | Callable[[str], DataSet]] = {
    "adk_dcd": adk_dcd,
    "adk_namd": adk_namd,
    "villin": Run(100, 125),
    "villin_implicit": Run(100, 125, is_solvated=False),
    "villin_0.1ps": Run(128, 25),
    "villin_1ps": Run(64, 250),
    "villin_10ps": Run(10, 2500),
    "villin_cut": Run(100, 125, is_cut=True),
    "adk_trr": adk_trr,
    "adk_xtc": adk_xtc,
    "yiip": yiip,
    "amber_nc": amber_nc,
}

#: Sets that are only made where they are named.
ON_REQUEST = ("villin_implicit", "villin_0.1ps", "villin_1ps", "villin_10ps", "villin_cut")


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


def _path(directory: Path, name: str, run: Run) -> Path:
    return directory / f"{name.removesuffix(CUT)}-{run.n_frames}x{run.interval}.npz"


def _simulate_villin(is_solvated: bool, runs: Mapping[Path, Run]) -> None:
    """Simulate as long as the longest of the runs, and put each to its path once it is complete."""
    from openmm import unit

    print("simulating the villin headpiece once, for", *runs, sep="\n  ", file=sys.stderr)
    simulation = _villin(is_solvated)
    atoms = simulation.topology.atoms()
    protein = np.array([a.index for a in atoms if a.residue.name not in SOLVENT], np.intp)
    frames: dict[Path, list[NDArray[np.float64]]] = {path: [] for path in runs}
    step, last = 0, max(run.n_frames * run.interval for run in runs.values())
    while frames:
        # To the next step of which anybody wants a frame.
        next_step = min((len(kept) + 1) * runs[path].interval for path, kept in frames.items())
        simulation.step(next_step - step)
        step = next_step
        state = simulation.context.getState(getPositions=True, enforcePeriodicBox=is_solvated)
        positions = state.getPositions(asNumpy=True).value_in_unit(unit.angstrom)
        for path, kept in list(frames.items()):
            if step % runs[path].interval == 0:
                kept.append(positions)
            if len(kept) == runs[path].n_frames:
                _save(path, frames.pop(path), protein)
        if sys.stderr.isatty():
            print(f"\r{100 * step // last} %", end="", file=sys.stderr)


def _villin(is_solvated: bool) -> Any:
    """Prepare a simulation of the villin headpiece, warm."""
    import openmm
    from openmm import app, unit

    pdb = app.PDBFile(str(Path(app.__file__).parent / "data" / "test.pdb"))
    model = app.Modeller(pdb.topology, pdb.positions)
    if not is_solvated:
        model.delete([r for r in model.topology.residues() if r.name in SOLVENT])
    # Of the models of implicit water, this one OpenMM computes five times as fast as the others.
    water = "tip3p.xml" if is_solvated else "amber99_obc.xml"
    system = app.ForceField("amber99sb.xml", water).createSystem(
        model.topology,
        nonbondedMethod=app.PME if is_solvated else app.NoCutoff,
        nonbondedCutoff=0.9 * unit.nanometer,
        constraints=app.HBonds,
        hydrogenMass=HYDROGEN_MASS,
    )
    integrator = openmm.LangevinMiddleIntegrator(300, 1, STEP)
    integrator.setRandomNumberSeed(1)
    simulation = app.Simulation(model.topology, system, integrator)
    simulation.context.setPositions(model.positions)
    simulation.minimizeEnergy(maxIterations=50)
    simulation.context.setVelocitiesToTemperature(300, 1)
    simulation.step(WARM_UP)
    return simulation


def _cut(frames: Frames) -> Frames:
    """Put atoms into the box, as far as molecules jump that leave it."""
    places = frames.astype(np.float64)
    jumps = np.abs(np.diff(places, axis=0))
    halves = (places.max((0, 1)) - places.min((0, 1))) / 2
    lengths = [np.median(jumps[..., axis][jumps[..., axis] > halves[axis]]) for axis in range(3)]
    return np.asarray(places - np.floor(places / lengths) * lengths, np.float32)


def _save(path: Path, frames: list[NDArray[np.float64]], protein: NDArray[np.intp]) -> None:
    """Put a set where it is kept, whole or not at all."""
    part = path.with_suffix(f".{os.getpid()}.npz")
    np.savez(part, frames=np.asarray(frames, np.float32), protein=protein)
    part.rename(path)
