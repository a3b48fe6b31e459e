"""How far can one believe a judge? What its votes show of its habits, and how often it says what people say.

The habits are those of Zheng et al. 2023 (arXiv:2306.05685): it contradicts itself when the answers change places, and
mostly for the same place; it has failures, which are not spread evenly; it may favour what it wrote itself. Agreement
with people is told raw and beyond chance (Cohen's kappa), over the items both judged. A judgement is what is left of
the two orders: where they differ, a tie.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from helptune.data.agreement.coefficients import Agreement, measure
from helptune.data.agreement.ratings import Ratings
from helptune.errors import DataError, SettingError
from helptune.evaluate.judgements import judgements
from helptune.evaluate.statistics.estimate import Comparison, Estimate
from helptune.evaluate.statistics.intervals import clustered_proportion, wilson
from helptune.evaluate.statistics.paired import compare_means
from helptune.evaluate.votes import Vote


@dataclass(frozen=True)
class WithHumans:
    """Over the items that the judge and people judged; several people on one item are one, by the mean of their scores.

    `missing` of the estimates counts the items people judged and the judge did not.
    """

    same: Estimate
    """How often judge and people say the same of a, tie and b."""
    same_winner: Estimate
    """The same over items of which neither says tie: a coin would agree on half of them."""
    kappa: Agreement


@dataclass(frozen=True)
class JudgeReport:
    """One judge on one pair of models. `score` is that of `b`: 1 where it won, 1/2 for a tie.

    `votes` were asked for, and `failures` counts those that are null by the first words of their note. `one_sided`
    items have a vote in one order alone, and `unjudged` ones have none: neither shows whether the judge contradicts
    itself, and both are missing there.
    """

    judge: str
    a: str
    b: str
    votes: int
    failures: Mapping[str, int]
    items: int
    one_sided: int
    unjudged: int
    score: Estimate
    flips: Estimate
    """How often the two orders of a pair give different results."""
    to_first: Estimate
    """Where each order named a winner and the two contradict each other: how often it was the place shown first."""
    first_wins: Estimate
    """How often the answer shown first wins, ties half. It is 1/2 for a judge without a favourite place."""
    humans: WithHumans | None
    own: str
    """Which of the two models the judge is, or ""."""
    self_preference: Comparison | None
    """People's score (a) and the judge's (b) of its own answers, on the same items; higher: it favours itself."""


def judge_report(
    votes: Sequence[Vote], a: str, b: str, human_votes: Sequence[Vote] = (), *, own: str = "", level: float = 0.95
) -> JudgeReport:
    """What the votes of one judge on `a` and `b` show. Votes on other pairs are left out of either list.

    `own` names which of the two the judge itself is. Raises DataError for votes of several judges, for votes of people
    among the judge's and the other way round; SettingError where `own` is neither model.
    """
    votes = [vote for vote in votes if {vote.first, vote.second} == {a, b}]
    human_votes = [vote for vote in human_votes if {vote.first, vote.second} == {a, b}]
    if len(judges := sorted({vote.rater for vote in votes})) > 1:
        raise DataError(f"votes of {len(judges)} judges ({', '.join(judges)}): report on each by itself")
    for kind, own_votes in (("machine", votes), ("human", human_votes)):
        if wrong := [vote for vote in own_votes if vote.kind != kind]:
            raise DataError(f"rater {wrong[0].rater!r} on {wrong[0].item!r}: expected {kind} votes, found another kind")
    if own not in ("", a, b):
        raise SettingError(f"the judge cannot be {own!r}: it is compared as {a!r} or {b!r}, or not at all")
    found = judgements(votes, b)
    score = {one.item: one.score for one in found if one.score is not None}
    one_sided, unjudged = sum(one.one_sided for one in found), len(found) - len(score)
    people = _mean_scores(human_votes, b)
    return JudgeReport(
        judge=judges[0] if judges else "",
        a=a,
        b=b,
        votes=len(votes),
        failures=Counter(vote.note.split(":")[0] or "no reason given" for vote in votes if vote.winner is None),
        items=len(found),
        one_sided=one_sided,
        unjudged=unjudged,
        score=clustered_proportion(list(score.values()), list(score), level=level, missing=unjudged),
        **_places(votes, a, b, one_sided + unjudged, level),
        humans=_with_humans(score, people, level) if people else None,
        own=own,
        self_preference=_self_preference(score, people, own == a, level) if own and people else None,
    )


def _places(votes: Sequence[Vote], a: str, b: str, missing: int, level: float) -> dict[str, Estimate]:
    given = {(vote.item, vote.first): vote for vote in votes if vote.winner is not None}
    pairs = [(given[item, a], given[item, b]) for item, first in given if first == a and (item, b) in given]
    flipped = [(one, other) for one, other in pairs if one.score(a) != other.score(a)]
    places = [one.winner for one, other in flipped if one.winner == other.winner]
    first = [vote.score(vote.first) for vote in given.values()]
    return {
        "flips": wilson(len(flipped), len(pairs), level=level, missing=missing),
        "to_first": wilson(places.count("first"), len(places), level=level),
        "first_wins": clustered_proportion(first, [i for i, _ in given], level=level, missing=len(votes) - len(given)),
    }


def _with_humans(score: Mapping[str, float], people: Mapping[str, float], level: float) -> WithHumans:
    both = [item for item in people if item in score]
    missing = len(people) - len(both)
    theirs, ours = (np.array([_rating(of[item]) for item in both], np.int8) for of in (people, score))
    same, decided = theirs == ours, (theirs != 1) & (ours != 1)
    ratings = Ratings("preference", tuple(both), ("people", "judge"), np.stack([theirs, ours], axis=1))
    return WithHumans(
        wilson(int(same.sum()), len(both), level=level, missing=missing),
        wilson(int((same & decided).sum()), int(decided.sum()), level=level, missing=missing),
        measure(ratings, "cohen_kappa", "nominal", confidence=level),
    )


def _mean_scores(votes: Sequence[Vote], b: str) -> dict[str, float]:
    scores: dict[str, list[float]] = {}
    for one in judgements(votes, b):
        if one.score is not None:
            scores.setdefault(one.item, []).append(one.score)
    return {item: float(np.mean(own)) for item, own in scores.items()}


def _rating(score: float) -> int:
    """0 where b lost, 1 for a tie, 2 where it won."""
    return int(np.sign(score - 0.5)) + 1


def _self_preference(score: Mapping[str, float], people: Mapping[str, float], is_a: bool, level: float) -> Comparison:
    both = [item for item in people if item in score]
    theirs, ours = ([1 - of[item] if is_a else of[item] for item in both] for of in (people, score))
    return compare_means(theirs, ours, both, level=level, missing=len(people) - len(both))
