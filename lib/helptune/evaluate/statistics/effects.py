"""Standardized sizes of a paired difference, with intervals: what is left of it when the units are taken away.

d_z is the mean difference in standard deviations of the differences (Cohen 1988; Lakens 2013); Cohen's h is the
distance of two proportions after the arcsine that makes their variance even.
"""

from functools import cache, partial

import numpy as np
from scipy import optimize, special, stats

from helptune.evaluate.statistics.estimate import Estimate
from helptune.evaluate.statistics.intervals import NOTHING, why_no_interval
from helptune.evaluate.statistics.observations import Observations
from helptune.shapes import Float


def d_z(differences: Observations, level: float = 0.95) -> Estimate:
    """Its interval holds the noncentralities under which the paired t is not unusual (Steiger & Fouladi 1997).

    So it leaves out 0 exactly where the test is significant, clusters and all.
    """
    method = f"{100 * level:g}% noncentral t"
    estimate = partial(
        Estimate,
        n=differences.n,
        clusters=differences.clusters,
        missing=differences.missing,
        method=method,
        level=level,
    )
    why = why_no_interval(differences) if differences.n else NOTHING
    if why:
        return estimate(None, why=why)
    mean, deviation = differences.means()[0], differences.columns[0].std(ddof=1)
    t, df, tail = mean / np.sqrt(differences.covariance()[0, 0]), differences.clusters - 1, (1 - level) / 2
    unit = np.sqrt(differences.covariance()[0, 0]) / deviation
    low, high = (float(noncentrality(t, df, chance) * unit) for chance in (1 - tail, tail))
    return estimate(float(mean / deviation), low, high)


def noncentrality(t: float, df: int, chance: float) -> float:
    """The noncentrality under which t or less is found with this chance.

    A noncentral t is (z + noncentrality) / s, so it is at most t with chance E[Phi(t s - noncentrality)], over the
    deviation s of a sample. The mean is taken at Gauss-Legendre nodes of s's quantiles: scipy's `nct` can be NaN.
    """
    s, weights = _deviations(df)
    reach = abs(t) * s[-1] + 10
    return float(optimize.brentq(lambda nc: weights @ special.ndtr(t * s - nc) - chance, -reach, reach))


@cache
def _deviations(df: int) -> tuple[Float[np.ndarray, " nodes"], Float[np.ndarray, " nodes"]]:
    """Standard deviations that samples of unit variance have, and their weights."""
    nodes, weights = np.polynomial.legendre.leggauss(200)
    return np.sqrt(stats.chi2.ppf((nodes + 1) / 2, df) / df), weights / 2


def cohen_h(seen: Observations, a: Estimate, b: Estimate) -> Estimate:
    """2 asin sqrt(b) - 2 asin sqrt(a), from the estimates of both and how the two columns vary together.

    The interval puts together how far each limit of the two lies away (Newcombe 1998, method 10; Zou & Donner 2008), so
    it exists where a proportion is 0 or 1 too.
    """
    method = f"{100 * a.level:g}% square-and-add"
    if not seen.n:
        return Estimate(None, missing=seen.missing, method=method, level=a.level, why=NOTHING)
    (at_a, low_a, high_a), (at_b, low_b, high_b) = (
        2 * np.arcsin(np.sqrt(np.array([one.value, one.low, one.high], float))) for one in (a, b)
    )
    r = 0.0
    if seen.clusters > 1:
        covariance = seen.covariance()
        scale = np.sqrt(covariance[0, 0] * covariance[1, 1])
        r = float(covariance[0, 1] / scale) if scale > 0 else 0.0
    value = float(at_b - at_a)
    low = value - _together(at_b - low_b, high_a - at_a, r)
    high = value + _together(high_b - at_b, at_a - low_a, r)
    return Estimate(value, low, high, seen.n, seen.clusters, seen.missing, method, a.level)


def _together(x: float, y: float, r: float) -> float:
    return float(np.sqrt(max(0.0, x**2 - 2 * r * x * y + y**2)))
