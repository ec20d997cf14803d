"""What a simulation's state has for one frame: arrays, in the units of trajectories."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from proteinflex_optimization.errors import InvalidArgumentError

ANGSTROM_PER_NM = 10.0


class FrameContents(NamedTuple):
    """What is written: beside the positions, and of which atoms."""

    velocities: bool
    forces: bool
    energies: bool
    atoms: NDArray[np.intp] | slice = slice(None)

    def include(self) -> list[str]:
        """Return what a state has to be asked for, as OpenMM calls it."""
        wanted = {
            "positions": True,
            "velocities": self.velocities,
            "forces": self.forces,
            "energy": self.energies,
        }
        return [content for content, want in wanted.items() if want]

    def positions(self, state: Any, step: int) -> Any:
        """Return the positions.

        Raises
        ------
        InvalidArgumentError
            One is NaN or infinite, or beyond float32: the simulation is broken.
        """
        positions = state.getPositions(asNumpy=True)._value
        return _float32("position of", positions, ANGSTROM_PER_NM, step)[self.atoms]

    def fields(self, simulation: Any, state: Any, step: int) -> dict[str, Any]:
        """Return all but the positions.

        Raises
        ------
        InvalidArgumentError
            A number is beyond float32: the simulation is broken.
        """
        from openmm import unit

        fields: dict[str, Any] = {
            "step": np.int64(step),
            "time": np.float64(state.getTime().value_in_unit(unit.picosecond)),
        }
        if simulation.system.usesPeriodicBoundaryConditions():
            vectors = state.getPeriodicBoxVectors(asNumpy=True)._value
            fields["box"] = np.asarray(vectors, np.float64) * ANGSTROM_PER_NM
        if self.velocities:
            velocities = state.getVelocities(asNumpy=True)._value
            converted = _float32("velocity of", velocities, ANGSTROM_PER_NM, step)
            fields["velocities"] = converted[self.atoms]
        if self.forces:
            forces = state.getForces(asNumpy=True)._value
            fields["forces"] = _float32("force on", forces, 1.0, step)[self.atoms]
        if self.energies:
            mole = unit.kilojoule_per_mole
            fields["potential"] = np.float64(state.getPotentialEnergy().value_in_unit(mole))
            fields["kinetic"] = np.float64(state.getKineticEnergy().value_in_unit(mole))
        return fields


def _float32(what: str, values: Any, factor: float, step: int) -> Any:
    """Convert what a frame has of each atom, and refuse what only an unstable simulation has."""
    with np.errstate(over="ignore"):
        converted = (values * factor).astype(np.float32)
    finite = np.isfinite(converted)
    if what != "position of":
        # That of two fixed atoms in one place is NaN all the time, and moves none of them.
        finite |= ~np.isfinite(values)
    finite = finite.all(axis=1)
    if not finite.all():
        atom = int(np.argmin(finite))
        raise InvalidArgumentError(
            f"the {what} atom {atom} at step {step} is {values[atom].tolist()}: the simulation "
            "has become unstable"
        )
    return converted
