"""Which entry or checkpoint is meant: by its key, its name, or the beginning of its key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from proteinflex_optimization.cli.output import printable
from proteinflex_optimization.errors import (
    CacheKeyError,
    CheckpointError,
    InvalidArgumentError,
)

if TYPE_CHECKING:
    from proteinflex_optimization import DataHandler
    from proteinflex_optimization.types import EntryKind

KINDS: tuple[EntryKind, ...] = ("structure", "trajectory")
SHORTEST_PREFIX = 3
"""Characters of a key that name it at least: its kind, a hyphen and a digit."""
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
    if text in handler:
        return text
    named = [key for key in (_key_for(handler, text, kind) for kind in KINDS) if key in handler]
    if not named and len(text) >= SHORTEST_PREFIX and text[:2] in ("s-", "t-"):
        named = [key for key in handler.keys(None) if key.startswith(text)]
    if len(named) > 1:
        candidates = (f"{key} ({handler.info(key)['data_id']!r})" for key in sorted(named))
        raise _ambiguous("KEY", text, list(candidates))
    if not named:
        raise CacheKeyError(
            f"no entry in {handler.cache_dir} has the key, the name or the beginning of a key "
            f"{printable(repr(text))}; flexopt cache ls lists them"
        )
    return named[0]


def _key_for(handler: DataHandler, text: str, kind: EntryKind) -> str:
    try:
        return handler.key_for(text, kind=kind)
    except InvalidArgumentError:
        return ""  # What can't be a name, such as an empty one.


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
