"""How noisy the gradient of a batch is, and the batch size at which noise and signal are equal.

The simple noise scale S / |G|^2 of McCandlish et al. 2018, arXiv:1812.06162: G is the gradient of endless data, S the
trace of the covariance of single gradients. Both are estimated from the parts that one batch is computed in.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student_t

from helptune.shapes import Float


def noise_sums(
    squares: Float[np.ndarray, "n"], squared_norm: float, weights: Float[np.ndarray, "n"]
) -> dict[str, float] | None:
    """Unbiased estimates, from one batch, of the two numbers whose ratio is the noise scale.

    `squares` are |s_i|^2 of the micro-batches' gradient sums, `weights` their supervised tokens w_i, and `squared_norm`
    is |g|^2 of g = sum s_i / W. Where tokens have gradients with mean G and covariance of trace S, the mean of w_i of
    them has E|s_i / w_i|^2 = |G|^2 + S / w_i, and the batch E|g|^2 = |G|^2 + S / W. Of n micro-batches follows

        trace   = (sum_i |s_i|^2 / w_i - W |g|^2) / (n - 1),  expected to be S,
        squared = |g|^2 - trace / W,                          expected to be |G|^2, and negative in a noisy batch.

    For equal w_i these are the two batch sizes of the paper's appendix A.1. Tokens of a row resemble each other, so S
    is that of rows, divided over their tokens. None for fewer than two micro-batches with a loss.
    """
    used = weights > 0
    n, total = int(used.sum()), float(weights.sum())
    if n < 2:
        return None
    trace = (float(np.sum(squares[used] / weights[used])) - total * squared_norm) / (n - 1)
    return {"trace": trace, "squared": squared_norm - trace / total, "tokens": total}


@dataclass(frozen=True)
class NoiseScale:
    """S / |G|^2 in supervised tokens and in rows of the run; `low` to `high` rows hold it with 90%, None is no limit.

    A batch of that size is where noise and signal are equal. Much smaller ones gain by growing almost as much as they
    cost, much larger ones hardly at all.
    """

    tokens: float
    rows: float
    low: float
    high: float | None
    measurements: int


def noise_scale(measured: Sequence[Mapping[str, float]]) -> NoiseScale | None:
    """The noise scale from the `noise` of several analyses: both numbers are summed before one is divided by the other.

    A ratio of single estimates would be biased, and often of a negative number. The interval is Fieller's for a ratio
    of two means (1954, "Some problems in interval estimation"): the r for which mean(trace - r squared) is within
    Student's t of zero. It is as wide as few measurements make it, and open where |G|^2 might be zero. None when |G|^2
    summed is not positive, or for fewer than two measurements.
    """
    n = len(measured)
    trace, squared, tokens, rows = (
        np.array([m[name] for m in measured], float) for name in ("trace", "squared", "tokens", "rows")
    )
    if n < 2 or squared.sum() <= 0 or trace.sum() < 0:
        return None
    scale, per_row = float(trace.sum() / squared.sum()), float(tokens.sum() / rows.sum())
    slack = student_t.ppf(0.95, n - 1) ** 2 / n * np.cov(trace, squared)
    # The interval is where a r^2 - 2 b r + c <= 0.
    a, b, c = (
        np.array([squared.mean() ** 2, trace.mean() * squared.mean(), trace.mean() ** 2]) - slack[(1, 0, 0), (1, 1, 0)]
    )
    root = math.sqrt(max(b * b - a * c, 0.0))
    if a > 0:
        low, high = (b - root) / a, float((b + root) / a / per_row)
    else:  # all beyond the larger root, or from zero on when there is none below the estimate
        low, high = (b - root) / a if a < 0 < b * b - a * c and (b - root) / a <= scale else 0.0, None
    return NoiseScale(scale, scale / per_row, max(float(low), 0.0) / per_row, high, n)
