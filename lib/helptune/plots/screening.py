"""Pictures of a safety screen: the scores of safe and unsafe texts, and what a threshold makes of them."""

import numpy as np
from matplotlib.axes import Axes

from helptune.plots.style import BASE, INK, TUNED, WORSE, labels, legend, plain
from helptune.shapes import Float


def scores(ax: Axes, safe: Float[np.ndarray, " N"], unsafe: Float[np.ndarray, " M"], threshold: float) -> Axes:
    """Histograms back to back: safe texts grow up, unsafe ones down; what lies right of the line is dropped."""
    edges = np.linspace(0, 1, 26)
    middle, width = (edges[:-1] + edges[1:]) / 2, edges[1] - edges[0]
    up, down = np.histogram(safe, edges)[0], np.histogram(unsafe, edges)[0]
    ax.bar(middle, up, width, color=TUNED, edgecolor="white", label="safe texts")
    ax.bar(middle, -down, width, color=WORSE, edgecolor="white", hatch="//", label="unsafe texts")
    ax.axhline(0, color=INK, linewidth=0.8)
    ax.axvspan(threshold, 1, color=BASE, alpha=0.2, linewidth=0, zorder=0, label="dropped")
    ax.axvline(threshold, color=INK, linestyle=(0, (4, 2)), linewidth=1.4)
    ax.set_xlim(0, 1)
    highest = 1.1 * max(up.max(), down.max())
    ax.set_ylim(-highest, highest)
    ax.yaxis.set_major_formatter(lambda count, _: f"{abs(count):.0f}")
    labels(ax, "the screen's score", "texts")
    return legend(plain(ax), columns=3)
