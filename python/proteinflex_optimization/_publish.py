"""Files of other formats that are there whole or not at all: synced, renamed, directory synced."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ._arguments import flag, path_text
from ._system_errors import naming
from .errors import InvalidArgumentError


def refuse_directory(target: Path) -> None:
    """Refuse a directory where a file is to be written."""
    if target.is_dir():
        raise InvalidArgumentError(
            f"path={str(target)!r} is not valid: a directory is there, expected a file or nothing"
        )


class Publication:
    """A path that is there whole, or stays as it was: written beside it first, then renamed.

    What a process that is killed leaves is a hidden file, or directory, beside the path. Of a link,
    what it leads to is written. What is replaced leaves its permissions to what replaces it.

    Parameters
    ----------
    path : str or path
        What is to be written: a file, or a directory.
    overwrite : bool
        Whether what is there already may be replaced.
    check_old : callable
        Called with the path where something is there that may be replaced, before anything is
        written and before it is replaced; raises where it is something else than what is written.

    Raises
    ------
    InvalidArgumentError
        Something is there, and must not be replaced. An `OSError` where it can't be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        overwrite: bool,
        check_old: Callable[[Path], None] = refuse_directory,
    ) -> None:
        path = path_text("path", path)
        self._overwrite = flag("overwrite", overwrite)
        if Path(path).name in ("", ".."):
            raise InvalidArgumentError(
                f"path={path!r} is not valid: expected a name of what is to be written, such as "
                f"{str(Path(path) / 'run.xtc')!r}"
            )
        # Absolute, for the working directory may change before it is published.
        target = asked = Path(path).absolute()
        if os.path.lexists(target):
            if not self._overwrite:
                raise _is_there(target)
            if target.is_symlink():
                target = Path(os.path.realpath(target))
            _check(target, check_old)
        if not target.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(target.parent))
        self.target = target
        # By its suffix, some writers tell what to write; and some take text alone.
        stem = asked.stem.encode(errors="replace").decode()
        self.temporary = target.with_name(f".{stem}-{secrets.token_hex(4)}{asked.suffix}")
        self._check_old = check_old

    def publish(self) -> None:
        """Give what was written its name, durably."""
        temporary, target = self.temporary, self.target
        if self._overwrite and os.path.lexists(target):
            _check(target, self._check_old)
        if temporary.is_dir():
            for path in (*temporary.rglob("*"), temporary):
                _sync(path)
            _take_permissions(temporary, target)
            _rename_directory(temporary, target, overwrite=self._overwrite)
        else:
            _sync(temporary)
            _take_permissions(temporary, target)
            _rename_file(temporary, target, overwrite=self._overwrite)
        _sync(target.parent)

    def discard(self) -> None:
        """Remove what was written and not published."""
        _remove(self.temporary)


@contextmanager
def published(
    path: str | os.PathLike[str],
    *,
    overwrite: bool,
    check_old: Callable[[Path], None] = refuse_directory,
) -> Iterator[Path]:
    """Yield the temporary path of a `Publication`, which is published in the end.

    An `OSError` that names no file, or the temporary one, is given the name of the path.
    """
    publication = Publication(path, overwrite=overwrite, check_old=check_old)
    with naming(path, str(publication.temporary)):
        try:
            with _standard_files():
                yield publication.temporary
            publication.publish()
        finally:
            publication.discard()


@contextmanager
def _standard_files() -> Iterator[None]:
    """Keep the numbers of standard files that are closed (``>&-``) from those that are opened now.

    What a library prints would be written into them.
    """
    held: list[int] = []
    try:
        while not held or held[-1] <= 2:
            held.append(os.open(os.devnull, os.O_RDWR))
        yield
    finally:
        for descriptor in held:
            os.close(descriptor)


def _check(target: Path, check_old: Callable[[Path], None]) -> None:
    """Refuse what must not be replaced: a device, a pipe or a socket, and what `check_old` refuses."""
    if target.exists() and not (target.is_file() or target.is_dir()):
        raise InvalidArgumentError(
            f"path={str(target)!r} is not valid: there is a device, a pipe or a socket, expected a "
            "file or nothing"
        )
    check_old(target)


def _take_permissions(temporary: Path, target: Path) -> None:
    """Give what was written the owner and the permissions of what it replaces, if anything."""
    if not target.exists() or target.is_dir() != temporary.is_dir():
        return
    old, new = target.stat(), temporary.stat()
    mode = stat.S_IMODE(old.st_mode)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        try:
            os.chown(temporary, old.st_uid, old.st_gid)
        except OSError:
            # What was for the old group is not for another one.
            mode &= ~stat.S_IRWXG if old.st_gid != new.st_gid else ~0
    if mode != stat.S_IMODE(new.st_mode):
        temporary.chmod(mode)


def _rename_file(temporary: Path, target: Path, *, overwrite: bool) -> None:
    if overwrite:
        temporary.replace(target)
        return
    try:
        # Unlike a rename, a link never takes the place of what appeared meanwhile.
        os.link(temporary, target)
    except FileExistsError:
        raise _is_there(target) from None
    except OSError:
        # A file system without links.
        if os.path.lexists(target):
            raise _is_there(target) from None
        temporary.rename(target)


def _rename_directory(temporary: Path, target: Path, *, overwrite: bool) -> None:
    """Rename onto nothing: a directory that holds something can't be replaced in one step."""
    old = temporary.with_name(f"{temporary.name}.old")
    if overwrite and os.path.lexists(target):
        target.rename(old)
    try:
        temporary.rename(target)
    except OSError as error:
        if old.exists():
            old.rename(target)
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise _is_there(target) from None
        raise
    _remove(old)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _is_there(target: Path) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"path={str(target)!r} is not valid: it is there already, expected a new name (overwrite=True "
        "replaces it)"
    )
