"""Weights of the helpfulness score fitted to votes: does what the parts add up to agree with what people prefer?

A vote on two answers is a logistic regression on the difference of their parts (Bradley and Terry 1952 with features),
with weights that cannot be negative: a part that helps must not count against an answer. How well it works is told for
items it has not seen: whole items are held out in turn, so no vote on an item helps to predict another on it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from helptune.data.agreement.coefficients import Agreement, measure
from helptune.data.agreement.ratings import Ratings
from helptune.errors import DataError
from helptune.evaluate.helpfulness import PARTS, WEIGHTS, score
from helptune.evaluate.judgements import judgements
from helptune.evaluate.statistics.estimate import Estimate
from helptune.evaluate.statistics.intervals import clustered_proportion
from helptune.evaluate.table import Row
from helptune.evaluate.votes import Kind, VoteSet
from helptune.shapes import Float

LEAST = 50
"""Items with a decisive vote, below which six weights are not fitted."""
_FOLDS, _PENALTY = 5, 1.0
_FLOOR = 0.05
"""Of a weight, as a share of their mean: no part of the score is switched off by a few votes."""


@dataclass(frozen=True)
class Calibration:
    """`weights` have mean 1. `before` and `after` are how often the score with the shipped and with the fitted weights
    prefers what the voter preferred, `after` on items that were not fitted on; `kappa` is of the same, ties included.
    """

    kind: Kind
    weights: Mapping[str, float]
    before: Estimate
    after: Estimate
    kappa: Agreement
    items: int
    unscored: int
    """Judgements on an answer without a score: they were not used."""


def calibrate(votes: VoteSet, rows: Sequence[Row], a: str, b: str, kind: Kind, *, seed: int = 0) -> Calibration:
    """Fit the weights to the votes of one kind on two models, whose rows have the parts.

    Raises DataError where fewer than LEAST items have a decisive vote.
    """
    parts = {(row.model, row.item): row.metrics for row in rows if row.part == "helpful"}
    every = judgements(votes.between(a, b, kind)[0], a)
    known = [one for one in every if one.score is not None and {(a, one.item), (b, one.item)} <= set(parts)]
    decisive = [one for one in known if one.score != 0.5]
    items = list(dict.fromkeys(one.item for one in decisive))
    if len(items) < LEAST:
        raise DataError(
            f"calibration needs decisive {kind} votes on {LEAST} items at least, found {len(items)}: "
            "`helptune evaluate power` tells how many votes a claim takes"
        )
    pairs = {item: (parts[a, item], parts[b, item]) for item in dict.fromkeys(one.item for one in known)}
    x = np.array([_difference(*pairs[one.item]) for one in decisive])
    y = np.array([one.score for one in decisive], float)
    fold_of = dict(zip(items, np.random.default_rng(seed).permutation(len(items)) % _FOLDS, strict=True))
    fold = np.array([fold_of[one.item] for one in decisive])
    held_out = np.empty(len(decisive))
    for number in range(_FOLDS):
        weights = _fit(x[fold != number], y[fold != number])
        held_out[fold == number] = _agrees(weights, decisive, pairs, fold == number, y)
    clusters = [one.item for one in decisive]
    shipped = _agrees(np.array([WEIGHTS[name] for name in PARTS]), decisive, pairs, np.ones(len(y), bool), y)
    weights = _fit(x, y)
    return Calibration(
        kind,
        dict(zip(PARTS, weights.round(3).tolist(), strict=True)),
        clustered_proportion(shipped.tolist(), clusters),
        clustered_proportion(held_out.tolist(), clusters),
        _kappa(known, pairs),
        len(items),
        len(every) - len(known),
    )


def _difference(one: Mapping[str, float | None], other: Mapping[str, float | None]) -> list[float]:
    """Of each part; 0 where it does not apply to both, since it then prefers neither."""
    both = ((one.get(name), other.get(name)) for name in PARTS)
    return [0.0 if x is None or y is None else x - y for x, y in both]


def _fit(x: Float[np.ndarray, "n parts"], y: Float[np.ndarray, " n"]) -> Float[np.ndarray, " parts"]:
    """Nonnegative weights of the penalized logistic likelihood, scaled to mean 1."""
    from scipy.optimize import minimize

    def loss(w: Float[np.ndarray, " parts"]) -> tuple[float, Float[np.ndarray, " parts"]]:
        z = x @ w
        value = np.logaddexp(0, z) - y * z
        slope = x.T @ (1 / (1 + np.exp(-z)) - y)
        return float(value.sum() + _PENALTY / 2 * w @ w), slope + _PENALTY * w

    found = minimize(loss, np.ones(x.shape[1]), jac=True, bounds=[(0, None)] * x.shape[1], method="L-BFGS-B").x
    mean = found.mean() or 1.0
    return np.maximum(found / mean, _FLOOR)


def _agrees(weights, judged, pairs, chosen, y) -> Float[np.ndarray, " n"]:
    """1 where the score prefers what the voter did, 1/2 where it prefers neither."""
    by_name = dict(zip(PARTS, weights.tolist(), strict=True))
    found = []
    for one, wanted in ((one, w) for one, w, use in zip(judged, y, chosen, strict=True) if use):
        first, second = (_score(parts, by_name) for parts in pairs[one.item])
        found.append(0.5 if first == second else float((first > second) == (wanted == 1)))
    return np.array(found)


def _score(parts: Mapping[str, float | None], weights: Mapping[str, float]) -> float:
    return score({name: parts.get(name) for name in PARTS}, weights)


def _kappa(judged, pairs) -> Agreement:
    """Between the shipped score and the voters' majority on each item: 0 prefers b, 1 neither, 2 a."""
    items = list(pairs)
    votes = [np.mean([one.score for one in judged if one.item == item]) for item in items]
    scores = [_score(pairs[item][0], WEIGHTS) - _score(pairs[item][1], WEIGHTS) for item in items]
    values = np.stack([np.sign(np.array(votes) - 0.5) + 1, np.sign(np.round(scores, 9)) + 1], axis=1)
    return measure(
        Ratings("preference", tuple(items), ("voters", "score"), values.astype(np.int8)), "weighted_kappa", "linear"
    )
