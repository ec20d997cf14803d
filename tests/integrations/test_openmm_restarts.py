"""OpenMM simulations saved and loaded: to the last bit where OpenMM can, and else with a warning."""

import warnings
from pathlib import Path

import numpy as np
import openmm
import pytest
from openmm import app, unit
from proteinflex_optimization import (
    CheckpointError,
    CheckpointManager,
    CorruptDataError,
    DataHandler,
    InvalidArgumentError,
    UnsupportedFormatError,
)
from proteinflex_optimization.integrations.openmm import (
    PortableStateWarning,
    load_latest,
    load_run,
    save_run,
)
from proteinflex_optimization.integrations.openmm.plain_topology import (
    topology_from_plain,
    topology_to_plain,
)

BOX = 2.2


def langevin():
    made = openmm.LangevinMiddleIntegrator(300, 1, 0.002)
    made.setRandomNumberSeed(5)
    return made


def custom():
    """Velocity Verlet with noise, in variables that only integrator parameters hold."""
    made = openmm.CustomIntegrator(0.002)
    made.setRandomNumberSeed(5)
    made.addGlobalVariable("count", 0)
    made.addPerDofVariable("sum", 0)
    made.addUpdateContextState()
    made.addComputePerDof("v", "v+0.5*dt*f/m")
    made.addComputePerDof("x", "x+dt*v")
    made.addComputePerDof("v", "v+0.5*dt*f/m+0.01*gaussian+1e-5*sum")
    made.addComputeGlobal("count", "count+1+uniform")
    made.addComputePerDof("sum", "sum+v")
    return made


def compound():
    made = openmm.CompoundIntegrator()
    made.addIntegrator(langevin())
    made.addIntegrator(custom())
    made.setCurrentIntegrator(1)
    return made


def verlet():
    return openmm.VerletIntegrator(0.002)


INTEGRATORS = {
    "langevin": langevin,
    "unseeded": lambda: openmm.LangevinMiddleIntegrator(300, 1, 0.002),
    "verlet": verlet,
    "nose-hoover": lambda: openmm.NoseHooverIntegrator(300, 1, 0.002),
    "brownian": lambda: openmm.BrownianIntegrator(300, 1, 0.002),
    "amd": lambda: openmm.AMDIntegrator(0.002, 10, -100),
    "custom": custom,
    "compound": compound,
}


def barostat(system):
    system.addForce(openmm.MonteCarloBarostat(1, 300, 5))
    system.getForce(system.getNumForces() - 1).setRandomNumberSeed(3)


def thermostat(system):
    system.addForce(openmm.AndersenThermostat(300, 5))


def custom_forces(system):
    """A bond and a field whose strengths are parameters of the context."""
    bond = openmm.CustomBondForce("k*(r-0.4)^2")
    bond.addGlobalParameter("k", 10)
    bond.addBond(0, 1)
    field = openmm.CustomExternalForce("pull*x")
    field.addGlobalParameter("pull", 0)
    field.addParticle(2)
    system.addForce(bond)
    system.addForce(field)


def virtual_sites(system):
    """A charge between two atoms, as TIP4P has one, at the end of the particles."""
    site = system.addParticle(0)
    system.getForce(0).addParticle(0.1, 0.3, 0)
    system.setVirtualSite(site, openmm.TwoParticleAverageSite(0, 1, 0.4, 0.6))


def constraints(system):
    for first in range(0, 24, 3):
        system.addConstraint(first, first + 1, 0.7)


FORCES = {
    "andersen": thermostat,
    "custom forces": custom_forces,
    "virtual sites": virtual_sites,
    "constraints": constraints,
    "none": lambda system: None,
}


def simulation(integrator=langevin, extra=None, platform="Reference"):
    """Make 27 argon atoms in a periodic box, the same each time."""
    system, topology = openmm.System(), app.Topology()
    residue = topology.addResidue("AR", topology.addChain())
    force = openmm.NonbondedForce()
    force.setNonbondedMethod(force.CutoffPeriodic)
    force.setCutoffDistance(0.9)
    system.setDefaultPeriodicBoxVectors((BOX, 0, 0), (0, BOX, 0), (0, 0, BOX))
    places = []
    for index in range(27):
        system.addParticle(40)
        force.addParticle(0, 0.34, 1)
        topology.addAtom("AR", app.element.argon, residue)
        places.append([(index // n) % 3 * 0.7 + 0.1 for n in (1, 3, 9)])
    system.addForce(force)
    if extra is not None:
        extra(system)
    if system.getNumParticles() > 27:
        topology.addAtom("M", None, residue)
        places.append([0.1, 0.1, 0.1])
    made = app.Simulation(
        topology, system, integrator(), openmm.Platform.getPlatformByName(platform)
    )
    made.context.setPositions(places)
    made.context.computeVirtualSites()
    made.context.setVelocitiesToTemperature(300, 1)
    return made


def numbers(run):
    """Give everything that OpenMM tells of a state, to the last bit."""
    state = run.context.getState(
        positions=True, velocities=True, parameters=True, integratorParameters=True
    )
    return openmm.XmlSerializer.serialize(state)


def positions(run):
    return run.context.getState(positions=True).getPositions(asNumpy=True)._value


@pytest.fixture
def manager(tmp_path):
    return CheckpointManager(tmp_path / "checkpoints")


def through_disk(manager, run):
    path = manager.create_checkpoint("one", {"md": save_run(run)})
    return manager.load_checkpoint(path)["md"]


CASES = [(name, "none") for name in INTEGRATORS] + [("langevin", name) for name in FORCES]


@pytest.mark.parametrize(("integrator", "forces"), CASES)
def test_a_loaded_run_goes_on_to_the_last_bit(manager, integrator, forces):
    run = simulation(INTEGRATORS[integrator], FORCES[forces])
    if forces == "custom forces":
        run.context.setParameter("pull", 3.5)
    run.step(137)
    state = through_disk(manager, run)
    before = numbers(run)
    run.step(120)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = load_run(state)
    assert numbers(again) == before
    assert again.currentStep == 137
    again.step(120)
    assert numbers(again) == numbers(run)
    if integrator == "compound":
        assert again.integrator.getCurrentIntegrator() == 1


def water(forces):
    """Make 27 rigid TIP4P molecules, each with a virtual site that has no element."""
    topology, places = app.Topology(), []
    chain = topology.addChain()
    for index in range(27):
        residue = topology.addResidue("HOH", chain)
        atoms = [
            topology.addAtom(name, app.Element.getBySymbol(name[0]), residue)
            for name in ("O", "H1", "H2")
        ]
        topology.addBond(atoms[0], atoms[1])
        topology.addBond(atoms[0], atoms[2])
        x, y, z = (index // n % 3 * 0.62 + 0.1 for n in (1, 3, 9))
        places += [(x, y, z), (x + 0.09572, y, z), (x - 0.024, y + 0.0927, z)]
    topology.setUnitCellDimensions((1.86, 1.86, 1.86))
    modeller = app.Modeller(topology, [openmm.Vec3(*place) for place in places] * unit.nanometer)
    modeller.addExtraParticles(forces)
    return modeller


def test_a_box_of_tip4p_water_goes_on_to_the_last_bit(manager):
    forces = app.ForceField("tip4pew.xml")
    modeller = water(forces)
    system = forces.createSystem(
        modeller.topology, nonbondedMethod=app.PME, nonbondedCutoff=0.8 * unit.nanometer
    )
    assert system.isVirtualSite(3)
    platform = openmm.Platform.getPlatformByName("Reference")
    run = app.Simulation(modeller.topology, system, langevin(), platform)
    run.context.setPositions(modeller.positions)
    run.context.computeVirtualSites()
    run.context.setVelocitiesToTemperature(300, 1)
    run.step(15)
    state = through_disk(manager, run)
    run.step(15)
    again = load_run(state)
    again.step(15)
    assert numbers(again) == numbers(run)
    assert [atom.element for atom in again.topology.atoms()][3] is None


def test_a_barostat_goes_on_as_with_openmm_s_own_checkpoint(manager):
    """OpenMM does not keep the count of its attempts and the size of its steps."""
    run = simulation(extra=barostat)
    run.step(137)
    state, binary = through_disk(manager, run), run.context.createCheckpoint()
    again = load_run(state)
    assert numbers(again) == numbers(run)
    vectors = again.context.getState().getPeriodicBoxVectors(asNumpy=True)._value
    assert vectors[0][0] != BOX
    again.step(200)
    # Not before: all contexts of the reference platform share their random numbers.
    own = simulation(extra=barostat)
    own.context.loadCheckpoint(binary)
    own.step(200)
    assert numbers(again) == numbers(own)


def test_forces_that_were_changed_meanwhile_stay_changed(manager):
    run = simulation(verlet)
    force = run.system.getForce(0)
    for index in range(27):
        force.setParticleParameters(index, 0, 0.3, 2.5)
    force.updateParametersInContext(run.context)
    run.step(50)
    again = load_run(through_disk(manager, run))
    for each in (run, again):
        each.step(50)
    assert numbers(again) == numbers(run)


@pytest.mark.parametrize(("saved", "loaded"), [("CPU", "Reference"), ("Reference", "CPU")])
@pytest.mark.parametrize("integrator", ["langevin", "custom", "compound"])
def test_another_platform_goes_on_from_the_portable_state(manager, saved, loaded, integrator):
    def extra(system):
        for add in (custom_forces, barostat, virtual_sites):
            add(system)

    run = simulation(INTEGRATORS[integrator], extra, saved)
    run.context.setParameter("pull", 3.5)
    run.step(137)
    with pytest.warns(PortableStateWarning, match=f"saved on the platform {saved}.* {loaded}"):
        again = load_run(through_disk(manager, run), platform=loaded)
    assert again.context.getPlatform().getName() == loaded
    assert again.currentStep == 137
    np.testing.assert_allclose(positions(again), positions(run), atol=1e-6)
    assert dict(again.context.getParameters()) == dict(run.context.getParameters())
    assert again.context.getParameter("pull") == 3.5
    assert again.context.getTime() == run.context.getTime()
    if integrator == "custom":
        assert again.integrator.getGlobalVariable(0) == run.integrator.getGlobalVariable(0)
        sums = [each.integrator.getPerDofVariable(0) for each in (run, again)]
        np.testing.assert_allclose(*np.array(sums), atol=1e-5)
    again.step(20)
    assert again.currentStep == 157


@pytest.mark.parametrize("integrator", ["verlet", "nose-hoover"])
def test_without_random_numbers_the_portable_state_is_to_the_last_bit_too(manager, integrator):
    run = simulation(INTEGRATORS[integrator])
    run.step(100)
    state = {**through_disk(manager, run), "openmm": "8.0"}
    with pytest.warns(PortableStateWarning):
        again = load_run(state)
    for each in (run, again):
        each.step(100)
    assert numbers(again) == numbers(run)


def of_version(state, version):
    """Patch the version into the header of the binary checkpoint, or what stands for it there."""
    return bytes(state["checkpoint"]).replace(b"OpenMM Binary Checkpoint\n", version)


REFUSED = {
    "version": lambda state: {"openmm": "8.1.2"},
    "header": lambda state: {"checkpoint": of_version(state, b"OpenMM Binary Checkpoint 2")},
    "empty": lambda state: {"checkpoint": b""},
    "cut": lambda state: {"checkpoint": bytes(state["checkpoint"])[:300]},
    "of another run": lambda state: {"checkpoint": simulation().context.createCheckpoint()},
    "of fewer atoms": lambda state: {
        "checkpoint": simulation(extra=virtual_sites).context.createCheckpoint()
    },
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_binary_checkpoint_that_does_not_fit_is_never_gone_on_from(manager, what):
    run = simulation()
    run.step(137)
    state = through_disk(manager, run)
    state = {**state, **REFUSED[what](state)}
    before = numbers(run)
    with pytest.warns(PortableStateWarning, match=r"step 137, not to the last bit .*: .+") as said:
        again = load_run(state)
    assert len(said) == 1
    assert numbers(again) == before
    # The same seed again would repeat the same random forces from their beginning.
    assert run.integrator.getRandomNumberSeed() == 5
    assert again.integrator.getRandomNumberSeed() not in (0, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("error", PortableStateWarning)
        with pytest.raises(PortableStateWarning):
            load_run(state)


def test_seeds_of_forces_and_of_parts_of_an_integrator_change_too():
    run = simulation(compound, barostat)
    run.step(10)
    state = {**save_run(run), "openmm": "8.1.2"}
    seeds = set()
    for step in (10, 20):
        with pytest.warns(PortableStateWarning):
            again = load_run({**state, "step": step})
        parts = [again.integrator.getIntegrator(n) for n in (0, 1)]
        seeds.update(part.getRandomNumberSeed() for part in [*parts, again.system.getForce(1)])
    # Two kinds of seeds, at two steps.
    assert len(seeds) == 4
    assert not seeds & {0, 3, 5}


@pytest.mark.parametrize(
    ("properties", "named"),
    [
        ({"Threads": 1}, r"properties\['Threads'\]=1"),
        ({"Nope": "1"}, "'Nope' is no property of the platform CPU"),
        (["Threads"], r"properties=\['Threads'\]"),
    ],
)
def test_wrong_properties_of_the_platform_are_named(properties, named):
    saved = save_run(simulation())
    with pytest.raises(InvalidArgumentError, match=named):
        load_run(saved, platform="CPU", properties=properties)


def test_properties_of_the_platform_can_be_given():
    run = simulation(platform="CPU")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = load_run(save_run(run), properties={"Threads": "1", "DeterministicForces": "true"})
    platform = again.context.getPlatform()
    assert platform.getPropertyValue(again.context, "Threads") == "1"
    third = load_run(save_run(again))
    assert platform.getPropertyValue(third.context, "DeterministicForces") == "true"
    with pytest.raises(InvalidArgumentError, match=r"platform='Abacus' is not there.*Reference"):
        load_run(save_run(run), platform="Abacus")


@pytest.mark.parametrize("properties", [None, {"Threads": "1"}])
def test_the_newest_checkpoint_goes_on_where_it_is_asked_to(manager, properties):
    manager.create_checkpoint("one", {"md": save_run(simulation())})
    with pytest.warns(PortableStateWarning):
        again = load_latest(manager, platform="CPU", properties=properties)
    platform = again.context.getPlatform()
    assert platform.getName() == "CPU"
    if properties:
        assert platform.getPropertyValue(again.context, "Threads") == "1"


def return_nothing(state):
    return 0.0, np.zeros((27, 3))


@pytest.mark.skipif(not hasattr(openmm, "PythonForce"), reason="this OpenMM has no PythonForce")
def test_python_code_is_neither_saved_nor_run():
    run = simulation(extra=lambda system: system.addForce(openmm.PythonForce(return_nothing)))
    with pytest.raises(InvalidArgumentError, match="system has a PythonForce"):
        save_run(run)
    import zlib

    state = save_run(simulation())
    code = openmm.XmlSerializer.serialize(run.system)
    assert "PythonForce" in code
    for hidden in (
        'type="PythonForce"',
        "type = 'PythonForce'",
        'type="&#80;ythonForce"',
        'type="Python&#x46;orce"',
    ):
        changed = code.replace('type="PythonForce"', hidden)
        assert openmm.XmlSerializer.deserialize(changed).getNumForces() == 2
        with pytest.raises(InvalidArgumentError, match="system has a PythonForce"):
            load_run({**state, "system": zlib.compress(changed.encode())})


def test_what_cannot_be_kept_is_refused():
    with pytest.raises(InvalidArgumentError, match="RPMDIntegrator"):
        save_run(simulation(lambda: openmm.RPMDIntegrator(2, 300, 1, 0.001)))
    run = simulation(verlet)
    broken = positions(run)
    broken[7] = np.nan
    run.context.setPositions(broken)
    with pytest.raises(InvalidArgumentError, match=r"position of atom 7 at step 0 is \[nan"):
        save_run(run)
    with pytest.raises(InvalidArgumentError, match=r"expected an openmm\.app\.Simulation"):
        save_run(run.context)


def test_what_is_no_saved_run_is_refused():
    state = save_run(simulation())
    with pytest.raises(InvalidArgumentError, match=r"state=\['md'\].*what save_run returned"):
        load_run({"md": state})
    with pytest.raises(UnsupportedFormatError, match="format 2, newer than 1"):
        load_run({**state, "format": 2})
    with pytest.raises(CorruptDataError, match="integrator of the saved run is damaged"):
        load_run({**state, "integrator": b"\x00"})
    for name in state.keys() - {"format", "time"}:
        with pytest.raises(InvalidArgumentError, match=f"state: '{name}' is of type NoneType"):
            load_run({**state, name: None})
        with pytest.raises(InvalidArgumentError, match=f"state: '{name}' is not there"):
            load_run({key: part for key, part in state.items() if key != name})


def test_the_newest_checkpoint_that_is_whole_is_loaded(manager, caplog):
    assert load_latest(manager) is None
    run = simulation()
    for step in (10, 20):
        run.step(10)
        manager.create_checkpoint(f"step-{step}", {"md": save_run(run)})
    manager.create_checkpoint("of-something-else", {"other": 1})
    assert load_latest(manager).currentStep == 20
    (newest,) = Path(manager.base_dir).glob("step-20/**/md*")
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.chmod(0o600)
    newest.write_bytes(content)
    assert load_latest(manager).currentStep == 10
    assert "left out a damaged checkpoint" in caplog.text
    with pytest.raises(
        CheckpointError, match=r"name='dynamics'.*expected one of \['md', 'other'\]"
    ):
        load_latest(manager, name="dynamics")


def test_a_box_that_is_a_list_of_vectors_with_units_is_kept(tmp_path):
    made = app.PDBFile(str(Path(app.__file__).parent / "data" / "test.pdb"))
    system = openmm.System()
    system.setDefaultPeriodicBoxVectors((2, 0, 0), (0.5, 3, 0), (0, 0, 4))
    made.topology.setPeriodicBoxVectors(system.getDefaultPeriodicBoxVectors())
    plain = topology_to_plain(made.topology)
    np.testing.assert_array_equal(plain["box"], [[2, 0, 0], [0.5, 3, 0], [0, 0, 4]])
    handler = DataHandler(tmp_path)
    handler.import_structure((made.topology, made.positions), "one")
    np.testing.assert_allclose(handler.load_data("one")["cell"][:3], [20, 30.4138, 40], rtol=1e-5)


def test_a_topology_comes_back_as_it_was(manager):
    pdb = app.PDBFile(str(Path(app.__file__).parent / "data" / "test.pdb"))
    made = pdb.topology
    element = app.Element(300, "bead", "Qq", 72.0 * unit.dalton)
    residue = made.addResidue("X", made.addChain("é"), "17", "B")
    options = {"formalCharge": -1} if hasattr(next(made.atoms()), "formalCharge") else {}
    atoms = [made.addAtom(f"B{n}", element, residue, "A000", **options) for n in range(2)]
    made.addBond(*atoms, app.topology.Aromatic, 2)
    plain = topology_to_plain(made)
    path = manager.create_checkpoint("one", {"topology": plain})
    # As in a program that has not defined the element.
    app.Element._elements_by_symbol.pop("QQ")
    again = topology_from_plain(manager.load_checkpoint(path)["topology"])
    assert (again.getNumChains(), again.getNumResidues()) == (
        made.getNumChains(),
        made.getNumResidues(),
    )
    for one, other in zip(made.atoms(), again.atoms(), strict=True):
        names = [
            (
                a.name,
                a.id,
                a.index,
                getattr(a, "formalCharge", None),
                a.element and a.element.symbol,
            )
            for a in (one, other)
        ]
        assert names[0] == names[1]
        residues = [
            (r.name, r.id, r.index, r.insertionCode, r.chain.id, r.chain.index)
            for r in (one.residue, other.residue)
        ]
        assert residues[0] == residues[1]
    bonds = [
        [(b.atom1.index, b.atom2.index, b.type, b.order) for b in t.bonds()] for t in (made, again)
    ]
    assert bonds[0] == bonds[1]
    boxes = [
        np.array(t.getPeriodicBoxVectors().value_in_unit(unit.nanometer)) for t in (made, again)
    ]
    np.testing.assert_array_equal(*boxes)
    *_, bead = again.atoms()
    assert bead.element.mass == 72.0 * unit.dalton
    plain["elements"][-1] = [6, "carbide", "C", 12.0]
    with pytest.raises(InvalidArgumentError, match="element 'C' is 'carbide'"):
        topology_from_plain(plain)
