"""How every picture looks: its size, colours, axes and legend, and how it becomes part of a page.

Nothing here touches pyplot, so a picture looks the same in a notebook, a test and a report, and no state leaks between
them. Colours are those of Okabe and Ito (2008), safe for colour-blind readers, and mean the same everywhere: orange is
the base, green the base with solved examples in its prompt, blue what was trained. Shapes repeat what colours say.
"""

import io
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

BASE, FEW_SHOT, TUNED, WORSE = "#E69F00", "#009E73", "#0072B2", "#D55E00"
INK = "#333333"
"""Text, axes and grid. `to_svg` turns it into the colour of the surrounding text, which follows dark mode."""

SMALL, NORMAL = 10, 11


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


def labels(ax: Axes, x: str, y: str) -> None:
    ax.set_xlabel(x, color=INK, fontsize=NORMAL)
    ax.set_ylabel(y, color=INK, fontsize=NORMAL)


def plain(ax: Axes, grid: Literal["x", "y"] = "y") -> Axes:
    """Only what helps to read values: two axes, a faint grid across them."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(INK)
    ax.tick_params(colors=INK, labelsize=SMALL)
    ax.grid(axis=grid, color=INK, alpha=0.15, linewidth=0.8)
    ax.set_axisbelow(True)
    return ax


def legend(ax: Axes, columns: int) -> Axes:
    """Above the axes, where it hides no data whatever a run's curves look like."""
    if ax.get_legend_handles_labels()[0]:
        style: dict[str, Any] = {"fontsize": SMALL, "labelcolor": INK, "handlelength": 1.8, "columnspacing": 1.2}
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns, frameon=False, **style)
    return ax
