"""More than two models: the mean score of each, and a Bradley-Terry strength from who scores higher item by item.

The mean tells how good, the strength how often better; where they order two models differently, a few items decide the
mean. The items are a program's scores, so their comparisons are votes of a machine, and are called so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from helptune.evaluate.judging.composite import winner
from helptune.evaluate.metrics import PRIMARY
from helptune.evaluate.statistics.estimate import Estimate
from helptune.evaluate.statistics.intervals import clustered_mean
from helptune.evaluate.strength import Ranking, strengths
from helptune.evaluate.table import Problem, Row
from helptune.evaluate.votes import Vote, VoteSet


@dataclass(frozen=True)
class Ranked:
    """`means` of the primary metric over the items that all of them have, in the order of the ranking."""

    ranking: Ranking
    means: Mapping[str, Estimate]
    problems: tuple[Problem, ...]


def rank(rows: Mapping[str, Sequence[Row]], problems: Sequence[Problem] = ()) -> Ranked:
    """`rows` by the name of the model. An item that one of them lacks is a Problem, and ranks nobody."""
    of = {
        name: {row.item: row.metrics.get(PRIMARY.name) for row in own if PRIMARY.about(row)}
        for name, own in rows.items()
    }
    items = list(dict.fromkeys(item for own in of.values() for item in own))
    whole = [item for item in items if all(own.get(item) is not None for own in of.values())]
    lacking = [
        Problem(PRIMARY.part, item, f"{', '.join(n for n, own in of.items() if own.get(item) is None)} has no score")
        for item in items
        if item not in whole
    ]
    scores = {name: {item: float(own[item] or 0.0) for item in whole} for name, own in of.items()}
    votes = [
        Vote(item, first, second, winner(scores[first][item], scores[second][item]), "helpfulness score", "machine")
        for a, b in combinations(of, 2)
        for first, second in ((a, b), (b, a))
        for item in whole
    ]
    found = strengths(VoteSet(tuple(votes)), list(of), "machine")
    missing = len(items) - len(whole)
    means = {one.model: clustered_mean([*scores[one.model].values()], missing=missing) for one in found.strengths}
    return Ranked(found, means, (*problems, *lacking))
