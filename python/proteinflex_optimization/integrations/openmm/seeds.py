"""New random seeds for a run that goes on without the state of its random numbers."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any


def reseed(system: Any, integrator: Any, step: int) -> None:
    """Change every fixed seed to one that follows from it and the step.

    The same seed again would repeat the same random forces from their beginning, which correlates
    the parts of a run and distorts what it samples (Sindhikara et al., J. Chem. Theory Comput. 2009,
    5, 1624). A seed of 0, with which OpenMM draws another one each time, stays.
    """
    for seeded in _seeded(system, integrator):
        seed = seeded.getRandomNumberSeed()
        if seed != 0:
            mixed = zlib.crc32(f"{seed} {step}".encode()) & 0x7FFFFFFF
            seeded.setRandomNumberSeed(mixed or 1)


def _seeded(system: Any, integrator: Any) -> Iterator[Any]:
    parts = [integrator]
    if hasattr(integrator, "getNumIntegrators"):
        parts += [integrator.getIntegrator(i) for i in range(integrator.getNumIntegrators())]
    for part in [*parts, *system.getForces()]:
        if hasattr(part, "getRandomNumberSeed"):
            yield part
