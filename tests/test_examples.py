"""The examples run as they stand, and do what they say."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def start(name, *arguments):
    return subprocess.Popen(
        [sys.executable, EXAMPLES / name, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )


def run(name, *arguments):
    process = start(name, *arguments)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return output


def test_cache_slice(tmp_path):
    output = run("cache_slice.py", tmp_path)
    assert "400 frames × 300 atoms" in output
    assert float(re.search(r"rounded by (\S+) Å", output)[1]) <= 0.0005 + 1e-5


def test_process_pool(tmp_path):
    assert "100 of 100 recycles were counted" in run("process_pool.py", tmp_path)


def test_shared_cache(tmp_path):
    output = run("shared_cache.py", tmp_path)
    assert "all agree: True" in output
    assert "3 entries" in output


def test_batch_sizes(tmp_path):
    output = run("batch_sizes.py", tmp_path)
    planned = re.findall(r": \[(.*)\], padded", output)
    assert sum(len(lengths.split(",")) for lengths in planned) == 11


@pytest.mark.torch
def test_resume_training(tmp_path):
    pytest.importorskip("torch")
    whole = run("resume_training.py", tmp_path / "whole", 12)
    run("resume_training.py", tmp_path / "parts", 6)
    resumed = run("resume_training.py", tmp_path / "parts", 12)
    assert "going on at epoch 6" in resumed
    assert resumed.splitlines()[-1] == whole.splitlines()[-1]


def test_restartable_openmm_after_it_was_killed(tmp_path):
    pytest.importorskip("openmm")
    killed = start("restartable_openmm.py", tmp_path, 100_000)
    try:
        while not list(tmp_path.glob("checkpoints/step-*/manifest.json")):
            assert killed.poll() is None
    finally:
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
    (*_, newest) = sorted(tmp_path.glob("checkpoints/step-*/manifest.json"))
    step = int(newest.parent.name.removeprefix("step-"))
    output = run("restartable_openmm.py", tmp_path, step + 50)
    assert f"going on at step {step}\n" in output
    assert f"<Trajectory {(step + 50) // 10} frames" in output


def test_every_example_is_listed_with_what_it_shows():
    listed = set(re.findall(r"\]\((.*?)\)", (EXAMPLES / "README.md").read_text(encoding="utf-8")))
    assert listed == {file.name for file in EXAMPLES.glob("*.py")}
