"""Votes drawn at random for the tests: each item has its own chance that `a` wins, so votes on it hang together."""

import numpy as np

from helptune.evaluate.votes import Vote, VoteSet


def drawn(rng, *, items=100, raters=3, p=0.7, alike=0.3, ties=0.0, first=0.0, kind="human", both_orders=False):
    """`alike` is the correlation of two votes on one item, `first` how much likelier the answer shown first wins.

    The true win rate is p (1 - ties) + ties / 2.
    """
    chance = rng.beta(p * (1 / alike - 1), (1 - p) * (1 / alike - 1), items) if alike else np.full(items, p)
    votes = []
    for item, rater in np.ndindex(items, raters):
        flips = [False, True] if both_orders else [rng.random() < 0.5]
        for flipped in flips:
            names = ("b", "a") if flipped else ("a", "b")
            a_wins = rng.random() < chance[item] + first * (-1 if flipped else 1)
            winner = "tie" if rng.random() < ties else "first" if a_wins != flipped else "second"
            votes.append(Vote(f"item {item}", *names, winner, f"rater {rater}", kind))
    return VoteSet(tuple(votes))
