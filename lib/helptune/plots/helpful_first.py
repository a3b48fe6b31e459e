"""The pictures of notebook 01: where this stage stands, policies, preferences, and who predicts which style best."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from helptune.plots.style import BASE, FEW_SHOT, INK, NORMAL, SMALL, TUNED, WORSE, labels, legend, plain
from helptune.shapes import Float

_SERIES = ((BASE, ""), (FEW_SHOT, "//"), (TUNED, ".."), (WORSE, "xx"))
_LINES = ("o-", "s--", "^-.", "D:")
_PIPELINE = (
    ("helpful\nmodel", 0, 1, TUNED),
    ("red-team\nprompts", 1, 1, BASE),
    ("critique", 2, 1, FEW_SHOT),
    ("revision", 3, 1, FEW_SHOT),
    ("SL-CAI", 4, 1, TUNED),
    ("pairs of\nanswers", 4, 0, BASE),
    ("AI\nfeedback", 3, 0, FEW_SHOT),
    ("preference\nmodel", 2, 0, TUNED),
    ("RL-CAI", 1, 0, TUNED),
)
"""(what, column, row from below, colour): blue is a model, orange its data, green what a model is told to do."""


def pipeline(ax: Axes) -> Axes:
    """Bai et al. 2022 as nine boxes: the supervised phase from left to right, then the RL phase back."""
    for name, x, y, color in _PIPELINE:
        box = FancyBboxPatch((x - 0.37, y - 0.24), 0.74, 0.48, boxstyle="round,pad=0.02", fc="white", ec=color, lw=2.5)
        ax.add_patch(box)
        ax.text(x, y, name, ha="center", va="center", fontsize=NORMAL, color="black")
    places = [(x, y) for _, x, y, _ in _PIPELINE]
    for (x, y), (to_x, to_y) in pairwise(places):
        dx, dy = 0.41 * np.sign(to_x - x), 0.28 * np.sign(to_y - y)
        arrow = {"arrowstyle": "-|>", "color": INK, "linewidth": 1.6, "shrinkA": 0, "shrinkB": 0}
        ax.annotate("", (to_x - dx, to_y - dy), (x + dx, y + dy), arrowprops=arrow)
    ax.annotate("this course", (0, 1.27), (0, 1.58), ha="center", color=INK, arrowprops={"arrowstyle": "->"})
    ax.text(2.5, 1.42, "supervised phase", ha="center", color=INK, fontsize=NORMAL)
    ax.text(2.5, -0.48, "reinforcement learning phase", ha="center", color=INK, fontsize=NORMAL)
    ax.set(xlim=(-0.5, 4.5), ylim=(-0.6, 1.75))
    ax.set_axis_off()
    return ax


def policies(ax: Axes, names: Sequence[str], series: Mapping[str, Float[np.ndarray, " answers"]]) -> Axes:
    """Bars of probability: for each answer one of each series."""
    width = 0.8 / len(series)
    for place, ((label, values), (color, hatch)) in enumerate(zip(series.items(), _SERIES, strict=False)):
        left = np.arange(len(names)) - 0.4 + width * (place + 0.5)
        ax.bar(left, values, width, color=color, hatch=hatch, edgecolor="white", label=label)
    ax.set_xticks(range(len(names)), names)
    ax.set_ylim(0, 1)
    labels(ax, "answer", "probability")
    return legend(plain(ax), len(series))


def table(ax: Axes, values: Float[np.ndarray, "rows columns"], rows: Sequence[str], columns: Sequence[str]) -> Axes:
    """A number in each cell, darker where it is greater."""
    ax.imshow(values, cmap="cividis_r", aspect="auto")
    middle = (values.min() + values.max()) / 2
    for (row, column), value in np.ndenumerate(values):
        color = "white" if value > middle else "black"
        ax.text(column, row, f"{value:.2f}", ha="center", va="center", color=color, fontsize=NORMAL)
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), rows)
    ax.tick_params(colors=INK, labelsize=SMALL, length=0)
    ax.spines[:].set_visible(False)
    return ax


def reward_paths(ax: Axes, names: Sequence[str], path: Float[np.ndarray, "steps answers"]) -> Axes:
    """The reward of each answer, step by step of its fit."""
    for name, values, (color, _), line in zip(names, path.T, _SERIES, _LINES, strict=False):
        ax.plot(values, line, color=color, label=name, markevery=max(1, len(path) // 8))
    labels(ax, "step of gradient descent", "reward (log odds)")
    return legend(plain(ax), len(names))
