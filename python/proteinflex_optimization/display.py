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
from collections.abc import Callable, Iterable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any, TextIO

from proteinflex_optimization._bars import Bars, bars_in, is_terminal
from proteinflex_optimization._text import encodable, id_of_job, one_line

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, OverflowMethod, RenderableType, RenderResult
    from rich.table import Table

__all__ = ["Display", "html", "line", "tree"]

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
MAX_FAILED = 5
"""Failed tasks that are named above the bars."""
BAR_WIDTHS = ((90, 30), (64, 12))
"""From which width of a terminal on a bar is how wide; a narrower one has none."""
DAYS_FROM = 2 * 86400
"""From how many seconds on a duration is told in days."""


def duration(seconds: float | None) -> str:
    """Format seconds as ``0:07``, ``1:02:03`` or, from two days on, ``5 d``; ``?`` where unknown."""
    if seconds is None:
        return "?"
    if seconds >= DAYS_FROM:
        return f"{seconds / 86400:.0f} d"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def line(progress: Progress) -> str:
    """Write the progress as one plain line: percent, steps, rate, time, time left, message.

    Steps and their rate are those of one task: where the job has several, they may be of different
    kinds, and their sum would be of none.
    """
    roots = _roots(progress)
    whole = _only_task(progress) or progress
    rate = whole["rate"]
    left = _state(whole)
    parts = [] if whole["percent"] is None else [f"{whole['percent']:5.1f} %"]
    if len(roots) > 1:
        done = sum(task["status"] == "completed" for task in roots)
        parts.append(f"{done}/{len(roots)} tasks")
        current = progress["tasks"].get(progress["current_task"])
        rate = None if current is None else current["rate"]
        if current is not None:
            parts.append(f"{one_line(str(current['name']))} {_steps(current)}")
            if progress["eta_seconds"] is None and current["eta_seconds"] is not None:
                # The tasks after it may take any time.
                left = f"{_state(current)} of this task"
    else:
        parts.append(_steps(whole))
    if rate is not None and progress["status"] == "running":
        parts.append(f"{rate:.3g}/s")
    parts.append(f"{duration(progress['elapsed_seconds'])} so far")
    parts.append(left)
    # Failed ones are in the way of everything else.
    failed = failures(progress)
    if failed:
        more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
        parts.insert(0, f"failed: {failed[0]}{more}")
    elif progress["message"]:
        # A message may hold line breaks and control sequences.
        parts.append(one_line(str(progress["message"])))
    return ", ".join(parts)


def failures(progress: Progress) -> list[str]:
    """Name the tasks that have failed, with their reasons, for a terminal."""
    failed = [task for task in progress["tasks"].values() if task["status"] == "failed"]
    return [
        one_line(f"{task['name']}{_job(task)}: {task['message'] or ''}").rstrip(": ")
        for task in failed
    ]


def _job(data: Mapping[str, Any]) -> str:
    """Name the batch system's job of a task, where it is of one."""
    batch = data.get("batch")
    if not batch:
        return ""
    return f" (job {id_of_job(batch)} on {batch['node']})"


def _roots(progress: Progress) -> list[Mapping[str, Any]]:
    return [task for task in progress["tasks"].values() if task["parent"] is None]


def _only_task(progress: Progress) -> Mapping[str, Any] | None:
    """Return the task that is all there is to do, if one is."""
    tasks = list(progress["tasks"].values())
    if len(tasks) == 1 and progress["total_steps"] == (tasks[0]["total"] or 0):
        # Whether the job stalls is known of the whole.
        return {**tasks[0], "updated": progress["updated"], "stalled": progress["stalled"]}
    return None


def _steps(data: Mapping[str, Any]) -> str:
    done = data.get("completed", data.get("completed_steps"))
    total = data.get("total", data.get("total_steps"))
    return f"{done}/{'?' if total is None else total} steps"


def _state(data: Mapping[str, Any]) -> str:
    """Say how long it takes still, or that it has ended."""
    if data["status"] != "running":
        return str(data["status"])
    if data.get("stalled"):
        return f"no update for {duration(time.time() - data['updated'])}"
    if data["eta_seconds"] is None:
        return "time left unknown"
    return f"{duration(data['eta_seconds'])} left"


def tree(progress: Progress) -> RenderableType:
    """Draw the progress as a tree of bars that fits a terminal's width, for `rich`."""
    return _Tree(progress)


def html(progress: Progress) -> str:
    """Draw the progress as HTML, for a notebook: bars with `rich`, else a line."""
    style = "font-family:monospace;line-height:normal;white-space:pre;overflow-x:auto"
    code = f'<pre style="{style}">{{code}}</pre>'
    try:
        from rich.console import Console
    except ImportError:
        return code.format(code=escape(line(progress)))
    console = Console(
        file=io.StringIO(),
        record=True,
        width=NOTEBOOK_WIDTH,
        force_jupyter=False,
        highlight=False,
    )
    console.print(tree(progress))
    return console.export_html(inline_styles=True, code_format=code)


class _Tree:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        failed = failures(self._progress)
        for text in failed[:MAX_FAILED]:
            yield Text(encodable(f"failed: {text}", options.encoding), style="red")
        if len(failed) > MAX_FAILED:
            yield Text(f"and {len(failed) - MAX_FAILED} more failed", style="red")
        yield _table(self._progress, options)


def _table(progress: Progress, options: ConsoleOptions) -> Table:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    def text(content: str, style: str) -> Text:
        return Text(encodable(content, options.encoding), style=style)

    styles = {"completed": "green", "failed": "red", "stopped": "yellow", "running": "cyan"}
    width = options.max_width
    # The ellipsis of `rich` is one character, which other encodings than UTF lack.
    overflow: OverflowMethod = "crop" if options.ascii_only else "ellipsis"
    bar_width = next((bar for least, bar in BAR_WIDTHS if width >= least), 0)
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True, overflow=overflow, max_width=max(width * 2 // 5, 8))
    if bar_width:
        table.add_column(no_wrap=True, width=bar_width)
    table.add_column(no_wrap=True, min_width=7)
    table.add_column(no_wrap=True, overflow=overflow)
    tasks: Mapping[str, Mapping[str, Any]] = progress["tasks"]
    only = _only_task(progress)

    def row(name: str, status: str, percent: float | None, rest: str) -> None:
        style = styles.get(status, "dim")
        shown = Text("" if percent is None else f"{percent:5.1f} %")
        cells: list[Any] = [text(name, style), shown, text(rest, "dim")]
        if bar_width:
            total = None if percent is None else 100.0
            bar = ProgressBar(total=total, completed=percent or 0.0, width=bar_width)
            cells.insert(1, bar)
        table.add_row(*cells)

    if only is not None:
        tasks = dict.fromkeys(tasks, only)
    else:
        row("total", progress["status"], progress["percent"], _total(progress))
    pending = [(task, 0) for task in reversed(_in_order(tasks, tasks)) if _is_root(tasks[task])]
    rows = hidden = 0
    many = len(tasks) > MAX_ROWS
    while pending:
        task, depth = pending.pop()
        data = tasks[task]
        if rows >= MAX_ROWS or (many and data["status"] == "completed"):
            hidden += 1
        else:
            rows += 1
            name = "  " * depth + one_line(str(data["name"]))
            row(name, data["status"], data["percent"], _rest(data))
        if not (many and data["status"] == "completed"):
            children = reversed(_in_order(tasks, data["children"]))
            pending.extend((child, depth + 1) for child in children)
    if hidden:
        table.add_row(Text(f"and {hidden} more", style="dim"))
    return table


def _is_root(task: Mapping[str, Any]) -> bool:
    return task["parent"] is None


def _in_order(tasks: Mapping[str, Mapping[str, Any]], ids: Iterable[str]) -> list[str]:
    """Put those that have failed or were stopped first, and else keep the order."""
    first = {"failed": 0, "stopped": 1}
    return sorted(ids, key=lambda task: first.get(tasks[task]["status"], 2))


def _total(progress: Progress) -> str:
    roots = _roots(progress)
    if len(roots) == 1:
        counted = _steps(progress)
    else:
        done = sum(task["status"] == "completed" for task in roots)
        counted = f"{done}/{len(roots)} tasks"
    return f"{counted}  {duration(progress['elapsed_seconds'])}  {_state(progress)}"


def _rest(data: Mapping[str, Any]) -> str:
    total = "?" if data["total"] is None else data["total"]
    parts = [f"{data['completed']}/{total}", duration(data["elapsed_seconds"]), _state(data)]
    if data["status"] == "running" and data["rate"] is not None:
        parts.insert(1, f"{data['rate']:.3g}/s")
    if data["message"]:
        parts.append(one_line(str(data["message"])))
    return "  ".join(parts)


def console_for(stream: TextIO) -> Console | None:
    """Make a console for bars, or None where plain lines are to be written."""
    try:
        from rich.console import Console
    except ImportError:
        return None
    # What the job prints is no markup.
    console = Console(file=stream, markup=False, emoji=False, highlight=False)
    is_capable = is_terminal(stream) and console.is_terminal and not console.is_dumb_terminal
    return console if console.is_jupyter or is_capable else None


class _Cell:
    """An output of a notebook cell that is replaced in place, without widgets."""

    def __init__(self) -> None:
        from IPython.display import HTML, display

        self._html = HTML
        self._handle = display(HTML(""), display_id=True)

    def show(self, progress: Progress) -> None:
        self._handle.update(self._html(html(progress)))


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
        # None where it is closed: a daemon's, or `2>&-`.
        self._stream: TextIO | None = sys.stderr if stream is None else stream
        self._line_interval = line_interval
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._process = os.getpid()

    def start(self) -> None:
        """Start the thread, where there is something to show it on."""
        if self._stream is None:
            return
        console = console_for(self._stream)
        run: Callable[[], None]
        if console is None:
            run = self._lines
        elif console.is_jupyter:
            # Made here, in the thread of the cell: that is where it appears.
            run = functools.partial(self._cell, _Cell())
        else:
            progress = self._progress()
            if progress is None:
                return
            bars = bars_in(console)
            # Drawn here for the first time: the program's streams are replaced before it goes on to
            # redirect them, or to ask something.
            bars.draw(self, tree(progress))
            run = functools.partial(self._bars, bars)
        self._thread = threading.Thread(target=run, name="proteinflex-display", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Show the progress once more and end the thread."""
        self._stop.set()
        if self._thread is not None and os.getpid() == self._process:
            self._thread.join(timeout=5)

    def _bars(self, bars: Bars) -> None:
        last = False
        try:
            while not last:
                last = self._stop.wait(BARS_INTERVAL)
                progress = self._progress()
                if progress is None:
                    return
                bars.draw(self, tree(progress))
        finally:
            bars.end(self)

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
