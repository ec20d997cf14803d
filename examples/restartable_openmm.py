"""Molecular dynamics of ./protein.pdb that can be killed at any moment: the same command goes on.

All that it keeps is in ./checkpoints and ./cache.
"""

from openmm import LangevinMiddleIntegrator, app
from proteinflex_optimization import CheckpointManager, DataHandler
from proteinflex_optimization.integrations import openmm as flex

checkpoints = CheckpointManager("checkpoints")
if not (simulation := flex.load_latest(checkpoints)):
    pdb = app.PDBFile("protein.pdb")
    system = app.ForceField("amber14-all.xml", "implicit/gbn2.xml").createSystem(pdb.topology)
    simulation = app.Simulation(pdb.topology, system, LangevinMiddleIntegrator(300, 1, 0.001))
    simulation.context.setPositions(pdb.positions)
with flex.TrajectoryReporter(DataHandler("cache"), "md", 100) as frames:
    simulation.reporters += [frames, flex.CheckpointReporter(checkpoints, 1000)]
    simulation.step(100_000 - simulation.currentStep)
