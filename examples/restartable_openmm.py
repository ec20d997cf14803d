"""Molecular dynamics that can be killed at any step: the same command goes on.

python examples/restartable_openmm.py DIRECTORY STEPS
"""

import sys
from pathlib import Path

import openmm
from openmm import app, unit
from proteinflex_optimization import CheckpointManager, DataHandler
from proteinflex_optimization.integrations.openmm import TrajectoryReporter


def make_simulation() -> app.Simulation:
    """Set up the villin headpiece that OpenMM ships, in vacuum."""
    pdb = app.PDBFile(str(Path(app.__file__).parent / "data" / "test.pdb"))
    modeller = app.Modeller(pdb.topology, pdb.positions)
    modeller.deleteWater()
    modeller.delete([r for r in modeller.topology.residues() if len(list(r.atoms())) == 1])
    system = app.ForceField("amber99sbildn.xml").createSystem(modeller.topology)
    integrator = openmm.LangevinMiddleIntegrator(300 * unit.kelvin, 1 / unit.picosecond, 0.001)
    platform = openmm.Platform.getPlatformByName("CPU")
    simulation = app.Simulation(modeller.topology, system, integrator, platform)
    simulation.context.setPositions(modeller.positions)
    return simulation


def main(directory: Path, steps: int) -> None:
    handler = DataHandler(directory / "cache")
    checkpoints = CheckpointManager(directory / "checkpoints", max_checkpoints=2)
    simulation = make_simulation()
    if latest := checkpoints.latest():
        simulation.context.loadCheckpoint(checkpoints.load_checkpoint(latest)["md"]["context"])
        print(f"going on at step {simulation.currentStep}")
    with TrajectoryReporter(handler, "run", 10) as reporter:
        # Frames after the checkpoint are dropped; frames that are missing before it are an error.
        reporter.resume_at(simulation.currentStep)
        simulation.reporters.append(reporter)
        while simulation.currentStep < steps:
            simulation.step(min(50, steps - simulation.currentStep))
            # Durable before the checkpoint that follows, so a restarted run lacks none.
            reporter.flush()
            state = {"md": {"context": simulation.context.createCheckpoint()}}
            checkpoints.create_checkpoint(f"step-{simulation.currentStep:09d}", state)
    print(f"{handler.open(handler.key_for('run'))!r}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
