"""Display of progress: bars in a terminal or notebook, else a plain line every ten seconds.

Everything goes to standard error, so that the output of the job itself can be piped. Bars need
`rich`, and have no colours where ``NO_COLOR`` is set; without it, and where ``TERM=dumb`` asks for
text without control sequences, there are lines.
"""

from __future__ import annotations

import functools
import io
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

__all__ = ["Display", "line", "tree"]

Progress = Mapping[str, Any]

BARS_INTERVAL = 0.1
"""Seconds between two drawings of the bars."""
NOTEBOOK_INTERVAL = 0.5
"""Seconds between two drawings in a notebook, where each is sent to a browser."""
NOTEBOOK_WIDTH = 120
"""Characters in a line of a notebook's output."""
LINE_INTERVAL = 10.0
"""Seconds between two plain lines, at least."""
POLL_INTERVAL = 1.0
"""Seconds between two checks whether a plain line is due."""
MAX_ROWS = 30
"""Tasks that are drawn; a larger tree shows the unfinished ones."""


def duration(seconds: float | None) -> str:
    """Format seconds as ``1:02:03`` or ``0:07``; ``?`` where unknown."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def line(progress: Progress) -> str:
    """Write the progress as one plain line: percent, steps, rate, time, time left, message."""
    rate = progress["rate"]
    parts = [
        f"{progress['percent']:5.1f} %",
        f"{progress['completed_steps']}/{progress['total_steps']} steps",
        *([] if rate is None else [f"{rate:.3g}/s"]),
        f"{duration(progress['elapsed_seconds'])} so far",
    ]
    if progress["status"] == "running":
        parts.append(f"{duration(progress['eta_seconds'])} left")
    else:
        parts.append(str(progress["status"]))
    if progress["message"]:
        # A message may hold line breaks and control sequences.
        parts.append(_printable(str(progress["message"])))
    return ", ".join(parts)


def tree(progress: Progress) -> RenderableType:
    """Draw the progress as a tree of bars, for `rich`."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    styles = {"completed": "green", "failed": "red", "running": "cyan", "pending": "dim"}
    table = Table.grid(padding=(0, 1))
    tasks: Mapping[str, Mapping[str, Any]] = progress["tasks"]

    def row(name: str, status: str, percent: float | None, rest: str) -> None:
        bar = ProgressBar(
            total=None if percent is None else 100.0, completed=percent or 0.0, width=30
        )
        shown = "" if percent is None else f"{percent:5.1f} %"
        table.add_row(Text(name, style=styles.get(status, "")), bar, shown, Text(rest, style="dim"))

    row("total", progress["status"], progress["percent"], _rest(progress, None))
    pending = [(task, 0) for task, data in reversed(list(tasks.items())) if data["parent"] is None]
    rows = hidden = 0
    many = len(tasks) > MAX_ROWS
    while pending:
        task, depth = pending.pop()
        data = tasks[task]
        if rows >= MAX_ROWS or (many and data["status"] == "completed"):
            hidden += 1
        else:
            rows += 1
            row(
                "  " * depth + _printable(str(data["name"])),
                data["status"],
                data["percent"],
                _rest(data, data["message"]),
            )
        if not (many and data["status"] == "completed"):
            pending.extend((child, depth + 1) for child in reversed(data["children"]))
    if hidden:
        table.add_row(Text(f"and {hidden} more", style="dim"))
    return table


def _rest(data: Mapping[str, Any], message: str | None) -> str:
    done = data.get("completed", data.get("completed_steps"))
    total = data.get("total", data.get("total_steps"))
    parts = [f"{done}/{'?' if total is None else total}", duration(data["elapsed_seconds"])]
    if data["status"] == "running":
        parts.append(f"{duration(data['eta_seconds'])} left")
    else:
        parts.append(str(data["status"]))
    if message:
        parts.append(_printable(message))
    return "  ".join(parts)


def _printable(text: str) -> str:
    """Replace line breaks and control characters by spaces."""
    return "".join(character if character.isprintable() else " " for character in text)


def _console(stream: TextIO) -> Console | None:
    """Make a console for bars, or None where plain lines are to be written."""
    try:
        from rich.console import Console
    except ImportError:
        return None
    console = Console(file=stream)
    if console.is_jupyter or (console.is_terminal and not console.is_dumb_terminal):
        return console
    return None


class _Cell:
    """An output of a notebook cell that is replaced in place, without widgets."""

    def __init__(self) -> None:
        from IPython.display import HTML, display

        self._html = HTML
        self._handle = display(HTML(""), display_id=True)

    def show(self, progress: Progress) -> None:
        from rich.console import Console

        console = Console(
            file=io.StringIO(),
            record=True,
            width=NOTEBOOK_WIDTH,
            force_jupyter=False,
            highlight=False,
        )
        console.print(tree(progress))
        code = '<pre style="line-height:normal;white-space:pre;overflow-x:auto">{code}</pre>'
        text = console.export_html(inline_styles=True, code_format=code)
        self._handle.update(self._html(text))


class Display:
    """Shows a job's progress until it is stopped, from a thread of its own.

    Parameters
    ----------
    progress : callable
        Returns what ``get_progress()`` returns, or None to end the display.
    stream : text file, optional
        Where to show it; standard error by default.
    line_interval : float
        Seconds between two plain lines, at least.
    """

    def __init__(
        self,
        progress: Callable[[], Progress | None],
        stream: TextIO | None = None,
        line_interval: float = LINE_INTERVAL,
    ) -> None:
        self._progress = progress
        self._stream = sys.stderr if stream is None else stream
        self._line_interval = line_interval
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._process = os.getpid()

    def start(self) -> None:
        """Start the thread."""
        console = _console(self._stream)
        run: Callable[[], None]
        if console is None:
            run = self._lines
        elif console.is_jupyter:
            # Made here, in the thread of the cell: that is where it appears.
            run = functools.partial(self._cell, _Cell())
        else:
            run = functools.partial(self._bars, console)
        self._thread = threading.Thread(target=run, name="proteinflex-display", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Show the progress once more and end the thread."""
        self._stop.set()
        if self._thread is not None and os.getpid() == self._process:
            self._thread.join(timeout=5)

    def _bars(self, console: Console) -> None:
        from rich.live import Live

        progress = self._progress()
        if progress is None:
            return
        # Live prints what the job writes meanwhile above the bars.
        with Live(tree(progress), console=console, auto_refresh=False) as live:
            last = False
            while not last:
                last = self._stop.wait(BARS_INTERVAL)
                progress = self._progress()
                if progress is None:
                    return
                live.update(tree(progress), refresh=True)

    def _cell(self, cell: _Cell) -> None:
        last = False
        while not last:
            last = self._stop.wait(NOTEBOOK_INTERVAL)
            progress = self._progress()
            if progress is None:
                return
            cell.show(progress)

    def _lines(self) -> None:
        shown, at = "", -self._line_interval
        last = False
        while not last:
            last = self._stop.wait(min(POLL_INTERVAL, self._line_interval))
            if not last and time.monotonic() - at < self._line_interval:
                continue
            progress = self._progress()
            if progress is None:
                return
            text = line(progress)
            if text != shown:
                shown, at = text, time.monotonic()
                try:
                    print(text, file=self._stream, flush=True)
                except (OSError, ValueError):
                    # The stream is closed.
                    return
