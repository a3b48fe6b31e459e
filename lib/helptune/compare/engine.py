"""Two models on the same items: every metric paired by item, with its interval, corrected for how many were looked at.

Between two runs that were asked the same questions, most of what varies is the questions. Taking differences item by
item removes that, and makes a small test set see more (Miller 2024, arXiv:2411.00640, section 4). What only one of the
two has is not left out in silence: it is counted as missing and named as a problem.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from helptune.evaluate.metrics import METRICS, NEITHER, Metric
from helptune.evaluate.statistics.estimate import Comparison
from helptune.evaluate.statistics.families import holm
from helptune.evaluate.statistics.paired import compare_means, compare_proportions
from helptune.evaluate.table import Problem, Row

ALPHA = 0.05


@dataclass(frozen=True)
class Line:
    """One metric of two models; `p` is Holm's, over the metrics of its family."""

    metric: Metric
    comparison: Comparison
    p: float | None

    @property
    def gain(self) -> float:
        """The difference, positive where the second model is better; 0 where neither way is better or none is known."""
        return (self.comparison.difference.value or 0.0) * self.metric.better

    @property
    def verdict(self) -> str:
        """Of the second model: better, worse, higher, lower, no clear difference, or not measured."""
        if self.comparison.difference.value is None:
            return "not measured"
        if self.p is None or self.p >= ALPHA or not self.comparison.difference.value:
            return "no clear difference"
        if self.metric.better == NEITHER:
            return "higher" if self.comparison.difference.value > 0 else "lower"
        return "better" if self.gain > 0 else "worse"


@dataclass(frozen=True)
class Compared:
    """`a` and `b` are how the two models are called; `problems` are of either."""

    a: str
    b: str
    lines: tuple[Line, ...]
    problems: tuple[Problem, ...] = ()


def compare(
    a: Iterable[Row],
    b: Iterable[Row],
    names: tuple[str, str],
    problems: Sequence[Problem] = (),
    metrics: Sequence[Metric] = METRICS,
) -> Compared:
    """The second model against the first, on every metric that either has.

    An item that one of them lacks is a Problem, and missing from the figures; so is one of `problems` for which neither
    has a value. A metric that one of them was never measured on is a line without figures.
    """
    rows_a, rows_b = _by_item(a), _by_item(b)
    found, lines = list(problems), list[Line]()
    for metric in metrics:
        of_a, of_b = _values(rows_a, metric), _values(rows_b, metric)
        if not of_a and not of_b:
            continue
        both = [item for item in of_a if item in of_b]
        alone = [(names[0], item) for item in of_a if item not in of_b] if of_b else []
        alone += [(names[1], item) for item in of_b if item not in of_a] if of_a else []
        found += [
            Problem(metric.part, item, f"{metric.label}: only {name} has a value, so it is not compared")
            for name, item in alone
        ]
        about = {item for rows in (rows_a, rows_b) for (_, item), row in rows.items() if metric.about(row)}
        lost = {p.item for p in problems if p.part == metric.part} & about - {*of_a, *of_b}
        test = compare_proportions if metric.unit == "rate" else compare_means
        comparison = test(
            [of_a[item] for item in both],
            [of_b[item] for item in both],
            [rows_a[metric.part, item].cluster or item for item in both],
            missing=len(alone) + len(lost),
        )
        lines.append(Line(metric, comparison, None))
    return Compared(*names, _corrected(lines), tuple(dict.fromkeys(found)))


def headline(compared: Compared) -> str:
    """One sentence about the primary metric, the first of the lines."""
    if not compared.lines:
        return f"{compared.b} and {compared.a} have no measured item in common"
    line = compared.lines[0]
    words = {
        "better": f"{compared.b} is better than {compared.a}",
        "worse": f"{compared.b} is worse than {compared.a}",
        "no clear difference": f"No clear difference between {compared.b} and {compared.a}",
    }.get(line.verdict, f"{compared.b} and {compared.a} cannot be compared")
    return f"{words} in {line.metric.label}: {in_words(line)}"


def sentences(compared: Compared) -> list[str]:
    """What else the lines show, a sentence for each kind of verdict, and how much is missing."""
    said = []
    for verdict, opening in (
        ("better", f"{compared.b} is also clearly better in"),
        ("worse", f"{compared.b} is clearly worse in"),
        ("no clear difference", "No clear difference, which is not the same as none, in"),
        ("not measured", "Not measured:"),
    ):
        lines = [one for one in compared.lines[1:] if one.verdict == verdict]
        if lines:
            said.append(f"{opening} " + ", ".join(f"{one.metric.label}{_difference(one)}" for one in lines) + ".")
    other = [one for one in compared.lines if one.verdict in ("higher", "lower")]
    said += [f"{compared.b} has {one.verdict} {one.metric.label}{_difference(one)}." for one in other]
    if compared.problems:
        count = len(compared.problems)
        said.append(
            f"{count} {'value is' if count == 1 else 'values are'} missing or damaged and listed as problems: a figure "
            "that lacks some of its items says so."
        )
    return said


def in_words(line: Line) -> str:
    """The difference with its interval, in the metric's unit, and what it rests on."""
    d = line.comparison.difference
    if d.value is None:
        return d.why
    low, high = ("?" if end is None else signed(end, line.metric).split(" ")[0] for end in (d.low, d.high))
    p = "" if line.p is None else f", p {'< 0.001' if line.p < 0.001 else f'= {line.p:.3f}'}"
    return f"{signed(d.value, line.metric)}, {d.level:.0%} interval {low} to {high}, n = {d.counted}{p}"


def _difference(line: Line) -> str:
    value = line.comparison.difference.value
    return "" if value is None else f" ({signed(value, line.metric)})"


def signed(value: float, metric: Metric) -> str:
    """A difference as one reads it: shares in points of a hundred, all with their sign."""
    points = 100 * value, " points"
    scaled, unit = {"rate": points, "share": points, "nats": (value, " nats"), "words": (value, " words")}.get(
        metric.unit, (value, "")
    )
    digits = 1 if metric.unit in ("rate", "share", "words", "tokens") else 3
    return f"{scaled:+.{digits}f}{unit}".replace("-", "\u2212")


def _by_item(rows: Iterable[Row]) -> dict[tuple[str, str], Row]:
    return {(row.part, row.item): row for row in rows}


def _values(rows: Mapping[tuple[str, str], Row], metric: Metric) -> dict[str, float]:
    found = ((item, row.metrics.get(metric.name)) for (_, item), row in rows.items() if metric.about(row))
    return {item: float(value) for item, value in found if value is not None}


def _corrected(lines: Sequence[Line]) -> tuple[Line, ...]:
    corrected = dict[str, float | None]()
    for family in dict.fromkeys(line.metric.family for line in lines):
        corrected |= holm({one.metric.label: one.comparison.p for one in lines if one.metric.family == family})
    return tuple(replace(line, p=corrected[line.metric.label]) for line in lines)
