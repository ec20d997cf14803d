"""Every example of `docs/integrations.md` runs as it is printed."""

import re
from pathlib import Path

import numpy as np
import pytest
from proteinflex_optimization import DataHandler

PAGE = Path(__file__).parents[2] / "docs" / "integrations.md"
LIBRARIES = {
    "OpenMM": ["openmm"],
    "MDAnalysis": ["MDAnalysis"],
    "xarray": ["xarray"],
    "Notebooks": ["nglview", "MDAnalysis"],
    "torch": ["torch"],
    "dask": ["dask.array", "distributed"],
    "mdtraj": ["mdtraj"],
    "Structures": ["gemmi"],
    "Files of other formats": ["MDAnalysis", "zarr"],
}
ATOM = "ATOM  {0:5d}  CA  ALA A{0:4d}    {0:8.3f}{0:8.3f}{0:8.3f}  1.00 90.00           C  "


def simulation():
    """Give one of twenty free atoms."""
    import openmm
    from openmm import app

    topology, system = app.Topology(), openmm.System()
    residue = topology.addResidue("ALA", topology.addChain())
    for _ in range(20):
        topology.addAtom("CA", app.element.carbon, residue)
        system.addParticle(12)
    made = app.Simulation(topology, system, openmm.LangevinMiddleIntegrator(300, 1, 0.002))
    made.context.setPositions(np.zeros((20, 3)))
    return made


def sections():
    """Give the examples of each section that has some, in their order."""
    for section in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        examples = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
        if examples:
            yield section.split("\n", 1)[0], "\n".join(examples)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize(("name", "code"), list(sections()), ids=[name for name, _ in sections()])
def test_the_examples_run_as_printed(name, code, tmp_path, monkeypatch):
    for library in LIBRARIES[name]:
        pytest.importorskip(library)
    monkeypatch.chdir(tmp_path)
    handler = DataHandler("cache")
    lines = [ATOM.format(number) for number in range(1, 21)]
    Path("protein.pdb").write_text("\n".join([*lines, "END", ""]))
    frames = np.random.default_rng(1).normal(0, 10, (40, 20, 3)).astype(np.float32)
    keys = [
        handler.store_trajectory({"frames": frames + n}, f"md {n}", structure=Path("protein.pdb"))
        for n in range(2)
    ]
    found = {"__name__": "__main__", "handler": handler, "keys": keys, "key": keys[0]}
    if name == "OpenMM":
        found["simulation"] = simulation()
    exec(compile(code, f"integrations.md, {name}", "exec"), found)
