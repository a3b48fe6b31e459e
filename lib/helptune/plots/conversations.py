"""Pictures of a set of conversations: what is in it, and what a rule would take out of it."""

from collections.abc import Mapping, Sequence
from statistics import median

import numpy as np
from matplotlib.axes import Axes

from helptune.data.conversation import CATEGORIES, DIFFICULTIES, Conversation
from helptune.plots.style import INK, SMALL, TUNED, WORSE, labels, plain


def answer_lengths(ax: Axes, conversations: Sequence[Conversation]) -> Axes:
    """The median number of words in the last answer, a column a category and a row a difficulty; darker is longer."""
    cells = [[_median_words(conversations, name, level) for name in CATEGORIES] for level in DIFFICULTIES]
    grid = np.array(cells)
    ax.imshow(grid, cmap="Blues", aspect="auto", vmin=0)
    for (row, column), value in np.ndenumerate(grid):
        dark = value > 0.6 * np.nanmax(grid)
        ax.text(column, row, f"{value:.0f}", ha="center", va="center", color="white" if dark else INK, fontsize=SMALL)
    ax.set_xticks(range(len(CATEGORIES)), CATEGORIES, rotation=45, ha="right", fontsize=SMALL, color=INK)
    ax.set_yticks(range(len(DIFFICULTIES)), DIFFICULTIES, fontsize=SMALL, color=INK)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    return ax


def _median_words(conversations: Sequence[Conversation], category: str, difficulty: str) -> float:
    own = [c for c in conversations if (c.category, c.difficulty) == (category, difficulty)]
    return median(len(c.reference.split()) for c in own) if own else float("nan")


def shares_left(ax: Axes, shares: Mapping[str, float]) -> Axes:
    """A bar a category: which share of it a rule leaves; in vermilion where that is less than half."""
    found = sorted(shares.items(), key=lambda item: -item[1])
    names, left = [name for name, _ in found], [100 * share for _, share in found]
    bars = ax.bar(names, left, color=[TUNED if share >= 50 else WORSE for share in left])
    for bar, share in zip(bars, left, strict=True):
        bar.set_hatch("" if share >= 50 else "//")
        bar.set_edgecolor("white")
    ax.tick_params(axis="x", rotation=60)
    ax.set_ylim(0, 100)
    labels(ax, "", "left of the category (%)")
    return plain(ax)
