"""
From a structure to a restartable, analysed run
===============================================

The structure is chignolin, a protein of ten residues (PDB entry 1UAO). It is simulated with OpenMM,
the run is stopped and goes on, and its flexibility is computed with MDAnalysis and drawn. You need
``pip install "proteinflex-optimization[openmm,structures,formats]" matplotlib``.
"""

import matplotlib.pyplot as plt
import numpy as np
from MDAnalysis.analysis import align
from openmm import LangevinMiddleIntegrator, app, unit
from proteinflex_optimization import CheckpointManager, DataHandler, ProgressTracker
from proteinflex_optimization.integrations import openmm as flex

# %%
# The structure
# -------------
#
# The cache takes PDB and mmCIF files and objects of gemmi, Biotite and OpenMM, and gives plain
# arrays. Any later script that opens the same directory finds the structure by its name.

file = "../data/1UAO.pdb"
cache = DataHandler("cache", max_cache_size=10.0)  # GB
cache.import_structure(file, "chignolin")
structure = cache.load_data("chignolin")
print(structure["sequences"], structure["positions"].shape)

# %%
# A run that can be stopped
# -------------------------
#
# ``load_latest`` returns the simulation of the newest checkpoint, or None: only then is it made.
# Three reporters do the rest. Before each checkpoint, all frames up to it are made durable, so the
# two always agree, however the job ends.

checkpoints = CheckpointManager("md/checkpoints")
progress = ProgressTracker(1000, "md/run")


def make_simulation() -> app.Simulation:
    """Prepare chignolin in implicit solvent, with hydrogens heavy enough for steps of 4 fs."""
    pdb = app.PDBFile(file)
    system = app.ForceField("amber14-all.xml", "implicit/gbn2.xml").createSystem(
        pdb.topology, constraints=app.HBonds, hydrogenMass=1.5 * unit.amu
    )
    integrator = LangevinMiddleIntegrator(300, 1, 0.004)  # K, 1/ps, ps
    integrator.setRandomNumberSeed(1)
    simulation = app.Simulation(pdb.topology, system, integrator)
    simulation.context.setPositions(pdb.positions)
    simulation.minimizeEnergy(maxIterations=50)
    return simulation


def run(steps: int) -> None:
    """Simulate up to a step, from wherever it stands."""
    simulation = flex.load_latest(checkpoints) or make_simulation()
    print(f"from step {simulation.currentStep}", end="")
    with flex.TrajectoryReporter(cache, "chignolin md", 10) as frames:
        simulation.reporters += [
            frames,
            flex.CheckpointReporter(checkpoints, 250),
            flex.ProgressReporter(progress, 1000),
        ]
        simulation.step(max(0, steps - simulation.currentStep))
    print(f" to step {simulation.currentStep}")


# %%
# The time of the first job is up after 450 steps, of which the last checkpoint knows 250. (How the
# job ends is of no importance: ``kill -9`` would have the same effect.)

run(450)

# %%
# The second job is the same call. It goes on at the checkpoint; frames that came after it are
# computed again, and appear once.

run(1000)
trajectory = cache.open("chignolin md")
print(repr(trajectory))
assert np.array_equal(trajectory.read(field="step"), np.arange(10, 1001, 10))

# %%
# Meanwhile, ``flexopt watch md/run`` shows this in another terminal, and with ``--web 8000`` in the
# browser:

task = progress.get_progress()["tasks"]["md"]
print(f"{task['name']}: {task['completed']} of {task['total']} steps, {task['status']}")

# %%
# The analysis
# ------------
#
# MDAnalysis reads the frames from the cache as it asks for them. What the function returns is kept,
# too: it is computed again only where the trajectory, the function's source or its arguments have
# changed.


@cache.memoize
def flexibility(run: str, content: str) -> dict[str, np.ndarray]:
    """Compute the RMSF of each Cα and the radius of gyration of each frame, in Å."""
    universe = cache.open(run).to_universe()
    calphas = universe.select_atoms("name CA")
    average = align.AverageStructure(universe, select="name CA", ref_frame=0).run()
    superposed, gyration = [], []
    for _ in universe.trajectory:
        align.alignto(universe, average.results.universe, select="name CA")
        superposed.append(calphas.positions)
        gyration.append(universe.select_atoms("protein").radius_of_gyration())
    rmsf = np.sqrt(np.var(superposed, axis=0).sum(axis=-1))
    return {"rmsf": rmsf, "gyration": np.array(gyration)}


result = flexibility("chignolin md", trajectory.content_id)

# %%
# The figure
# ----------

figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
names = [
    f"{name.title()} {number}"
    for name, number in zip(structure["residue_names"], structure["residue_numbers"], strict=True)
]
left.bar(names, result["rmsf"], color="#2a7fb8")
left.tick_params(axis="x", rotation=60)
left.set(ylabel="RMSF of Cα, Å", title="Chignolin")
right.plot(trajectory.time, result["gyration"], color="#c8553d")
right.axvline(250 * 0.004, color="grey", linestyle=":")
right.annotate(
    "went on here", (250 * 0.004, right.get_ylim()[1]), (4, -12), textcoords="offset points"
)
right.set(xlabel="time, ps", ylabel="radius of gyration, Å")
figure.savefig("chignolin.png")

# %%
# Where to go from here
# ---------------------
#
# * Run it again: everything is taken from the cache.
# * :doc:`../gallery/openmm_killed` kills such a run in earnest.
# * :doc:`../cluster` does it as a job of SLURM, that is told to stop a minute before its time is up.
# * ``flexopt demo --pdb my.pdb`` does all of this for a structure of yours (:doc:`../demo`).
