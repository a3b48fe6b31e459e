"""Pictures of low rank: a matrix and its nearest thin one, learning rates and steps by rank, memory while training."""

from collections.abc import Mapping, Sequence

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


def over_ranks(ax: Axes, ranks: Sequence[float], curves: Mapping[str, Sequence[float]]) -> Axes:
    """A line for each name over the rank (a logarithmic axis), a marker at each power of two, and names at the side."""
    marked = [i for i, rank in enumerate(ranks) if np.log2(rank) % 1 == 0]
    looks = ((TUNED, "o-"), (BASE, "s--"), (WORSE, "^:"), (FEW_SHOT, "v-."))
    for (name, curve), (color, look) in zip(curves.items(), looks, strict=False):
        ax.plot(ranks, curve, look, color=color, markevery=marked, markersize=4, linewidth=1.6, label=name)
    ax.set_xscale("log")
    ax.set_xticks([ranks[i] for i in marked], [f"{ranks[i]:.0f}" for i in marked])
    ax.minorticks_off()
    ax.legend(fontsize=SMALL, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
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
