"""How often would the model win if its answers were as long as the other's? Raters like length for its own sake.

After AlpacaEval's length-controlled win rate (Dubois et al. 2024, arXiv:2404.04475): a logistic regression of the
winner on the difference of the two lengths,

    P(a wins) = sigmoid(b0 + b1 tanh(difference / sd)),

and the win rate it predicts where the difference is 0, sigmoid(b0). Their term for how hard a prompt is needs many
models on the same prompts, so it is left out. Ties are half a win and half a loss. The answer is what these data say of
equal lengths, so there must be some near it: where one model is always the longer one, there is none.
"""

import numpy as np

from helptune.evaluate.judgements import resampled
from helptune.evaluate.statistics.estimate import Estimate
from helptune.shapes import Float, Int

LEAST = 10
"""Items on which each model must have written more than the other."""
PRIOR_SD = (10.0, 2.5)
"""Of b0 and b1, normal: too wide to matter, but finite where votes are separated (after Gelman et al. 2008)."""
_STEPS, _TOLERANCE = 50, 1e-8
_NUMBERS = 4_000_000
"""Numbers held at once while drawing: 32 MB."""


def length_controlled(
    scores: Float[np.ndarray, " n"],
    differences: Float[np.ndarray, " n"],
    items: Int[np.ndarray, " n"],
    *,
    names: tuple[str, str] = ("a", "b"),
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """The win rate of a at equal length, with a percentile interval over whole items drawn anew.

    `scores` are 1, 1/2 or 0, `differences` the length of a's answer less that of b's, in any unit, `items` numbered
    from 0; `names` are what a and b are called. Undefined where either model wrote more on fewer than LEAST items, or
    all votes are alike.
    """
    n, clusters = len(scores), int(items.max(initial=-1)) + 1
    method = f"logistic regression on the length difference; {level:.0%} cluster bootstrap, {resamples} draws"
    longer, shorter = (len(np.unique(items[side])) for side in (differences > 0, differences < 0))
    if min(longer, shorter) < LEAST:
        why = (
            f"{names[0]} wrote more on {longer} prompts and {names[1]} on {shorter}: equal lengths are outside of what "
            f"was seen, which takes {LEAST} of each"
        )
        return Estimate(None, n=n, clusters=clusters, method=method, level=level, why=why)
    if np.ptp(scores) == 0:
        why = "all votes are alike, so they do not tell what length adds"
        return Estimate(None, n=n, clusters=clusters, method=method, level=level, why=why)
    terms = np.stack([np.ones(n), np.tanh(differences / differences.std())])
    value = _sigmoid(_fit(terms, scores, np.ones((1, n)))[0, 0])
    draws, step = [], max(1, _NUMBERS // n)
    counts = resampled(clusters, resamples, seed)
    for start in range(0, resamples, step):
        draws.append(_sigmoid(_fit(terms, scores, counts[start : start + step][:, items])[:, 0]))
    low, high = np.quantile(np.concatenate(draws), [(1 - level) / 2, (1 + level) / 2])
    return Estimate(float(value), float(low), float(high), n, clusters, method=method, level=level)


def _fit(
    terms: Float[np.ndarray, "2 n"], scores: Float[np.ndarray, " n"], weights: Float[np.ndarray, "draws n"]
) -> Float[np.ndarray, "draws 2"]:
    """b0 and b1 of each draw, by Newton's method on the penalized likelihood, which is concave: all draws at once."""
    precision = np.diag(1 / np.square(PRIOR_SD))
    outer = (terms[:, None] * terms[None]).reshape(4, -1)
    b = np.zeros((len(weights), 2))
    for _ in range(_STEPS):
        p = _sigmoid(b @ terms)
        slope = (weights * (scores - p)) @ terms.T - b @ precision
        curvature = ((weights * p * (1 - p)) @ outer.T).reshape(-1, 2, 2) + precision
        step = np.linalg.solve(curvature, slope[..., None])[..., 0]
        b += step / np.maximum(1, np.abs(step).max(axis=1, keepdims=True) / 2)  # no further than 2: it cannot overshoot
        if np.abs(step).max() < _TOLERANCE:
            break
    return b


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))
