"""Pictures of low rank: a matrix beside its nearest thin one, learning rates by rank, memory while training."""

from collections.abc import Sequence

import numpy as np
import seaborn
from matplotlib.axes import Axes

from helptune.plots.style import BASE, FEW_SHOT, INK, SMALL, TUNED, WORSE, labels, legend, plain

COPIES = ("weights", "gradient", "Adam: mean", "Adam: mean square")
"""What training keeps in float32 for each number that it changes."""


def side_by_side(ax: Axes, left: np.ndarray, right: np.ndarray, names: tuple[str, str]) -> Axes:
    """Two matrices of one shape as pictures, dark for small numbers, with a name over each."""
    rows, columns = left.shape
    gap = columns // 16
    for start, picture, name in ((0, left, names[0]), (columns + gap, right, names[1])):
        ax.imshow(picture, cmap="cividis", vmin=0, vmax=1, extent=(start, start + columns, rows, 0))
        ax.text(start + columns / 2, -2, name, color=INK, fontsize=SMALL, ha="center", va="bottom")
    ax.set_xlim(0, 2 * columns + gap)
    ax.set_axis_off()
    return ax


def by_rank(ax: Axes, x: Sequence[float], curves: np.ndarray, ranks: Sequence[int], legend_title: str = "rank") -> Axes:
    """A line for each rank, the darker the larger; markers tell them apart too."""
    colors = seaborn.color_palette("viridis_r", len(ranks) + 1)[1:]
    for color, marker, rank, curve in zip(colors, "os^Dv*", ranks, curves, strict=False):
        ax.plot(x, curve, color=color, marker=marker, markersize=4, linewidth=1.6, label=f"{rank}")
    ax.legend(title=legend_title, fontsize=SMALL, frameon=False)
    return plain(ax)


def memory_bars(ax: Axes, model: Sequence[float], trained: Sequence[float], names: Sequence[str]) -> Axes:
    """For each way of training (a bar): GB of the model in bfloat16 and of four float32 copies of what is trained."""
    places, start = np.arange(len(names)), np.array(model, float)
    ax.barh(places, model, color=INK, alpha=0.35, label="model in bfloat16")
    for color, hatch, label in zip((TUNED, BASE, FEW_SHOT, WORSE), ("", "//", "..", "xx"), COPIES, strict=True):
        part = 4e-9 * np.array(trained, float)
        ax.barh(places, part, left=start, color=color, hatch=hatch, edgecolor="white", linewidth=0, label=label)
        start = start + part
    ax.set_yticks(places, names)
    ax.invert_yaxis()
    labels(ax, "memory (GB), activations not counted", "")
    return legend(plain(ax, "x"), columns=3)
