"""A directory that a command would have made a cache of, had it not failed: it is left as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FOLDERS = ("entries", "locks", "pins", "quarantine")
"""What is made in the directory of a cache."""


@contextmanager
def no_unused_cache(directory: str | None) -> Iterator[None]:
    """Remove in the end what was made in a directory that was not a cache, where nothing was stored."""
    if directory is None or Path(directory, "entries").exists():
        yield
        return
    place = Path(directory).absolute()
    before = {path.name for path in place.iterdir()} if place.is_dir() else None
    try:
        yield
    finally:
        _remove_unused(place, before)


def _remove_unused(place: Path, before: set[str] | None) -> None:
    """Remove the tag and the empty folders of a cache, and the directory if it was not there before."""
    tag = place / "CACHEDIR.TAG"
    made = [place / name for name in {*FOLDERS, tag.name} - (before or set())]
    paths = [path for one in made for path in (one, *one.rglob("*")) if path.exists()]
    if any(path != tag and not path.is_dir() for path in paths):
        return
    with suppress(OSError):  # Where something has appeared in a directory, it stays.
        for path in sorted(paths, reverse=True):
            if path != tag:
                path.rmdir()
        if tag in made:
            tag.unlink(missing_ok=True)
        if before is None:
            place.rmdir()
