"""Files of other formats that are there whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InvalidArgumentError


@contextmanager
def published(path: str | os.PathLike[str], *, overwrite: bool) -> Iterator[Path]:
    """Give a hidden name beside a path; what is there in the end takes the path's name.

    Whoever is killed meanwhile leaves the path as it was.

    Parameters
    ----------
    path : str or path
        What is to be written: a file, or a directory.
    overwrite : bool
        Whether what is there already may be replaced.

    Raises
    ------
    InvalidArgumentError
        Something is there, and must not be replaced. An `OSError` where it can't be written.
    """
    target = Path(path)
    if not overwrite and os.path.lexists(target):
        raise _is_there(target)
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(target.parent))
    hidden = target.with_name(f".{target.stem}-{secrets.token_hex(4)}{target.suffix}")
    try:
        yield hidden
        if hidden.is_dir():
            _rename_directory(hidden, target, overwrite=overwrite)
        else:
            _rename_file(hidden, target, overwrite=overwrite)
    finally:
        _remove(hidden)


def _rename_file(hidden: Path, target: Path, *, overwrite: bool) -> None:
    with hidden.open("rb") as file:
        os.fsync(file.fileno())
    if target.is_dir() and not target.is_symlink():
        raise InvalidArgumentError(
            f"path={str(target)!r} is not valid: a directory is there, expected a file or nothing"
        )
    if overwrite:
        hidden.replace(target)
        return
    try:
        # Unlike a rename, a link never takes the place of what appeared meanwhile.
        os.link(hidden, target)
    except FileExistsError:
        raise _is_there(target) from None
    except OSError:
        # A file system without links.
        if os.path.lexists(target):
            raise _is_there(target) from None
        hidden.rename(target)


def _rename_directory(hidden: Path, target: Path, *, overwrite: bool) -> None:
    """Rename onto nothing: a directory that holds something can't be replaced in one step."""
    old = hidden.with_name(f"{hidden.name}.old")
    if overwrite and os.path.lexists(target):
        target.rename(old)
    try:
        hidden.rename(target)
    except OSError as error:
        if old.exists():
            old.rename(target)
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise _is_there(target) from None
        raise
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _is_there(target: Path) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"path={str(target)!r} is not valid: it is there already, expected a new name (overwrite=True, "
        "or --force, replaces it)"
    )
