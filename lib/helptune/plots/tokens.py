"""Pictures of what a model reads: tokens as boxes, and what is predicted at each."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import ConnectionPatch, FancyBboxPatch

from helptune.plots.style import INK, NORMAL, SMALL, TUNED, WORSE

_GREY, _COLUMNS = "#D9D9D9", 64


def token_boxes(ax: Axes, pieces: Sequence[str], marked: Sequence[bool], lines: int = 1) -> Axes:
    """Pieces in reading order, at most 64 letters a line: blue where `marked`, grey elsewhere, turn tokens framed.

    The picture has room for `lines` lines, or as many as there are. 6.4 inches wide, its letters just fit.
    """
    x, y = 0.0, 0
    for piece, mark in zip(pieces, marked, strict=True):
        text = piece.replace("\n", "↵")
        width = len(text) + 0.6
        if x + width > _COLUMNS:
            x, y = 0.0, y + 1
        _box(ax, x, y, width, text, mark)
        x += width + 0.3
    ax.set_xlim(0, _COLUMNS)
    ax.set_ylim(max(y + 1, lines), -0.1)
    ax.axis("off")
    return ax


def shift_by_one(ax: Axes, read: Sequence[str], predicted: Sequence[str], weights: Sequence[float]) -> Axes:
    """One line a position: what is read, what is to be predicted (blue where it counts), its weight.

    Lines lead from each target to the place where the same token is read.
    """
    for t, (own, following, weight) in enumerate(zip(read, predicted, weights, strict=True)):
        ax.text(1, t + 0.45, str(t), fontsize=SMALL, color=INK, ha="center", va="center")
        _box(ax, 4, t, 20, own.replace("\n", "↵"), False)
        _box(ax, 34, t, 20, following.replace("\n", "↵"), weight > 0)
        ax.text(60, t + 0.45, f"{weight:g}", fontsize=SMALL, color=INK, ha="center", va="center")
        if t + 1 < len(read):
            ends: dict[str, Any] = {"xyA": (33.8, t + 0.45), "xyB": (24.2, t + 1.45), "coordsA": "data"}
            ax.add_artist(ConnectionPatch(**ends, arrowstyle="->", color=INK, alpha=0.6))
    for x, head in ((1, "position"), (14, "token: what is read"), (44, "target: what is predicted"), (60, "weight")):
        ax.text(x, -0.6, head, fontsize=NORMAL, color=INK, ha="center", va="center")
    ax.set_xlim(-3, _COLUMNS)
    ax.set_ylim(len(read), -1.2)
    ax.axis("off")
    return ax


def _box(ax: Axes, x: float, y: int, width: float, text: str, mark: bool) -> None:
    turn = text.startswith("<") and text.endswith("turn>")
    frame: dict[str, Any] = {"edgecolor": WORSE, "linewidth": 2} if turn else {"linewidth": 0}
    shape = "round,pad=0,rounding_size=0.15"
    ax.add_patch(FancyBboxPatch((x, y + 0.08), width, 0.74, shape, facecolor=TUNED if mark else _GREY, **frame))
    style: dict[str, Any] = {"family": "monospace", "fontsize": SMALL, "ha": "center", "va": "center"}
    ax.text(x + width / 2, y + 0.45, text, color="white" if mark else "black", parse_math=False, **style)
