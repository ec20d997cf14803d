"""What trajectories there are below a directory or URL, so that some of them can be chosen."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ._arguments import path_text
from .errors import InvalidArgumentError
from .remote.directory_store import DirectoryStore
from .remote.urls import is_url, without_credentials
from .trajectory import open_trajectory

if TYPE_CHECKING:
    from .types import EntryInfo, StrPath

SUFFIX = ".fxt"
AT_ONCE = 16
"""Trajectories that are opened at the same time: each waits for two responses of a server."""


def list_trajectories(path_or_url: StrPath, *, store: Any = None) -> list[EntryInfo]:
    """Describe all trajectories below a directory or URL; a table for `pandas.DataFrame`.

    Of each, the two ends of its file are read: two requests of an object, many at the same time. For a
    cache, `DataHandler.entries` is the same and takes less.

    Parameters
    ----------
    path_or_url : str or path
        A directory, or a URL such as ``s3://bucket/project``. Files are those whose names end in
        ``.fxt``, in any depth; hidden ones, as of writers at work, are passed over.
    store : object, optional
        As for `open_trajectory`.

    Returns
    -------
    list of dict
        What `DataHandler.info` returns of each, sorted by ``key``, which is the path or URL that
        `open_trajectory` takes; among it ``n_frames``, ``n_atoms`` and ``metadata``.

    Raises
    ------
    FileNotFoundError
        There is no such directory, or one of the trajectories was removed meanwhile.
    ProteinFlexError, OSError
        What `open_trajectory` raises: one that can't be read is not left out.
    """
    if not isinstance(path_or_url, str) or (store is None and not is_url(path_or_url)):
        path_or_url = path_text("path_or_url", path_or_url)
    if store is None and not is_url(path_or_url):
        directory = Path(path_or_url)
        if not directory.is_dir():
            raise FileNotFoundError(f"there is no directory {str(directory)!r}")
        found_files = DirectoryStore(directory).list()
        names = [str(directory / one.name) for one in found_files if _is_trajectory(one.name)]
    else:
        from .remote.stores import open_store

        url = path_or_url.rstrip("/")
        is_web = url.startswith(("http://", "https://"))
        if is_web and "?" in url:
            raise InvalidArgumentError(
                f"path_or_url={without_credentials(url)!r} is not valid: what was signed is one "
                "object; expected a URL without a query"
            )
        found = open_store(url, store).list()
        below = f"{url}/" if url else ""
        named = quote if is_web else str
        names = [f"{below}{named(one.name)}" for one in found if _is_trajectory(one.name)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        described = pool.map(lambda name: _info(name, store), sorted(names))
        return [info for info in described if info is not None]


def _is_trajectory(name: str) -> bool:
    return name.endswith(SUFFIX) and not name.rpartition("/")[2].startswith(".")


def _info(name: str, store: Any) -> EntryInfo | None:
    try:
        with open_trajectory(name, store=store) as trajectory:
            return {**trajectory._info(), "key": name}
    except InvalidArgumentError:
        # A structure, which has a file of the same kind.
        return None
