"""Waiting for what another thread or process does, however long that takes it."""

import time


def until(condition, seconds=120.0, *, pause=0.01, said=lambda: "it did not happen"):
    """Wait until a condition is true; return what it gives."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, said()
        time.sleep(pause)
    return found
