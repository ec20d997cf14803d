"""Protein structures that packages ship run in the demo.

`python tests/demo/test_demo_corpus.py [NAME…]` prints what ran, what was refused, and why.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

STEPS = 5
VILLIN = "openmm/app/data/test.pdb"
PDBFIXER = tuple(
    f"pdbfixer/tests/data/{name}"
    for name in ("1BHL.pdb", "4JSV.pdb", "alanine-dipeptide.pdb", "test.pdb")
)
# fmt: off
MDANALYSIS = (
    "1grm_single.pdb", "1hvr.pdb", "4E43.pdb", "5a7u.pdb", "A6PA6_alpha.pdb", "adk_closed.pdb",
    "adk_open.pdb", "adk_open_10res.pdb", "adk_oplsaa.pdb", "charges.pdb", "cobrotoxin.pdb",
    "cobrotoxin_dry_neutral_0.pdb", "namd_cgenff.pdb", "nmr_neopetrosiamide.pdb",
    "windows/WIN_nmr_neopetrosiamide.pdb", "unordered_res.pdb", "19hc.pdb.gz", "1a28.pdb.gz",
    "1osm.pdb.gz", "mmcif/1BD2.cif.gz", "mmcif/1BD2.pdb.gz", "mmcif/1YJP.cif", "mmcif/1YJP.cif.gz",
    "mmcif/3PWP.cif.gz", "mmcif/3PWP.pdb.gz", "mmcif/5PTI.cif.gz", "mmcif/7ETN.cif.gz",
    "mmcif/custom.cif.gz", "mmcif/multimodel_warning.cif.gz", "analysis/1k5i_c36.pdb.gz",
    "analysis/align_bound.pdb.gz", "analysis/align_unbound.pdb.gz",
    "capping/maestro_aaqaa_capped.pdb", "merge/2zmm/protein.pdb", "dssp/1mr1D.pdb.gz",
    "dssp/2xdgA.pdb.gz", "dssp/1i8nA.pdb.gz", "dssp/3gknA.pdb.gz", "dssp/2va0A.pdb.gz",
    "dssp/1ahsA.pdb.gz", "dssp/1dx5I.pdb.gz", "dssp/2cviA.pdb.gz", "dssp/2xcjA.pdb.gz",
    "dssp/3vjzA.pdb.gz", "dssp/4gcnA.pdb.gz", "dssp/1or4A.pdb.gz", "dssp/3fhkA.pdb.gz",
)
# fmt: on


class Outcome(NamedTuple):
    """What happened to a structure."""

    name: str
    runs: bool
    needs_drop_unknown: bool
    n_atoms: int
    said: list[str]
    seconds: float


def files() -> dict[str, Path]:
    """Return the structures by name."""
    import MDAnalysisTests.datafiles
    import pdbfixer
    from openmm import app

    found = {VILLIN: Path(app.__file__).parent / "data" / "test.pdb"}
    packages = Path(pdbfixer.__file__).parents[1]
    found |= {name: packages / name for name in PDBFIXER}
    data = Path(MDAnalysisTests.datafiles.PDB_small).parent
    return found | {name: data / name for name in MDANALYSIS}


def attempt(name: str, path: Path) -> Outcome:
    """Prepare a structure, and simulate a few steps of it."""
    from proteinflex_optimization.demo import Settings
    from proteinflex_optimization.demo.simulation import Dynamics
    from proteinflex_optimization.demo.structure import load_protein
    from proteinflex_optimization.errors import ProteinFlexError

    started = time.perf_counter()
    said: list[str] = []
    for drop_unknown in (False, True):
        try:
            protein = load_protein(path, drop_unknown=drop_unknown, say=said.append)
        except ProteinFlexError as error:
            if drop_unknown or "--drop-unknown" not in str(error):
                reason = str(error).replace(str(path), name)
                return Outcome(name, False, drop_unknown, 0, [reason], 0.0)
            said.clear()
            continue
        break
    dynamics = Dynamics(protein, Settings(path), [])
    dynamics.minimise(5, lambda energy: False)
    dynamics.draw_velocities()
    dynamics.advance(STEPS)
    energy = dynamics.energy()
    assert energy == energy, f"{name}: the energy is not a number"
    seconds = time.perf_counter() - started
    n_atoms = protein.topology.getNumAtoms()
    return Outcome(name, True, drop_unknown, n_atoms, said, seconds)


def row(outcome: Outcome) -> str:
    """Return the outcome as a row of a table."""
    what = "; ".join(line.removeprefix("structure: ") for line in outcome.said)
    how = "runs" if outcome.runs else "refused"
    if outcome.runs and outcome.needs_drop_unknown:
        how = "runs, --drop-unknown"
    return f"| {outcome.name} | {how} | {outcome.n_atoms or ''} | {what} |"


@pytest.mark.parametrize("name", ["adk_open_10res.pdb", "mmcif/7ETN.cif.gz"])
def test_structures_of_other_programs_run(name):
    outcome = attempt(name, files()[name])
    assert outcome.runs, outcome.said


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", [VILLIN, *PDBFIXER, *MDANALYSIS])
def test_every_structure_of_the_corpus_runs(name):
    outcome = attempt(name, files()[name])
    assert outcome.runs, outcome.said


def main(names: list[str]) -> None:
    """Print the table of all structures, or of those that are named."""
    print("| structure | | atoms | what was said |\n| --- | --- | --- | --- |", flush=True)
    outcomes = []
    for name, path in files().items():
        if not names or name in names:
            outcomes.append(attempt(name, path))
            print(row(outcomes[-1]), flush=True)
    ran = sum(outcome.runs for outcome in outcomes)
    print(f"\n{ran} of {len(outcomes)} run")


if __name__ == "__main__":
    main(sys.argv[1:])
