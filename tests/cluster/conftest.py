"""A real SLURM of one node, started for the tests: `slurm.sh` beside this file.

It needs root and the packages slurm-wlm and munge; where they are missing, or can't be started, the
tests are skipped with the reason.
"""

import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

START = Path(__file__).with_name("slurm.sh")
PYTHON = sys.executable
FLEXOPT = f"{PYTHON} -m proteinflex_optimization"
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"}


class Cluster:
    """The commands of a user of the cluster."""

    def __init__(self, configuration: Path) -> None:
        self.environment = {**os.environ, "SLURM_CONF": str(configuration)}

    def run(self, *command: object) -> str:
        """Run a command of SLURM; returns what it prints."""
        done = subprocess.run(
            [str(word) for word in command],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def submit(self, directory: Path, script: str, *options: str) -> str:
        """Submit a shell script that logs to `directory`/log; returns the job's id."""
        path = directory / "job.sh"
        # Several jobs share the machine.
        path.write_text(f"#!/bin/bash\nexport OPENMM_CPU_THREADS=1\n{script}")
        fixed = ["--parsable", "--open-mode=append", f"--output={directory}/log", "--requeue"]
        return self.run("sbatch", *fixed, *options, path).strip()

    def show(self, job: str) -> dict[str, str]:
        """What SLURM knows of a job."""
        words = self.run("scontrol", "show", "job", "--oneliner", job).splitlines()[0].split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait(self, job: str, *states: str, seconds: float = 400) -> dict[str, str]:
        """Wait until a job is in one of the states; by default until it has ended."""
        deadline = time.monotonic() + seconds
        while (found := self.show(job))["JobState"] not in (states or ENDED):
            assert time.monotonic() < deadline, found
            # SLURM holds a requeued job back for two minutes: what an impatient user does.
            if found["JobState"] == "PENDING" and found["Reason"] == "BeginTime":
                subprocess.run(
                    ["scontrol", "update", f"JobId={job}", "StartTime=now"],
                    env=self.environment,
                    capture_output=True,
                    check=False,
                )
            time.sleep(0.3)
        return found


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """A cluster that is stopped at the end."""
    if os.geteuid() != 0:
        pytest.skip("a SLURM of the tests' own needs root")
    for program in ("slurmctld", "slurmd", "munged"):
        if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is None:
            pytest.skip(f"{program} is not installed (Debian: slurm-wlm, munge)")
    directory = tmp_path_factory.mktemp("slurm")
    started = subprocess.run(
        [START, "start", directory], capture_output=True, text=True, timeout=120, check=False
    )
    if started.returncode:
        pytest.skip(f"SLURM does not start here: {started.stderr.strip()[-500:]}")
    try:
        yield Cluster(directory / "slurm.conf")
    finally:
        subprocess.run([START, "stop", directory], check=True, timeout=120)


def quoted(*words: object) -> str:
    """Words of a shell's command."""
    return shlex.join(str(word) for word in words)
