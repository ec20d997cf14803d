"""The documentation's example runs as it is printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from proteinflex_optimization import ProgressTracker

PAGE = Path(__file__).parents[2] / "docs" / "progress.md"


def test_the_examples_run_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) == 2
    monkeypatch.chdir(tmp_path)
    for example in examples:
        exec(compile(example, PAGE.name, "exec"), {})
    progress = ProgressTracker.attach("run").get_progress()
    assert progress["percent"] == 100.0
    assert progress["tasks"]["fold"]["metadata"] == {"sequence": "MKV"}
    assert progress["tasks"]["frames"]["completed"] == 50
