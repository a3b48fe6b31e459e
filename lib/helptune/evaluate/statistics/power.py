"""How many are needed, before anything is voted on or measured: a study that cannot decide is not worth its votes.

Each function gives the smallest number that shows a true effect with the power asked for, in a test of level alpha.
Numbers are of independent observations: where they share clusters, multiply by the design effect.
"""

import math

import numpy as np
from scipy import stats

from helptune.errors import SettingError
from helptune.shapes import Float, Int


def trials_above(bound: float, true: float, *, alpha: float = 0.05, power: float = 0.8) -> int | None:
    """Trials until the exact one-sided lower bound of a rate lies above `bound`, if it is `true`.

    Trials are decisive votes for a win rate, or groups of paraphrases for consistency. The power of an exact test saws
    up and down with n, and from this n on it does not fall below. None where `true` is not above the bound: then no
    number shows it.
    """
    _require(alpha, power)
    if not 0 < bound < 1 or not 0 <= true <= 1:
        raise SettingError(f"rates must lie between 0 and 1, found bound {bound} and true {true}")
    if true <= bound:
        return None
    spread = stats.norm.isf(alpha) * math.sqrt(bound * (1 - bound)) + stats.norm.isf(1 - power) * math.sqrt(
        true * (1 - true)
    )
    roughly, teeth = (spread / (true - bound)) ** 2, 10 / (true - bound) + 50
    n = np.arange(max(1, int(roughly - teeth)), int(roughly + teeth))
    return int(n[power_above(n, bound, true, alpha=alpha) < power].max(initial=n[0] - 1)) + 1


def power_above(
    n: Int[np.ndarray, "*shape"] | int, bound: float, true: float, *, alpha: float = 0.05
) -> Float[np.ndarray, "*shape"]:
    """The chance that n trials of rate `true` put the exact one-sided lower bound above `bound`, of each n given."""
    return stats.binom.sf(stats.binom.isf(alpha, n, bound), n, true)


def pairs_for_noninferiority(
    margin: float, discordance: float, *, loss: float = 0.0, alpha: float = 0.05, power: float = 0.8
) -> int | None:
    """Pairs until the upper bound of a loss lies below `margin`, if `loss` is what is truly lost.

    `discordance` is the share of items on which exactly one model is right, or for scores the mean square of their
    differences. A relative margin is that share of the score: 5% of .35 is a margin of .0175. None where the true loss
    is not below the margin. From the normal approximation, as in Blackwelder (1982).
    """
    _require(alpha, power)
    if margin <= 0 or discordance < loss**2:
        raise SettingError(f"{margin=} must be positive, and {discordance=} at least the square of {loss=}")
    if loss >= margin:
        return None
    return max(1, math.ceil(_reach(alpha, power) ** 2 * (discordance - loss**2) / (margin - loss) ** 2))


def margin_shown(pairs: int, discordance: float, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest loss that so many pairs rule out with this power, if nothing is lost."""
    _require(alpha, power)
    if pairs < 1 or discordance < 0:
        raise SettingError(f"{pairs=} must be positive, and {discordance=} not negative")
    return _reach(alpha, power) * math.sqrt(discordance / pairs)


def pairs_for_difference(difference: float, deviation: float, *, alpha: float = 0.05, power: float = 0.8) -> int | None:
    """Pairs until a two-sided paired t test finds a mean difference, where differences have this standard deviation.

    For two proportions the deviation is the root of discordance - difference**2. None for a difference of 0.
    """
    from statsmodels.stats.power import TTestPower

    _require(alpha, power)
    if deviation <= 0:
        raise SettingError(f"{deviation=} must be positive")
    if difference == 0:
        return None
    d_z, least = abs(difference) / deviation, 2
    if TTestPower().power(d_z, least, alpha) >= power:
        return least
    return math.ceil(TTestPower().solve_power(d_z, None, alpha, power))


def _reach(alpha: float, power: float) -> float:
    return float(stats.norm.isf(alpha) + stats.norm.isf(1 - power))


def _require(alpha: float, power: float) -> None:
    if not 0 < alpha < 0.5 or not 0.5 <= power < 1:
        raise SettingError(f"{alpha=} must lie between 0 and .5, and {power=} from .5 to below 1")
