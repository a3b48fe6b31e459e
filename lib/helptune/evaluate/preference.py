"""Is one model's answer preferred over the other's? The win rate, and everything that makes one believe it or not.

Ties count half. Votes on one prompt hang together, so intervals count prompts. Beside the rate stands what could make
it up: the place an answer was shown in, its length, votes that are missing, raters who do not agree. Votes of people
and of machines are never put together: each call looks at one kind.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np

from helptune.data.agreement.coefficients import Agreement, measure
from helptune.data.agreement.ratings import MISSING, Ratings
from helptune.errors import SettingError
from helptune.evaluate.judgements import Judgement, judgements
from helptune.evaluate.length_control import length_controlled
from helptune.evaluate.statistics.estimate import Estimate
from helptune.evaluate.statistics.intervals import NOTHING, bootstrap_means, clustered_proportion
from helptune.evaluate.statistics.observations import observe
from helptune.evaluate.table import Problem
from helptune.evaluate.votes import PART, Kind, Vote, VoteSet
from helptune.shapes import Bool, Float, Int


@dataclass(frozen=True)
class Preference:
    """`a` against `b` in the votes of one kind. Every rate is one of `a`, but those named after a place or a length.

    A judgement is what one rater holds of one prompt: wins, ties and losses count them, `one_sided` those among them
    that a machine gave in one order only, and `missing` those that are not there: null votes, lost lines, prompts
    nobody voted on. `lower` and `upper` are one-sided 95% bounds (exact ones, so that a claim is
    not made too often) of the win rate where everything missing or one-sided had gone against `a`, or for it.
    """

    a: str
    b: str
    kind: Kind
    raters: int
    wins: int
    ties: int
    losses: int
    missing: int
    one_sided: int
    win_rate: Estimate
    bootstrap: Estimate
    """The same rate, with a percentile interval over prompts drawn anew."""
    lower: float | None
    upper: float | None
    design_effect: float | None
    p_votes: float | None
    """Exact binomial test of the decisive judgements against 1/2, as if each were independent."""
    p_items: float | None
    """The same over prompts, each counted once for the model that more of its judgements prefer."""
    first_wins: Estimate
    """How often the answer shown first won, over single votes."""
    when_first: Estimate
    when_second: Estimate
    longer_wins: Estimate
    """How often the longer answer won, over decisive judgements of answers that differ in length."""
    length_controlled: Estimate
    same: Estimate
    """How often two raters of the same prompt said the same."""
    agreement: Agreement
    problems: tuple[Problem, ...]

    @property
    def judged(self) -> int:
        return self.wins + self.ties + self.losses


def win_rate(
    votes: VoteSet,
    a: str,
    b: str,
    kind: Kind,
    *,
    items: Collection[str] = (),
    lengths: Mapping[str, Mapping[str, float]] | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Preference:
    """`a` against `b` in the votes of one kind.

    `items` are the prompts that were put to the vote, where it is known: one without any vote is missing. `lengths` has
    the length of each model's answer to each item, in any unit. Raises SettingError where a and b are the same.
    """
    if a == b:
        raise SettingError(f"{a!r} cannot be preferred over itself; name two models")
    own, lost = votes.between(a, b, kind)
    every = judgements(own, a)
    given = [one for one in every if one.score is not None]
    unseen = sorted(set(items) - {one.item for one in every}) if every or lost else []
    missing = len(every) - len(given) + lost + len(unseen)
    scores = np.array([one.score for one in given], float)
    number = {item: i for i, item in enumerate(dict.fromkeys(one.item for one in given))}
    item = np.array([number[one.item] for one in given], int)
    one_sided = np.array([one.one_sided for one in given], bool)
    wins, losses = int((scores == 1).sum()), int((scores == 0).sum())
    by_item = np.bincount(item, scores - 0.5, minlength=len(number))
    longer, controlled = _by_length(given, scores, item, a, b, lengths, level, resamples, seed)
    lower, upper = _bounds(scores, item, one_sided, missing)
    return Preference(
        a, b, kind,
        raters=len({one.rater for one in given}),
        wins=wins, ties=len(given) - wins - losses, losses=losses, missing=missing, one_sided=int(one_sided.sum()),
        win_rate=clustered_proportion(scores, item, level=level, missing=missing),
        bootstrap=bootstrap_means(
            lambda rate: rate, [scores], item, level=level, resamples=resamples, seed=seed, missing=missing
        ),
        lower=lower, upper=upper, design_effect=observe([scores], item).design_effect(),
        p_votes=_sign_test(wins, losses), p_items=_sign_test(int((by_item > 0).sum()), int((by_item < 0).sum())),
        **_by_place(own, a, level),
        longer_wins=longer, length_controlled=controlled,
        same=_same(given, level, resamples, seed),
        agreement=measure(
            _ratings(given), "krippendorff_alpha", "ordinal", confidence=level, resamples=resamples, seed=seed
        ),
        problems=(*_one_sided(own, given, a, b), *(Problem(PART, i, f"no {kind} vote on {a} and {b}") for i in unseen)),
    )  # fmt: skip


def _bounds(
    scores: Float[np.ndarray, " n"], item: Int[np.ndarray, " n"], one_sided: Bool[np.ndarray, " n"], missing: int
) -> tuple[float | None, float | None]:
    """One-sided exact 95% bounds of the win rate in its worst and in its best case; what is missing is an item each."""
    if not len(scores):
        return None, None
    items = np.concatenate([item, item.max() + 1 + np.arange(missing)])

    def bound(score: float, side: Literal["lower", "upper"]) -> Estimate:
        case = np.concatenate([np.where(one_sided, score, scores), np.full(missing, score)])
        return clustered_proportion(case, items, side=side, method="beta")

    return bound(0.0, "lower").low, bound(1.0, "upper").high


def _sign_test(wins: int, losses: int) -> float | None:
    from scipy.stats import binomtest

    return float(binomtest(wins, wins + losses).pvalue) if wins + losses else None


def _by_place(votes: Sequence[Vote], a: str, level: float) -> dict[str, Estimate]:
    """The winners by the place they were shown in, over single votes: judgements of two orders have no place."""
    given = [vote for vote in votes if vote.winner is not None]
    _, item = np.unique([vote.item for vote in given], return_inverse=True)
    first = np.array([vote.score(vote.first) for vote in given], float)
    a_first = np.array([vote.first == a for vote in given], bool)
    return {
        "first_wins": clustered_proportion(first, item, level=level, missing=len(votes) - len(given)),
        "when_first": clustered_proportion(first[a_first], item[a_first], level=level),
        "when_second": clustered_proportion(1 - first[~a_first], item[~a_first], level=level),
    }


def _by_length(
    given: Sequence[Judgement],
    scores: Float[np.ndarray, " n"],
    item: Int[np.ndarray, " n"],
    a: str,
    b: str,
    lengths: Mapping[str, Mapping[str, float]] | None,
    level: float,
    resamples: int,
    seed: int,
) -> tuple[Estimate, Estimate]:
    """How often the longer answer won, and the win rate at equal length."""
    of_a, of_b = ((lengths or {}).get(model, {}) for model in (a, b))
    known = np.array([one.item in of_a and one.item in of_b for one in given], bool)
    unknown = int((~known).sum())
    if not known.any():
        why = NOTHING if not given else "the lengths of the answers are not known"
        nothing = Estimate(None, missing=unknown, level=level, why=why)
        return nothing, nothing
    scores, (_, item) = scores[known], np.unique(item[known], return_inverse=True)
    judged = [one.item for one, is_known in zip(given, known, strict=True) if is_known]
    differences = np.array([of_a[i] - of_b[i] for i in judged], float)
    decided = (scores != 0.5) & (differences != 0)
    longer = np.where(differences > 0, scores, 1 - scores)[decided]
    controlled = length_controlled(scores, differences, item, names=(a, b), level=level, resamples=resamples, seed=seed)
    return clustered_proportion(longer, item[decided], level=level, missing=unknown), replace(
        controlled, missing=unknown
    )


def _same(given: Sequence[Judgement], level: float, resamples: int, seed: int) -> Estimate:
    by_item: dict[str, list[float]] = {}
    for one in given:
        by_item.setdefault(one.item, []).append(one.score)  # type: ignore[arg-type]
    pairs = [[x == y for x, y in combinations(scores, 2)] for scores in by_item.values() if len(scores) > 1]
    if not pairs:
        return Estimate(None, level=level, why="no two raters judged the same prompt")
    same, item = np.concatenate(pairs), np.repeat(np.arange(len(pairs)), [len(one) for one in pairs])
    return bootstrap_means(lambda rate: rate, [same], item, level=level, resamples=resamples, seed=seed)


def _ratings(given: Sequence[Judgement]) -> Ratings:
    """The judgements as ratings: 2 for a win, 1 for a tie, 0 for a loss."""
    items, raters = (
        {name: i for i, name in enumerate(dict.fromkeys(names))}
        for names in ([one.item for one in given], [one.rater for one in given])
    )
    values = np.full((len(items), len(raters)), MISSING, np.int8)
    for one in given:
        values[items[one.item], raters[one.rater]] = round(2 * one.score)  # type: ignore[operator]
    return Ratings(PART, tuple(items), tuple(raters), values)


def _one_sided(votes: Sequence[Vote], given: Sequence[Judgement], a: str, b: str) -> list[Problem]:
    shown = {(vote.item, vote.rater): vote for vote in votes if vote.winner is not None}
    return [
        Problem(
            PART,
            one.item,
            f"machine rater {one.rater!r:.60} voted on {a} and {b} in one order only, "
            f"{shown[one.item, one.rater].first} first: no claim rests on it",
        )
        for one in given
        if one.one_sided
    ]
