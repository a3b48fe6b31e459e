"""Intervals of a proportion, a mean, and any statistic: what a figure from this many prompts can and cannot say.

Wilson's score interval (1927) and the exact one of Clopper & Pearson (1934) for proportions; a cluster-robust t
interval for means (Liang & Zeger 1986; Miller 2024, arXiv:2411.00640); a bootstrap of whole clusters for the rest
(Efron 1979), widened for few clusters after Hesterberg (2015, arXiv:1411.5279).
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from scipy import stats

from helptune.errors import SettingError
from helptune.evaluate.statistics.estimate import Estimate
from helptune.evaluate.statistics.observations import Clusters, Observations, Values, observe
from helptune.shapes import Float, Int

type Side = Literal["two", "lower", "upper"]
type Proportion = Literal["wilson", "beta"]

_NAMES: dict[Proportion, str] = {"wilson": "Wilson", "beta": "Clopper-Pearson"}
NOTHING = "nothing was observed"
_MOST_UNDEFINED = 0.1
"""Share of draws without a value above which there is no interval."""
_NUMBERS = 4_000_000
"""Numbers held at once while drawing: 32 MB."""


def wilson(successes: float, total: int, *, level: float = 0.95, side: Side = "two", missing: int = 0) -> Estimate:
    """A proportion of independent observations with Wilson's score interval; half a success is a tie.

    A one-sided bound leaves the other end at 0 or 1. Its lower bound is bold for rates near 1: where
    a claim hangs on it, take `exact`.
    Raises SettingError for a count that cannot be, as every function here does for a level that cannot.
    """
    return _proportion(successes, total, "wilson", level, side, missing)


def exact(successes: float, total: int, *, level: float = 0.95, side: Side = "two", missing: int = 0) -> Estimate:
    """A proportion with the interval of Clopper & Pearson, which never holds the truth less often than it says.

    Its one-sided bound lies above a rate exactly where the binomial test finds so. No failures of 100 leave 3.6%.
    """
    return _proportion(successes, total, "beta", level, side, missing)


def clustered_proportion(
    values: Values,
    clusters: Clusters | None = None,
    *,
    level: float = 0.95,
    side: Side = "two",
    missing: int = 0,
    method: Proportion = "wilson",
) -> Estimate:
    """A proportion of observations that hang together: the interval of as many as they are worth, Wilson's or "beta".

    n observations are worth n over their design effect (Kish 1965), and less where clusters are few, by the ratio of
    normal and t quantiles squared (Korn & Graubard 1998). Where all are the same, a cluster is worth one observation.
    Values lie between 0 and 1; None counts as missing.
    """
    seen = observe([values], clusters, missing)
    if seen.n and not (seen.columns.min() >= 0 and seen.columns.max() <= 1):
        raise SettingError(
            f"values of a proportion lie between 0 and 1, found {seen.columns.min()} to {seen.columns.max()}"
        )
    if not seen.repeats:
        return _proportion(float(seen.columns.sum()), seen.n, method, level, side, seen.missing)
    worth = float(seen.clusters)
    tail = _tail(level, side)
    effect = seen.design_effect()
    if effect is not None:
        few = stats.norm.isf(tail) / stats.t.isf(tail, seen.clusters - 1)
        worth = seen.n / max(1.0, effect) * few**2
    value = float(seen.means()[0])
    low, high = _limits(value * worth, worth, method, level, side)
    words = f"{_words(level, side)} {_NAMES[method]}, worth {worth:.0f} of {seen.n} in {seen.clusters} clusters"
    return Estimate(value, low, high, seen.n, seen.clusters, seen.missing, words, level)


def clustered_mean(
    values: Values, clusters: Clusters | None = None, *, level: float = 0.95, missing: int = 0
) -> Estimate:
    """A mean with a cluster-robust t interval: CR1 variance, and one degree of freedom fewer than there are clusters.

    Without clusters each value is its own, and this is the t interval of a textbook. Values that are None or not finite
    count as missing. One cluster, or values that are all the same, have no interval: nothing shows how they vary.
    """
    return mean_of(observe([values], clusters, missing), level)


def mean_of(seen: Observations, level: float = 0.95) -> Estimate:
    """`clustered_mean` of the first column of what was observed."""
    method = f"{_words(level)} cluster-robust t" if seen.repeats else f"{_words(level)} t"
    if not seen.n:
        return Estimate(None, missing=seen.missing, method=method, level=level, why=NOTHING)
    value, why = float(seen.means()[0]), why_no_interval(seen)
    low = high = None
    if not why:
        reach = stats.t.isf(_tail(level), seen.clusters - 1) * np.sqrt(seen.covariance()[0, 0])
        low, high = float(value - reach), float(value + reach)
    return Estimate(value, low, high, seen.n, seen.clusters, seen.missing, method, level, why)


def why_no_interval(seen: Observations, column: int = 0) -> str:
    """The reason a mean has no t interval, or ""."""
    if seen.clusters < 2:
        return _one_cluster(seen)
    if not seen.varies(column):
        return f"no variance: every value is {seen.columns[column, 0]:g}"
    if np.isclose(seen.covariance()[column, column], 0, atol=1e-24):
        return "no variance between clusters"
    return ""


def bootstrap(
    statistic: Callable[..., float],
    columns: Sequence[Values],
    clusters: Clusters | None = None,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    missing: int = 0,
) -> Estimate:
    """Any statistic of aligned columns, `statistic(*columns)`, with a percentile interval over draws of whole clusters.

    A ratio of means or another function of means is drawn in one go by `bootstrap_means`. NaN says that the statistic
    is undefined; if it is in more than a tenth of draws, there is no interval, and else those draws are left out.
    """
    seen = observe(columns, clusters, missing)
    ordered = seen.columns[:, np.argsort(seen.cluster, kind="stable")]
    sizes = np.bincount(seen.cluster, minlength=seen.clusters)
    starts = np.cumsum(sizes) - sizes

    def rows(chosen: Int[np.ndarray, " clusters"]) -> Int[np.ndarray, " drawn"]:
        size = sizes[chosen]
        return np.arange(size.sum()) + np.repeat(starts[chosen] - np.cumsum(size) + size, size)

    def draw(chosen: Int[np.ndarray, "draws clusters"]) -> Float[np.ndarray, " draws"]:
        return np.array([statistic(*ordered[:, rows(one)]) for one in chosen], float)

    return _bootstrap(seen, lambda: statistic(*seen.columns), draw, level, resamples, seed)


def bootstrap_means(
    statistic: Callable[..., Any],
    columns: Sequence[Values],
    clusters: Clusters | None = None,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    missing: int = 0,
) -> Estimate:
    """`bootstrap` of a function of the columns' means, which is called on arrays of them, a number a draw.

    For a corpus score, give the counts it is made of: a ratio of sums is a ratio of means.
    """
    seen = observe(columns, clusters, missing)
    sums = np.concatenate([seen.sums(), np.bincount(seen.cluster, minlength=seen.clusters)[None].astype(float)])

    def draw(chosen: Int[np.ndarray, "draws clusters"]) -> Float[np.ndarray, " draws"]:
        *totals, counts = sums[:, chosen].sum(axis=-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(statistic(*(total / counts for total in totals)), float)

    def value() -> float:
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(statistic(*seen.means()))

    return _bootstrap(seen, value, draw, level, resamples, seed)


def relative_gain(
    a: Values,
    b: Values,
    clusters: Clusters | None = None,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    missing: int = 0,
) -> Estimate:
    """How much higher the mean of b is, as a share of that of a: mean(b) / mean(a) - 1, bootstrapped over clusters.

    A gain over a mean that is not positive is undefined.
    """

    def gain(base: Any, tuned: Any) -> Any:
        return tuned / np.where(base > 0, base, np.nan) - 1

    return bootstrap_means(gain, [a, b], clusters, level=level, resamples=resamples, seed=seed, missing=missing)


def _one_cluster(seen: Observations) -> str:
    return "one cluster: nothing shows how clusters differ" if seen.n > 1 else "one observation"


def _bootstrap(
    seen: Observations,
    value_of: Callable[[], float],
    draw: Callable[[Int[np.ndarray, "draws clusters"]], Float[np.ndarray, " draws"]],
    level: float,
    resamples: int,
    seed: int,
) -> Estimate:
    if resamples < 1:
        raise SettingError(f"resamples = {resamples} must be positive")
    method = f"{_words(level)} percentile bootstrap over clusters, {resamples} draws, seed {seed}"
    value = float(value_of()) if seen.n else np.nan
    low = high = None
    why = ""
    if not seen.n:
        why = NOTHING
    elif not np.isfinite(value):
        why = "the statistic is undefined for these values"
    elif seen.clusters < 2:
        why = _one_cluster(seen)
    else:
        generator = np.random.default_rng(seed)
        block = max(1, _NUMBERS // (seen.clusters * (len(seen.columns) + 1)))
        sizes = [min(block, resamples - start) for start in range(0, resamples, block)]
        draws = np.concatenate([draw(generator.integers(seen.clusters, size=(size, seen.clusters))) for size in sizes])
        kept = draws[np.isfinite(draws)]
        if len(kept) < (1 - _MOST_UNDEFINED) * resamples:
            why = f"no interval: the statistic is undefined in {resamples - len(kept)} of {resamples} draws"
        elif np.ptp(kept) <= 1e-12 * max(1.0, abs(value)):
            why = "no variance: every draw gives the same"
        else:
            # A draw of G clusters varies (G - 1)/G as much as it should, and its quantiles are normal, not t.
            wide = stats.t.isf(_tail(level), seen.clusters - 1) * np.sqrt(seen.clusters / (seen.clusters - 1))
            low, high = np.quantile(kept, stats.norm.cdf([-wide, wide])).tolist()
    known = value if np.isfinite(value) else None
    return Estimate(known, low, high, seen.n, seen.clusters, seen.missing, method, level, why)


def _proportion(successes: float, total: int, method: Proportion, level: float, side: Side, missing: int) -> Estimate:
    if not 0 <= successes <= total:
        raise SettingError(f"{successes} successes of {total}: must lie between 0 and the total")
    name = f"{_words(level, side)} {_NAMES[method]}"
    if not total:
        return Estimate(None, missing=missing, method=name, level=level, why=NOTHING)
    low, high = _limits(successes, total, method, level, side)
    return Estimate(successes / total, low, high, total, total, missing, name, level)


def _limits(successes: float, total: float, method: Proportion, level: float, side: Side) -> tuple[float, float]:
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(successes, total, alpha=2 * _tail(level, side), method=method)
    return (
        0.0 if side == "upper" or successes <= 0 else float(low),
        1.0 if side == "lower" or successes >= total else float(high),
    )


def _tail(level: float, side: Side = "two") -> float:
    """The chance left to each end that is given."""
    if not 0.5 <= level < 1:
        raise SettingError(f"level = {level} must be at least .5 and below 1, such as .95")
    if side not in ("two", "lower", "upper"):
        raise SettingError(f"side = {side!r} must be 'two', 'lower' or 'upper'")
    return (1 - level) / (2 if side == "two" else 1)


def _words(level: float, side: Side = "two") -> str:
    _tail(level, side)
    return f"{100 * level:g}%" + ("" if side == "two" else f" one-sided {side}")
