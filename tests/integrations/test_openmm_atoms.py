"""Frames of some of the atoms of a simulation."""

import numpy as np
import openmm
import pytest
from openmm import app
from proteinflex_optimization import InvalidArgumentError
from proteinflex_optimization.integrations.openmm import TrajectoryReporter

EVERYTHING = {"velocities": True, "forces": True, "precision": None}


def simulation():
    """Make a chain of three carbons, and three waters in another one."""
    topology, system = app.Topology(), openmm.System()
    bonds = openmm.HarmonicBondForce()

    def add(chain, name, elements):
        residue = topology.addResidue(name, chain)
        atoms = [
            topology.addAtom(each, app.element.get_by_symbol(each), residue) for each in elements
        ]
        for atom in atoms:
            system.addParticle(12)
            if atom is not atoms[0]:
                topology.addBond(atoms[0], atom)
                bonds.addBond(atoms[0].index, atom.index, 0.15, 1000)

    add(topology.addChain("P"), "LIG", "CCC")
    water = topology.addChain("W")
    for _ in range(3):
        add(water, "HOH", "OHH")
    system.addForce(bonds)
    integrator = openmm.LangevinMiddleIntegrator(300, 1, 0.002)
    integrator.setRandomNumberSeed(1)
    made = app.Simulation(
        topology, system, integrator, openmm.Platform.getPlatformByName("Reference")
    )
    made.context.setPositions([(0.2 * index, 0.01 * index**2, 0) for index in range(12)])
    made.context.setVelocitiesToTemperature(300, 1)
    return made


def run(handler, data_id, **options):
    made = simulation()
    with TrajectoryReporter(handler, data_id, 10, **EVERYTHING, **options) as reporter:
        made.reporters.append(reporter)
        made.step(30)
    return handler.open(data_id)


@pytest.mark.parametrize(
    "atoms", [[0, 1, 2], slice(3, 9), np.arange(12) % 3 == 0, [11, 4, 0], 5], ids=str
)
def test_frames_of_some_atoms_are_those_of_all_frames(handler, atoms):
    whole, part = run(handler, "all"), run(handler, "some", atoms=atoms)
    chosen = np.atleast_1d(np.arange(12)[atoms])
    expected, found = handler.load_data(whole.key), handler.load_data(part.key)
    for field in ("frames", "velocities", "forces"):
        assert found[field].shape == (3, len(chosen), 3)
        np.testing.assert_array_equal(found[field], expected[field][:, chosen])
    np.testing.assert_array_equal(found["step"], expected["step"])
    kept, of_all = part.topology, whole.topology
    assert kept.names.tolist() == of_all.names[chosen].tolist()
    names = of_all.residue_names[of_all.residue_index[chosen]]
    assert kept.residue_names[kept.residue_index].tolist() == names.tolist()


def test_the_topology_has_what_is_between_the_atoms_and_nothing_else(handler):
    kept = run(handler, "md", atoms=[0, 1, 9, 10, 11]).topology
    assert kept.residue_names.tolist() == ["LIG", "HOH"]
    assert kept.chain_ids.tolist() == ["P", "W"]
    assert kept.bonds.tolist() == [[0, 1], [2, 3], [2, 4]]
    water = run(handler, "water", atoms=[7, 6]).topology
    assert water.chain_ids.tolist() == ["W"]
    assert water.bonds.tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        ([3, 12], "expected indices or a mask of 12 atoms"),
        (np.ones(11, bool), "expected indices or a mask of 12 atoms"),
        ([1, 1], "each atom once"),
        ([], "selects none"),
        ([0.5], "expected indices or a mask"),
        ("protein", "expected indices or a mask"),
    ],
    ids=str,
)
def test_what_are_no_atoms_of_the_simulation_is_refused_before_it_steps(handler, atoms, message):
    made = simulation()
    with TrajectoryReporter(handler, "md", 10, atoms=atoms) as reporter:
        made.reporters.append(reporter)
        with pytest.raises(InvalidArgumentError, match=message):
            made.step(10)
        made.reporters.clear()
    assert made.currentStep == 0
    assert len(handler) == 0


def test_a_run_goes_on_with_the_same_atoms_only(handler):
    def go_on(atoms, step):
        made = simulation()
        made.currentStep = step
        with TrajectoryReporter(handler, "md", 10, atoms=atoms) as reporter:
            made.reporters.append(reporter)
            made.step(20)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go_on([0, 1, 2], 0)
    for others in ([0, 1, 3], [0, 1], None):
        with pytest.raises(InvalidArgumentError, match="topology"):
            go_on(others, 20)
    with pytest.raises(KeyboardInterrupt):
        go_on(slice(3), 20)
    with handler.trajectory_writer("md", resume=True) as writer:
        assert writer.n_frames == 4
    found = handler.load_data(handler.key_for("md"))
    assert found["step"].tolist() == [10, 20, 30, 40]
    assert found["frames"].shape == (4, 3, 3)
