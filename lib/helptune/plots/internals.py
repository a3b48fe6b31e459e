"""What is inside a Gemma block, to look at: lengths, rotations, masks, gates, and what mistakes in them cost."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap

from helptune.gemma.base import site_shapes
from helptune.gemma.config import GemmaConfig
from helptune.plots.style import BASE, FEW_SHOT, INK, SMALL, TUNED, WORSE, labels, legend, plain

CLOCKS = (0, 16, 32, 64, 127)
"""The pairs of a head that `rope_clocks` shows, of the 128 that a head of width 256 has."""
_PAIRS = 128
_LINES = ((WORSE, "o-"), (BASE, "s-"), (FEW_SHOT, "^-"), (TUNED, "D-"), ("#CC79A7", "v-"), ("#56B4E9", "P-"))


def parameter_shares(ax: Axes, configs: Sequence[GemmaConfig]) -> Axes:
    """One bar a model: which part of its parameters is the embedding, attention, the MLPs. Norms are too few to see."""
    parts = {"embedding": (BASE, ""), "attention": (FEW_SHOT, "//"), "MLP": (TUNED, "..")}
    for row, config in enumerate(configs):
        shapes, left = site_shapes(config), 0.0
        sizes = {"embedding": config.vocab * config.width}
        sizes |= {"attention": config.layers * sum(math.prod(shapes[site]) for site in "qkvo")}
        sizes |= {"MLP": config.layers * sum(math.prod(shapes[site]) for site in ("gate", "up", "down"))}
        for name, (color, hatch) in parts.items():
            share = 100 * sizes[name] / config.parameters
            label = name if row == 0 else None
            ax.barh(row, share, left=left, color=color, hatch=hatch, edgecolor="white", label=label)
            ax.text(left + share / 2, row, f"{share:.0f}%", ha="center", va="center", fontsize=SMALL, color="white",
                    bbox={"facecolor": INK, "edgecolor": "none", "pad": 1.5})  # fmt: skip
            left += share
    ax.set_yticks(range(len(configs)), [config.name for config in configs])
    ax.set_xlim(0, 100)
    labels(ax, "share of the parameters (%)", "")
    return legend(plain(ax, "x"), columns=3)


def lengths(ax: Axes, before: np.ndarray, after: np.ndarray) -> Axes:
    """Vectors in the plane [n, 2] as arrows, before (orange, broken) and after (blue) a norm."""
    for vectors, color, line, label in ((before, BASE, "--", "before"), (after, TUNED, "-", "after")):
        for number, (x, y) in enumerate(np.asarray(vectors)):
            ax.plot([0, x], [0, y], line, color=color, linewidth=2, label=label if number == 0 else None)
            ax.plot(x, y, "o" if line == "-" else "s", color=color, markersize=6)
    turn = np.linspace(0, 2 * np.pi, 200)
    ax.plot(2**0.5 * np.cos(turn), 2**0.5 * np.sin(turn), ":", color=INK, linewidth=1, label="rms 1")
    ax.set_aspect("equal")
    labels(ax, "feature 1", "feature 2")
    return legend(plain(ax), columns=3)


def rope_clocks(ax: Axes, position: int, base: float) -> Axes:
    """Where `position` turns the pairs CLOCKS of a head: an arrow each; the dotted line is position 0."""
    turn = np.linspace(0, 2 * np.pi, 100)
    for place, pair in enumerate(CLOCKS):
        center, angle = 2.7 * place, _angle(position, base, pair)
        ax.plot(center + np.cos(turn), np.sin(turn), color=INK, linewidth=0.8)
        ax.plot([center, center + 1], [0, 0], ":", color=INK, linewidth=1.2)
        ax.annotate("", (center + np.cos(angle), np.sin(angle)), (center, 0), arrowprops={"color": TUNED, "width": 2.5})
        told = f"pair {pair}\na turn in\n{_tokens_a_turn(base, pair):,.0f} tokens"
        ax.text(center, -1.25, told, ha="center", va="top", fontsize=SMALL, color=INK)
    ax.set_xlim(-1.3, 2.7 * (len(CLOCKS) - 1) + 1.3)
    ax.set_ylim(-2.6, 1.15)
    ax.set_aspect("equal")
    ax.set_axis_off()
    return ax


def rope_words(position: int, base: float) -> str:
    turns = [_angle(position, base, pair) / (2 * np.pi) for pair in CLOCKS]
    told = ", ".join(f"pair {pair} by {turn:.4g}" for pair, turn in zip(CLOCKS, turns, strict=True))
    return f"At position {position} with base {base:,.0f}, in turns: {told}."


def _angle(position: int, base: float, pair: int) -> float:
    return position / base ** (pair / _PAIRS)


def _tokens_a_turn(base: float, pair: int) -> float:
    return 2 * np.pi * base ** (pair / _PAIRS)


def visibility(ax: Axes, visible: np.ndarray, title: str) -> Axes:
    """A mask [T, T]: row t is filled where its token sees."""
    T = len(visible)
    ax.pcolormesh(visible, cmap=ListedColormap(["#EEEEEE", TUNED]), edgecolors="white", linewidth=0.6, vmin=0, vmax=1)
    ax.set_xticks(np.arange(0, T, 4) + 0.5, [str(t) for t in range(0, T, 4)])
    ax.set_yticks(np.arange(0, T, 4) + 0.5, [str(t) for t in range(0, T, 4)])
    ax.invert_yaxis()
    ax.set_aspect("equal")
    ax.set_title(title, fontsize=SMALL + 1, color=INK)
    labels(ax, "token that is read", "token that reads")
    return ax


def gates(ax: Axes, z: np.ndarray, curves: Mapping[str, np.ndarray], inputs: np.ndarray) -> Axes:
    """Gate functions over `z`, a line each, above a histogram of the inputs that real gates get."""
    for (name, values), (color, line) in zip(
        curves.items(), ((TUNED, "-"), (WORSE, "--"), (FEW_SHOT, ":")), strict=False
    ):
        ax.plot(z, values, line, color=color, linewidth=2.2, label=name)
    heights, edges = np.histogram(np.asarray(inputs).ravel(), bins=60, range=(z[0], z[-1]))
    floor = min(float(np.min(values)) for values in curves.values()) - 1
    ax.bar(
        edges[:-1], heights / heights.max(), np.diff(edges), bottom=floor, align="edge", color=INK, alpha=0.35,
        label="real inputs (how many)",
    )  # fmt: skip
    labels(ax, "what the gate gets", "what it lets through")
    return legend(plain(ax), columns=2)


def mistake_costs(ax: Axes, costs: Mapping[str, float], guesses: Mapping[str, float], unseen: float) -> Axes:
    """Change of the loss by each mistake, largest on top, on a logarithmic axis; hatched where the loss falls.

    Diamonds are guesses. The grey part, below `unseen`, is what nobody notices who lacks the right value.
    """
    order = sorted(costs, key=lambda name: abs(costs[name]))
    ax.axvspan(1e-5, unseen, color=INK, alpha=0.08, linewidth=0)
    for row, name in enumerate(order):
        worse = costs[name] >= 0
        ax.barh(row, abs(costs[name]), color=WORSE if worse else TUNED, hatch="" if worse else "//", edgecolor="white")
        ax.text(abs(costs[name]) * 1.25, row, _cost(costs[name]), va="center", fontsize=SMALL - 1, color=INK)
    marks = [(guesses[name], row) for row, name in enumerate(order) if guesses.get(name)]
    if marks:
        ax.plot(*zip(*marks, strict=True), "D", color=INK, markersize=5, label="guesses")
    ax.set_xscale("log")
    ax.set_xlim(1e-5, 3e3)
    ax.set_yticks(range(len(order)), order)
    labels(ax, "change of the loss (nats a token)", "")
    return legend(plain(ax, "x"), columns=1)


def _cost(nats: float) -> str:
    digits = 5 if abs(nats) < 1e-3 else 3 if abs(nats) < 0.1 else 1
    return f"{nats:+.{digits}f}"


def golden(ax: Axes, differences: Mapping[str, Sequence[float]], right: Sequence[float], tolerance: float) -> Axes:
    """How far hidden states are from the reference after each layer: a line for each mistake, grey for the right code.

    Zeros, where a mistake has not begun to act, have no place on the logarithmic axis.
    """
    for (name, values), (color, line) in zip(differences.items(), _LINES, strict=False):
        found = np.array(values, float)
        ax.plot(np.where(found > 0, found, np.nan), line, color=color, markersize=4, linewidth=1.6, label=name)
    ax.plot(right, "x-", color=INK, markersize=5, linewidth=1.6, label="right")
    ax.axhline(tolerance, color=INK, linestyle=(0, (4, 2)), linewidth=1.2, label="tolerance")
    ax.set_yscale("log")
    ax.set_xticks(range(0, len(right), 2))
    labels(ax, "after layer", "difference / length of the state")
    return legend(plain(ax), columns=3)
