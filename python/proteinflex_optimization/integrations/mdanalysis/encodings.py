"""Text that is no UTF-8, which MDAnalysis does not read: it is taken for Latin-1."""

from __future__ import annotations

from codecs import getincrementaldecoder
from pathlib import Path

from proteinflex_optimization._packed import unpacked, without_suffix


def is_utf8(name: str, path: Path) -> bool:
    """Whether a file, which the argument `name` gives, is UTF-8 to its end, once it is unpacked."""
    decoder = getincrementaldecoder("utf-8")()
    try:
        for block in unpacked(name, path):
            decoder.decode(block)
    except UnicodeDecodeError:
        return False
    return True


def write_utf8(name: str, path: Path, folder: Path) -> Path:
    """Write what is in a file into a folder, as UTF-8 and unpacked; returns the new file."""
    copy = folder / without_suffix(path.name)
    with copy.open("wb") as out:
        for block in unpacked(name, path):
            out.write(block.decode("latin-1").encode())
    return copy
