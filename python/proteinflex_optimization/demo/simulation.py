"""Molecular dynamics with OpenMM that can be left at any step and taken up again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from proteinflex_optimization.errors import ProteinFlexError

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
        platform, properties = choose_platform(gpus)
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

    def minimise(self, iterations: int, on_iteration: Callable[[float], bool]) -> None:
        """Relax the structure.

        Parameters
        ----------
        iterations : int
            At most so many.
        on_iteration : callable
            Called after each iteration with the energy in kJ/mol. Where it returns true, the
            minimisation ends with the positions that it has.
        """
        import openmm

        class Reporter(openmm.MinimizationReporter):  # type: ignore[misc]
            def report(self, iteration: int, x: Any, gradient: Any, values: Any) -> bool:
                return on_iteration(values["system energy"])

        reporter = Reporter()
        self.simulation.minimizeEnergy(maxIterations=iterations, reporter=reporter)

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
        """Do some steps; reporters get their frames meanwhile."""
        self.simulation.step(steps)

    def state(self) -> dict[str, Any]:
        """Return all that is needed to go on as if nothing had happened.

        OpenMM's own checkpoint continues the same random numbers, but only fits the same version and
        platform; the XML state fits any.
        """
        import openmm

        context = self.simulation.context
        everything = context.getState(
            positions=True, velocities=True, parameters=True, integratorParameters=True
        )
        return {
            "step": self.step,
            "platform": self.platform,
            "openmm": openmm.version.full_version,
            "checkpoint": context.createCheckpoint(),
            "state_xml": openmm.XmlSerializer.serialize(everything),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up again what `state` left."""
        import openmm

        fits = (state["platform"], state["openmm"]) == (
            self.platform,
            openmm.version.full_version,
        )
        if fits:
            self.simulation.context.loadCheckpoint(state["checkpoint"])
        else:
            self.simulation.context.setState(openmm.XmlSerializer.deserialize(state["state_xml"]))
        self.simulation.currentStep = state["step"]


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
