"""Size against speed, one panel for each data set and bound."""

from __future__ import annotations

import itertools
from pathlib import Path

from .data import DataSet
from .measure import Result

Measured = tuple[DataSet, float | None, list[Result]]


def plot(measured: list[Measured], path: Path) -> None:
    """Draw it: the better, the further to the upper left."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import ScalarFormatter

    bounds = list(dict.fromkeys(bound for _, bound, _ in measured))
    sets = list(dict.fromkeys(data.name for data, _, _ in measured))
    names = list(dict.fromkeys(result.name for *_, results in measured for result in results))
    palettes = (plt.get_cmap(palette).colors for palette in ("tab20", "tab20b", "tab20c"))
    colours = dict(zip(names, itertools.chain(*palettes), strict=False))
    figure, axes = plt.subplots(
        len(bounds),
        len(sets),
        figsize=(2 + 2.2 * len(sets), 1 + 2.2 * len(bounds)),
        squeeze=False,
        sharey=True,
        layout="constrained",
    )
    for panel in axes.flat:
        panel.set_visible(False)
    shown: dict[str, object] = {}
    for data, bound, results in measured:
        panel = axes[bounds.index(bound), sets.index(data.name)]
        panel.set_visible(True)
        panel.set_title(f"{data.name}, {'exact' if bound is None else f'{bound} Å'}", fontsize=9)
        for result in results:
            shown[result.name] = panel.scatter(
                100 * result.bytes / data.frames.nbytes,
                data.frames.nbytes / result.decode / 1e6,
                color=colours[result.name],
                edgecolor="black" if result.is_ours else "none",
                marker="*" if result.is_ours else "o",
                s=110 if result.is_ours else 32,
                zorder=3 if result.is_ours else 2,
            )
        panel.set_yscale("log")
        panel.yaxis.set_major_formatter(ScalarFormatter())
        panel.grid(alpha=0.3, which="both", linewidth=0.5)
        panel.tick_params(labelsize=7)
    figure.supxlabel("size, % of raw float32", fontsize=9)
    figure.supylabel("decoding, MB/s of raw", fontsize=9)
    legend = {"loc": "outside right upper", "fontsize": 8}
    figure.legend(list(shown.values()), list(shown), **legend)
    figure.savefig(path, dpi=90)
