"""Molecular dynamics with OpenMM that can be left at any step and taken up again."""

from __future__ import annotations

from typing import Any

import numpy as np

from proteinflex_optimization.errors import ProteinFlexError
from proteinflex_optimization.integrations.openmm import load_run

from .settings import FRICTION, TIME_STEP, Settings
from .structure import Protein


class Dynamics:
    """One simulation of a protein in implicit solvent.

    Parameters
    ----------
    protein : Protein
        What is simulated.
    settings : Settings
        Temperature and seed.
    gpus : list of int
        The GPUs to use, as CUDA numbers them; on none of them, the CPU does the work.
    """

    def __init__(self, protein: Protein, settings: Settings, gpus: list[int]) -> None:
        import openmm
        from openmm import app, unit

        integrator = openmm.LangevinMiddleIntegrator(
            settings.temperature * unit.kelvin,
            FRICTION / unit.picosecond,
            TIME_STEP * unit.picosecond,
        )
        integrator.setRandomNumberSeed(settings.seed)
        self._where = platform, properties = choose_platform(gpus)
        self._settings = settings
        self.simulation = app.Simulation(
            protein.topology, protein.system, integrator, platform, properties
        )
        self.simulation.context.setPositions(protein.positions.astype(np.float64) * unit.angstrom)

    @property
    def platform(self) -> str:
        """The OpenMM platform that does the work."""
        return str(self.simulation.context.getPlatform().getName())

    @property
    def step(self) -> int:
        """Steps done since the start, over all runs."""
        return int(self.simulation.currentStep)

    def minimise(self, iterations: int) -> float:
        """Relax the structure by at most so many iterations; returns the energy in kJ/mol.

        OpenMM's own reporter of a minimisation would hold the GIL, and with it Ctrl-C, all along.
        """
        self.simulation.minimizeEnergy(maxIterations=iterations)
        return self.energy()

    def draw_velocities(self) -> None:
        """Give the atoms velocities of the temperature."""
        from openmm import unit

        self.simulation.context.setVelocitiesToTemperature(
            self._settings.temperature * unit.kelvin, self._settings.seed
        )

    def energy(self) -> float:
        """Return the potential energy, in kJ/mol."""
        from openmm import unit

        energy = self.simulation.context.getState(energy=True).getPotentialEnergy()
        return float(energy.value_in_unit(unit.kilojoule_per_mole))

    def advance(self, steps: int) -> None:
        """Do some steps; reporters are called meanwhile."""
        self.simulation.step(steps)

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `save_run` returned."""
        platform, properties = self._where
        self.simulation = load_run(state, platform=platform, properties=properties)


def choose_platform(gpus: list[int]) -> tuple[Any, dict[str, str]]:
    """Choose the OpenMM platform for these GPUs and its properties; the CPU's where there are none.

    Raises
    ------
    ProteinFlexError
        OpenMM has neither a CUDA nor a CPU platform.
    """
    import openmm

    installed = {
        openmm.Platform.getPlatform(index).getName()
        for index in range(openmm.Platform.getNumPlatforms())
    }
    if gpus and "CUDA" in installed:
        properties = {"DeviceIndex": str(gpus[0]), "Precision": "mixed"}
        return openmm.Platform.getPlatformByName("CUDA"), properties
    if "CPU" in installed:
        return openmm.Platform.getPlatformByName("CPU"), {}
    raise ProteinFlexError(
        f"OpenMM has only the platforms {sorted(installed)}: expected CUDA or CPU; "
        "install it again with `pip install openmm`"
    )
