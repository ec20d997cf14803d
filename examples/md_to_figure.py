"""
From molecular dynamics to a figure
===================================

The torsions of alanine dipeptide: simulated with OpenMM, stored within 0.001 Å, analysed with
mdtraj.
"""

import matplotlib.pyplot as plt
import mdtraj
import numpy as np
from openmm import LangevinMiddleIntegrator, app
from proteinflex_optimization import DataHandler
from proteinflex_optimization.integrations.openmm import TrajectoryReporter

file = "data/alanine-dipeptide.pdb"
cache = DataHandler("cache")

# %%
# Where the trajectory is there already, the simulation is skipped. It is hot, so that the molecule
# visits all of its shapes in these few steps.

STEPS = 8000
if "alanine at 700 K" not in cache:
    pdb = app.PDBFile(file)
    system = app.ForceField("amber14-all.xml", "implicit/gbn2.xml").createSystem(pdb.topology)
    integrator = LangevinMiddleIntegrator(700, 1, 0.001)  # K, 1/ps, ps
    integrator.setRandomNumberSeed(1)
    simulation = app.Simulation(pdb.topology, system, integrator)
    simulation.context.setPositions(pdb.positions)
    with TrajectoryReporter(cache, "alanine at 700 K", 8, energies=True) as frames:
        simulation.reporters.append(frames)
        simulation.step(STEPS)

# %%
# ``to_mdtraj`` gives an ``mdtraj.Trajectory``, in nm and with the topology that the reporter stored.

stored = cache.open("alanine at 700 K")
trajectory = stored.to_mdtraj()
phi = np.degrees(mdtraj.compute_phi(trajectory)[1][:, 0])
psi = np.degrees(mdtraj.compute_psi(trajectory)[1][:, 0])
print(f"{stored!r}: φ from {phi.min():.0f}° to {phi.max():.0f}°")

# %%
# Energies were stored beside the frames, one of each.

figure, axes = plt.subplots(figsize=(5, 4.2), layout="constrained")
points = axes.scatter(phi, psi, c=stored.read(field="potential"), s=8, cmap="viridis")
figure.colorbar(points, label="potential energy, kJ/mol")
axes.set(xlabel="φ, degrees", ylabel="ψ, degrees", xlim=(-180, 180), ylim=(-180, 180))
figure.savefig("torsions.png")
