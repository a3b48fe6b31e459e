"""Two models laid out side by side: every metric as a row of a table, and all of them in one picture."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from helptune import plots
from helptune.compare.engine import Compared, Line, signed
from helptune.evaluate.statistics.estimate import Estimate

ROWS_FILE = "eval/rows.jsonl"
"""Where the figures come from, as a report tells it."""


@dataclass(frozen=True)
class Figures:
    """A table: its head, its rows of text, what to know about it, and the file it is made from."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str
    file: str = ROWS_FILE


def effects(compared: Compared) -> tuple[Axes, str]:
    """Every metric that has a direction, and the same in words."""
    rows = []
    for line in compared.lines:
        effect, sign = line.comparison.effect, line.metric.better
        if effect.value is None or not sign:
            continue
        ends = [None if end is None else sign * end for end in (effect.low, effect.high)]
        low, high = ends if sign > 0 else ends[::-1]
        rows.append((line.metric.label, line.verdict, sign * effect.value, low, high))
    said = "; ".join(f"{label} {value:+.2f} ({verdict})" for label, verdict, value, *_ in rows)
    drawn = plots.effects(plots.blank(width=6.2, height=1.2 + 0.26 * len(rows)), rows)
    return drawn, f"Standardized effects, right is better for {compared.b}: {said}."


def comparison_table(compared: Compared) -> Figures:
    head = ["metric", compared.a, compared.b, "difference", "95% interval", "n", "p", "effect", "verdict"]
    note = (
        "Paired by item. p is corrected by Holm within each family of metrics; the effect is the difference over its "
        "own spread (paired d_z), or Cohen's h for shares. Shares are in points of a hundred."
    )
    return Figures(head, [_cells(line) for line in compared.lines], note)


def _cells(line: Line) -> list[str]:
    c, metric = line.comparison, line.metric
    if c.difference.value is None:
        return [metric.label, "", "", "", "", "0", "", "", f"not measured: {c.difference.why}"]
    ends = [end for end in (c.difference.low, c.difference.high) if end is not None]
    effect = "" if c.effect.value is None else f"{c.effect.value:+.2f}".replace("-", "\u2212")
    interval = " to ".join(signed(end, metric).split(" ")[0] for end in ends)
    levels = [_level(each, metric.unit) for each in (c.a, c.b)]
    return [
        metric.label,
        *levels,
        signed(c.difference.value, metric),
        interval,
        c.difference.counted,
        p_value(line.p),
        effect,
        line.verdict,
    ]


def _level(estimate: Estimate, unit: str) -> str:
    if estimate.value is None:
        return ""
    share = f"{estimate.value:.1%}"
    return {"rate": share, "share": share, "words": f"{estimate.value:.1f}"}.get(unit, f"{estimate.value:.3f}")


def p_value(p: float | None) -> str:
    return "" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"
