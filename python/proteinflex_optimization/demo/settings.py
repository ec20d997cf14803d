"""What a run is: its input and the choices that decide its result."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from pathlib import Path

from proteinflex_optimization._arguments import path_text
from proteinflex_optimization.errors import InvalidArgumentError

FORCE_FIELD = ("amber99sbildn.xml", "amber99_obc.xml")
TIME_STEP = 0.004
"""In ps: hydrogens are three times as heavy and their bonds rigid (Hopkins et al.,
doi:10.1021/ct5010406), which leaves the equilibrium untouched and allows twice the usual step."""
MAX_STEPS = 10**15
"""Of a run and of an interval: what OpenMM and the progress can count."""
FRICTION = 1.0
"""In 1/ps, of the Langevin thermostat."""


@dataclass(frozen=True)
class Settings:
    """The input and the choices of one run.

    Attributes
    ----------
    pdb : Path
        The structure: a PDB or mmCIF file, gzipped or not.
    output : Path
        The directory of the cache, of the results and of each run's progress and checkpoints.
    steps : int
        Steps of molecular dynamics, of 0.004 ps each.
    frame_interval : int
        Steps between stored frames.
    checkpoint_interval : int
        Steps between checkpoints.
    precision : float or None
        The grid, in Å, to which stored coordinates are rounded; None stores every bit.
    temperature : float
        In kelvin.
    seed : int
        Of velocities and thermostat.
    drop_unknown : bool
        Whether to leave out what the force field has no parameters for.
    stop_margin : float
        How long before the time limit of its SLURM job it stops, in seconds.
    """

    pdb: Path
    output: Path = Path("demo-output")
    steps: int = 16_000
    frame_interval: int = 40
    checkpoint_interval: int = 1_000
    precision: float | None = 0.001
    temperature: float = 300.0
    seed: int = 1
    drop_unknown: bool = False
    stop_margin: float = 60.0

    def __post_init__(self) -> None:
        """Refuse settings that make no sense, before anything is written."""
        for name in ("pdb", "output"):
            object.__setattr__(self, name, Path(path_text(name, getattr(self, name))))
        for name in ("steps", "frame_interval", "checkpoint_interval"):
            if not 1 <= getattr(self, name) <= MAX_STEPS:
                expected = "1 or more" if getattr(self, name) < 1 else f"at most {MAX_STEPS}"
                raise InvalidArgumentError(f"{name}={getattr(self, name)}: expected {expected}")
        if not -(2**31) <= self.seed < 2**31:
            raise InvalidArgumentError(f"seed={self.seed}: expected a number of 32 bits")
        if self.frame_interval > self.steps:
            raise InvalidArgumentError(
                f"frame_interval={self.frame_interval}: expected at most steps={self.steps}, "
                "or no frame would be stored"
            )
        if self.precision is not None and not 0 < self.precision <= 1:
            raise InvalidArgumentError(
                f"precision={self.precision}: expected a grid in Å, above 0 and at most 1"
            )
        if not 0 < self.temperature <= 1000:
            raise InvalidArgumentError(
                f"temperature={self.temperature}: expected kelvin, above 0 and at most 1000"
            )
        if not 0 <= self.stop_margin < math.inf:
            raise InvalidArgumentError(
                f"stop_margin={self.stop_margin}: expected a finite number of seconds, from 0 on"
            )
        if not self.pdb.is_file():
            raise InvalidArgumentError(
                f"pdb={str(self.pdb)!r}: expected the path of a PDB or mmCIF file"
            )

    @property
    def n_frames(self) -> int:
        """How many frames a complete run stores."""
        return self.steps // self.frame_interval

    @property
    def run_id(self) -> str:
        """A name that is the same for the same input and choices, and only for these."""
        decisive = (
            hashlib.sha256(self.pdb.read_bytes()).hexdigest(),
            *FORCE_FIELD,
            TIME_STEP,
            FRICTION,
            self.steps,
            self.frame_interval,
            self.precision,
            self.temperature,
            self.seed,
            self.drop_unknown,
        )
        stem = re.sub(r"[^A-Za-z0-9_-]", "_", self.pdb.stem)[:40] or "structure"
        return f"{stem}-{hashlib.sha256(repr(decisive).encode()).hexdigest()[:8]}"

    @property
    def run_directory(self) -> Path:
        """Where progress and checkpoints of this run are."""
        return self.output / self.run_id
