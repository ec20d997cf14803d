"""What `docs/before-after.md` compares runs, gives the same, and has as many lines as it says."""

import gc
import re
from pathlib import Path

import numpy as np
import pytest
from proteinflex_optimization import DataHandler, ProgressTracker

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "before-after.md").read_text(encoding="utf-8")
SECTIONS = {
    section.split("\n", 1)[0]: re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    for section in PAGE.split("\n## ")[1:]
}


def run(code, directory, monkeypatch, replaced=(), **names):
    """Run a block in a directory of its own, with some of its words replaced."""
    for old, new in replaced:
        assert old in code
        code = code.replace(old, new)
    directory.mkdir(exist_ok=True)
    monkeypatch.chdir(directory)
    exec(compile(code, "before-after.md", "exec"), names)
    gc.collect()  # OpenMM closes its files when they are collected, at the end of a script.
    return names


def test_each_section_has_a_row_with_its_lines():
    rows = re.findall(r"^\| \[(.*?)\]\(#.*?\) \| (\d+) \| (\d+) \|", PAGE, re.MULTILINE)
    counted = [
        (name, *[str(len(re.findall(r"^\s*[^#\s]", block, re.MULTILINE))) for block in blocks])
        for name, blocks in SECTIONS.items()
    ]
    assert [(name.lower(), *lines) for name, *lines in counted] == [
        (name.lower(), *lines) for name, *lines in rows
    ]


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_md_goes_on_and_its_flexibility_is_the_same(tmp_path, monkeypatch):
    pytest.importorskip("openmm")
    pytest.importorskip("dask")
    mda = pytest.importorskip("MDAnalysis")
    monkeypatch.setenv("OPENMM_DEFAULT_PLATFORM", "Reference")
    before, after = SECTIONS["Restartable MD"]
    script = (ROOT / "examples" / "restartable_openmm.py").read_text(encoding="utf-8")
    assert after.strip() == script.split('"""\n')[-1].strip()
    # Without random numbers and solvent, the two runs are one.
    words = [
        ("LangevinMiddleIntegrator, app", "VerletIntegrator, app"),
        ("LangevinMiddleIntegrator(300, 1, 0.001)", "VerletIntegrator(0.001)"),
        (', "implicit/gbn2.xml"', ""),
        ("1000)", "20)"),
    ]
    every = {0: [("100,", "10,"), ("// 100", "// 10")], 1: [('"md", 100)', '"md", 10)')]}
    protein = (ROOT / "examples" / "data" / "alanine-dipeptide.pdb").read_text()
    for number, block in enumerate((before, after)):
        directory = tmp_path / str(number)
        directory.mkdir()
        (directory / "protein.pdb").write_text(protein)
        for steps in ("40", "60"):
            replaced = [("100_000", steps), *words, *every[number]]
            run(block, directory, monkeypatch, replaced)
            if number == 0 and steps == "40":
                # A kill leaves frames beyond the checkpoint.
                written = mda.Universe("protein.pdb", "md.xtc")
                frames = written.trajectory.timeseries(order="fac")
                with mda.Writer("md.xtc", 22) as writer:
                    for frame in [*frames, frames[-1]]:
                        written.atoms.positions = frame
                        writer.write(written.atoms)
    handler = DataHandler(tmp_path / "1" / "cache")
    ours = handler.open("md")[:]
    universe = mda.Universe(str(tmp_path / "0/protein.pdb"), str(tmp_path / "0/md.xtc"))
    theirs = universe.trajectory.timeseries(order="fac")
    assert ours.shape == theirs.shape == (6, 22, 3)
    assert np.abs(ours - theirs).max() < 0.006  # XTC keeps 0.01 Å.

    before, after = SECTIONS["RMSF of a cached run"]
    all_atoms = [('"name CA"', '"all"')]
    usual = run(before, tmp_path / "0", monkeypatch, all_atoms)["fluctuation"]
    found = run(after, tmp_path / "1", monkeypatch, all_atoms)["fluctuation"]
    np.testing.assert_allclose(found, usual, atol=6e-3)


def test_a_function_gives_the_same_and_is_kept(tmp_path, monkeypatch):
    pytest.importorskip("joblib")
    positions = np.random.default_rng(0).normal(size=(20, 3))
    source = tmp_path / "functions"
    source.mkdir()
    results = []
    for number, block in enumerate(SECTIONS["A cached function"]):
        # Both look at the source of a function, so it needs a file.
        path = source / f"cached_{number}.py"
        path.write_text(f"import numpy as np\npositions = np.load('positions.npy')\n{block}")
        directory = tmp_path / str(number)
        directory.mkdir()
        monkeypatch.chdir(directory)
        np.save("positions.npy", positions)
        for _ in range(2):
            names = {"__name__": f"cached_{number}", "__file__": str(path)}
            exec(compile(path.read_text(), path, "exec"), names)
            results.append(names["result"])
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])
    assert DataHandler(tmp_path / "1" / "cache").get_cache_stats()["entries"] == 1


def test_a_loop_is_counted(tmp_path, monkeypatch, capsys):
    pytest.importorskip("tqdm")
    frames = np.ones((30, 4))
    for number, block in enumerate(SECTIONS["A progress bar over a loop"]):
        names = run(block, tmp_path / str(number), monkeypatch, frames=frames, total=0)
        assert names["total"] == 120
    (task,) = ProgressTracker.attach(tmp_path / "1" / "run").get_progress()["tasks"].values()
    assert (task["completed"], task["status"]) == (30, "completed")
    assert "30/30" in capsys.readouterr().err


@pytest.mark.torch
def test_training_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    weights = []
    for number, block in enumerate(SECTIONS["Training with resume"]):
        for parts in (["6"], ["3", "6"]):
            directory = tmp_path / f"{number}-{len(parts)}"
            torch.manual_seed(0)
            for steps in parts:
                names = run(block, directory, monkeypatch, [("20)", f"{steps})")])
            weights.append(names["model"].weight.detach().numpy())
            assert len(list((directory / "checkpoints").glob("step-*"))) == 3
    for other in weights[1:]:
        np.testing.assert_array_equal(other, weights[0])
