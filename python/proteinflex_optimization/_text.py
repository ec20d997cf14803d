"""Text that can be shown anywhere: on a terminal, in a log line, as a metric's label."""

from __future__ import annotations

__all__ = ["one_line", "printable"]


def printable(text: str) -> str:
    """Return text with escapes for all that is neither a visible character nor a space.

    Names, ids, messages and paths are written by others. In them may be what moves a terminal's
    cursor, ends a line, or changes the direction of what follows.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def one_line(text: str, separator: str = " ") -> str:
    """Return the lines of a text beside each other, printable."""
    return printable(separator.join(line.strip() for line in text.splitlines() if line.strip()))
