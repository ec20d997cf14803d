"""The examples run as they stand, and do what they say."""

import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from proteinflex_optimization import DataHandler

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


ALANINE_DIPEPTIDE = """
CH3 ACE 1 2.000 2.090 0.000, H1 ACE 1 1.275 2.900 -0.043, H2 ACE 1 1.853 1.512 0.910,
H3 ACE 1 1.880 1.445 -0.868, C ACE 1 3.427 2.641 0.000, O ACE 1 4.391 1.877 0.000,
N ALA 2 3.555 3.970 0.000, H ALA 2 2.738 4.563 -0.005, CA ALA 2 4.853 4.614 0.000,
HA ALA 2 5.404 4.318 0.894, CB ALA 2 5.661 4.221 -1.232, HB1 ALA 2 5.086 4.432 -2.135,
HB2 ALA 2 5.933 3.168 -1.226, HB3 ALA 2 6.602 4.767 -1.281, C ALA 2 4.713 6.129 0.000,
O ALA 2 3.601 6.653 0.000, N NME 3 5.846 6.835 0.000, H NME 3 6.726 6.344 -0.001,
C NME 3 5.846 8.284 0.000, H1 NME 3 5.346 8.655 0.898, H2 NME 3 6.869 8.663 -0.023,
H3 NME 3 5.307 8.654 -0.875
"""


class Restartable:
    """The example in a directory, with some of its words replaced."""

    def __init__(self, directory, **replaced):
        self.directory = directory
        self.script = (EXAMPLES / "restartable_openmm.py").read_text(encoding="utf-8")
        for old, new in replaced.items():
            assert self.script.count(old) == 1
            self.script = self.script.replace(old, new)
        directory.mkdir(exist_ok=True)
        lines = [
            f"ATOM  {number:5d}  {name:<3} {residue} A{index:>4}    "
            f"{float(x):8.3f}{float(y):8.3f}{float(z):8.3f}  1.00  0.00           {name[0]}"
            for number, atom in enumerate(ALANINE_DIPEPTIDE.split(","), 1)
            for name, residue, index, x, y, z in [atom.split()]
        ]
        (directory / "protein.pdb").write_text("\n".join([*lines, "END", ""]))

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
    listed = set(re.findall(r"\]\((.*?)\)", (EXAMPLES / "README.md").read_text(encoding="utf-8")))
    assert listed == {file.name for file in EXAMPLES.glob("*.py")}
