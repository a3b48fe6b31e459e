"""Who is preferred, how sure that is, and whether the place an answer was shown in has a share in it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from helptune.plots.style import INK, SMALL, TUNED, WORSE, labels, legend, plain
from helptune.text import printable

if TYPE_CHECKING:
    from helptune.evaluate.preference import Preference
    from helptune.evaluate.statistics.estimate import Estimate
    from helptune.evaluate.strength import Ranking

_WHOSE = {"human": "people", "machine": "machines"}
_LONGEST = 28
"""Characters of a name that leave room for the picture."""


def win_rates(ax: Axes, found: Sequence["Preference"], above: float = 0.75) -> Axes:
    """A row a pair of models and kind of rater: its win rate, and that at equal length, with their intervals.

    The dashed line is the share that is to be exceeded, the thin one says that nobody is preferred. The tick is what a
    claim rests on: the one-sided lower bound, with everything that is missing counted against it.
    """
    lower = [(row, one.lower) for row, one in enumerate(found) if one.lower is not None]
    _dots(ax, [one.win_rate for one in found], 0.14, "o", TUNED, "win rate, ties half")
    _dots(ax, [one.length_controlled for one in found], -0.16, "D", INK, "at equal length")
    if lower:
        rows, bounds = zip(*lower, strict=True)
        at = [len(found) - 1 - row + 0.14 for row in rows]
        ax.plot(bounds, at, "|", color=TUNED, markersize=13, markeredgewidth=2, label="lower bound, 95%")
    ax.axvline(above, color=WORSE, linestyle=(0, (4, 2)), linewidth=1.8, label=f"to exceed: {above:.0%}")
    return _shares(ax, found, "judgements that prefer the first-named model")


def by_place(ax: Axes, found: Sequence["Preference"]) -> Axes:
    """How often the first-named model won where its answer was shown first, and where it was shown second.

    Two points apart: raters favour a place. Both must lie on the same side of the thin line for the model to be what
    they prefer.
    """
    for row, one in enumerate(found):
        if one.when_first.value is not None and one.when_second.value is not None:
            y = len(found) - 1 - row
            ax.plot(
                [one.when_first.value, one.when_second.value], [y + 0.14, y - 0.14], color=INK, alpha=0.35, zorder=0
            )
    _dots(ax, [one.when_first for one in found], 0.14, "o", TUNED, "shown first")
    _dots(ax, [one.when_second for one in found], -0.14, "s", INK, "shown second")
    return _shares(ax, found, "votes for the first-named model")


def strength_scale(ax: Axes, ranking: "Ranking") -> Axes:
    """Models on one scale, strongest on top, with their intervals. A bar at the right joins those not told apart."""
    names = [one.model for one in ranking.strengths]
    _dots(ax, [one.value for one in ranking.strengths], 0.0, "o", TUNED, "strength")
    for place, group in enumerate(group for group in ranking.groups if len(group) > 1):
        rows = [len(names) - 1 - names.index(model) for model in group]
        x = 1.03 + 0.04 * place
        style: dict[str, Any] = {
            "color": INK,
            "linewidth": 2.5,
            "clip_on": False,
            "label": "" if place else "not told apart",
        }
        ax.plot([x, x], [min(rows) - 0.2, max(rows) + 0.2], transform=ax.get_yaxis_transform(), **style)
    if ranking.why:
        ax.text(0.5, 0.5, "strengths are not defined", transform=ax.transAxes, ha="center", color=INK, fontsize=SMALL)
    _rows(ax, [_short(printable(name)) for name in names])
    labels(ax, "log strength (a difference of 1 wins 73%)", "")
    return legend(plain(ax, grid="x"), columns=2)


def _dots(ax: Axes, estimates: Sequence["Estimate"], shift: float, marker: str, color: str, label: str) -> None:
    points = []
    for row, one in enumerate(estimates):
        y = len(estimates) - 1 - row + shift
        if one.low is not None and one.high is not None:
            ax.plot([one.low, one.high], [y, y], color=color, linewidth=2.2, alpha=0.6, zorder=1)
        if one.value is not None:
            points.append((one.value, y))
    if points:
        ax.plot(*zip(*points, strict=True), marker, color=color, markersize=6.5, label=label)


def _shares(ax: Axes, found: Sequence["Preference"], x: str) -> Axes:
    ax.axvline(0.5, color=INK, linewidth=1)
    _rows(ax, [f"{printable(one.a)} over {printable(one.b)}\n{_WHOSE[one.kind]}, n = {one.judged}" for one in found])
    for row, one in enumerate(found):
        if not one.judged:
            ax.text(0.02, len(found) - 1 - row, "no votes", va="center", color=INK, fontsize=SMALL)
    ax.set_xlim(-0.02, 1.02)
    ax.xaxis.set_major_formatter(PercentFormatter(1.0))
    labels(ax, x, "")
    return legend(plain(ax, grid="x"), columns=2)


def _short(name: str) -> str:
    """The end of a long name, which tells folders apart."""
    return name if len(name) <= _LONGEST else f"…{name[1 - _LONGEST :]}"


def _rows(ax: Axes, names: Sequence[str]) -> None:
    """A name a row, the first on top. A dollar sign in it begins no formula."""
    ax.set_yticks(range(len(names)), [name.replace("$", r"\$") for name in reversed(names)])
    ax.set_ylim(-0.6, len(names) - 0.4)
