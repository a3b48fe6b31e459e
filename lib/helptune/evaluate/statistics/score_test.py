"""Score tests of paired proportions: they need no variance in the sample, only one under the hypothesis.

Each pair has one of a few values, and the hypothesis says that their mean is 0. The statistic is their sum over its
deviation under the likeliest distribution for which that holds. Values (-1, 0, 1) less a difference give Tango's
statistic (1998); those of b - ratio * a give that of Nam & Blackwelder (2002) and Tang, Tang & Chan (2003) for a ratio.
Two models that never differ on 20 items so remain apart by up to 12 points, where a t interval sees none at all.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy import optimize


def statistic(counts: Sequence[float], values: Sequence[float] | np.ndarray) -> float:
    """Approximately standard normal if the mean of `values` is 0; `counts` says how often each was seen."""
    x, v, n = np.asarray(counts, float), np.asarray(values, float), float(sum(counts))
    if not x @ v:
        return 0.0
    if v.min() >= 0 or v.max() <= 0:
        return float(np.copysign(np.inf, x @ v))
    variance = n * (_likeliest(x, v, n) @ v**2)
    return float(x @ v / np.sqrt(variance))


def difference_limits(lost: int, gained: int, n: int, z: float) -> tuple[float, float]:
    """Where the statistic of the difference of proportions, gained less lost over n, passes z and -z."""

    def at(difference: float) -> float:
        return statistic((lost, n - lost - gained, gained), np.array([-1, 0, 1]) - difference)

    value = (gained - lost) / n
    return (
        -1.0 if value == -1 else _where(at, z, -1, value),
        1.0 if value == 1 else _where(at, -z, value, 1),
    )


def ratio_limits(both: int, lost: int, gained: int, n: int, z: float) -> tuple[float, float]:
    """The same for the ratio of b's proportion, both and gained, over a's, both and lost, which must not be 0."""

    def at(ratio: float) -> float:
        return statistic((both, lost, gained, n - both - lost - gained), (1 - ratio, -ratio, 1, 0))

    value = (both + gained) / (both + lost)
    most = value + 1
    while at(most) > -z:
        most *= 2
    return (0.0 if value == 0 else _where(at, z, 0, value)), _where(at, -z, value, most)


def _likeliest(x: np.ndarray, v: np.ndarray, n: float) -> np.ndarray:
    """Probabilities of greatest likelihood whose mean value is 0: x / (n + m v) for the m that makes it so.

    A value that was never seen may need a probability too: then m stops where its share of the likelihood would end.
    """

    def mean(m: float) -> float:
        return float(x[seen] @ (v[seen] / (n + m * v[seen])))

    seen = x > 0
    ends = {}
    for end, extreme in ((-n / v.max(), v.argmax()), (-n / v.min(), v.argmin())):
        inward = end * (1 - 1e-12)
        ends[extreme] = inward if x[extreme] else end
    (top, least), (bottom, most) = ends.items()
    if not x[bottom] and mean(most) > 0:
        m, unseen = most, bottom
    elif not x[top] and mean(least) < 0:
        m, unseen = least, top
    else:
        m, unseen = optimize.brentq(mean, least, most, xtol=1e-14, rtol=1e-14), None
    p = np.zeros_like(x)
    p[seen] = x[seen] / (n + m * v[seen])
    if unseen is not None:
        p[unseen] = -(p @ v) / v[unseen]
    return p


def _where(at: Callable[[float], float], z: float, low: float, high: float) -> float:
    return float(optimize.brentq(lambda x: np.clip(at(x) - z, -1e9, 1e9), low, high, xtol=1e-12))
