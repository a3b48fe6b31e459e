"""Pictures of agreement: how two raters met, and agreement before and after items are dropped, beside the gate."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from helptune.plots.style import INK, SMALL, TUNED, WORSE, labels, legend, plain
from helptune.shapes import Int
from helptune.text import printable

_NAMES = {
    "cohen_kappa": "Cohen's kappa",
    "weighted_kappa": "weighted kappa",
    "fleiss_kappa": "Fleiss' kappa",
    "krippendorff_alpha": "Krippendorff's alpha",
}
_STAGES = {
    "all": ("o", INK, 0.16, "all items"),
    "kept": ("D", TUNED, -0.16, "items kept, biased upward"),
}
"""Stage of a row -> its marker, colour, height above the attribute's line, and name in the legend."""


def agreement_before_after(ax: Axes, rows: Sequence[Mapping[str, Any]], above: float) -> Axes:
    """One measure of each attribute, with its interval: rows of `agreement_table` that share measure and level.

    The dashed line is the gate. At the right is the share of items that stayed; without it the blue figures mislead,
    since dropping disagreement raises agreement by construction.
    """
    names = list(dict.fromkeys(row["attribute"] for row in rows))
    for stage, (marker, color, shift, label) in _STAGES.items():
        of_stage = [
            (len(names) - 1 - names.index(row["attribute"]) + shift, row) for row in rows if row["stage"] == stage
        ]
        for y, row in of_stage:
            if row["low"] is not None:
                ax.plot([row["low"], row["high"]], [y, y], color=color, linewidth=2.2, alpha=0.6, zorder=1)
            if row["value"] is None:
                why = f"undefined: {row['undefined'].split(':')[0]}"
                ax.text(0.02, y, why, transform=ax.get_yaxis_transform(), va="center", color=color, fontsize=SMALL)
            if stage == "kept":
                share = f"{row['retention']:.0%}"
                ax.text(1.02, y, share, transform=ax.get_yaxis_transform(), va="center", color=color, fontsize=SMALL)
        points = [(row["value"], y) for y, row in of_stage if row["value"] is not None]
        if points:
            ax.plot(*zip(*points, strict=True), marker, color=color, markersize=6.5, label=label)
    if any(row["stage"] == "kept" for row in rows):
        ax.text(1.02, 1.0, "kept", transform=ax.transAxes, va="bottom", color=INK, fontsize=SMALL)
    ax.axvline(above, color=WORSE, linestyle=(0, (4, 2)), linewidth=1.8, label=f"gate: above {above:g}")
    lowest = min((row["low"] if row["low"] is not None else row["value"] or 0.0 for row in rows), default=0.0)
    ax.set_xlim(min(0.0, lowest - 0.02), 1.02)
    ax.set_yticks(range(len(names)), [printable(name) or "rating" for name in reversed(names)])
    ax.set_ylim(-0.6, len(names) - 0.4)
    measure = f"{_NAMES[rows[0]['measure']]}, {rows[0]['level']} (1 is perfect)" if rows else ""
    labels(ax, measure, "")
    return legend(plain(ax, grid="x"), columns=2)


def meetings(ax: Axes, first: Int[np.ndarray, " N"], second: Int[np.ndarray, " N"]) -> Axes:
    """Which rating of one rater met which of the other, with counts: blue squares agree, vermilion circles do not."""
    pairs, counts = np.unique(np.stack([first, second]), axis=1, return_counts=True)
    for (x, y), count in zip(pairs.T.tolist(), counts.tolist(), strict=True):
        ax.scatter(
            x, y, s=200 + 800 * count / counts.max(), color=TUNED if x == y else WORSE, marker="s" if x == y else "o"
        )
        ax.text(x, y, f"{count}", ha="center", va="center", color="white", fontsize=SMALL)
    low, high = int(pairs.min()), int(pairs.max())
    ax.set_xticks(range(low, high + 1))
    ax.set_yticks(range(low, high + 1))
    ax.set_xlim(low - 0.6, high + 0.6)
    ax.set_ylim(low - 0.6, high + 0.6)
    labels(ax, "rating by the first rater", "rating by the second")
    return plain(ax)
