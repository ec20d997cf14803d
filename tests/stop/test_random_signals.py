"""Signals at random moments of saves and flushes: one whole checkpoint each, and no deadlock."""

import random
import selectors
import signal
import subprocess
import sys
import time

import pytest
from proteinflex_optimization import CheckpointManager, DataHandler
from proteinflex_optimization.stop import DEFAULT_SIGNALS

PROMPT = 60.0
"""How long a job may take to save and stop, on a busy machine; the default margin is a minute."""

JOB = """
import sys
import numpy as np
from proteinflex_optimization import (CheckpointManager, DataHandler, ProgressTracker, StopRequest,
                                      StopRequested)

directory, rounds = sys.argv[1], int(sys.argv[2])
manager = CheckpointManager(f"{directory}/saved", max_checkpoints=1000, link_unchanged=False)
handler = DataHandler(f"{directory}/cache")
frames = np.random.default_rng(1).normal(size=(20, 40, 3)).astype(np.float32)
arrays = np.zeros(300_000)

for number in range(rounds):
    step = 0
    with ProgressTracker(checkpoint_interval=0.02) as tracker, StopRequest(walltime=None) as stop:
        task = tracker.start_task("t", "T", None)
        def states():
            return {"run": {"round": number, "step": step, "a": arrays}}
        tracker.checkpoint_with(manager, states, stop=stop)
        try:
            with handler.trajectory_writer(f"run-{number}") as writer:
                # Printed in one call: what a signal interrupts in the middle is not this test's.
                sys.stdout.write("ready\\n")
                sys.stdout.flush()
                while True:
                    writer.append(frames)
                    writer.flush()
                    manager.create_checkpoint("own", {"run": {"step": step}, "a": {"a": arrays}})
                    step += 1
                    task.update()
        except StopRequested as stopped:
            reason = stopped.reason
    sys.stdout.write(f"stopped {number} {reason} {step}\\n")
    sys.stdout.flush()
"""


def check(tmp_path, rounds, seed):
    """Run one process through rounds; returns how long it took to stop, for each."""
    chance = random.Random(seed)
    # A file, which takes all that the job may say; a pipe that nobody reads would stop it.
    errors = open(tmp_path / "errors", "w+")  # noqa: SIM115
    job = subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-c", JOB, str(tmp_path), str(rounds)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
    )
    took, steps, ended = [], [], False
    try:
        for number in range(rounds):
            assert job.stdout.readline() == "ready\n"
            time.sleep(chance.random() * 0.15)
            name = chance.choice(DEFAULT_SIGNALS)
            sent = time.monotonic()
            watchdog = sent + PROMPT
            job.send_signal(signal.Signals[name])
            # `readline` would wait for ever for a job that hangs.
            line = read_line(job, watchdog)
            took.append(time.monotonic() - sent)
            assert line.split()[:3] == ["stopped", str(number), name], line
            steps.append(int(line.split()[3]))
        job.wait(PROMPT)
        ended = True
    finally:
        if not ended:
            job.send_signal(signal.SIGABRT)  # Its stacks, for whoever looks into it.
            job.wait()
            errors.seek(0)
            print(errors.read()[-5000:])
        job.kill()
        job.communicate()
        errors.close()
    assert job.returncode == 0
    manager = CheckpointManager(tmp_path / "saved", max_checkpoints=1000)
    saved = {number: [] for number in range(rounds)}
    for row in manager.list_checkpoints():
        assert row["valid"]
        assert manager.verify(row["path"])["ok"]
        if row["checkpoint_id"] != "own":
            run = manager.load_checkpoint(row["path"])["run"]
            saved[run["round"]].append(run["step"])
    for number in range(rounds):
        # One checkpoint for each request, of the step at which the job stopped, and none after it.
        assert saved[number].count(steps[number]) == 1
        assert max(saved[number]) == steps[number]
    assert not list((tmp_path / "saved").glob(".*.tmp"))
    handler = DataHandler(tmp_path / "cache")
    for number in range(rounds):
        with handler.trajectory_writer(f"run-{number}", resume=True) as writer:
            assert writer.n_frames == 20 * steps[number]
    return took


def read_line(job, deadline):
    with selectors.DefaultSelector() as selector:
        selector.register(job.stdout, selectors.EVENT_READ)
        assert selector.select(max(0.0, deadline - time.monotonic())), "the job hangs"
    return job.stdout.readline()


@pytest.mark.parametrize("seed", [1, 2])
def test_a_signal_at_any_moment_leaves_one_whole_checkpoint(tmp_path, seed):
    took = check(tmp_path, 15, seed)
    print(f"stopped after {max(took):.2f} s at most")


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_thousand_signals_leave_one_whole_checkpoint_each(tmp_path):
    took = []
    for seed in range(40):
        directory = tmp_path / str(seed)
        directory.mkdir()
        took += check(directory, 25, seed)
    took.sort()
    print(f"{len(took)} signals: median {took[500]:.3f} s, most {took[-1]:.3f} s")
