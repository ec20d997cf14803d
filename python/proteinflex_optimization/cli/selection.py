"""Which entry or checkpoint is meant: by its key or name, or a beginning of one where nothing is lost.

A name may well look like the beginning of another's key or id (``t-300000``, ``step-1``), and means that
where its own entry is gone. So what is to be removed is told whole.
"""

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


def entry_key(handler: DataHandler, text: str, *, whole: bool = False) -> str:
    """Return the key of the entry that is meant: an exact key, else a name, else a unique prefix.

    Parameters
    ----------
    handler : DataHandler
        The cache.
    text : str
        What was typed.
    whole : bool
        Whether a prefix is refused.

    Raises
    ------
    InvalidArgumentError
        Several entries are meant; the message lists them. Or it is a prefix.
    CacheKeyError
        None is.
    """
    try:
        info = handler.info(text)
    except (CorruptDataError, UnsupportedFormatError):
        # It can be verified and removed all the same.
        named = {text, handler.key_for(text, "structure"), handler.key_for(text, "trajectory")}
        if there := named.intersection(handler.keys()):
            return there.pop()
        raise
    key = info["key"]
    if whole and text not in (key, info["data_id"]):
        raise InvalidArgumentError(
            f"KEY={text!r} is not valid: expected a whole key or a name, as what is removed is gone; "
            f"{key} ({info['data_id']!r}) begins so"
        )
    return key


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
    if len(found) > 1:
        raise _ambiguous("KEY", text, found)
    if not found:
        raise CacheKeyError(
            f"no unfinished trajectory has the whole key or the name {text!r}; flexopt cache ls lists "
            "them"
        )
    return found[0]


def checkpoint_id(ids: Sequence[str], text: str, directory: object, *, whole: bool = False) -> str:
    """Return the id that is meant: an exact one, else that of which the text is a unique prefix.

    Parameters
    ----------
    ids : sequence of str
        Those that there are.
    text : str
        What was typed.
    directory : object
        Of the checkpoints, for messages.
    whole : bool
        Whether a prefix is refused.

    Raises
    ------
    InvalidArgumentError
        Several are meant; the message lists them.
    CheckpointError
        None is.
    """
    if text in ids:
        return text
    found = [name for name in ids if text and not whole and name.startswith(text)]
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
