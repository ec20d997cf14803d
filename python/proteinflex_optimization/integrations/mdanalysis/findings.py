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
    left_out : list of str
        What the file has and the reader does not give, or gives in a way that can't be stored.
    notes : list of str
        What else a user should know.
    has_time, has_steps, has_box : bool
        False where what the reader gives under this name is made up or wrong.
    """

    cut: str | None = None
    last_is_cut: bool = False
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    has_time: bool = True
    has_steps: bool = True
    has_box: bool = True
