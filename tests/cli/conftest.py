"""Directories as the commands find them, and terminals to run them in."""

import os
import pty
import subprocess
import sys

import numpy as np
import pytest
from proteinflex_optimization import CheckpointManager, DataHandler

FLEXOPT = [sys.executable, "-m", "proteinflex_optimization"]


@pytest.fixture
def run():
    """Run the command as a program."""

    def run(*arguments, **options):
        return subprocess.run(
            [*FLEXOPT, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            stdin=subprocess.DEVNULL,
            **options,
        )

    return run


@pytest.fixture
def in_terminal():
    """Run the command in a terminal where somebody types; returns what was shown, and the status."""

    def run(*arguments, typed="", columns="100"):
        pid, terminal = pty.fork()
        if pid == 0:
            os.environ["COLUMNS"] = columns
            os.execve(FLEXOPT[0], [*FLEXOPT, *map(str, arguments)], dict(os.environ))
        if typed:
            os.write(terminal, typed.encode())
        shown = b""
        while True:
            try:
                part = os.read(terminal, 65536)
            except OSError:
                break
            if not part:
                break
            shown += part
        os.close(terminal)
        return shown.decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    return run


@pytest.fixture
def cache(tmp_path):
    """A cache of four entries of 100 kB, the one that was used last first in its list."""
    handler = DataHandler(tmp_path / "cache", max_cache_size=0.001)
    for number in range(4):
        array = np.random.default_rng(number).integers(0, 256, 100_000, np.uint8)
        handler.store_structure({"x": array}, f"entry {number}")
    return handler


@pytest.fixture
def checkpoints(tmp_path):
    """A directory of three checkpoints."""
    manager = CheckpointManager(tmp_path / "checkpoints")
    for step in range(3):
        state = {"positions": np.full(1000, step), "step": step, "name": "villin"}
        manager.create_checkpoint(f"step-{step}", {"dynamics": state}, metadata={"step": step})
    return tmp_path / "checkpoints"
