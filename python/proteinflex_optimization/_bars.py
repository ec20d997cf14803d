"""The bars of all displays in one terminal, drawn together, below what the job writes there.

`rich` moves what is printed above its bars, where it knows of it: it replaces `sys.stdout` and
`sys.stderr`, so log handlers that hold the stream itself are pointed at what replaces it.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

__all__ = ["Bars", "bars_in", "is_terminal"]


class Bars:
    """The bars of all displays in one terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._live: Live | None = None
        self._trees: dict[object, RenderableType] = {}
        self._replaced: list[tuple[Any, Any]] = []

    def draw(self, display: object, tree: RenderableType) -> None:
        """Draw a display's bars below those that were there before."""
        from rich.console import Group

        with self._lock:
            self._trees[display] = tree
            live = self._live or self._start()
            live.update(Group(*self._trees.values()), refresh=True)

    def end(self, display: object) -> None:
        """Leave a display's bars as they are, above those of the others."""
        from rich.console import Group

        with self._lock:
            last = self._trees.pop(display, None)
            if last is None or self._live is None:
                return
            if self._trees:
                self._live.update(Group(*self._trees.values()))
                self._console.print(last)
                return
            live, self._live = self._live, None
            proxies = [proxy for _, proxy in self._replaced]
            # What the program has put in their place meanwhile stays there.
            redirected = [
                (name, stream)
                for name in ("stdout", "stderr")
                if not any((stream := getattr(sys, name)) is proxy for proxy in proxies)
            ]
            try:
                for proxy in proxies:
                    proxy.flush()  # A line that was begun, which would never be written.
                live.stop()
            finally:
                for name, stream in redirected:
                    setattr(sys, name, stream)
                for stream, proxy in self._replaced:
                    _redirect_logs(proxy, stream)

    def _start(self) -> Live:
        from rich.live import Live

        streams = (sys.stdout, sys.stderr)
        # What is piped is not for this terminal.
        live = Live(
            console=self._console, auto_refresh=False, redirect_stdout=is_terminal(sys.stdout)
        )
        live.start()
        self._live = live
        self._replaced = [
            (stream, proxy)
            for stream, proxy in zip(streams, (sys.stdout, sys.stderr), strict=True)
            if proxy is not stream
        ]
        for stream, proxy in self._replaced:
            _redirect_logs(stream, proxy)
        return live


def bars_in(console: Console) -> Bars:
    """Return what draws in a console's terminal."""
    with _lock:
        return _all.setdefault(id(console.file), Bars(console))


def is_terminal(stream: Any) -> bool:
    """Return whether a stream is a terminal, whatever FORCE_COLOR makes `rich` take it for."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):
        # There is none, or it is closed.
        return False


def _handlers() -> Iterator[logging.StreamHandler[Any]]:
    """Yield the log handlers that write to a stream of their own."""
    for logger in [logging.root, *logging.root.manager.loggerDict.values()]:
        for handler in getattr(logger, "handlers", ()):
            if isinstance(handler, logging.StreamHandler) and "stream" in vars(handler):
                yield handler


def _redirect_logs(stream: Any, target: Any) -> None:
    for handler in list(_handlers()):
        if handler.stream is stream:
            handler.setStream(target)


_lock = threading.Lock()
_all: dict[int, Bars] = {}
"""By the identity of the stream, which they keep alive."""


def _after_fork() -> None:
    """Take the streams back in a child: the terminal is the parent's.

    What draws there may be locked for ever, by a thread of the parent's.
    """
    global _lock
    _lock = threading.Lock()
    if not _all:
        return
    _all.clear()
    for name in ("stdout", "stderr"):
        setattr(sys, name, _proxied(getattr(sys, name)))
    for handler in _handlers():
        handler.stream = _proxied(handler.stream)


def _proxied(stream: Any) -> Any:
    return getattr(stream, "rich_proxied_file", stream)


os.register_at_fork(after_in_child=_after_fork)
