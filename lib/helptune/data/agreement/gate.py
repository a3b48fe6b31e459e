"""The gate before training: raters agree better than chance by a stated margin, before and after items are dropped.

Dropping the items raters disagree on raises every measure of agreement: it is biased upward by construction, since what
was selected for is what is measured. HelpSteer2 went from .47 to .79 by stricter guidelines *and* filtering; on their
own, figures after filtering say little. So both figures and the share of items that stayed are always told together.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from helptune.data.agreement.coefficients import MEASURES, Agreement, measure
from helptune.data.agreement.ratings import Ratings
from helptune.errors import SettingError

BIAS = (
    "Agreement after filtering is biased upward by construction: the items raters disagreed on are gone. "
    "Quote it beside the figure before filtering and the share of items kept."
)


@dataclass(frozen=True)
class Gate:
    """What ratings must show. `above` is exceeded by the value itself (`on` point) or by the low end of its interval.

    Items whose ratings spread more than `max_spread` (None: any) or with fewer than `min_ratings` ratings are dropped
    first. Two fences keep that from buying a pass: `min_items` must stay, since intervals of fewer are not worth the
    name (a perfect handful has [1, 1]), and at least `min_retention` of all items.
    """

    measure: str = "krippendorff_alpha"
    level: str = "ordinal"
    above: float = 0.7
    on: Literal["point", "lower"] = "point"
    max_spread: int | None = None
    min_ratings: int = 2
    min_items: int = 20
    min_retention: float = 0.5

    def __post_init__(self) -> None:
        if self.level not in MEASURES.get(self.measure, ()):
            known = "; ".join(f"{name}: {', '.join(levels)}" for name, levels in MEASURES.items())
            raise SettingError(f"gate: measure {self.measure!r} has no level {self.level!r}; there are {known}")
        if self.on not in ("point", "lower"):
            raise SettingError(f"gate: on = {self.on!r} must be 'point' or 'lower'")
        if not -1 <= self.above < 1:
            raise SettingError(f"gate: above = {self.above} must lie between -1 and 1, and nothing exceeds 1")
        if not 0 <= self.min_retention <= 1:
            raise SettingError(f"gate: min_retention = {self.min_retention} must lie between 0 and 1")
        _require_filter(self.max_spread, self.min_ratings)
        if self.min_items < 2:
            raise SettingError(f"gate: min_items = {self.min_items} must be 2 or more")


@dataclass(frozen=True)
class Verdict:
    """Whether `after` passed the gate, and why not: `reasons` is empty where it did."""

    gate: Gate
    before: Agreement
    after: Agreement
    kept: int
    total: int
    reasons: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.reasons

    @property
    def retention(self) -> float:
        """Share of items that stayed."""
        return self.kept / self.total if self.total else 0.0

    def __str__(self) -> str:
        head = "passed" if self.passed else "not passed: " + "; ".join(self.reasons)
        lines = [
            f"agreement gate {head}",
            f"all {self.total} items: {in_words(self.before)}",
        ]
        if self.kept < self.total:
            lines += [f"{self.kept} items kept ({self.retention:.0%}): {in_words(self.after)}", BIAS]
        return "\n".join(lines)


def check(ratings: Ratings, gate: Gate, *, resamples: int = 1000, seed: int = 0) -> Verdict:
    """The verdict on one attribute. Undefined agreement does not pass, and its reason is told."""
    kept = filtered(ratings, gate.max_spread, gate.min_ratings)
    before, after = (measure(r, gate.measure, gate.level, resamples=resamples, seed=seed) for r in (ratings, kept))
    verdict = Verdict(gate, before, after, len(kept.items), len(ratings.items), ())
    reasons = tuple(_reasons(verdict))
    return Verdict(gate, before, after, verdict.kept, verdict.total, reasons)


def _reasons(verdict: Verdict) -> list[str]:
    gate, after = verdict.gate, verdict.after
    figure, what = (after.value, "value") if gate.on == "point" else (after.low, "low end of the interval")
    reasons = []
    if figure is None:
        reasons.append(f"undefined ({verdict.before.undefined or after.undefined})")
    elif not figure > gate.above:
        reasons.append(f"the {what}, {figure:.3f}, is not above {gate.above:g}")
    if after.items < gate.min_items:
        reasons.append(f"{after.items} items with two ratings are fewer than {gate.min_items}")
    if verdict.retention < gate.min_retention:
        reasons.append(f"{verdict.retention:.0%} of the items stayed, less than {gate.min_retention:.0%}")
    return reasons


def filtered(ratings: Ratings, max_spread: int | None, min_ratings: int = 2) -> Ratings:
    """Both filters below. Agreement among what stays is biased upward by construction: see BIAS."""
    _require_filter(max_spread, min_ratings)
    kept = with_at_least(ratings, min_ratings)
    return kept if max_spread is None else spread_at_most(kept, max_spread)


def spread_at_most(ratings: Ratings, most: int) -> Ratings:
    """Items whose highest and lowest rating differ by at most `most`, as HelpSteer2 keeps them.

    Agreement among these is biased upward by construction: disagreement is what was dropped. An item with one rating
    has no spread and stays; use `with_at_least` first.
    """
    values, missing = ratings.values.astype(int), ratings.values < 0
    highest = values.max(axis=1, initial=-1)
    lowest = np.where(missing, highest[:, None], values).min(axis=1, initial=np.iinfo(int).max)
    return ratings.where(highest - lowest <= most)


def with_at_least(ratings: Ratings, count: int) -> Ratings:
    """Items with `count` ratings or more. It does not look at what they say, so it biases nothing by itself."""
    return ratings.where(ratings.per_item >= count)


def in_words(agreement: Agreement) -> str:
    """One line: `krippendorff_alpha (ordinal) 0.815 [0.612, 0.934]`, or why there is no figure."""
    name = f"{agreement.measure} ({agreement.level})"
    if agreement.value is None:
        return f"{name} undefined ({agreement.undefined})"
    if agreement.low is None:
        return f"{name} {agreement.value:.3f} ({agreement.undefined})"
    return f"{name} {agreement.value:.3f} [{agreement.low:.3f}, {agreement.high:.3f}]"


def _require_filter(max_spread: int | None, min_ratings: int) -> None:
    if max_spread is not None and max_spread < 0:
        raise SettingError(f"max_spread {max_spread} must be 0 or more")
    if min_ratings < 1:
        raise SettingError(f"min_ratings {min_ratings} must be 1 or more")
