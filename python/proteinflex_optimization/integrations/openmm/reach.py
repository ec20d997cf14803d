"""Whether the frames of a trajectory reach the step from which a simulation goes on."""

from __future__ import annotations

from typing import Any

import numpy as np


def what_is_missing(steps: Any, step: int, interval: int) -> str | None:
    """Say what there is instead of frames that reach a step; None where they do.

    Parameters
    ----------
    steps : ndarray
        At which steps the frames were taken, ascending.
    step : int
        From which the simulation goes on.
    interval : int
        Steps between two frames from now on.
    """
    due = step - step % interval
    before = steps[: np.searchsorted(steps, step, side="right")]
    if len(before) == 0:
        if due <= 0 or (len(steps) > 0 and steps[0] == due + interval):
            return None  # It begins here, or was begun here.
        if len(steps) == 0:
            return "no frames of it are stored"
        return f"its {len(steps)} stored frames begin at step {steps[0]}"
    # They reach by the interval with which they were written, which may have been another.
    last = int(before[-1])
    apart = last - int(before[-2]) if len(before) > 1 else 0
    if apart and last % apart == 0:
        reaches = step < last + apart
    else:
        # Nothing tells that interval, but that it divides the step of the frame.
        reaches = step < 2 * last and (last >= due or step < last + apart)
    if reaches:
        return None
    found = f"its {len(steps)} stored frames end at step {last}"
    return f"{found}, {apart} steps after the one before" if apart else found
