"""What one rater holds of one pair of answers, from however many orders they were shown in.

A machine judge sees each pair in both orders, since judges favour a place (Zheng et al. 2023, arXiv:2306.05685, section
3.4): only where both name the same model has it won; where they differ, it is a tie. People are shown one order, drawn
anew for each pair; one who saw both is read in the same way.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from helptune.evaluate.votes import Vote
from helptune.shapes import Float


@dataclass(frozen=True)
class Judgement:
    """`score` is 1 where the first-named model of the pair won, 1/2 for a tie, 0 where it lost, None without a vote.

    `one_sided`: a machine's vote in one order only, be it that the other one was never asked for, or failed. It counts
    as it was given, but a claim has to hold without it.
    """

    item: str
    rater: str
    score: float | None
    one_sided: bool = False


def judgements(votes: Iterable[Vote], a: str) -> list[Judgement]:
    """One judgement for each item and rater, in the order they first come; `votes` are between `a` and one other."""
    found: dict[tuple[str, str], list[Vote]] = {}
    for vote in votes:
        found.setdefault((vote.item, vote.rater), []).append(vote)
    return [_judgement(item, rater, own, a) for (item, rater), own in found.items()]


def _judgement(item: str, rater: str, votes: Sequence[Vote], a: str) -> Judgement:
    scores = [score for vote in votes if (score := vote.score(a)) is not None]
    if not scores:
        return Judgement(item, rater, None)
    agreed = scores[0] if len(set(scores)) == 1 else 0.5
    return Judgement(item, rater, agreed, votes[0].kind == "machine" and len(scores) == 1)


def resampled(clusters: int, resamples: int, seed: int) -> Float[np.ndarray, "resamples clusters"]:
    """How often each cluster is drawn in each resample of a cluster bootstrap (Davison and Hinkley 1997, 3.8)."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(clusters, np.full(clusters, 1 / clusters), size=resamples).astype(float)
