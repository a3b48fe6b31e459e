"""Two models on every metric: how far apart they are, on one scale, and where nothing is clear."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

from helptune.plots.style import BASE, INK, SMALL, TUNED, WORSE, labels, legend, plain

_STYLE: dict[str, dict[str, Any]] = {
    "better": {"color": TUNED, "marker": "D", "label": "clearly better"},
    "worse": {"color": WORSE, "marker": "X", "label": "clearly worse"},
    "no clear difference": {"color": INK, "marker": "o", "label": "no clear difference"},
    "higher or lower": {"color": BASE, "marker": "s", "label": "different, neither good nor bad"},
}


def effects(ax: Axes, rows: Sequence[tuple[str, str, float, float | None, float | None]]) -> Axes:
    """Standardized effects with their intervals: (metric, verdict, effect, low, high), the first row on top.

    An effect is positive where the second model is better, in units of its own spread (paired d_z, or Cohen's h for
    shares), so that metrics in different units stand on one axis: 0.2 is called small, 0.5 medium, 0.8 large.
    """
    shown = set()
    for y, (_, verdict, effect, low, high) in enumerate(reversed(rows)):
        kind = verdict if verdict in _STYLE else "higher or lower"
        style = _STYLE[kind]
        if low is not None and high is not None:
            ax.plot([low, high], [y, y], color=style["color"], linewidth=2, alpha=0.6)
        ax.plot(effect, y, linestyle="", markersize=6.5, **(style | ({"label": None} if kind in shown else {})))
        shown.add(kind)
    ax.axvline(0, color=INK, linewidth=1)
    ax.set_yticks(range(len(rows)), [name for name, *_ in reversed(rows)], fontsize=SMALL)
    ax.set_ylim(-0.7, len(rows) - 0.3)
    labels(ax, "effect (standardized; right is better)", "")
    return legend(plain(ax, grid="x"), columns=2)
