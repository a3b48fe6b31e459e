"""Two models on the same items: what is compared is the difference on each item, so that hard items cost neither.

Means by a cluster-robust t test; proportions by McNemar's exact test (1947) with Tango's score interval (1998), and
where observations share a cluster, by its generalization that swaps the two models in whole clusters (Canay, Romano &
Shaikh 2017). That two models are about as good is a claim of its own: non-inferiority (Blackwelder 1982).
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from scipy import stats

from helptune.errors import SettingError
from helptune.evaluate.statistics import score_test
from helptune.evaluate.statistics.effects import cohen_h, d_z
from helptune.evaluate.statistics.estimate import Comparison, Estimate
from helptune.evaluate.statistics.intervals import NOTHING, clustered_proportion, mean_of, why_no_interval
from helptune.evaluate.statistics.observations import Clusters, Observations, Values, observe
from helptune.evaluate.statistics.power import pairs_for_noninferiority
from helptune.shapes import Float, Int

type Verdict = Literal["non-inferior", "inferior", "inconclusive"]


@dataclass(frozen=True)
class NonInferiority:
    """Does b lose less than `margin` to a?

    `loss` is mean(a) - mean(b), or its share of mean(a) where `relative`; its `low` and `high` are one-sided bounds at
    1 - alpha each. The verdict is "non-inferior" where the upper one is below the margin, "inferior" where the lower
    one is above, and else "inconclusive"; `p` is that of the hypothesis that the margin is lost. `needed` pairs would
    show with 80% power a model that loses nothing, if pairs vary as they did here.
    """

    loss: Estimate
    margin: float
    relative: bool
    alpha: float
    p: float | None
    verdict: Verdict
    needed: int | None
    why: str = ""


def compare_means(
    a: Values, b: Values, clusters: Clusters | None = None, *, level: float = 0.95, missing: int = 0
) -> Comparison:
    """Paired difference of means `b - a`: cluster-robust t interval and test, and d_z.

    A pair with a hole in either model counts as missing.
    """
    seen = observe([a, b], clusters, missing)
    change = seen.contrast(-1, 1)
    return Comparison(
        mean_of(seen.contrast(1, 0), level),
        mean_of(seen.contrast(0, 1), level),
        mean_of(change, level),
        _p_of_mean(change),
        "cluster-robust t test of the paired difference" if seen.repeats else "paired t test",
        d_z(change, level),
        "paired d_z",
        change.design_effect(),
    )


def compare_proportions(
    a: Values, b: Values, clusters: Clusters | None = None, *, level: float = 0.95, missing: int = 0
) -> Comparison:
    """Paired difference of two proportions `b - a`, of values that are 0 or 1, and Cohen's h.

    Each observation its own cluster: exact McNemar test, and Tango's score interval. Where clusters repeat: the same
    test with whole clusters swapped, and a cluster-robust t interval. Raises SettingError for a value not 0 or 1.
    """
    seen = observe([a, b], clusters, missing)
    if not _binary(seen):
        raise SettingError("values of a proportion must be 0 or 1; compare_means takes scores")
    change = seen.contrast(-1, 1)
    of_a, of_b = (
        clustered_proportion(column, seen.cluster, level=level, missing=seen.missing) for column in seen.columns
    )
    return Comparison(
        of_a,
        of_b,
        mean_of(change, level) if seen.repeats or not seen.n else _difference_by_score(change, level),
        swap_test(change.sums()[0].round().astype(int)) if seen.n else None,
        "exact McNemar test with whole clusters swapped" if seen.repeats else "exact McNemar test",
        cohen_h(seen, of_a, of_b),
        "Cohen's h",
        change.design_effect(),
    )


def swap_test(changes: Int[np.ndarray, " clusters"]) -> float:
    """Two-sided p of a sum of changes, if in each cluster the two models could as well have been each other.

    Then each change has either sign with equal chance, and the sum's distribution is counted out. With one observation
    a cluster this is McNemar's exact test.
    """
    sizes, counts = np.unique(np.abs(changes[changes != 0]), return_counts=True)
    chance = np.ones(1)
    for size, count in zip(sizes, counts, strict=True):
        positive = np.zeros(size * count + 1)
        positive[::size] = stats.binom.pmf(np.arange(count + 1), count, 0.5)
        chance = np.convolve(chance, positive)
    total = len(chance) - 1
    sums = 2 * np.arange(total + 1) - total
    return min(1.0, float(chance[np.abs(sums) >= abs(changes.sum())].sum()))


def noninferior(
    a: Values,
    b: Values,
    margin: float,
    *,
    relative: bool = False,
    clusters: Clusters | None = None,
    alpha: float = 0.05,
    missing: int = 0,
) -> NonInferiority:
    """Whether b loses less than `margin` to a, of values where higher is better; `relative` to the mean of a.

    Values that are all 0 or 1, each its own cluster, take a score interval of the difference or the ratio; others a
    cluster-robust t interval, or Fieller's for a ratio. Missing pairs leave "inconclusive" of what would have been
    "non-inferior": fill them by `worst_case` and ask again. Raises SettingError for a margin or alpha that cannot be.
    """
    if not (margin > 0 and (margin < 1 or not relative)) or not 0 < alpha < 0.5:
        raise SettingError(f"margin {margin} must be positive (below 1 if relative), and alpha {alpha} below .5")
    seen = observe([a, b], clusters, missing)
    by_score = _binary(seen) and not seen.repeats
    loss, p = (_relative_loss if relative else _loss)(seen, margin, alpha, by_score)
    verdict: Verdict = "inconclusive"
    why = loss.why
    if loss.low is not None and loss.high is not None:
        if loss.low > margin:
            verdict = "inferior"
        elif loss.high >= margin:
            why = "the interval holds the margin"
        elif loss.missing:
            why = f"{loss.missing} pairs are missing, and could be what was lost"
        else:
            verdict = "non-inferior"
    return NonInferiority(loss, margin, relative, alpha, p, verdict, _needed(seen, margin, relative, alpha), why)


def worst_case(
    a: Values, b: Values, low: float = 0, high: float = 1
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Both with their holes filled against b: the best value where a has one, and the worst where b has."""
    of_a, of_b = np.asarray(a, float), np.asarray(b, float)
    return np.where(np.isfinite(of_a), of_a, high), np.where(np.isfinite(of_b), of_b, low)


def _loss(seen: Observations, margin: float, alpha: float, by_score: bool) -> tuple[Estimate, float | None]:
    loss, level = seen.contrast(1, -1), 1 - 2 * alpha
    if by_score and seen.n:
        gained, lost = _discordant(seen)
        z = score_test.statistic((lost, seen.n - lost - gained, gained), np.array([-1, 0, 1]) + margin)
        return _difference_by_score(loss, level), float(stats.norm.sf(z))
    estimate = mean_of(loss, level)
    if estimate.low is None:
        return estimate, None
    t = (margin - loss.means()[0]) / np.sqrt(loss.covariance()[0, 0])
    return estimate, float(stats.t.sf(t, seen.clusters - 1))


def _relative_loss(seen: Observations, margin: float, alpha: float, by_score: bool) -> tuple[Estimate, float | None]:
    """1 - mean(b) / mean(a). The margin is lost where mean(b) is no more than 1 - margin of mean(a)."""
    level, least = 1 - 2 * alpha, 1 - margin
    mean_a, mean_b = seen.means()
    method = f"{100 * level:g}% score" if by_score else f"{100 * level:g}% Fieller"
    estimate = partial(Estimate, n=seen.n, clusters=seen.clusters, missing=seen.missing, method=method, level=level)
    if not seen.n or mean_a <= 0:
        return estimate(None, why="a share of nothing: the mean of a is not positive" if seen.n else NOTHING), None
    value = float(1 - mean_b / mean_a)
    if by_score:
        gained, lost = _discordant(seen)
        both = int(seen.columns.min(axis=0).sum())
        low, high = score_test.ratio_limits(both, lost, gained, seen.n, stats.norm.isf(alpha))
        counts, values = (both, lost, gained, seen.n - both - lost - gained), (1 - least, -least, 1, 0)
        p = float(stats.norm.sf(score_test.statistic(counts, values)))
        return estimate(value, 1 - high, 1 - low), p
    kept = seen.contrast(-least, 1)
    why = why_no_interval(kept)
    if why:
        return estimate(value, why=why), None
    (vary_a, together), (_, vary_b) = seen.covariance()
    df = seen.clusters - 1
    t2 = stats.t.isf(alpha, df) ** 2
    p = float(stats.t.sf(kept.means()[0] / np.sqrt(kept.covariance()[0, 0]), df))
    square, cross, rest = mean_a**2 - t2 * vary_a, mean_a * mean_b - t2 * together, mean_b**2 - t2 * vary_b
    if square <= 0:
        return estimate(value, why="no bound: the mean of a is not clearly above 0"), p
    reach = np.sqrt(max(0.0, cross**2 - square * rest))
    return estimate(value, float(1 - (cross + reach) / square), float(1 - (cross - reach) / square)), p


def _needed(seen: Observations, margin: float, relative: bool, alpha: float) -> int | None:
    """By the mean square of the differences and their design effect; None where the models never differed."""
    change = seen.contrast(-1, 1)
    square = float((change.columns**2).mean()) * (change.design_effect() or 1.0) if seen.n else 0.0
    to_lose = margin * float(seen.means()[0]) if relative else margin
    return pairs_for_noninferiority(to_lose, square, alpha=alpha) if square and to_lose > 0 else None


def _difference_by_score(change: Observations, level: float) -> Estimate:
    """Of differences -1, 0 and 1, each its own cluster."""
    gained, lost = int((change.columns > 0).sum()), int((change.columns < 0).sum())
    low, high = score_test.difference_limits(lost, gained, change.n, stats.norm.isf((1 - level) / 2))
    value, method = (gained - lost) / change.n, f"{100 * level:g}% paired score"
    return Estimate(value, low, high, change.n, change.clusters, change.missing, method, level)


def _discordant(seen: Observations) -> tuple[int, int]:
    """Pairs that b gained, and that it lost."""
    a, b = seen.columns
    return int((b > a).sum()), int((b < a).sum())


def _binary(seen: Observations) -> bool:
    return bool(((seen.columns == 0) | (seen.columns == 1)).all())


def _p_of_mean(change: Observations) -> float | None:
    """Two-sided, of a mean of 0. Where no two models ever differ nothing speaks against it; else it takes variance."""
    if not change.n:
        return None
    if not change.columns.any():
        return 1.0
    if why_no_interval(change):
        return None
    t = change.means()[0] / np.sqrt(change.covariance()[0, 0])
    return float(2 * stats.t.sf(abs(t), change.clusters - 1))
