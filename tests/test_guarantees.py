"""What the documentation promises names its proof, and the proof is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "guarantees.md"


def named_tests():
    """The tests that the page names: file and function."""
    return re.findall(r"`([\w/]+\.(?:py|rs))::(\w+)`", PAGE.read_text())


def test_every_test_that_is_named_as_a_proof_is_there():
    named = named_tests()
    assert len(named) > 50
    missing = []
    for file, name in named:
        path = ROOT / ("tests" if file.endswith(".py") else "rust/core") / file
        definition = rf"^\s*(?:async )?(?:def|fn) {name}\b"
        if not path.is_file() or not re.search(definition, path.read_text(), re.MULTILINE):
            missing.append(f"{file}::{name}")
    assert missing == []


def test_every_promise_has_a_scope_and_a_proof_or_says_that_it_was_not_tried():
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    rows = [row for row in rows if not row.startswith(("| promise", "| ---"))]
    assert len(rows) > 30
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert len(cells) == 3, row
        assert cells[1], row
        assert "::" in cells[2] or "not tried" in cells[2], row
