"""The report: a Markdown table for each data set and bound, and its place in a page."""

from __future__ import annotations

import datetime

import numpy as np
from _compare import machine

from .data import DataSet
from .measure import AT_RANDOM, STRIDE, Result

COLUMNS = [
    "",
    "size, % of raw",
    "bits per atom",
    "encode, MB/s",
    "decode, MB/s",
    "one frame, ms",
    "one of many, ms",
    f"every {STRIDE}th, ms",
    "protein, ms",
]


def caption(rounds: int) -> str:
    """Say where, when and how it was measured."""
    return (
        f"{machine()}, {datetime.date.today().isoformat()}; one thread each, files in memory, medians of "
        f"{rounds} rounds in which all take turns. Times are the process's own, so that other users of "
        "the machine don't count. Raw is float32; MB/s are of raw bytes. Decoding includes opening the "
        f"file; one frame, every {STRIDE}th and the protein are read from a file that is open and of "
        f"which nothing has been read; many frames are up to {AT_RANDOM} at random, which have been read "
        "before, and of which none is kept.\n"
    )


def section(data: DataSet, spacing: float | None, results: list[Result]) -> str:
    """Make the table of one data set and bound, the smallest first."""
    n_frames, n_atoms = data.frames.shape[:2]
    raw = data.frames.nbytes
    bound = "every bit" if spacing is None else f"at {spacing} Å"
    columns = COLUMNS if spacing is None else [*COLUMNS, "largest error, Å"]
    lines = [
        f"### {data.name}, {bound}",
        "",
        f"{n_frames} frames of {n_atoms:,} atoms, of which {len(data.protein):,} are protein: "
        f"{data.origin}.",
        "",
        "| " + " | ".join(columns) + " |",
        "|" + " --- |" * len(columns),
    ]
    for result in sorted(results, key=lambda result: result.bytes):
        name = f"**{result.name}**" if result.is_ours else result.name
        cells = [
            name,
            f"{100 * result.bytes / raw:.1f}",
            f"{8 * result.bytes / (n_frames * n_atoms):.1f}",
            f"{raw / result.encode / 1e6:.0f}" if result.encode else "–",
            f"{raw / result.decode / 1e6:.0f}",
            f"{1e3 * result.frame:.2f}",
            f"{1e3 * result.at_random:.3f}",
            f"{1e3 * result.stride:.1f}",
            f"{1e3 * result.atoms:.1f}",
        ]
        if spacing is not None:
            cells.append(f"{result.error:.5f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def summary(measured: list[tuple[DataSet, float | None, list[Result]]]) -> str:
    """Make the table of all: our size and speed, the smallest other one, and XTC or DCD."""
    lines = [
        "|  |  | ours, % of raw | archive | the smallest other | ours, decode, MB/s | XTC or DCD |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for data, spacing, results in measured:
        raw = data.frames.nbytes
        by_name = {result.name: result for result in results}
        ours, archive = by_name["ours"], by_name["ours, archive"]
        others = [result for result in results if not result.is_ours]
        smallest = min(others, key=lambda result: result.bytes, default=None)
        usual = [result for result in others if result.name.startswith(("XTC", "DCD"))]
        # XTC where it takes part, by the faster of its readers.
        usual.sort(key=lambda result: (not result.name.startswith("XTC"), result.decode))
        cells = [
            data.name,
            "exact" if spacing is None else f"{spacing} Å",
            f"{100 * ours.bytes / raw:.1f}",
            f"{100 * archive.bytes / raw:.1f}",
            f"{100 * smallest.bytes / raw:.1f} ({smallest.name})" if smallest else "",
            f"{raw / ours.decode / 1e6:.0f}",
            f"{raw / usual[0].decode / 1e6:.0f} ({usual[0].name})" if usual else "",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def biomd(measured: list[tuple[DataSet, float | None, list[Result]]]) -> str:
    """Make the table of us, BIOMD and XTC at 0.01 Å."""
    size = ["ours", "ours, archive"]
    size += [
        "BIOMD, 1 frame",
        "BIOMD, 20 frames",
        "BIOMD, 64 frames",
        "BIOMD, 64 frames, equal error",
    ]
    encode = ["ours", "ours, archive", "BIOMD, 64 frames", "XTC, MDAnalysis"]
    decode = [*encode, "XTC, molly"]
    lines = [
        "### BIOMD and XTC, at 0.01 Å",
        "",
        "BIOMD is the molecular codec of SZ3 3.4, through pysz 1.1.0, in chunks of 1, 20 and 64 frames; "
        'its step is finer than the bound asks for, and "=" is its size at the error of rounding to '
        "0.01 Å, which is ours.",
        "",
        "| bits per atom | ours | archive | BIOMD, 1 frame | 20 | 64 | = | encode, MB/s: ours, archive, "
        "BIOMD 64, XTC | decode, MB/s: ours, archive, BIOMD 64, XTC by MDAnalysis, by molly | "
        "one of many frames, ms: ours, BIOMD 1, XTC by MDAnalysis, by molly |",
        "|" + " --- |" * 10,
    ]
    for data, spacing, results in measured:
        by_name = {result.name: result for result in results}
        if spacing != 0.01 or not {*size, *decode} <= by_name.keys():
            continue
        bits = 8 / (data.frames.shape[0] * data.frames.shape[1])
        speed = data.frames.nbytes / 1e6
        written = [f"{speed / (by_name[name].encode or np.nan):.0f}" for name in encode]
        read = [f"{speed / by_name[name].decode:.0f}" for name in decode]
        alone = ["ours", "BIOMD, 1 frame", "XTC, MDAnalysis", "XTC, molly"]
        frame = [f"{1e3 * by_name[name].at_random:.3f}" for name in alone]
        sizes = [f"{bits * by_name[name].bytes:.2f}" for name in size]
        lines.append(
            "| "
            + " | ".join([data.name, *sizes, ", ".join(written), ", ".join(read), ", ".join(frame)])
            + " |"
        )
    return "\n".join([*lines, ""])
