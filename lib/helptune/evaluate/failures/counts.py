"""How often each kind of failure occurs, where, and whether tuning changed it: counted from the rows of the table.

Two models answer the same prompts, so each kind is compared prompt by prompt (McNemar), and the p values of all kinds
are corrected together (Holm). Worst examples are chosen by a rule, not by whoever writes the report.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from helptune.evaluate.failures.detectors import Case, failures_of
from helptune.evaluate.failures.taxonomy import CATEGORIES
from helptune.evaluate.statistics.estimate import Comparison, Estimate
from helptune.evaluate.statistics.families import holm
from helptune.evaluate.statistics.intervals import wilson
from helptune.evaluate.statistics.paired import compare_proportions
from helptune.evaluate.table import Row

NO_FAILURE = "none found"
SCORE = "helpfulness"


@dataclass(frozen=True)
class Change:
    """Of one category between two models; `p` of the comparison as it is, `holm` corrected over the categories."""

    category: str
    comparison: Comparison
    holm: float | None


def with_failures(rows: Iterable[Row], cases: Mapping[tuple[str, str], Case]) -> list[Row]:
    """The rows with the failures that were found; `cases` are by model and item, and not all rows need one."""
    return [
        replace(row, failures=failures_of(cases[row.model, row.item])) if (row.model, row.item) in cases else row
        for row in rows
    ]


def counts(rows: Sequence[Row], model: str) -> dict[str, Estimate]:
    """Category -> the share of the model's answers in it; last, those in which nothing was found."""
    own = [row for row in rows if row.model == model]
    answered = [row for row in own if has_answer(row)]
    missing, n = len(own) - len(answered), len(answered)
    found = Counter(name for row in answered for name in row.failures or (NO_FAILURE,))
    return {name: wilson(found[name], n, missing=missing) for name in (*CATEGORIES, NO_FAILURE)}


def counts_by(rows: Sequence[Row], model: str, label: str) -> dict[str, dict[str, Estimate]]:
    """The same for each value of a label, such as `category` or `difficulty`."""
    values = dict.fromkeys(row.labels.get(label, "") for row in rows if row.model == model)
    return {value: counts([row for row in rows if row.labels.get(label, "") == value], model) for value in values}


def changes(rows: Sequence[Row], a: str, b: str) -> list[Change]:
    """Every category that either model has, in the order of the taxonomy; an item only one answered is missing."""
    of_item: dict[str, dict[str, Row]] = {}
    for row in rows:
        if row.model in (a, b):
            of_item.setdefault(row.item, {})[row.model] = row
    compared: dict[str, Comparison] = {}
    for name in (*CATEGORIES, NO_FAILURE):
        before, after = ([_has(own.get(model), name) for own in of_item.values()] for model in (a, b))
        if 1.0 in before or 1.0 in after:
            compared[name] = compare_proportions(before, after)
    corrected = holm({name: comparison.p for name, comparison in compared.items()})
    return [Change(name, comparison, corrected[name]) for name, comparison in compared.items()]


def worst(rows: Sequence[Row], model: str, n: int = 5, category: str | None = None) -> list[Row]:
    """The `n` worst answers of a model, of one category if it is named.

    Worst is the lowest helpfulness score (an answer without one comes after those that have one), then the most kinds
    of failure, then the id: a rule that knows nothing of what would look good in a report.
    """
    own = [
        row for row in rows
        if row.model == model and has_answer(row) and (category is None or category in row.failures)
    ]  # fmt: skip

    def order(row: Row) -> tuple[float, int, str]:
        score = row.metrics.get(SCORE)
        return (float("inf") if score is None else score, -len(row.failures), row.item)

    return sorted(own, key=order)[:n]


def unnamed(rows: Sequence[Row], model: str, low: float = 0.5) -> list[Row]:
    """The answers for `clusters`: no category, and a helpfulness score below `low`."""
    scored = ((row, row.metrics.get(SCORE)) for row in rows if row.model == model and not row.failures)
    return [row for row, score in scored if has_answer(row) and score is not None and score < low]


def has_answer(row: Row) -> bool:
    """The row of a missing answer has no tokens: it has neither failures nor the lack of them."""
    return row.metrics.get("tokens") is not None


def _has(row: Row | None, name: str) -> float | None:
    if row is None or not has_answer(row):
        return None
    return float(name in (row.failures or (NO_FAILURE,)))
