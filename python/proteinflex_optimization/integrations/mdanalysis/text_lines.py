"""The lines of a text file, and whether the last one is whole."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from io import TextIOWrapper
from itertools import islice
from pathlib import Path

from MDAnalysis.lib.util import anyopen

from proteinflex_optimization.integrations.mdanalysis.findings import Findings

DECIMAL = re.compile(r"[-+]?\d*\.(\d*)")
NUMBER_BEGUN = re.compile(r"[-+]?\d*\.?\d*")


class Lines(Iterator[str]):
    """The lines of a file, which remember the last two that are not blank."""

    def __init__(self, path: Path) -> None:
        self._lines = lines_of(path)
        self._ahead: list[str] = []
        self.last_two = ["", ""]

    def __next__(self) -> str:
        line = self._ahead.pop(0) if self._ahead else next(self._lines)
        if line.strip():
            self.last_two = [self.last_two[1], line]
        return line

    def peek(self, n_lines: int) -> list[str]:
        """Return lines that are still to come."""
        self._ahead += islice(self._lines, n_lines - len(self._ahead))
        return self._ahead[:n_lines]

    def skip(self, n_lines: int) -> None:
        """Pass over lines, or as many as there are."""
        for _ in islice(self, n_lines):
            pass


def lines_of(path: Path) -> Iterator[str]:
    """Give the lines, without a byte-order mark before the first; what is no UTF-8 has no place here."""
    with (
        anyopen(str(path), "rb") as file,
        TextIOWrapper(file, "utf-8-sig", errors="replace") as lines,
    ):
        yield from lines


def check_last_line(lines: Iterable[str], findings: Findings, *, is_free: bool = False) -> None:
    """Notice a number with fewer decimals than the one before, and no end of the line after it.

    In a free format, numbers have as many decimals as they need, so that any such line may be cut.
    """
    last = ""
    for line in lines:
        last = line if line.strip() else last
    if last.endswith("\n"):
        return
    words = ["", "", *last.split()]
    before, there = (DECIMAL.fullmatch(word) for word in words[-2:])
    is_cut = len(there[1]) < len(before[1]) if there and before else bool(before)
    if is_free or (is_cut and NUMBER_BEGUN.fullmatch(words[-1])):
        findings.cut = f"it ends within the line {last[-40:]!r} (if that is whole, end the line)"
        findings.last_is_cut = True
