"""What MDAnalysis passes over in a trajectory file."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Findings:
    """What is known of a file beyond what its reader gives.

    Attributes
    ----------
    cut : str or None
        How the file ends, if not where its last frame does.
    last_is_cut : bool
        Whether the last frame that the reader counts is not whole.
    n_whole, whole_bytes : int or None, int
        How many frames are whole, and where the last of them ends; None where nobody has looked.
    left_out : list of str
        What the file has and the reader does not give, or gives in a way that can't be stored.
    unpaired : set of str
        Names of what the reader gives with frames of other steps.
    notes : list of str
        What else a user should know.
    has_time, has_steps, has_box : bool
        False where what the reader gives under this name is made up or wrong.
    """

    cut: str | None = None
    last_is_cut: bool = False
    n_whole: int | None = None
    whole_bytes: int = 0
    left_out: list[str] = field(default_factory=list)
    unpaired: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    has_time: bool = True
    has_steps: bool = True
    has_box: bool = True
