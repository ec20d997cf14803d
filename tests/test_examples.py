"""The examples run as they stand, and do what they say."""

import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from proteinflex_optimization import DataHandler

EXAMPLES = Path(__file__).parents[1] / "examples"


SAYS = {
    "tutorial/first_steps.py": "1 call, the same result: True",
    "alphafold.py": "28 residues, pLDDT 57 to 81",
    "batches.py": "of the pairs of residues are no padding",
    "job_array.py": "10 boards: 1 failed, 2 stopped, 7 completed",
    "precision.py": "error 0.000500 Å at most",
    "shared_cache.py": "4 workers had 32 results; 8 were computed",
    "train.py": "going on at epoch 8\nloss",
}
"""What examples print that need no minutes; `make docs` runs all of them."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.torch] * (name == "train.py")) for name in SAYS]
)
def test_an_example_does_what_it_says_and_can_be_run_again(name, tmp_path):
    if name == "train.py":
        pytest.importorskip("torch")
    here = tmp_path / "examples"
    shutil.copytree(EXAMPLES, here)
    script = here / name
    first, again = (
        subprocess.run(
            [sys.executable, script.name],
            cwd=script.parent,
            env={**os.environ, "MPLBACKEND": "Agg"},
            stdout=subprocess.PIPE,
            text=True,
            timeout=120,
            check=True,
        )
        for _ in range(2)
    )
    assert SAYS[name] in first.stdout
    if name == "shared_cache.py":
        assert SAYS[name] in again.stdout
    if not name.startswith("tutorial"):
        assert len(list(script.parent.glob("*.png"))) == 1


class Restartable:
    """The example in a directory, with some of its words replaced."""

    def __init__(self, directory, **replaced):
        self.directory = directory
        self.script = (EXAMPLES / "restartable_openmm.py").read_text(encoding="utf-8")
        for old, new in replaced.items():
            assert self.script.count(old) == 1
            self.script = self.script.replace(old, new)
        directory.mkdir(exist_ok=True)
        shutil.copy(EXAMPLES / "data" / "alanine-dipeptide.pdb", directory / "protein.pdb")

    def start(self):
        return subprocess.Popen(
            [sys.executable, "-c", self.script],
            cwd=self.directory,
            env={**os.environ, "OPENMM_DEFAULT_PLATFORM": "Reference", "OPENMM_CPU_THREADS": "1"},
        )

    def run(self):
        assert self.start().wait(120) == 0

    def checkpoints(self):
        return sorted(path.name for path in self.directory.glob("checkpoints/step-*"))

    def stored(self):
        handler = DataHandler(self.directory / "cache")
        return handler.load_data(handler.key_for("md"))


def test_restartable_openmm_as_printed_but_shorter(tmp_path):
    pytest.importorskip("openmm")
    lines = (EXAMPLES / "restartable_openmm.py").read_text(encoding="utf-8").split('"""\n')[-1]
    assert len([line for line in lines.splitlines() if line]) <= 12
    page = (EXAMPLES.parent / "docs" / "integrations.md").read_text(encoding="utf-8")
    assert f"```python notest\n{lines.strip()}\n```" in page
    for steps in ("150", "250", "250"):
        example = Restartable(
            tmp_path, **{"100_000": steps, "1000)": "100)", '"md", 100)': '"md", 50)'}
        )
        example.run()
        assert example.stored()["step"].tolist() == list(range(50, int(steps) + 1, 50))
        assert example.checkpoints()[-1] == f"step-{int(steps) // 100 * 100:09d}"


@pytest.mark.parametrize("kills", [5, pytest.param(20, marks=pytest.mark.soak)])
def test_restartable_openmm_killed_at_random_has_the_frames_of_an_unbroken_run(tmp_path, kills):
    """Without random numbers, on a platform that repeats every bit: so equal is equal to the bit."""
    pytest.importorskip("openmm")
    replaced = {
        "LangevinMiddleIntegrator, app": "VerletIntegrator, app",
        "LangevinMiddleIntegrator(300, 1, 0.001)": "VerletIntegrator(0.001)",
        ', "implicit/gbn2.xml"': "",
        '"md", 100)': '"md", 20)',
        "1000)": "200)",
    }
    killed = Restartable(tmp_path / "killed", **replaced, **{"100_000": "10_000_000"})
    generator = random.Random(kills)
    ends = []
    for _ in range(kills):
        before = killed.checkpoints()
        process = killed.start()
        try:
            # Some of them while it starts, loads and has not come to a checkpoint of its own.
            deadline = time.monotonic() + generator.uniform(0.5, 2.5)
            while time.monotonic() < deadline and killed.checkpoints() == before:
                assert process.poll() is None
                time.sleep(0.005)
            time.sleep(generator.uniform(0, 0.3))
        finally:
            process.kill()
            process.wait()
        ends.append((killed.checkpoints() or ["none"])[-1])
    print(ends)
    newest = int(ends[-1].removeprefix("step-")) if ends[-1] != "none" else 0
    steps = newest + 410
    for name in ("killed", "whole"):
        example = Restartable(tmp_path / name, **replaced, **{"100_000": str(steps)})
        example.run()
        found = example.stored()
        assert found["step"].tolist() == list(range(20, steps + 1, 20))
        if name == "killed":
            first = found
    for field, values in first.items():
        np.testing.assert_array_equal(values, found[field], err_msg=field)


def test_every_example_is_listed_with_what_it_shows():
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \[(.*?)\]\((.*?)\) \| ", page, re.MULTILINE)
    assert all(name == target for name, target in listed)
    there = {str(file.relative_to(EXAMPLES)) for file in EXAMPLES.rglob("*.py")}
    assert {name for name, _ in listed} == there
