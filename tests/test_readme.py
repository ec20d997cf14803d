"""The README's example runs as it is printed."""

import re
from pathlib import Path

import numpy as np
from proteinflex_optimization import CheckpointManager, DataHandler, ProgressTracker

README = Path(__file__).parents[1] / "README.md"


def test_the_example_runs_as_printed(tmp_path, monkeypatch):
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    positions = np.random.default_rng(1).normal(0, 10, (40, 3)).astype(np.float32)
    found = {"positions": positions, "state": {"step": 1, "positions": positions}}
    exec(compile(example, "README.md", "exec"), found)

    assert found["flexible"].shape == (3, 3)
    trajectory = DataHandler("cache").open(DataHandler("cache").key_for("villin"))
    np.testing.assert_array_equal(trajectory.time, np.arange(1000) * 2.0)
    assert np.abs(trajectory[999] - positions).max() <= 0.0005 + 1e-6
    assert [
        row["checkpoint_id"] for row in CheckpointManager("checkpoints").list_checkpoints()
    ] == [
        "step-799",
        "step-899",
        "step-999",
    ]
    assert ProgressTracker.attach("run").get_progress()["percent"] == 100.0


def test_every_page_that_is_linked_to_is_there():
    for page in [README, *README.parent.glob("docs/*.md"), README.parent / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
