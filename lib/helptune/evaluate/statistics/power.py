"""How many are needed, before anything is voted on or measured: a study that cannot decide is not worth its votes.

Every function gives the smallest number that shows a true effect with the power asked for, at a test of level alpha.
"""

import math

import numpy as np
from scipy import stats

from helptune.errors import SettingError


def trials_above(bound: float, true: float, *, alpha: float = 0.05, power: float = 0.8) -> int | None:
    """Independent trials until an exact one-sided lower bound lies above `bound`, if the rate is `true`.

    Decisive votes for a win rate, or groups of paraphrases for consistency. The power of an exact test goes up and down
    with n: from this number on it stays. None where the true rate is not above the bound: no number shows it.
    """
    _require(alpha, power)
    if not 0 < bound < 1 or not 0 <= true <= 1:
        raise SettingError(f"rates must lie between 0 and 1, found bound {bound} and true {true}")
    if true <= bound:
        return None
    spread = stats.norm.isf(alpha) * math.sqrt(bound * (1 - bound)) + stats.norm.isf(1 - power) * math.sqrt(
        true * (1 - true)
    )
    roughly = (spread / (true - bound)) ** 2
    n = np.arange(1, int(1.3 * roughly + 20 / (true - bound) + 50))
    enough = power_above(n, bound, true, alpha=alpha) >= power
    return int(n[~enough].max(initial=0)) + 1


def power_above(n: np.ndarray | int, bound: float, true: float, *, alpha: float = 0.05) -> np.ndarray:
    """The chance that n trials of rate `true` put the exact lower bound above `bound`; of each n, if several."""
    return stats.binom.sf(stats.binom.isf(alpha, n, bound), n, true)


def pairs_for_noninferiority(
    margin: float,
    discordance: float,
    *,
    loss: float = 0.0,
    alpha: float = 0.05,
    power: float = 0.8,
    design_effect: float = 1.0,
) -> int | None:
    """Pairs until the upper bound of a loss lies below `margin` (absolute), if `loss` is what is truly lost.

    `discordance` is the share of items on which exactly one model is right, or the mean square of the differences of a
    score. A relative margin is the margin times the score. None where the true loss is not below the margin.
    """
    _require(alpha, power)
    if margin <= 0 or discordance < 0 or design_effect <= 0:
        raise SettingError(
            f"margin {margin} and design effect {design_effect} must be positive, {discordance=} not negative"
        )
    if loss >= margin:
        return None
    reach = stats.norm.isf(alpha) + stats.norm.isf(1 - power)
    return max(1, math.ceil(reach**2 * (discordance - loss**2) / (margin - loss) ** 2 * design_effect))


def _require(alpha: float, power: float) -> None:
    if not 0 < alpha < 0.5 or not 0.5 <= power < 1:
        raise SettingError(f"alpha = {alpha} must lie between 0 and .5, and power = {power} from .5 to below 1")
