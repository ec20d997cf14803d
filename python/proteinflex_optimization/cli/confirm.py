"""Asking before more is removed than is kept."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from typing import Any

from proteinflex_optimization.cli.output import counted, print_json, size, warn
from proteinflex_optimization.errors import InvalidArgumentError


@dataclass
class Removal:
    """How much goes and how much stays."""

    removed: int
    removed_bytes: int
    kept: int
    kept_bytes: int
    noun: str
    plural: str
    also: str = ""
    """What else goes that is asked for in any case."""

    @classmethod
    def of(cls, chosen: list[int], present: list[int], noun: str, plural: str) -> Removal:
        """Make one of the sizes of what is chosen, and of all that there is."""
        removed, kept = sum(chosen), len(present) - len(chosen)
        return cls(len(chosen), removed, kept, sum(present) - removed, noun, plural)

    def needs_asking(self) -> bool:
        """Tell whether more goes than stays, by number or by bytes, or something that always asks."""
        return bool(self.also) or self.removed > self.kept or self.removed_bytes > self.kept_bytes

    def __str__(self) -> str:
        """Say how much goes of how much."""
        things = counted(self.removed + self.kept, self.noun, self.plural)
        total = size(self.removed_bytes + self.kept_bytes)
        also = f", and {self.also}" if self.also else ""
        return f"{self.removed} of {things}, {size(self.removed_bytes)} of {total}{also}"


def add_arguments(parser: Any) -> None:
    """Add ``--yes`` and ``--dry-run``."""
    parser.add_argument(
        "-y", "--yes", action="store_true", help="don't ask, even if more goes than stays"
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be removed")


def confirmed(removal: Removal, options: argparse.Namespace) -> bool:
    """Ask on a terminal whether to go on, where more is removed than kept.

    Returns
    -------
    bool
        Whether to go on.

    Raises
    ------
    InvalidArgumentError
        There is no terminal to ask on, and no ``--yes``.
    """
    if options.yes or not (removal.removed or removal.also) or not removal.needs_asking():
        return True
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise InvalidArgumentError(
            f"this removes {removal}: expected --yes where there is no terminal to ask on; nothing "
            "was removed"
        )
    print(f"Remove {removal}? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def dry_run(
    options: argparse.Namespace,
    names: list[str],
    freed: int,
    more: str = "",
    **beside: Any,
) -> int:
    """Say what would be removed, `more` for people and what is `beside` in JSON; returns 0."""
    if options.json:
        print_json({"would_remove": names, "would_free_bytes": freed, **beside})
    else:
        print(f"nothing was removed; {size(freed)} would be{more}")
    return 0


def refused() -> int:
    """Say that nothing was removed, since that was not confirmed; returns the exit status."""
    warn("nothing was removed")
    return 1
