"""Which entry or checkpoint is meant: by its key, its name, or the beginning of its key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from proteinflex_optimization.errors import (
    CacheKeyError,
    CheckpointError,
    CorruptDataError,
    InvalidArgumentError,
    UnsupportedFormatError,
)

if TYPE_CHECKING:
    from proteinflex_optimization import DataHandler

MAX_CANDIDATES = 10
"""Candidates that an error lists."""


def entry_key(handler: DataHandler, text: str) -> str:
    """Return the key of the entry that is meant: an exact key, else a name, else a unique prefix.

    Raises
    ------
    InvalidArgumentError
        Several entries are meant; the message lists them.
    CacheKeyError
        None is.
    """
    try:
        return handler.info(text)["key"]
    except (CorruptDataError, UnsupportedFormatError):
        if text in handler.keys(None):
            return text  # It can be verified and removed all the same.
        raise


def unfinished_key(trajectories: Sequence[tuple[str, str | None]], text: str) -> str:
    """Return the key of the unfinished trajectory that is meant, of pairs of key and name.

    Raises
    ------
    InvalidArgumentError
        Several are meant; the message lists them.
    CacheKeyError
        None is.
    """
    found = [key for key, name in trajectories if text in (key, name)]
    if not found and len(text) > len("t-"):
        found = [key for key, _ in trajectories if key.startswith(text)]
    if len(found) > 1:
        raise _ambiguous("KEY", text, found)
    if not found:
        raise CacheKeyError(
            f"no unfinished trajectory has the key, the name or the beginning of a key {text!r}; "
            "flexopt cache ls lists them"
        )
    return found[0]


def checkpoint_id(ids: Sequence[str], text: str, directory: object) -> str:
    """Return the id that is meant: an exact one, else that of which the text is a unique prefix.

    Raises
    ------
    InvalidArgumentError
        Several are meant; the message lists them.
    CheckpointError
        None is.
    """
    if text in ids:
        return text
    found = [name for name in ids if text and name.startswith(text)]
    if len(found) > 1:
        raise _ambiguous("ID", text, found)
    if not found:
        there_are = f"there are {', '.join(ids[-MAX_CANDIDATES:])}" if ids else "there are none"
        if len(ids) > MAX_CANDIDATES:
            there_are = f"the newest of {len(ids)} are {', '.join(ids[-MAX_CANDIDATES:])}"
        raise CheckpointError(f"there is no checkpoint {text!r} in {directory}: {there_are}")
    return found[0]


def _ambiguous(argument: str, text: str, candidates: Sequence[str]) -> InvalidArgumentError:
    shown = ", ".join(candidates[:MAX_CANDIDATES])
    more = len(candidates) - MAX_CANDIDATES
    return InvalidArgumentError(
        f"{argument}={text!r} is not valid: expected one of {shown}"
        f"{f' and {more} more' if more > 0 else ''}, which it may all mean"
    )
