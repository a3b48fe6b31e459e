"""Every picture of the course and of the report. A function takes a matplotlib Axes, draws on it and returns it.

Nothing here touches pyplot, so a picture looks the same in a notebook, a test and a report, and no state leaks between
them. Colours are those of Okabe and Ito (2008), safe for colour-blind readers, and mean the same everywhere: orange is
the base, green the base with solved examples in its prompt, blue what was trained. Shapes repeat what colours say.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, median
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

BASE, FEW_SHOT, TUNED, WORSE = "#E69F00", "#009E73", "#0072B2", "#D55E00"
INK = "#333333"
"""Text, axes and grid. `to_svg` turns it into the colour of the surrounding text, which follows dark mode."""

_WINDOW = 10
_SMALL, _NORMAL = 10, 11


def blank(width: float = 4.7, height: float = 3.5) -> Axes:
    """An empty Axes of a new figure, in inches. Small on purpose: its text stays readable at half a page's width."""
    return Figure(figsize=(width, height), layout="constrained").add_subplot()


def to_svg(ax: Axes) -> str:
    """The figure of `ax` as an <svg> element to put into a page: transparent, as wide as its container.

    The same picture gives the same bytes: no date, and ids from a fixed salt. Text stays text, so it can be searched.
    """
    figure, buffer = ax.get_figure(root=True), io.StringIO()
    assert isinstance(figure, Figure)
    silent = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context({"svg.hashsalt": "helptune", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata=silent, transparent=True)
    svg = buffer.getvalue()
    body = svg[svg.index(">", svg.index("<svg")) + 1 :]
    width, height = (72 * inches for inches in figure.get_size_inches())
    return f'<svg viewBox="0 0 {width:g} {height:g}">{body}'.replace(INK, "currentColor").strip()


def loss_curve(ax: Axes, records: Sequence[Mapping[str, Any]]) -> Axes:
    """Training from the lines of `metrics.jsonl`: is the model still learning, and when did it know most?

    Light points are the loss of single steps and the grey line their mean over the last 10; the blue line is the loss
    of the held-back conversations, with a ring at its lowest. The dashed level is the base: what they cost at step 0.
    """
    train = [(r["step"], r["loss"]) for r in records if r.get("loss") is not None]
    held_back = [(r["step"], r["eval_loss"]) for r in records if "eval_loss" in r]
    if train:
        steps, losses = zip(*train, strict=True)
        means = [fmean(losses[max(0, i - _WINDOW + 1) : i + 1]) for i in range(len(losses))]
        ax.plot(steps, losses, "o", color=INK, alpha=0.3, markersize=3, markeredgewidth=0, label="training, one step")
        ax.plot(steps, means, color=INK, alpha=0.6, linewidth=1.5, label=f"training, mean of {_WINDOW} steps")
    if held_back:
        steps, losses = zip(*held_back, strict=True)
        ax.plot(steps, losses, "s-", color=TUNED, linewidth=2, markersize=4.5, label="held back")
        best_step, best = min(held_back, key=lambda pair: pair[1])
        ring: dict[str, Any] = {"markersize": 12, "markerfacecolor": "none", "markeredgecolor": TUNED}
        ax.plot([best_step], [best], "o", label="best step: kept", **ring)
        if steps[0] == 0:
            ax.axhline(losses[0], color=BASE, linestyle=(0, (4, 2)), linewidth=1.8, label="base, held back")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    _labels(ax, "optimizer step", "loss (nats per token)")
    return _legend(_plain(ax), columns=2)


def category_losses(ax: Axes, base: Mapping[str, float], tuned: Mapping[str, float]) -> Axes:
    """Held-out loss of each category before and after, joined by a bar; the largest gain on top.

    A category that got worse has a vermillion, dotted bar.
    """
    names = sorted(base, key=lambda name: tuned[name] - base[name], reverse=True)
    for y, name in enumerate(names):
        worse = tuned[name] > base[name]
        style = {"color": WORSE, "linestyle": ":"} if worse else {"color": INK, "alpha": 0.35}
        ax.plot([base[name], tuned[name]], [y, y], linewidth=2.5, zorder=1, **style)
    ax.plot([base[n] for n in names], range(len(names)), "o", color=BASE, markersize=7, label="base")
    ax.plot([tuned[n] for n in names], range(len(names)), "D", color=TUNED, markersize=6, label="tuned")
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(-0.7, len(names) - 0.3)
    _labels(ax, "held-out loss (nats per token)", "")
    return _legend(_plain(ax, grid="x"), columns=2)


def answers_ended(ax: Axes, ended: Mapping[str, tuple[Iterable[int], int]], limit: int) -> Axes:
    """Share of answers that had ended by themselves after so many tokens.

    `ended` maps a model's label, in the order base, few-shot base, tuned, to the lengths of its answers that ended and
    the number of all its answers. Where a curve meets the limit is the share that ended at all.
    """
    styles = zip((BASE, FEW_SHOT, TUNED), ("-.", "--", "-"), strict=True)
    for (label, (lengths, total)), (color, line) in zip(ended.items(), styles, strict=False):
        x = [0, *sorted(lengths), limit]
        y = [i / total for i in range(len(x) - 1)]
        ax.plot(x, [*y, y[-1]], line, color=color, linewidth=2, drawstyle="steps-post", label=label)
    ax.axvline(limit, color=INK, linewidth=1)
    ax.set_ylim(0, 1.02)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    _labels(ax, f"new tokens (limit {limit})", "answers that ended")
    return _legend(_plain(ax), columns=3)


def throughput(ax: Axes, records: Sequence[Mapping[str, Any]]) -> Axes:
    """Tokens per second of every step but the first, which compiles. A slope means a computer that got hot or busy."""
    points = [(r["step"], r["tokens"] / r["seconds"]) for r in records if "seconds" in r][1:]
    if points:
        steps, speeds = zip(*points, strict=True)
        ax.plot(steps, speeds, "o", color=TUNED, alpha=0.6, markersize=3, markeredgewidth=0, label="one step")
        ax.axhline(median(speeds), color=TUNED, linewidth=1.8, label="median")
    ax.set_ylim(bottom=0)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    _labels(ax, "optimizer step", "tokens per second")
    return _legend(_plain(ax), columns=2)


def schedules(ax: Axes, rates: Mapping[str, Sequence[float]]) -> Axes:
    """Learning rate of every step, one curve a schedule: `rates` maps its name to the rates of steps 0, 1, 2, ..."""
    lines = ("-", "--", "-.", ":")
    for (name, values), color, line in zip(rates.items(), (TUNED, FEW_SHOT, BASE, WORSE), lines, strict=False):
        ax.plot(range(len(values)), values, line, color=color, linewidth=2, label=name)
    ax.set_ylim(bottom=0)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    _labels(ax, "optimizer step", "learning rate")
    return _legend(_plain(ax), columns=4)


def trace(ax: Axes, points: Sequence[tuple[int, float]], *, noisy: bool) -> Axes:
    """One quantity over the optimizer steps, as a small picture whose name and unit stand beside it.

    A noisy one is light points of single steps and the mean of the last 10; another one a line. The dot is the latest.
    """
    if points:
        steps, values = zip(*points, strict=True)
        means = [fmean(values[max(0, i - _WINDOW + 1) : i + 1]) for i in range(len(values))] if noisy else values
        if noisy:
            ax.plot(steps, values, "o", color=TUNED, alpha=0.35, markersize=2.5, markeredgewidth=0)
        ax.plot(steps, means, color=TUNED, linewidth=1.8)
        ax.plot(steps[-1:], means[-1:], "o", color=TUNED, markersize=5)
        low, high = min(values), max(values)
        margin = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
        ax.set_ylim(low - margin, high + margin)
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(3))
    ax.ticklabel_format(axis="y", scilimits=(-3, 4))
    ax.yaxis.get_offset_text().set(color=INK, fontsize=_SMALL)
    return _plain(ax)


def _labels(ax: Axes, x: str, y: str) -> None:
    ax.set_xlabel(x, color=INK, fontsize=_NORMAL)
    ax.set_ylabel(y, color=INK, fontsize=_NORMAL)


def _plain(ax: Axes, grid: Literal["x", "y"] = "y") -> Axes:
    """Only what helps to read values: two axes, a faint grid across them."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(INK)
    ax.tick_params(colors=INK, labelsize=_SMALL)
    ax.grid(axis=grid, color=INK, alpha=0.15, linewidth=0.8)
    ax.set_axisbelow(True)
    return ax


def _legend(ax: Axes, columns: int) -> Axes:
    """Above the axes, where it hides no data whatever a run's curves look like."""
    if ax.get_legend_handles_labels()[0]:
        style: dict[str, Any] = {"fontsize": _SMALL, "labelcolor": INK, "handlelength": 1.8, "columnspacing": 1.2}
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns, frameon=False, **style)
    return ax
