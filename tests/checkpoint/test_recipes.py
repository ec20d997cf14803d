"""The recipes of the documentation run as they are printed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from proteinflex_optimization import CheckpointManager

PAGE = Path(__file__).parents[2] / "docs" / "checkpoints.md"
pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]


def recipes() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def run(recipe: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(recipe, PAGE.name, "exec"), names)
    return names


def test_the_plain_loop_resumes_as_if_it_had_never_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    torch = pytest.importorskip("torch")
    plain = recipes()[0]
    found = []
    for name, stops in (("whole", [20]), ("stopped", [7, 20])):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        torch.manual_seed(11)
        for stop in stops:
            names = run(plain.replace("20)", f"{stop})"))
        found.append(names["model"].weight.detach().clone())
        rows = CheckpointManager("checkpoints").list_checkpoints()
        assert [row["checkpoint_id"] for row in rows] == ["step-17", "step-18", "step-19"]
        assert rows[-1]["metadata"].keys() == {"loss"}
    # The second one began with other weights, and went on with those that were saved.
    assert torch.equal(*found)


def test_the_lightning_recipe_makes_a_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("lightning")
    monkeypatch.chdir(tmp_path)
    strategy = run(recipes()[1])["trainer"].strategy
    assert type(strategy.checkpoint_io).__name__ == "FlexCheckpointIO"
