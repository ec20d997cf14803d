"""``flexopt watch --web``: the progress as a page in the browser, for this machine alone."""

from __future__ import annotations

import os
import signal
from types import FrameType

from proteinflex_optimization.cli.boards import Boards
from proteinflex_optimization.cli.web.observer import Observer
from proteinflex_optimization.cli.web.server import ADDRESS, Server
from proteinflex_optimization.errors import ProteinFlexError

__all__ = ["serve"]

INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
"""The exit status of what Ctrl-C or SIGTERM has ended."""


def serve(directories: list[str], port: int, interval: float) -> None:
    """Print the URL, which has the token in it, and serve the page until Ctrl-C or SIGTERM.

    Parameters
    ----------
    directories : list of str
        In and below which boards, checkpoints and caches are looked for.
    port : int
        Where to listen; 0 takes a free one.
    interval : float
        Seconds between two looks at the boards, at least.

    Raises
    ------
    ProteinFlexError
        The port is taken, or not allowed.
    """
    with Boards(directories) as boards:
        observer = Observer(boards, directories, interval)
        try:
            server = Server(port, observer)
        except OSError as error:
            raise ProteinFlexError(
                f"port {port} of {ADDRESS} can't be listened on: {error.strerror}; expected one "
                "that is free, or 0 to take any"
            ) from error
        before = signal.signal(signal.SIGTERM, _terminate)
        try:
            observer.start()
            print(server.url, flush=True)
            server.serve_forever()
        except (KeyboardInterrupt, SystemExit) as end:
            if not observer.stop():
                # The interpreter would wait for a look that hangs in a file system.
                os._exit(TERMINATED if isinstance(end, SystemExit) else INTERRUPTED)
            raise
        finally:
            server.server_close()
            signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise SystemExit(TERMINATED)
