"""The demo killed at any moment, with what it left removed in between: never half a trajectory."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from proteinflex_optimization import CheckpointManager, DataHandler, ProgressTracker
from proteinflex_optimization.demo import stopping
from proteinflex_optimization.demo.stopping import InterruptedRunError, StagedStop
from waiting import until

PATIENT = """
import sys
from proteinflex_optimization.cli import main
from proteinflex_optimization.demo import stopping
stopping.GRACE_SECONDS = 60  # On a busy machine a safe point may be far away.
sys.exit(main())
"""
FLEXOPT = [sys.executable, "-c", PATIENT]
N_FRAMES = 30
OPTIONS = ["--steps", "600", "--frame-interval", "20", "--checkpoint-interval", "100"]
QUIET = {**os.environ, "OPENMM_CPU_THREADS": "1"}
PATIENCE = 120


class Run:
    """The demo as a process, in an output directory that several of them share."""

    def __init__(self, output, *options):
        self.started = time.time()
        self.job = subprocess.Popen(
            [*FLEXOPT, "demo", "--output", str(output), *(options or OPTIONS)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=QUIET,
        )

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.job.kill()
        self.job.communicate()

    def wait_for(self, condition):
        until(lambda: self.job.poll() is not None or condition())
        assert self.job.poll() is None, self.job.stdout.read()

    def end(self, number=None):
        if number is not None:
            self.job.send_signal(number)
        text, _ = self.job.communicate(timeout=PATIENCE)
        return text


def part(output, name):
    """A directory of the run, if there is a run."""
    return next(iter(output.glob(f"*/{name}")), output / "none" / name)


def check(output):
    """A summary is of as many frames as it says, and these are the frames of the run."""
    summary = json.loads(part(output, "summary.json").read_text())
    assert summary["n_frames"] == N_FRAMES
    handler = DataHandler(str(output / "cache"))
    result = handler.load_data(handler.key_for(f"{summary['run']}:flexibility", kind="structure"))
    assert len(result["rmsd"]) == N_FRAMES
    if summary["trajectory_key"] in handler:
        with handler.open(summary["trajectory_key"]) as trajectory:
            np.testing.assert_array_equal(
                trajectory.read(field="step"), np.arange(20, 601, 20), strict=False
            )


def progress(output):
    return ProgressTracker.attach(part(output, "progress")).get_progress()


def remove(output, what):
    directory = output / "cache" if what == "cache" else part(output, what)
    shutil.rmtree(directory, ignore_errors=True)


def is_saved(output, step, since):
    """Whether there is a checkpoint of this step that is newer than a moment."""
    try:
        manifest = part(output, "checkpoints") / f"dynamics-step-{step:09d}" / "manifest.json"
        return manifest.stat().st_mtime > since
    except OSError:
        return False


def kill_at(output, step, number=signal.SIGKILL):
    with Run(output) as run:
        run.wait_for(lambda: is_saved(output, step, run.started))
        return run.end(number)


def test_a_killed_run_goes_on_whatever_was_removed_meanwhile(tmp_path):
    kill_at(tmp_path, 300)
    # Without the frames before them the checkpoints are worth nothing.
    remove(tmp_path, "cache")
    said = kill_at(tmp_path, 200, signal.SIGINT)
    assert "can't go on from step 300" in said
    assert "stopped at step" in said
    # Without its board a run counts on from its checkpoint.
    remove(tmp_path, "progress")
    with Run(tmp_path) as run:
        said = run.end()
        assert run.job.returncode == 0, said
    assert "resuming from the checkpoint at step" in said
    check(tmp_path)
    told = progress(tmp_path)
    assert told["percent"] == 100
    assert told["completed_steps"] <= told["total_steps"]
    assert told["tasks"]["simulate"]["completed"] == 600
    assert told["tasks"]["analyse"]["completed"] == 2 * N_FRAMES
    # The trajectory is complete: without checkpoints and without the result only the analysis is
    # done again.
    remove(tmp_path, "checkpoints")
    handler = DataHandler(str(tmp_path / "cache"))
    for key in handler.keys("structure"):
        handler.remove(key)
    with Run(tmp_path) as run:
        said = run.end()
        assert run.job.returncode == 0, said
    assert "molecular dynamics is complete already" in said
    check(tmp_path)
    assert progress(tmp_path)["tasks"]["simulate"]["completed"] == 600


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", [1])
def test_twenty_random_kills_with_removals_between(tmp_path, seed):
    generator = random.Random(seed)
    started = time.monotonic()
    with Run(tmp_path / "whole") as run:
        run.end()
    whole = time.monotonic() - started
    output = tmp_path / "killed"
    for kill in range(20):
        number = generator.choice([signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
        moment = generator.uniform(0.1, 1.0) * whole
        with Run(output) as run:
            try:
                run.job.wait(moment)
            except subprocess.TimeoutExpired:
                run.job.send_signal(number)
            said = run.end()
            status = run.job.returncode
        removed = generator.choice(["nothing", "cache", "checkpoints", "progress"])
        lines = [line for line in said.splitlines() if " %, " not in line]
        print(
            f"{kill}: {number.name} after {moment:.1f} s, status {status}, then without {removed}"
        )
        print("    " + "\n    ".join(lines))
        assert status in (0, 130, -number), said
        assert "Traceback" not in said
        if part(output, "summary.json").exists():
            if status == 0:
                check(output)
            # So that there is something to do again.
            removed = "cache"
        if removed != "nothing":
            remove(output, removed)
    with Run(output) as run:
        said = run.end()
        assert run.job.returncode == 0, said
    check(output)
    told = progress(output)
    assert told["completed_steps"] <= told["total_steps"]
    assert told["tasks"]["simulate"]["completed"] == 600


def test_ctrl_c_is_answered_while_the_structure_is_prepared(tmp_path):
    with Run(tmp_path) as run:
        run.wait_for(lambda: part(tmp_path, "progress").is_dir())
        said = run.end(signal.SIGINT)
        assert run.job.returncode == 130, said
    assert "the same command goes on from there" in said


def test_a_minimisation_is_interrupted_with_what_it_has(tmp_path):
    def iterations():
        try:
            return progress(tmp_path)["tasks"]["minimise"]["completed"]
        except (OSError, KeyError):
            return 0

    with Run(tmp_path) as run:
        run.wait_for(lambda: iterations() > 0)
        said = run.end(signal.SIGTERM)
        assert run.job.returncode == 130, said
    assert "stopped during the minimisation" in said
    manager = CheckpointManager(part(tmp_path, "checkpoints"))
    saved = manager.load_checkpoint(manager.latest())
    assert 0 < saved["run"]["minimised"] < 500
    assert saved["dynamics"]["step"] == 0


@pytest.fixture
def alarm():
    """Call it for a Ctrl-C 0.2 s from then."""
    before = signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    yield lambda: signal.setitimer(signal.ITIMER_REAL, 0.2)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_a_job_that_does_not_look_is_left_alone(alarm):
    is_over = threading.Event()
    started = time.monotonic()
    with pytest.raises(InterruptedRunError) as raised, StagedStop() as stop:
        stop.run(lambda: (alarm(), is_over.wait(200)))
    assert raised.value.is_abandoned
    assert stopping.GRACE_SECONDS <= time.monotonic() - started < 100
    is_over.set()


def test_a_job_that_looks_ends_at_its_safe_point(alarm, monkeypatch):
    monkeypatch.setattr(stopping, "GRACE_SECONDS", 60)
    saved = []

    def job(stop):
        alarm()
        while not stop.requested:
            time.sleep(0.01)
        stop.stage = "at step 3"
        saved.append(3)
        stop.check()

    with (
        pytest.raises(InterruptedRunError, match="stopped at step 3") as raised,
        StagedStop() as s,
    ):
        s.run(lambda: job(s))
    assert not raised.value.is_abandoned
    assert saved == [3]


def test_a_job_s_result_and_its_errors_reach_the_caller():
    with StagedStop() as stop:
        assert stop.run(lambda: 5) == 5
        with pytest.raises(ZeroDivisionError):
            stop.run(lambda: 1 / 0)
