"""Pictures of rows that hold several conversations: how full they are, and who sees whom.

Here a colour tells one conversation from its neighbours, and nothing else.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from helptune.plots.style import labels, plain
from helptune.shapes import AnyArray, Bool, Int

_NEIGHBOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")


def packed_rows(ax: Axes, lengths: Sequence[Sequence[int]], seq_len: int) -> Axes:
    """A bar for each row of a batch: its conversations' lengths one after the other, hatched padding to `seq_len`."""
    number = 0
    for place, row in enumerate(lengths):
        start = 0
        for length in row:
            colour = _NEIGHBOURS[number % len(_NEIGHBOURS)]
            ax.barh(place, length, left=start, height=0.8, color=colour, edgecolor="white", linewidth=0.6)
            start, number = start + length, number + 1
        style: dict[str, Any] = {"color": "none", "edgecolor": "#999999", "hatch": "////", "linewidth": 0}
        ax.barh(place, seq_len - start, left=start, height=0.8, **style)
    ax.set_xlim(0, seq_len)
    ax.set_ylim(len(lengths) - 0.4, -0.6)
    labels(ax, "place in the row (tokens)", "row")
    return plain(ax, grid="x")


def who_sees_whom(ax: Axes, mask: Bool[AnyArray, "T T"], segments: Int[AnyArray, "T"]) -> Axes:
    """Row t, column s is coloured where the token at t sees the one at s; the colour is that of t's conversation."""
    mask, segments = np.asarray(mask), np.asarray(segments)
    colours = np.array([to_rgb(_NEIGHBOURS[(s - 1) % len(_NEIGHBOURS)]) for s in segments])
    ax.imshow(np.where(mask[..., None], colours[:, None], to_rgb("#EEEEEE")), interpolation="nearest")
    ax.grid(False)
    labels(ax, "key s: what can be seen", "query t: who looks")
    return ax
