"""Pictures of a mixture: where its records went, and whether that was right."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from helptune.plots.style import BASE, INK, SMALL, TUNED, WORSE, labels, plain


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


def fates(ax: Axes, counts: Mapping[tuple[str, str], int], sound: Collection[str], kept: str = "kept") -> Axes:
    """A row a fault that records were known to have, a column what became of them; `counts` are by (fault, fate).

    Blue is as it should be: what is in `sound` was kept, other faults went. Orange went for no fault, vermilion stayed
    with one.
    """
    rows, columns = (list(dict.fromkeys(names)) for names in zip(*counts, strict=True))
    columns.sort(key=lambda name: name != kept)
    for (fault, fate), count in counts.items():
        right = (fault in sound) == (fate == kept)
        color = TUNED if right else WORSE if fate == kept else BASE
        place = (columns.index(fate), rows.index(fault))
        ax.scatter(*place, s=330, marker="s" if right else "o", color=color)
        ax.annotate(
            f"{count}", place, ha="center", va="center", color="white" if color != BASE else INK, fontsize=SMALL
        )
    ax.set_xticks(range(len(columns)), [name.replace("_", " ") for name in columns], rotation=45, ha="left")
    ax.set_yticks(range(len(rows)), rows)
    ax.xaxis.tick_top()
    ax.xaxis.set_label_position("top")
    ax.set_xlim(-0.6, len(columns) - 0.4)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    labels(ax, "what became of it", "planted fault")
    plain(ax, grid="y")
    ax.spines[:].set_visible(False)
    return ax
