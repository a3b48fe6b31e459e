"""How a class did: for each question, how many answers were right, wrong, or not there."""

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from helptune.plots.style import BASE, FEW_SHOT, INK, SMALL, TUNED, WORSE, labels, legend, plain

_STYLE: dict[str, dict[str, Any]] = {
    "right": {"facecolor": TUNED},
    "wrong": {"facecolor": WORSE, "hatch": "//"},
    "not written": {"facecolor": BASE, "hatch": ".."},
    "missing": {"facecolor": "none", "hatch": "xx"},
    "to be read": {"facecolor": FEW_SHOT, "hatch": "--"},
    "not graded": {"facecolor": "none"},
}


def outcomes(ax: Axes, rows: Mapping[str, Mapping[str, int]]) -> Axes:
    """Stacked bars: {question: {outcome: how many}}, the first question on top."""
    names = list(rows)
    start = dict.fromkeys(names, 0)
    for status, style in _STYLE.items():
        counts = {name: rows[name].get(status, 0) for name in names}
        if any(counts.values()):
            left = [start[name] for name in names]
            ax.barh(
                names,
                list(counts.values()),
                left=left,
                label=status,
                edgecolor=INK,
                linewidth=0.8,
                height=0.65,
                **style,
            )
        start = {name: start[name] + counts[name] for name in names}
    ax.invert_yaxis()
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    labels(ax, "answers", "")
    plain(ax, grid="x").tick_params(axis="y", labelsize=SMALL)
    return legend(ax, columns=3)
