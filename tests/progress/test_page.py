"""The documentation's example runs as it is printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from proteinflex_optimization import ProgressTracker

PAGE = Path(__file__).parents[2] / "docs" / "progress.md"


def test_the_example_runs_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, PAGE.name, "exec"), {})
    progress = ProgressTracker.attach("run").get_progress()
    assert progress["percent"] == 100.0
    assert progress["tasks"]["fold"]["metadata"] == {"sequence": "MKV"}
    assert progress["tasks"]["frames"]["completed"] == 50
