"""The pictures of notebook 06: rounding, whose token counts how much, data order, devices, bits and bytes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jax.sharding import Sharding
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter

from helptune.plots.style import BASE, FEW_SHOT, INK, NORMAL, SMALL, TUNED, WORSE, labels, legend, plain
from helptune.shapes import Float
from helptune.train.memory import StepMemory

DEVICES = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#F0E442", "#CC79A7", "#999999")
"""A colour for each of eight devices (Okabe and Ito; grey for black, on which its number would not be seen)."""

PARTS = (
    ("#0072B2", ""), ("#56B4E9", "//"), ("#E69F00", ".."), ("#F0E442", "\\\\"),
    ("#009E73", "xx"), ("#D55E00", "--"), ("#CC79A7", "++"),
)  # fmt: skip
"""Colour and hatch of the parts of a stacked bar."""

_LINES = ((WORSE, "--"), (TUNED, "-"), (FEW_SHOT, ":"), (BASE, "-."))


def rounding(ax: Axes, rates: Mapping[str, float], low: int = -12, high: int = 1) -> Axes:
    """The largest step that rounding swallows, for weights of 2**low to 2**high, in bfloat16 and in float32.

    A number keeps its value when less than half of the distance to its neighbour is added. Horizontal lines are steps.
    """
    weights = 2.0 ** np.linspace(low, high, 600, endpoint=False)
    for name, digits, color, line in (("bfloat16", 7, WORSE, "-"), ("float32", 23, TUNED, "--")):
        half = 2.0 ** (np.floor(np.log2(weights)) - digits - 1)
        ax.plot(weights, half, line, color=color, linewidth=2, label=f"{name}: smaller steps vanish")
        ax.fill_between(weights, half, 1e-12, color=color, alpha=0.12, linewidth=0)
    for name, rate in rates.items():
        ax.axhline(rate, color=INK, linewidth=1.2)
        ax.text(weights[0], rate * 1.25, name, color=INK, fontsize=SMALL)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_ylim(1e-12, 1e-1)
    labels(ax, "size of the weight", "size of the step")
    return legend(plain(ax), 1)


def descents(ax: Axes, paths: Mapping[str, Sequence[float]], goal: float) -> Axes:
    """A weight on its way to `goal`, step by step, one line for each way to keep it."""
    ax.axhline(goal, color=INK, linewidth=1)
    ax.text(0, goal, "goal", color=INK, va="bottom", fontsize=SMALL)
    for (name, values), (color, line) in zip(paths.items(), _LINES, strict=False):
        ax.plot(range(len(values)), values, line, color=color, linewidth=2.2, label=name)
    labels(ax, "step", "weight")
    return legend(plain(ax), 1)


def token_weights(ax: Axes, supervised: Sequence[int], shares: Mapping[str, Sequence[float]]) -> Axes:
    """What one token of each row counts in the batch's gradient, one bar for each way of adding up."""
    width = 0.8 / len(shares)
    for place, ((name, values), (color, hatch)) in enumerate(zip(shares.items(), PARTS[::2], strict=False)):
        left = np.arange(len(supervised)) - 0.4 + width * (place + 0.5)
        ax.bar(left, values, width, color=color, hatch=hatch, edgecolor="white", label=name)
    ax.set_xticks(range(len(supervised)), [str(count) for count in supervised])
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    labels(ax, "supervised tokens in the row", "weight of one token")
    return legend(plain(ax), len(shares))


def visits(ax: Axes, plan: Sequence[Sequence[Sequence[int]]], steps_an_epoch: int) -> Axes:
    """Which step reads which example: a square for each visit, in another colour and shape for each epoch."""
    points = [(step, number) for step, rows in enumerate(plan) for row in rows for number in row]
    for epoch in range(-(-len(plan) // steps_an_epoch)):
        mine = [point for point in points if point[0] // steps_an_epoch == epoch]
        color, marker = ((TUNED, "s"), (BASE, "D"), (FEW_SHOT, "o"))[epoch % 3]
        ax.plot(*zip(*mine, strict=True), marker, color=color, markersize=5, label=f"epoch {epoch}")
        ax.axvline((epoch + 1) * steps_an_epoch - 0.5, color=INK, linewidth=0.8)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    labels(ax, "step", "example")
    return legend(plain(ax), 3)


def placement(ax: Axes, shape: tuple[int, ...], sharding: Sharding, title: str) -> Axes:
    """Which device holds which block of a matrix: the last two axes of an array of that shape.

    A block that several devices hold is striped in their colours, with the numbers of all of them.
    """
    rows, columns = shape[-2:]
    blocks: dict[tuple[int, int, int, int], list[int]] = {}
    places: Mapping[Any, Any] = sharding.devices_indices_map(shape)
    for device, index in places.items():
        (top, bottom, _), (left, right, _) = (s.indices(n) for s, n in zip(index[-2:], (rows, columns), strict=True))
        blocks.setdefault((top, bottom, left, right), []).append(device.id)
    for (top, bottom, left, right), holders in blocks.items():
        stripe = (right - left) / len(holders)
        for place, device in enumerate(sorted(holders)):
            corner = (left + place * stripe, top)
            ax.add_patch(Rectangle(corner, stripe, bottom - top, facecolor=DEVICES[device % 8], edgecolor="none"))
        ax.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor="black", linewidth=1.2))
        box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
        middle, text = ((left + right) / 2, (top + bottom) / 2), " ".join(map(str, sorted(holders)))
        ax.text(*middle, text, ha="center", va="center", fontsize=SMALL - 2, color="black", bbox=box)
    ax.set(xlim=(0, columns), ylim=(rows, 0), xticks=[], yticks=[])
    ax.set_title(title, fontsize=NORMAL, color=INK)
    return ax


def differing_bits(ax: Axes, shares: Mapping[str, Float[np.ndarray, "32"]]) -> Axes:
    """Of all numbers of two states, the share that differ in each of their 32 bits, the sign first."""
    for place, (name, values) in enumerate(shares.items()):
        color, line = _LINES[::-1][place % 4]
        ax.plot(range(32), values, line, color=color, linewidth=2.2, drawstyle="steps-mid", label=name)
    for end in (0.5, 8.5):
        ax.axvline(end, color=INK, linewidth=0.8)
    for middle, name in ((-1, "sign"), (4.5, "exponent"), (20, "mantissa, large to small")):
        ax.text(middle, 0.62, name, color=INK, fontsize=SMALL, ha="center")
    ax.set(ylim=(-0.02, 0.68), xlim=(-2.5, 31.5))
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    labels(ax, "bit of a float32", "numbers that differ")
    return legend(plain(ax), 3)


def drift(ax: Axes, runs: Mapping[str, Sequence[float]], killed: int) -> Axes:
    """How far each run, killed after step `killed`, is from the one that was never stopped, in the steps after it."""
    for place, (name, values) in enumerate(runs.items()):
        color, line = _LINES[::-1][place % 4]
        ax.plot(range(killed + 1, killed + len(values) + 1), values, line, color=color, linewidth=2.2, label=name)
    ax.axvline(killed, color=INK, linewidth=1)
    ax.text(killed, ax.get_ylim()[1], " killed", color=INK, va="top", fontsize=SMALL)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    labels(ax, "optimizer step", "distance / way from the start")
    return legend(plain(ax), 3)


def memory_parts(memory: StepMemory) -> dict[str, float]:
    """A step's memory as the parts of a bar, in GiB: their sum is its `total`."""
    parts = {
        "base": memory.base, "masters": memory.adapters, "gradients": memory.gradients, "moments": memory.optimizer,
        "kept for backward": memory.activations, "for a moment": max(memory.block, memory.loss),
    }  # fmt: skip
    return {name: size / 2**30 for name, size in parts.items()}


def stacked(
    ax: Axes, bars: Mapping[str, Mapping[str, float]], limit: float | None = None, limit_name: str = ""
) -> Axes:
    """GiB, one bar a label, its parts on top of each other and their sum above; a line where the memory ends."""
    names = list(dict.fromkeys(name for parts in bars.values() for name in parts))
    bottom = np.zeros(len(bars))
    for name, (color, hatch) in zip(names, PARTS, strict=False):
        heights = np.array([parts.get(name, 0.0) for parts in bars.values()])
        style: dict[str, Any] = {"color": color, "hatch": hatch, "edgecolor": "white", "linewidth": 0.5}
        ax.bar(range(len(bars)), heights, 0.7, bottom=bottom, label=name, **style)
        bottom += heights
    for place, total in enumerate(bottom):
        ax.text(place, total, f"{total:.3g}", ha="center", va="bottom", color=INK, fontsize=SMALL)
    top = max(float(bottom.max()), limit or 0)
    if limit is not None:
        ax.axhline(limit, color=WORSE, linewidth=2)
        ax.text(len(bars) - 0.5, limit + 0.01 * top, limit_name, ha="right", va="bottom", color=INK, fontsize=SMALL)
    ax.set_xticks(range(len(bars)), list(bars))
    ax.set_ylim(0, 1.12 * top)
    labels(ax, "", "GiB on one device")
    return legend(plain(ax), 3)
