"""Size against speed, one panel for each data set and bound."""

from __future__ import annotations

from pathlib import Path

from .data import DataSet
from .measure import Result

Measured = tuple[DataSet, float | None, list[Result]]


def plot(measured: list[Measured], path: Path) -> None:
    """Draw it: the better, the further to the upper left."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    bounds = sorted({bound for _, bound, _ in measured}, key=lambda bound: -(bound or 0))[::-1]
    sets = list(dict.fromkeys(data.name for data, _, _ in measured))
    names = list(dict.fromkeys(r.name for _, _, results in measured for r in results))
    colours = dict(zip(names, plt.get_cmap("tab20").colors * 2, strict=False))
    figure, axes = plt.subplots(
        len(bounds), len(sets), figsize=(3 * len(sets), 2.8 * len(bounds)), squeeze=False
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
                marker="*" if result.is_ours else "o",
                s=110 if result.is_ours else 32,
                zorder=3 if result.is_ours else 2,
            )
        panel.set_yscale("log")
        panel.grid(alpha=0.3, which="both", linewidth=0.5)
        panel.tick_params(labelsize=7)
    figure.supxlabel("size, % of raw float32", fontsize=9)
    figure.supylabel("decoding, MB/s of raw", fontsize=9)
    figure.tight_layout(rect=(0.01, 0.08, 1, 1))
    figure.legend(shown.values(), shown.keys(), loc="lower center", ncols=8, fontsize=7)
    figure.savefig(path, dpi=90)
