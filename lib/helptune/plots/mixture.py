"""Pictures of a mixture: where its records went."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from helptune.plots.style import INK, SMALL, TUNED, WORSE, labels, plain


def funnel(ax: Axes, stages: Sequence[Mapping[str, Any]]) -> Axes:
    """Bars of what is left after each stage (blue) and of what left there (vermilion), with their numbers.

    `stages` are the rows of `data.mixture.funnel.table`, in order.
    """
    names = ["read", *(row["stage"] for row in stages)]
    left = [stages[0]["left"] + stages[0]["dropped"], *(row["left"] for row in stages)]
    dropped = [0, *(row["dropped"] for row in stages)]
    places = range(len(names))
    ax.barh(places, left, color=TUNED, label="left")
    ax.barh(places, dropped, left=left, color=WORSE, hatch="//", edgecolor="white", label="dropped here")
    for place, here, gone in zip(places, left, dropped, strict=True):
        words = f"{here:,}" + (f"  (-{gone:,})" if gone else "")
        ax.annotate(
            words, (here + gone, place), (4, 0), textcoords="offset points", va="center", fontsize=SMALL, color=INK
        )
    ax.set_yticks(places, names)
    ax.invert_yaxis()
    ax.set_xlim(0, 1.35 * max(left))
    labels(ax, "records", "after")
    return plain(ax, grid="x")
