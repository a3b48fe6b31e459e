"""How often each kind of failure occurs, model beside model; and what changed between two of them, prompt by prompt."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from helptune.evaluate.failures.counts import Change
from helptune.evaluate.statistics.estimate import Estimate
from helptune.plots.style import BASE, FEW_SHOT, INK, SMALL, TUNED, labels, legend, plain
from helptune.text import printable

_LOOK = {"base": ("o", BASE, 0.22), "few_shot": ("s", FEW_SHOT, 0.0), "tuned": ("D", TUNED, -0.22)}
"""Model -> its marker, colour, and height above the category's line."""

_NAMES = {"few_shot": "few-shot base"}


def failure_shares(ax: Axes, of_model: Mapping[str, Mapping[str, Estimate]]) -> Axes:
    """The share of each model's answers in each category, with its interval; a category nobody has is left out.

    Takes `failures.counts.counts` of each model. Text alternative: a dot a model on a line a category.
    """
    names = [name for name in dict.fromkeys(n for own in of_model.values() for n in own) if _occurs(name, of_model)]
    height = {name: len(names) - 1 - i for i, name in enumerate(names)}
    for model, own in of_model.items():
        marker, color, shift = _LOOK.get(model, ("^", INK, 0.0))
        known = [(name, found.value) for name, found in own.items() if name in height and found.value is not None]
        points = [(value, height[name] + shift) for name, value in known]
        for name, found in own.items():
            if name in height and found.low is not None and found.high is not None:
                y = height[name] + shift
                ax.plot([found.low, found.high], [y, y], color=color, linewidth=2.2, alpha=0.6, zorder=1)
        if points:
            label = printable(_NAMES.get(model, model))
            ax.plot(*zip(*points, strict=True), marker, linestyle="", color=color, markersize=6, label=label)
    ax.set_xlim(-0.02, 1.02)
    ax.set_ylim(-0.6, max(0.4, len(names) - 0.4))
    ax.set_yticks(list(height.values()), [_spelled(name) for name in names])
    labels(ax, "share of answers, with 95% interval", "")
    return legend(plain(ax, grid="x"), columns=3)


def failure_changes(ax: Axes, changes: Sequence[Change]) -> Axes:
    """The change of each category from one model to the other in points, with its interval; filled: Holm's p < .05.

    Left of the line is fewer. Takes `failures.counts.changes`.
    """
    for y, change in enumerate(reversed(changes)):
        found = change.comparison.difference
        if found.value is None:
            continue
        if found.low is not None and found.high is not None:
            ax.plot([100 * found.low, 100 * found.high], [y, y], color=TUNED, linewidth=2.2, alpha=0.6, zorder=1)
        sure = change.holm is not None and change.holm < 0.05
        ax.plot([100 * found.value], [y], "D", color=TUNED, fillstyle="full" if sure else "none", markersize=6.5)
    ax.axvline(0, color=INK, linewidth=1)
    ax.set_ylim(-0.6, max(0.4, len(changes) - 0.4))
    ax.set_yticks(range(len(changes)), [_spelled(change.category) for change in reversed(changes)])
    labels(ax, "change in points (filled: p < .05 after Holm)", "")
    ax.tick_params(labelsize=SMALL)
    return plain(ax, grid="x")


def _occurs(name: str, of_model: Mapping[str, Mapping[str, Estimate]]) -> bool:
    return any(own[name].value for own in of_model.values() if name in own)


def _spelled(name: str) -> str:
    return printable(name).replace("_", " ")
