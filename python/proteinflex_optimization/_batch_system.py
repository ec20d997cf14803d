"""What is asked of the batch system: when this job ends, to run it again, and what is in its queue."""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
from collections.abc import Sequence
from datetime import datetime

from ._log import get_logger
from ._native import batch_facts
from ._text import id_of_job
from .errors import ProteinFlexError

logger = get_logger()

END_VARIABLE = "SLURM_JOB_END_TIME"
"""Seconds since 1970; set by SLURM 23.11 and later."""
ANSWER_SECONDS = 5.0
"""How long a question to the controller may take."""
REQUEUE_SECONDS = 30.0


def is_slurm_job() -> bool:
    """Tell whether this process is part of a job of SLURM."""
    facts = batch_facts()
    return facts is not None and facts["system"] == "slurm"


def end_in_environment() -> float | None:
    """Tell when the limit was that this job of SLURM began with; None where that isn't told.

    The limit of a running job can be changed.
    """
    told = os.environ.get(END_VARIABLE, "")
    return float(told) if told.isdecimal() else None


def end_time() -> float | None:
    """Ask the controller when this job reaches its time limit.

    Returns
    -------
    float or None
        Seconds since 1970, infinite where the job has no limit; None outside of a SLURM job, or
        where nobody tells.
    """
    facts = batch_facts()
    if facts is None or facts["system"] != "slurm":
        return None
    try:
        answer = _scontrol(["show", "job", "--oneliner", id_of_job(facts)], ANSWER_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        logger.debug("the end of job %s is not known from scontrol: %s", facts["job_id"], error)
        # Not what the environment says: it may have been changed since.
        return None
    # Beside the other time: the name of a job, which comes before, may have such words as well.
    found = re.search(r"\sStartTime=\S+ EndTime=(\S+)", answer)
    if found is None:
        return None
    if found[1] == "Unknown":  # That of a job without a limit.
        return math.inf
    try:
        # Local time, as is what has no time zone.
        return datetime.fromisoformat(found[1]).timestamp()
    except ValueError:
        return None


def requeue() -> None:
    """Ask SLURM to run this job again once it has ended, which also ends it.

    Raises
    ------
    ProteinFlexError
        This is not a job of SLURM, or SLURM refuses; the message says why.
    """
    facts = batch_facts()
    if facts is None or facts["system"] != "slurm":
        system = "none" if facts is None else facts["system"]
        raise ProteinFlexError(
            "requeue: only jobs of SLURM can be put back into the queue; this process's batch "
            f"system is {system}"
        )
    job = id_of_job(facts)
    try:
        _scontrol(["requeue", job], REQUEUE_SECONDS)
    except subprocess.CalledProcessError as error:
        reason = (error.stderr or error.stdout or "").strip() or f"exit status {error.returncode}"
        raise ProteinFlexError(f"scontrol requeue {job}: {reason}") from error
    except (OSError, subprocess.SubprocessError) as error:
        raise ProteinFlexError(f"scontrol requeue {job}: {error}") from error


def are_queued(jobs: Sequence[str]) -> bool:
    """Tell whether some of these jobs or job arrays are in SLURM's queue: waiting or running.

    False where nobody tells: there is no SLURM here, or it has forgotten them.
    """
    try:
        command = ["squeue", "--noheader", f"--jobs={','.join(jobs)}"]
        return bool(_ask(command, ANSWER_SECONDS).strip())
    except (OSError, subprocess.SubprocessError) as error:
        logger.debug("squeue does not tell what is queued: %s", error)
        return False


def _scontrol(arguments: list[str], timeout: float) -> str:
    return _ask(["scontrol", *arguments], timeout)


def _ask(command: list[str], timeout: float) -> str:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=True,
        timeout=timeout,
        # Not the user's own format of times.
        env={**os.environ, "SLURM_TIME_FORMAT": "standard"},
    )
    # Of children that another one waits for, or nobody (SIGCHLD is ignored), Python says 0.
    is_lost = signal.getsignal(signal.SIGCHLD) is not signal.SIG_DFL
    if is_lost and done.stderr and not done.stdout:
        raise subprocess.CalledProcessError(1, command, done.stdout, done.stderr)
    return done.stdout
