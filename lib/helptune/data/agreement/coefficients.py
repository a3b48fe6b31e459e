"""Measures of agreement beyond chance: how much less do raters disagree than if ratings fell at random?

Cohen's kappa (1960), weighted kappa (1968), Fleiss' kappa (1971) and Krippendorff's alpha (2011) are one idea,

    agreement = 1 - (observed disagreement) / (disagreement expected by chance),

over a table of how often rating c met rating d. They differ in how far apart c and d are, and in what chance draws
from. The figures come from scikit-learn, statsmodels and evalica. Their intervals come from drawing whole items anew:
the table of a draw is a sum over its items, so a thousand draws are one product of matrices.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from helptune.data.agreement.ratings import Ratings
from helptune.errors import SettingError
from helptune.shapes import Float, Int

if TYPE_CHECKING:
    from scipy.sparse import csr_array

MEASURES = {
    "cohen_kappa": ("nominal",),
    "weighted_kappa": ("linear", "quadratic"),
    "fleiss_kappa": ("nominal",),
    "krippendorff_alpha": ("nominal", "ordinal", "interval"),
}
"""Each measure and the levels it has: what it counts as the distance of two ratings."""

ANONYMOUS = (("weighted_kappa", "linear"), ("weighted_kappa", "quadratic"), ("krippendorff_alpha", "ordinal"))
"""What is reported where raters are anonymous: kappa of one random pair of ratings an item, and ordinal alpha."""

_PAIRED = ("cohen_kappa", "weighted_kappa")
_MOST_UNDEFINED = 0.1
"""Share of draws without a value above which there is no interval."""
LEAST_SHARED = 10
"""Items two raters must share: over fewer, kappa is biased towards 0, and more so in a draw of them."""
_NUMBERS = 10_000_000
"""Numbers held at once while drawing: 80 MB."""


@dataclass(frozen=True)
class Agreement:
    """One measure of one attribute.

    `value` is None where the measure is undefined, `low` and `high` where the interval is; `undefined` then says why,
    and is "" otherwise. `items` counts those the measure looks at: only items with two ratings can agree. `missing`
    counts the empty cells of the matrix of items and raters, so it is large where raters share the work.
    """

    measure: str
    level: str
    value: float | None
    low: float | None
    high: float | None
    undefined: str
    interval: str
    items: int
    raters: int
    ratings: int
    ratings_per_item: tuple[int, float, int]
    """Least, mean, most, over all items."""
    missing: int
    pairs_left_out: int
    """Pairs of raters who share items, but fewer than kappa needs."""


def measure(
    ratings: Ratings, name: str, level: str, *, confidence: float = 0.95, resamples: int = 1000, seed: int = 0
) -> Agreement:
    """The measure `name` of MEASURES at one of its levels, with a percentile bootstrap interval over items.

    Ratings of an item hang together, so whole items are drawn (a cluster bootstrap), not single pairs of ratings as in
    evalica's own bootstrap. Simulated with 3 raters and 20, 50, 100 and 300 items, the 95% interval held the truth in
    92 to 96% of 500 trials for ordinal alpha (BCa: 92 to 97%, so the simpler one is used) and 93 to 95% for quadratic
    kappa, but in 88 to 91% for kappa of 20 items. Draws in which every rating is the same have no value and are left
    out; if more than a tenth are, there is no interval. Two limits: perfect agreement gives [1, 1] however few the
    items, and the interval is stretched to the value in the rare case that it leaves it outside.

    Kappa of more than two raters is the mean over the pairs of raters (Light 1971), weighted by the items they share;
    pairs who share fewer than 10 are left out.
    Raises SettingError for a measure, level, confidence or number of draws that does not exist.
    """
    if level not in MEASURES.get(name, ()):
        known = "; ".join(f"{measure}: {', '.join(levels)}" for measure, levels in MEASURES.items())
        raise SettingError(f"{name} {level}: no such measure of agreement; there are {known}")
    if not 0 < confidence < 1 or resamples < 1:
        raise SettingError(f"confidence {confidence} must lie between 0 and 1, and resamples {resamples} be positive")
    paired = ratings.where(ratings.per_item >= 2)
    undefined, value, low, high = why_undefined(ratings, name, level), None, None, None
    met = None if undefined else _meetings(paired, name, seed)
    if met and not met.pairs:
        undefined = f"too few shared: no two raters share {LEAST_SHARED} items; ask for alpha, which needs no pairs"
    elif met and not any(np.ptp(both) for both in met.columns()):
        undefined = "no variance: no two raters who share items used two different ratings"
    elif met:
        value = _VALUES[name](paired, level, met)
        draws = _draws(met, name, level, resamples, seed)
        drawn = draws[np.isfinite(draws)]
        if len(drawn) < (1 - _MOST_UNDEFINED) * resamples:
            undefined = f"no interval: {resamples - len(drawn)} of {resamples} draws of items have no variance"
        else:
            low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2]).tolist()
            low, high = min(low, value), max(high, value)
    return Agreement(
        name, level, value, low, high, undefined,
        f"{confidence:.0%} percentile bootstrap over items, {resamples} draws, seed {seed}",
        items=len(np.unique(met.item)) if met else len(paired.items),
        pairs_left_out=met.left_out if met else 0,
        **_counts(ratings),
    )  # fmt: skip


def why_undefined(ratings: Ratings, name: str, level: str) -> str:
    """The reason a measure has no value, or "". One item agrees with itself about nothing: chance has no say in it."""
    paired = ratings.where(ratings.per_item >= 2)
    given, counts = paired.values[paired.values >= 0], set(paired.per_item.tolist())
    if not ratings.items:
        return "no items: none are left"
    if not ratings.per_item.any():
        return "no ratings: all are missing"
    if ratings.active < 2:
        return "one rater: agreement takes two"
    if len(paired.items) < 2:
        found = "one item" if paired.items else "no item"
        return f"{found}: {found} has two ratings or more, and it takes two such items"
    if given.min() == given.max():
        return f"no variance: every rating is {given[0]}, as they would be by chance"
    if ratings.anonymous and (name, level) not in ANONYMOUS:
        return "anonymous raters: nothing says which ratings are the same person's; ask for ordinal alpha"
    if name == "fleiss_kappa" and len(counts) > 1:
        return f"unequal: items have {min(counts)} to {max(counts)} ratings, and Fleiss' kappa takes as many for each"
    return ""


def agreement_of(
    tables: Float[np.ndarray, "... C C"],
    distance: Float[np.ndarray, "... C C"],
    *,
    returned: bool = True,
) -> Float[np.ndarray, "..."]:
    """1 - observed / expected disagreement, for tables of how often rating c (rows) met rating d (columns).

    Chance draws both ratings from the table's margins; without `returned`, it does not put the first one back, which is
    Krippendorff's correction for few ratings. NaN where the margins hold a single rating.
    """
    rows, columns = tables.sum(-1), tables.sum(-2)
    total = rows.sum(-1)
    observed = (tables * distance).sum((-2, -1))
    expected = (rows[..., :, None] * columns[..., None, :] * distance).sum((-2, -1))
    with np.errstate(divide="ignore", invalid="ignore"):
        return 1 - observed * (total if returned else total - 1) / np.where(expected > 0, expected, np.nan)


def distances(level: str, tables: Float[np.ndarray, "... C C"]) -> Float[np.ndarray, "... C C"]:
    """How far apart two ratings are. Ordinal is the squared number of ratings between them (Krippendorff 2011)."""
    if level == "ordinal":
        margin = tables.sum(-1)
        rank = np.cumsum(margin, axis=-1) - margin / 2
    else:
        rank = np.arange(tables.shape[-1], dtype=float)
    apart = np.abs(rank[..., :, None] - rank[..., None, :])
    return {"nominal": np.sign(apart), "linear": apart}.get(level, apart**2)


@dataclass(frozen=True, eq=False)
class _Meetings:
    """Every meeting of two ratings: in which item, between which raters (numbered pairs), which ratings, its weight."""

    item: Int[np.ndarray, " meetings"]
    pair: Int[np.ndarray, " meetings"]
    first: Int[np.ndarray, " meetings"]
    second: Int[np.ndarray, " meetings"]
    weight: Float[np.ndarray, " meetings"]
    items: int
    pairs: int
    left_out: int
    scale: int

    def columns(self) -> list[Int[np.ndarray, "2 shared"]]:
        """What both raters of each pair said of the items they share."""
        order = np.argsort(self.pair, kind="stable")
        both = np.stack([self.first, self.second])[:, order]
        return np.split(both, np.cumsum(np.bincount(self.pair, minlength=self.pairs))[:-1], axis=1)

    def tables(self) -> "csr_array":
        """A row an item: its tables [pairs, scale, scale], flat. Their sum over items is the table of all."""
        from scipy.sparse import csr_array

        cell = (self.pair * self.scale + self.first) * self.scale + self.second
        return csr_array((self.weight, (self.item, cell)), shape=(self.items, self.pairs * self.scale**2))


def _meetings(paired: Ratings, name: str, seed: int) -> _Meetings:
    """Ratings start at the lowest that was given, so a table has no empty margin there."""
    values = paired.values.astype(np.int64)
    low = values[values >= 0].min()
    scale = int(values.max() - low) + 1
    most, count = paired.per_item.max(), paired.per_item
    # Packed to the left, in the order of raters: few columns, however many raters share the work.
    rater = np.argsort(values < 0, axis=1, kind="stable")[:, :most]
    packed = np.take_along_axis(values, rater, axis=1) - low
    if name in _PAIRED and paired.anonymous:
        chance = np.random.default_rng([seed, 1]).random(packed.shape)
        places = np.argsort(np.where(np.arange(most) < count[:, None], chance, 2.0), axis=1)[:, :2]
        first, second = np.take_along_axis(packed, places, axis=1).T
        item = np.arange(len(packed))
        met = [(item, np.zeros_like(item), first, second, np.ones(len(item)))]
    else:
        met = []
        for j, k in combinations(range(most), 2):
            item = np.flatnonzero(count > k)
            pair = rater[item, j] * len(paired.raters) + rater[item, k]
            met.append((item, pair, packed[item, j], packed[item, k], 1.0 / (count[item] - 1)))
    item, pair, first, second, weight = map(np.concatenate, zip(*met, strict=True))
    if name in _PAIRED:
        _, pair, shared = np.unique(pair, return_inverse=True, return_counts=True)
        often = (shared >= LEAST_SHARED)[pair]
        item, first, second = item[often], first[often], second[often]
        pairs, pair = np.unique(pair[often], return_inverse=True)
        left_out = len(shared) - len(pairs)
        return _Meetings(item, pair, first, second, np.ones(len(item)), len(values), len(pairs), left_out, scale)
    item, first, second, weight = map(
        np.concatenate, ((item, item), (first, second), (second, first), (weight, weight))
    )
    return _Meetings(item, np.zeros_like(item), first, second, weight, len(values), 1, 0, scale)


def _draws(met: _Meetings, name: str, level: str, resamples: int, seed: int) -> Float[np.ndarray, " resamples"]:
    tables, rng = met.tables(), np.random.default_rng([seed, 0])
    step = max(1, _NUMBERS // sum(tables.shape))
    values = []
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = rng.integers(met.items, size=(size, met.items))
        times = np.stack([np.bincount(items, minlength=met.items) for items in drawn]).astype(float)
        values.append(_of_tables((times @ tables).reshape(size, met.pairs, met.scale, met.scale), name, level))
    return np.concatenate(values)


def _of_tables(tables: Float[np.ndarray, "draws pairs C C"], name: str, level: str) -> Float[np.ndarray, " draws"]:
    """The mean over pairs that have a value, each weighted by the items it shares."""
    values = agreement_of(tables, distances(level, tables), returned=name != "krippendorff_alpha")
    weights = np.where(np.isfinite(values), tables.sum((-2, -1)), 0.0)
    with np.errstate(invalid="ignore"):
        return (np.nan_to_num(values) * weights).sum(-1) / weights.sum(-1)


def _kappa(paired: Ratings, level: str, met: _Meetings) -> float:
    from sklearn.metrics import cohen_kappa_score

    varied = [both for both in met.columns() if np.ptp(both)]
    weights = None if level == "nominal" else level
    values = [cohen_kappa_score(*both, labels=range(met.scale), weights=weights) for both in varied]
    return float(np.average(values, weights=[both.shape[1] for both in varied]))


def _fleiss(paired: Ratings, level: str, met: _Meetings) -> float:
    from statsmodels.stats.inter_rater import fleiss_kappa

    chosen = [(paired.values == rating).sum(axis=1) for rating in range(paired.values.max() + 1)]
    return float(fleiss_kappa(np.stack(chosen, axis=1)))


def _alpha(paired: Ratings, level: str, met: _Meetings) -> float:
    import evalica
    import pandas as pd

    by_rater = np.where(paired.values >= 0, paired.values, np.nan).T
    return float(evalica.alpha(pd.DataFrame(by_rater), level).alpha)  # type: ignore[arg-type]


_VALUES: dict[str, Callable[[Ratings, str, _Meetings], float]] = {
    "cohen_kappa": _kappa,
    "weighted_kappa": _kappa,
    "fleiss_kappa": _fleiss,
    "krippendorff_alpha": _alpha,
}


def _counts(ratings: Ratings) -> dict:
    count = ratings.per_item
    given = int(count.sum())
    spread = (int(count.min()), given / len(count), int(count.max())) if len(count) else (0, 0.0, 0)
    return {
        "raters": ratings.active,
        "ratings": given,
        "ratings_per_item": spread,
        "missing": ratings.values.size - given,
    }
