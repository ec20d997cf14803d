"""How many boards are shown: a table that fits the terminal, or lines."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from proteinflex_optimization._text import encodable, id_of_job
from proteinflex_optimization.cli.boards import PROBLEMS, mean_percent, summarize
from proteinflex_optimization.cli.output import age, counted, one_line
from proteinflex_optimization.display import duration

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, OverflowMethod, RenderResult
    from rich.text import Text

__all__ = ["COLUMNS", "BoardTable", "Changes", "cells", "headline", "job"]

Record = Mapping[str, Any]

STYLES = {
    "failed": "red",
    "stopped": "yellow",
    "stalled": "magenta",
    "unreadable": "red",
    "running": "cyan",
    "completed": "green",
}
RESERVED_LINES = 4
"""Lines of a terminal that are left for the title, the header, what is not shown and the cursor."""
LONGEST = 20
"""Characters of a job, a host or a state; the rest of them is cut."""
NAME = re.compile(r'"((?:[^"\\]|\\.)*)"(?= failed| stopped at)')
"""A task in a reason."""
SHORTEST = 8
"""Characters that are left of its name, so that the reason can be read."""
LINE_PAUSE = 10.0
"""Seconds between two summaries where there is no terminal."""


def job(record: Record) -> str:
    """Name the batch system's job, and its restarts."""
    name = id_of_job(record)
    return f"{name} (restart {record['restart_count']})" if record["restart_count"] else name


def _time_left(record: Record) -> str:
    return "" if record["eta_seconds"] is None else duration(record["eta_seconds"])


def _what(record: Record) -> str:
    """Say what is wrong, or what is being done."""
    if record["status"] == "stalled" and record["updated"] is not None:
        return f"no update for {duration(time.time() - record['updated'])}"
    return str(record["reason"] or record["message"] or record["current_task"] or "")


def _percent(record: Record) -> str:
    return "" if record["percent"] is None else f"{record['percent']:.1f} %"


def _updated(record: Record) -> str:
    return "" if record["updated"] is None else age(record["updated"])


COLUMNS: dict[str, tuple[int, Callable[[Record], str]]] = {
    "STATE": (0, lambda record: str(record["status"])),
    "BOARD": (0, lambda record: str(record["directory"])),
    "JOB": (60, job),
    "HOST": (80, lambda record: record["host"] or ""),
    "DONE": (40, _percent),
    "LEFT": (80, _time_left),
    "UPDATED": (100, _updated),
    "WHAT": (40, _what),
}
"""By title: the width of a terminal from which on it is shown, and the text of a board."""


def cells(record: Record, width: int) -> list[str]:
    """Return the texts of a board's row, as many as a terminal of this width has columns for."""
    return [one_line(text(record)) for least, text in COLUMNS.values() if width >= least]


def headline(records: list[Any]) -> str:
    """Say how many boards there are of each state, and how far they are together."""
    parts = [f"{count:,} {state}" for state, count in summarize(records).items()]
    percent = mean_percent(records)
    done = "" if percent is None else f"; {percent:.1f} % of all"
    return f"{counted(len(records), 'board')}: {', '.join(parts) or 'none yet'}{done}"


class BoardTable:
    """The boards as a table for `rich`, cut to a terminal's width and, where asked, its height.

    Else a line below it tells each problem for which the table has no place.
    """

    def __init__(self, records: list[Any], *, fits_height: bool) -> None:
        self._records = records
        self._fits_height = fits_height

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it."""
        from rich.cells import cell_len
        from rich.text import Text

        width, count = options.max_width, len(self._records)
        if self._fits_height:
            count = min(count, max(console.size.height - RESERVED_LINES, 1))
        titles = [title for title, (least, _) in COLUMNS.items() if width >= least]
        rows = [
            [encodable(text, options.encoding) for text in cells(record, width)]
            for record in self._records[:count]
        ]
        widths = _widths(titles, rows, width)
        # That of `rich` is one character, which other encodings than UTF lack.
        ellipsis = "..." if options.ascii_only else "…"
        overflow: OverflowMethod = "crop" if options.ascii_only else "ellipsis"
        yield Text(headline(self._records), no_wrap=True, overflow=overflow)
        yield _row(titles, widths, ellipsis, "dim")
        for record, row in zip(self._records, rows, strict=False):
            line = _row(row, widths, ellipsis, "")
            line.stylize(STYLES.get(record["status"], ""), 0, widths[0])
            yield line
        hidden = summarize(self._records[count:])
        if hidden:
            text = ", ".join(f"{count:,} {state}" for state, count in hidden.items())
            yield Text(f"and {text}", style="dim", no_wrap=True, overflow=overflow)
        if not self._fits_height:
            for record, row in zip(self._records, rows, strict=True):
                what = _with_short_names(row[-1], widths[-1], ellipsis)
                is_whole = titles[-1] == "WHAT" and cell_len(what) <= widths[-1]
                if record["status"] in PROBLEMS and not is_whole:
                    yield Text(encodable(_problem(record), options.encoding))


def _widths(titles: list[str], rows: list[list[str]], width: int) -> list[int]:
    """Choose the widths of columns: where boards are, and what is wrong, gives way to the rest."""
    from rich.cells import cell_len

    widths = [
        min(max(cell_len(text) for text in column), LONGEST)
        for column in zip(titles, *rows, strict=True)
    ]
    flexible = [place for place, title in enumerate(titles) if title in ("BOARD", "WHAT")]
    fixed = sum(widths[place] for place in range(len(titles)) if place not in flexible)
    left = max(width - fixed - len(titles), len(flexible))
    for place in flexible:
        longest = max(cell_len(row[place]) for row in [titles, *rows])
        is_last = place == flexible[-1]
        widths[place] = left if is_last else min(longest, left // len(flexible))
        left -= widths[place]
    return widths


def _row(texts: list[str], widths: list[int], ellipsis: str, style: str) -> Text:
    from rich.cells import set_cell_size
    from rich.text import Text

    cut = [
        _cut(text, width, ellipsis, keeps_end=title == "BOARD")
        for title, text, width in zip(COLUMNS, texts, widths, strict=False)
    ]
    padded = [set_cell_size(text, width) for text, width in zip(cut, widths, strict=True)]
    return Text(" ".join(padded), style=style, no_wrap=True, overflow="crop")


def _cut(text: str, width: int, ellipsis: str, *, keeps_end: bool) -> str:
    """Cut a text to a width: names of tasks first; of a path the end tells more than the beginning."""
    from rich.cells import cell_len, set_cell_size

    text, ellipsis = _with_short_names(text, width, ellipsis), ellipsis[:width]
    if cell_len(text) <= width:
        return text
    if not keeps_end:
        return set_cell_size(text, width - len(ellipsis)) + ellipsis
    while text and cell_len(text) > width - len(ellipsis):
        text = text[1:]
    return ellipsis + text


def _with_short_names(text: str, width: int, ellipsis: str) -> str:
    """Shorten the names of tasks, as far as a text is too long for a width."""
    from rich.cells import cell_len

    def shorten(name: re.Match[str]) -> str:
        left = max(cell_len(name[1]) - excess, SHORTEST)
        return f'"{_cut(name[1], left, ellipsis, keeps_end=False)}"'

    excess = cell_len(text) - width
    return text if excess <= 0 else NAME.sub(shorten, text)


class Changes:
    """What has changed since the last look, as lines for a log."""

    def __init__(self) -> None:
        self._states: dict[str, str] = {}
        self._shown, self._at = "", -LINE_PAUSE

    def lines(self, records: list[Any], *, is_last: bool) -> list[str]:
        """Return a line for each board that got a problem, and now and then a summary."""
        lines = [
            _problem(record)
            for record in records
            if record["status"] in PROBLEMS
            and self._states.get(record["directory"]) != record["status"]
        ]
        self._states = {record["directory"]: record["status"] for record in records}
        text, now = headline(records), time.monotonic()
        if text != self._shown and (lines or is_last or now - self._at >= LINE_PAUSE):
            self._shown, self._at = text, now
            lines.append(text)
        return lines


def _problem(record: Record) -> str:
    where = [f"job {job(record)}" if job(record) else "", f"on {record['host']}"]
    place = " ".join(part for part in where if part and record["host"])
    text = f"{record['status']}: {record['directory']}" + (f" ({place})" if place else "")
    return one_line(f"{text}: {_what(record)}" if _what(record) else text)
