"""Pictures of near duplicates: what a signature estimates, and which pairs its bands bring together."""

import numpy as np
from matplotlib.axes import Axes

from helptune.plots.style import BASE, INK, SMALL, TUNED, WORSE, labels, legend, plain
from helptune.shapes import Float, Int


def estimates(ax: Axes, exact: Float[np.ndarray, " N"], estimated: Float[np.ndarray, " N"], threshold: float) -> Axes:
    """One dot a pair of texts; the diagonal is a perfect estimate, the dashed line the threshold on both axes."""
    ax.plot([0, 1], [0, 1], color=INK, linewidth=1, alpha=0.6)
    ax.axvline(threshold, color=WORSE, linestyle=(0, (4, 2)))
    ax.axhline(threshold, color=WORSE, linestyle=(0, (4, 2)))
    ax.plot(exact, estimated, "o", color=TUNED, markersize=4, alpha=0.6)
    labels(ax, "Jaccard similarity, exact", "estimate from the signature")
    return plain(ax)


def found_with_probability(similarity: Float[np.ndarray, " N"], bands: int, rows: int) -> Float[np.ndarray, " N"]:
    """1 - (1 - s^rows)^bands: the chance that at least one band of a signature agrees in all its rows."""
    return 1 - (1 - similarity**rows) ** bands


def s_curve(ax: Axes, bands: int, rows: int, threshold: float) -> Axes:
    """The chance that a pair is compared, by its similarity; shaded are the pairs missed and those compared in vain."""
    s = np.linspace(0, 1, 201)
    p = found_with_probability(s, bands, rows)
    ax.fill_between(s, p, where=s <= threshold, color=BASE, alpha=0.35, label="compared in vain", linewidth=0)
    ax.fill_between(s, p, 1, where=s >= threshold, color=WORSE, alpha=0.45, label="missed", linewidth=0)
    ax.plot(s, p, color=TUNED, linewidth=2.2)
    ax.axvline(threshold, color=INK, linestyle=(0, (4, 2)), linewidth=1.4)
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1.02)
    labels(ax, "Jaccard similarity of the pair", "chance that it is compared")
    return legend(plain(ax), columns=2)


def kept_among(ax: Axes, similarity: Float[np.ndarray, "N N"], kept: Int[np.ndarray, " K"], threshold: float) -> Axes:
    """Every pair's similarity, darker for more; framed from the threshold on; "kept" stands beside who stays."""
    count = len(similarity)
    ax.imshow(similarity, cmap="Blues", vmin=0, vmax=1.2)
    for row, column in np.argwhere(similarity >= threshold).tolist():
        if row != column:
            ax.plot(column, row, "s", markersize=14, markerfacecolor="none", markeredgecolor=WORSE, markeredgewidth=1.6)
    names = [f"{i} kept" if i in set(np.asarray(kept).tolist()) else f"{i}" for i in range(count)]
    ax.set_yticks(range(count), names, fontsize=SMALL, color=INK)
    ax.set_xticks(range(count), [f"{i}" for i in range(count)], fontsize=SMALL, color=INK)
    labels(ax, "text", "text")
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    return ax
