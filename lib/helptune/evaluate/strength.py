"""More than two models on one scale: Bradley-Terry strengths from pairwise votes, and which of them are told apart.

Bradley and Terry (1952): P(i beats j) = s_i / (s_i + s_j). Strengths are found by evalica, ties as half a win for each
side, and are told as log s with mean 0, so a difference of 1 is a win rate of 73%. Intervals come from drawing whole
items anew. Where a group of models never lost to the rest, its strength is infinite (Ford 1957), which is said.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations, pairwise

import numpy as np
from scipy.sparse.csgraph import connected_components

from helptune.errors import SettingError
from helptune.evaluate.judgements import judgements, resampled
from helptune.evaluate.statistics.estimate import Estimate
from helptune.evaluate.statistics.families import holm
from helptune.evaluate.votes import Kind, VoteSet
from helptune.shapes import Bool, Float

_TOLERANCE, _ITERATIONS, _STEPS = 1e-8, 1000, 100
_MOST_UNDEFINED = 0.05
"""Share of draws with an infinite strength above which there is no interval."""


@dataclass(frozen=True)
class Strength:
    """`value` in log odds against the mean model. `best` and `worst` are the ranks it may have, from 1."""

    model: str
    value: Estimate
    best: int
    worst: int


@dataclass(frozen=True)
class Ranking:
    """Strongest first. `groups` are the largest runs of models of which no two are told apart; they may overlap.

    `p` holds the two-sided p of each pair's difference, Holm over all pairs.
    """

    kind: Kind
    strengths: tuple[Strength, ...]
    groups: tuple[tuple[str, ...], ...]
    p: dict[tuple[str, str], float | None]
    why: str = ""

    def __str__(self) -> str:
        """`tuned > few_shot = base`, where = stands between models that are not told apart."""
        if self.why:
            return f"no ranking by {self.kind} votes: {self.why}"
        names = [one.model for one in self.strengths]
        signs = [" = " if any({x, y} <= set(g) for g in self.groups) else " > " for x, y in pairwise(names)]
        return "".join(name + sign for name, sign in zip(names, [*signs, ""], strict=True))


def strengths(
    votes: VoteSet,
    models: Sequence[str],
    kind: Kind,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Ranking:
    """The models by their strength in the votes of one kind.

    Two models are told apart where their difference, over its bootstrap standard error, is significant at 1 - `level`
    after Holm. Without votes, or where strengths are infinite, every value is None and `why` says so. Draws of items
    with an infinite strength are left out, and there is no interval where they are more than a twentieth. Raises
    SettingError unless two different models or more are named.
    """
    if len(models) < 2 or len({*models}) < len(models):
        raise SettingError(f"models = {', '.join(models)}: name two different ones or more")
    wins, missing = _wins(votes, models, kind)
    total = wins.sum(axis=0)
    estimate = partial(
        Estimate, n=round(total.sum()), clusters=len(wins), missing=missing, level=level,
        method=f"Bradley-Terry log strength, mean 0; {level:.0%} cluster bootstrap, {resamples} draws",
    )  # fmt: skip
    pairs = list(combinations(range(len(models)), 2))
    if why := _why_infinite(models, total):
        each = tuple(Strength(model, estimate(None, why=why), 1, len(models)) for model in models)
        return Ranking(kind, each, (tuple(models),), {(models[i], models[j]): None for i, j in pairs}, why)
    value = _bradley_terry(total)
    tables = np.tensordot(resampled(len(wins), resamples, seed), wins, axes=1)
    draws = _of_draws(tables[_finite(tables)], value)
    if len(wins) < 2:
        found = [estimate(float(v), why="one item: nothing shows how items differ") for v in value]
        p: dict[tuple[int, int], float | None] = dict.fromkeys(pairs)
    elif len(draws) < (1 - _MOST_UNDEFINED) * resamples:
        why = f"{resamples - len(draws)} of {resamples} draws of items have an infinite strength: too few votes"
        found = [estimate(float(v), why=why) for v in value]
        p = dict.fromkeys(pairs)
    else:
        low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
        found = [estimate(*map(float, one)) for one in zip(value, low, high, strict=True)]
        p = {(i, j): _p(value[i] - value[j], draws[:, i] - draws[:, j], len(wins)) for i, j in pairs}
    adjusted = holm({f"{i} {j}": p[i, j] for i, j in pairs})
    p = {(i, j): adjusted[f"{i} {j}"] for i, j in pairs}
    apart = {pair for pair, one in p.items() if one is not None and one < 1 - level}
    order = sorted(range(len(models)), key=lambda i: -value[i])
    return Ranking(
        kind,
        tuple(Strength(models[i], found[i], *_ranks(i, order, apart)) for i in order),
        tuple(tuple(models[i] for i in group) for group in _groups(order, apart)),
        {(models[i], models[j]): one for (i, j), one in p.items()},
    )


def _wins(votes: VoteSet, models: Sequence[str], kind: Kind) -> tuple[Float[np.ndarray, "items M M"], int]:
    """How often the model of a row beat that of a column on each item; and how many votes are missing."""
    tables = dict[str, Float[np.ndarray, "M M"]]()
    missing = sum(one.kind in ("", kind) and one.models <= {*models} for one in votes.lost)
    for i, j in combinations(range(len(models)), 2):
        for one in judgements(votes.between(models[i], models[j], kind)[0], models[i]):
            if one.score is None:
                missing += 1
                continue
            table = tables.setdefault(one.item, np.zeros((len(models), len(models))))
            table[i, j] += one.score
            table[j, i] += 1 - one.score
    return np.array([*tables.values()]).reshape(-1, len(models), len(models)), missing


def _why_infinite(models: Sequence[str], wins: Float[np.ndarray, "M M"]) -> str:
    """Why these wins have no finite strengths, or "": somebody must be able to lose to anybody, by way of others."""
    if not wins.any():
        return "no votes"
    if _finite(wins):
        return ""
    groups, group = connected_components(wins > 0, connection="strong")
    for g in range(groups):
        inside, outside = group == g, group != g
        if not wins[np.ix_(outside, inside)].any():
            names = ", ".join(model for model, own in zip(models, inside, strict=True) if own)
            what = "never lost to" if wins[np.ix_(inside, outside)].any() else "was never compared with"
            return f"{names} {what} the others, so the strengths are infinite"
    raise AssertionError("a graph of components has a source")


def _finite(wins: Float[np.ndarray, "*draws M M"]) -> Bool[np.ndarray, "*draws"]:
    """Whether a path of wins leads from everybody to everybody (Ford 1957)."""
    steps = (wins > 0) + np.eye(wins.shape[-1])
    return (np.linalg.matrix_power(steps, wins.shape[-1]) > 0).all((-2, -1))


def _bradley_terry(wins: Float[np.ndarray, "M M"]) -> Float[np.ndarray, " M"]:
    """log s with mean 0. evalica is told each pair once, weighted by how often it was won."""
    import evalica
    import pandas as pd

    winner, loser = np.nonzero(wins)
    found = evalica.bradley_terry(
        winner.tolist(), loser.tolist(), [evalica.Winner.X] * len(winner), index=pd.Index(range(len(wins))),
        weights=wins[winner, loser].tolist(), tolerance=_TOLERANCE, limit=_ITERATIONS,
    )  # fmt: skip
    strength = np.log(found.scores.sort_index().to_numpy())
    return strength - strength.mean()


def _of_draws(wins: Float[np.ndarray, "draws M M"], start: Float[np.ndarray, " M"]) -> Float[np.ndarray, "draws M"]:
    """The strengths of each draw, as evalica finds them, by Newton's method on all draws at once: 50 times as fast."""
    met, models = wins + wins.transpose(0, 2, 1), wins.shape[-1]
    strength = np.tile(start, (len(wins), 1))
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(strength[:, None] - strength[..., None]))
        slope = (wins - met * p).sum(axis=-1)
        weight = met * p * (1 - p)
        curvature = weight.sum(axis=-1)[..., None] * np.eye(models) - weight + 1 / models  # 1 / M keeps the mean at 0
        step = np.linalg.solve(curvature, slope[..., None])[..., 0]
        strength += step / np.maximum(1, np.abs(step).max(axis=1, keepdims=True))
        if np.abs(step).max(initial=0) < _TOLERANCE:
            break
    return strength


def _p(difference: float, draws: Float[np.ndarray, " draws"], items: int) -> float | None:
    """Two-sided, of a t statistic; a draw of G items varies (G - 1) / G as much as it should. None without variance."""
    from scipy.stats import t

    error = draws.std() * np.sqrt(items / (items - 1))
    return float(2 * t.sf(abs(difference) / error, items - 1)) if error > _TOLERANCE else None


def _ranks(model: int, order: Sequence[int], apart: Collection[tuple[int, int]]) -> tuple[int, int]:
    place = order.index(model)
    above = sum(_are(apart, model, other) for other in order[:place])
    below = sum(_are(apart, model, other) for other in order[place + 1 :])
    return 1 + above, len(order) - below


def _groups(order: Sequence[int], apart: Collection[tuple[int, int]]) -> list[list[int]]:
    groups, end = list[list[int]](), 0
    for start in range(len(order)):
        stop = start + 1
        while stop < len(order) and not any(_are(apart, order[stop], other) for other in order[start:stop]):
            stop += 1
        if stop > end:
            groups.append(list(order[start:stop]))
            end = stop
    return groups


def _are(apart: Collection[tuple[int, int]], x: int, y: int) -> bool:
    return (min(x, y), max(x, y)) in apart
