"""What the gradients of a run looked like, from the lines of `metrics.jsonl` that hold an analysis.

Heat maps are drawn as rectangles, not as an image, which the report's policy would not load. Their colours are
perceptually uniform: viridis for sizes, seaborn's vlag, white at zero, for what has a sign.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import seaborn
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, ScalarFormatter

from helptune.plots.style import BASE, FEW_SHOT, INK, NORMAL, SMALL, TUNED, WORSE, labels, legend, plain

SITE_STYLES = {
    "q": ("#56B4E9", "o-"), "k": (BASE, "s-"), "v": (FEW_SHOT, "^-"), "o": (TUNED, "D-"),
    "gate": (WORSE, "o--"), "up": ("#CC79A7", "s--"), "down": (INK, "^--"),
}  # fmt: skip
"""Colour, marker and line of each site: those of attention have whole lines, those of the MLP broken ones."""

_SHADES = 64
"""Of a heat map: enough for the eye, and each is a rectangle of its colour bar."""


def gradient_norms(ax: Axes, norms: Mapping[str, Sequence[float | None]]) -> Axes:
    """Norm of the gradient in every layer (columns) at every site (rows): where does the loss pull hardest?"""
    _heat(ax, _grid(norms), matplotlib.colormaps["viridis"], 0, None, "norm (nats per token)")
    ax.set_yticks(np.arange(len(norms)) + 0.5, list(norms))
    ax.set_xticks(*_layer_ticks(len(next(iter(norms.values())))))
    labels(ax, "layer", "")
    return ax


def update_ratios(ax: Axes, records: Sequence[Mapping[str, Any]]) -> Axes:
    """How far training moves the matrices, as shares of their norms: one step, and all steps so far.

    Lines are the median over layers and sites, bands hold the middle 80% of them. Steps that move nothing, such as the
    first of a warmup, have no place on the logarithmic axis.
    """
    styles = {"moved": (TUNED, "s-", "all steps so far"), "step_ratio": (WORSE, "o--", "the next step alone")}
    for name, (color, line, label) in styles.items():
        points = [(step, _grid(found[name])) for step, found in _analyses(records) if name in found]
        points = [(step, grid) for step, grid in points if np.nanmedian(grid) > 0]
        if points:
            steps, low, middle, high = zip(*((s, *np.nanpercentile(g, (10, 50, 90))) for s, g in points), strict=True)
            ax.fill_between(steps, low, high, color=color, alpha=0.18, linewidth=0)
            ax.plot(steps, middle, line, color=color, linewidth=2, markersize=4.5, label=label)
    ax.set_yscale("log")
    ax.tick_params(which="minor", labelsize=SMALL - 2, colors=INK)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    labels(ax, "optimizer step", "change / norm of the matrix")
    return legend(plain(ax), columns=2)


def effective_ranks(ax: Axes, ranks: Mapping[str, Sequence[float | None]], rank: int) -> Axes:
    """Effective rank of the update A B in every layer, a line for each site; dashed is the rank it could have."""
    for site, values in ranks.items():
        color, line = SITE_STYLES[site]
        layers, found = range(len(values)), np.array(values, float)
        ax.plot(layers, found, line, color=color, linewidth=1.5, markersize=3.5, label=site)
    ax.axhline(rank, color=INK, linestyle=(0, (1, 1.5)), linewidth=1.8, label=f"rank {rank}")
    ax.set_ylim(0, rank * 1.08)
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    labels(ax, "layer", "effective rank")
    return legend(plain(ax), columns=4)


def noise_scales(
    ax: Axes, records: Sequence[Mapping[str, Any]], rows: float, low: float, high: float | None, batch_rows: int
) -> Axes:
    """The noise scale in rows: points are single measurements, where they have one; the line is that of all together,
    its band the 90% interval (open above where `high` is None). The dashed level is the batch of the run.
    """
    single = [(step, found["noise"]) for step, found in _analyses(records) if found["noise"]]
    points = [
        (s, n["trace"] / n["squared"] / (n["tokens"] / n["rows"])) for s, n in single if n["squared"] > 0 < n["trace"]
    ]
    top = 3 * max([rows, batch_rows, *(value for _, value in points)])
    ax.axhspan(low, top if high is None else high, color=TUNED, alpha=0.18, linewidth=0, label="90% interval")
    ax.axhline(rows, color=TUNED, linewidth=2, label="all measurements")
    ax.axhline(batch_rows, color=INK, linestyle=(0, (4, 2)), linewidth=1.8, label="batch of this run")
    if points:
        ax.plot(*zip(*points, strict=True), "o", color=WORSE, markersize=5, label="one measurement")
    ax.set_yscale("log")
    ax.set_ylim(top=top if high is None else None)
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(ScalarFormatter())
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    labels(ax, "optimizer step", "noise scale (rows)")
    return legend(plain(ax), columns=2)


def cosine_matrix(ax: Axes, tasks: Sequence[str], cosines: Sequence[Sequence[float | None]]) -> Axes:
    """Cosine between the gradients of every two tasks: red pull the same way, blue against each other.

    The diagonal, always 1, is left out of the colours.
    """
    grid = np.array(cosines, float)
    others = np.where(np.eye(len(tasks), dtype=bool), np.nan, grid)
    largest = max(float(np.nanmax(np.abs(others), initial=0, where=~np.isnan(others))), 0.01)
    _heat(ax, others, seaborn.color_palette("vlag", as_cmap=True), -largest, largest, "cosine")
    for (row, column), value in np.ndenumerate(others):
        if np.isfinite(value) and len(tasks) <= 16:
            color = "#ffffff" if abs(value) > 0.7 * largest else "#1d2024"
            text = f"{round(value, 2) + 0:.2f}".replace("0.", ".").replace("-", "\u2212")
            ax.text(column + 0.5, row + 0.5, text, color=color, fontsize=SMALL - 3, ha="center", va="center")
    ticks = np.arange(len(tasks)) + 0.5
    ax.set_xticks(ticks, tasks, rotation=90)
    ax.set_yticks(ticks, tasks)
    ax.set_aspect("equal")
    return ax


def _analyses(records: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    return ((record["step"], record["gradients"]) for record in records if "gradients" in record)


def _grid(by_site: Mapping[str, Sequence[float | None]]) -> np.ndarray:
    return np.array(list(by_site.values()), float)


def _layer_ticks(layers: int) -> tuple[np.ndarray, list[str]]:
    shown = np.arange(0, layers, 1 if layers <= 10 else 2 if layers <= 20 else 4)
    return shown + 0.5, [str(layer) for layer in shown]


def _heat(ax: Axes, grid: np.ndarray, colors: Any, low: float | None, high: float | None, label: str) -> None:
    mesh = ax.pcolormesh(grid, cmap=colors.resampled(_SHADES), vmin=low, vmax=high, edgecolor="face", linewidth=0.3)
    ax.invert_yaxis()
    figure = ax.get_figure(root=True)
    assert figure is not None
    bar = figure.colorbar(mesh, ax=ax, pad=0.02)
    bar.solids.set_rasterized(False)  # type: ignore[union-attr]  # or an image, once more
    bar.solids.set_edgecolor("face")  # type: ignore[union-attr]  # or hairlines between the shades
    bar.outline.set_visible(False)  # type: ignore[operator]
    bar.set_label(label, color=INK, fontsize=NORMAL)
    bar.ax.tick_params(colors=INK, labelsize=SMALL)
    ax.tick_params(colors=INK, labelsize=SMALL, length=0)
    ax.spines[:].set_visible(False)
