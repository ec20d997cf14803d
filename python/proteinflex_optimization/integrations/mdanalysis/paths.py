"""Paths for libraries that take text: names of files are bytes, which may not be text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

__all__ = ["text_path"]


@contextmanager
def text_path(path: Path) -> Iterator[Path]:
    """Yield a path, or a link to it where it is not text; the file need not be there yet."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        with TemporaryDirectory() as directory:
            link = Path(directory, path.name.encode(errors="replace").decode())
            link.symlink_to(path.absolute())
            yield link
    else:
        yield path
