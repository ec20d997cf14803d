"""What MDAnalysis passes over in a trajectory file."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass
class Findings:
    """What is known of a file beyond what its reader gives.

    Attributes
    ----------
    cut : str or None
        How the file ends, if not where its last frame does.
    last_is_cut : bool
        Whether the last frame that the reader counts is not whole.
    offsets : array of int or None
        Where the whole frames begin; None where nobody has looked.
    whole_bytes : int
        Where the last of them ends.
    check_frame : callable or None
        Given the file where a frame begins, raises a ValueError if the reader can't be trusted with it.
    origins : list of array
        What the positions of each frame lack, as the reader gives them; empty where nothing.
    box : array or None
        That of all frames which the reader gives none; None where there is none.
    atoms : list of str
        What tells the atoms of the first frame from others, in their order; empty where nothing does.
    left_out : list of str
        What the file has and the reader does not give, or gives in a way that can't be stored.
    unpaired : set of str
        Names of what the reader gives with frames of other steps.
    notes : list of str
        What else a user should know.
    hides_overflow : bool
        Whether the reader makes float32 of larger numbers without NumPy, which would tell.
    has_time, has_steps, has_box, has_velocities : bool
        False where what the reader gives under this name is made up or wrong.
    """

    cut: str | None = None
    last_is_cut: bool = False
    offsets: array[int] | None = None
    whole_bytes: int = 0
    check_frame: Callable[..., int] | None = None
    origins: list[NDArray[np.float64]] = field(default_factory=list)
    box: NDArray[np.float32] | None = None
    atoms: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    unpaired: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    hides_overflow: bool = False
    has_time: bool = True
    has_steps: bool = True
    has_box: bool = True
    has_velocities: bool = True
