"""What objects show of themselves in a notebook: HTML without scripts, that needs no library.

Names, messages and metadata are others' text: each is escaped. What a look would have to read much
for is left out.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ._text import PROBLEMS, age, counted, one_line, size
from .errors import ProteinFlexError

if TYPE_CHECKING:
    from .types import CacheStats, CheckpointInfo, EntryInfo, GPUInfo

__all__ = ["cache", "checkpoints", "gpus", "trajectory"]

MAX_ROWS = 10
MAX_LISTED = 2_000
"""Entries of a cache of which the newest are looked up, which takes 0.1 ms each."""
PLOTTED_FRAMES = 60
PLOTTED_BYTES = 64 << 20
"""Decoded coordinates, at most, behind a plot: some tenths of a second."""
WIDTH, HEIGHT = 320, 60
"""Of a plot, in pixels."""
MUTED = "opacity:0.65;font-size:90%"


def cache(stats: CacheStats, newest: Sequence[EntryInfo]) -> str:
    """Show how full a cache is, and its newest entries."""
    used = f"{size(stats['used_bytes'])} of {size(stats['max_bytes'])}"
    trajectories = counted(stats["trajectories"], "trajectory", "trajectories")
    counts = f"{counted(stats['structures'], 'structure')}, {trajectories}"
    saved = f"{stats['saved_percent']:.0f} % saved by compression"
    rows = [
        (info["data_id"], _content(info), size(info["stored_bytes"]), f"{age(info['created'])} ago")
        for info in newest
    ]
    return _page(
        "DataHandler",
        stats["cache_dir"],
        _bar(stats["usage_percent"]) + _muted(f"{used}, {counts}, {saved}"),
        _table(("name", "holds", "size", "stored"), rows) if rows else "",
    )


def trajectory(of: Any) -> str:
    """Show what a trajectory holds, and how its radius of gyration changes where that is cheap."""
    rows = [
        ("frames, atoms", f"{of.n_frames:,} × {of.n_atoms:,}, {of.dtype}"),
        ("size", f"{size(of.stored_bytes)} ({of._saved_percent:.0f} % saved)"),
        ("fields", ", ".join(of.fields)),
    ]
    if of.url is not None:
        # A look makes no request.
        return _page("Trajectory", of.data_id, _table(("", ""), [*rows, ("at", of.url)]))
    try:
        time = of.time
        if time is not None and len(time):
            rows.append(("time", f"{time[0]:g} to {time[-1]:g}"))
        plot = _gyration(of)
    except (ProteinFlexError, OSError) as error:
        rows.append(("not readable", str(error)))
        plot = ""
    rows += [(str(key), str(value)) for key, value in list(of.metadata.items())[:MAX_ROWS]]
    return _page("Trajectory", of.data_id, _table(("", ""), rows), plot)


def checkpoints(directory: str, rows: Sequence[CheckpointInfo]) -> str:
    """Show the newest checkpoints of a directory."""
    newest = list(rows)[::-1][:MAX_ROWS]
    table = _table(
        ("checkpoint", "saved", "size", "components", ""),
        [
            (
                row["checkpoint_id"],
                f"{age(row['created_at'])} ago",
                size(row["size_bytes"]),
                ", ".join(row["components"]),
                PROBLEMS[row["problem"]] if row["problem"] else "",
            )
            for row in newest
        ],
    )
    total = size(sum(row["size_bytes"] for row in rows))
    return _page(
        "CheckpointManager",
        directory,
        _muted(f"{counted(len(rows), 'checkpoint')}, {total}"),
        table,
    )


def gpus(found: Sequence[GPUInfo], without: str = "no GPU is visible here") -> str:
    """Show the GPUs that a process sees, and who has reserved how much of them."""
    if not found:
        return _page("GPUManager", without)
    rows = []
    for gpu in found:
        index = "-" if gpu["index"] is None else str(gpu["index"])
        name = gpu["name"] or "?"
        if gpu["status"] != "ok":
            rows.append((index, name, f"{gpu['status']}: {gpu['reason']}", "", ""))
            continue
        held = ", ".join(
            f"{each['memory']} MiB for {each['task']} (pid {each['pid']})"
            for each in gpu["reservations"]
        )
        busy = "" if gpu["utilization"] is None else f"{gpu['utilization']} %"
        free = f"{gpu['memory_free']} of {gpu['memory_total']} MiB"
        rows.append((index, name, free, busy, held))
    return _page("GPUManager", "", _table(("GPU", "name", "free", "busy", "reserved"), rows))


def _content(info: EntryInfo) -> str:
    if info["n_frames"] is not None:
        return f"{info['n_frames']:,} frames × {info['n_atoms']:,} atoms"
    if info["n_residues"] is not None:
        return f"{info['n_residues']:,} residues, {info['n_atoms']:,} atoms"
    return info["kind"]


def _gyration(of: Any) -> str:
    """Plot the radius of gyration, all atoms alike, of frames that are evenly spread."""
    count = min(PLOTTED_FRAMES, of.n_frames)
    decoded = count * of.chunk_frames * of.n_atoms * 12
    if count < 2 or of.n_atoms < 2 or min(decoded, of.raw_bytes) > PLOTTED_BYTES:
        return ""
    picked = np.linspace(0, of.n_frames - 1, count).round().astype(int)
    frames = of[picked].astype(np.float64)
    centred = frames - frames.mean(axis=1, keepdims=True)
    radii = np.sqrt(np.square(centred).sum(axis=-1).mean(axis=-1))
    if not np.isfinite(radii).all():
        return ""
    low, high = radii.min(), radii.max()
    span = max(high - low, 1e-9)
    x = picked / picked[-1] * WIDTH
    y = HEIGHT - 4 - (radii - low) / span * (HEIGHT - 8)
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    label = f"radius of gyration of all atoms: {low:.2f} to {high:.2f}"
    return (
        f'<svg width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{_escaped(label)}">'
        f'<polyline points="{points}" fill="none" stroke="currentColor"/></svg>'
        f"{_muted(label)}"
    )


def _bar(percent: float) -> str:
    width = min(max(percent, 0.0), 100.0)
    return (
        f'<div style="max-width:{WIDTH}px;border:1px solid currentColor;border-radius:3px" '
        f'role="img" aria-label="{percent:.0f} % used"><div style="width:{width:.1f}%;height:8px;'
        'background:currentColor;opacity:0.5"></div></div>'
    )


def _page(kind: str, name: str, *parts: str) -> str:
    return f"<div><b>{_escaped(kind)}</b> {_escaped(name)}{''.join(parts)}</div>"


def _muted(text: str) -> str:
    return f'<div style="{MUTED}">{_escaped(text)}</div>'


def _table(header: tuple[str, ...], rows: Iterable[Sequence[str]]) -> str:
    lines = []
    if any(header):
        lines.append("".join(f"<th>{_escaped(title)}</th>" for title in header))
    lines += ["".join(f"<td>{_escaped(cell)}</td>" for cell in row) for row in rows]
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _escaped(text: str) -> str:
    return html.escape(one_line(text))
