"""Bradley-Terry strengths: published values, coverage, and models that cannot be told apart."""

import gc
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import statsmodels.api as sm

from helptune.errors import SettingError
from helptune.evaluate.strength import _bradley_terry, _of_draws, strengths
from helptune.evaluate.votes import Lost, Vote, VoteSet

BASEBALL = {  # wins of the row's team over the column's, American League East 1987 (Agresti 2002, table 10.10)
    "Milwaukee": {"Detroit": 7, "Toronto": 9, "New York": 7, "Boston": 7, "Cleveland": 9, "Baltimore": 11},
    "Detroit": {"Milwaukee": 6, "Toronto": 7, "New York": 5, "Boston": 11, "Cleveland": 9, "Baltimore": 9},
    "Toronto": {"Milwaukee": 4, "Detroit": 6, "New York": 7, "Boston": 7, "Cleveland": 8, "Baltimore": 12},
    "New York": {"Milwaukee": 6, "Detroit": 8, "Toronto": 6, "Boston": 6, "Cleveland": 7, "Baltimore": 10},
    "Boston": {"Milwaukee": 6, "Detroit": 2, "Toronto": 6, "New York": 7, "Cleveland": 7, "Baltimore": 12},
    "Cleveland": {"Milwaukee": 4, "Detroit": 4, "Toronto": 5, "New York": 6, "Boston": 6, "Baltimore": 6},
    "Baltimore": {"Milwaukee": 2, "Detroit": 4, "Toronto": 1, "New York": 3, "Boston": 1, "Cleveland": 7},
}
PUBLISHED = {  # log strengths over Baltimore's (Agresti 2002, section 10.6.2)
    "Milwaukee": 1.581, "Detroit": 1.436, "Toronto": 1.294, "New York": 1.248, "Boston": 1.108, "Cleveland": 0.684,
}  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def _little_garbage():
    """statsmodels' multipletests collects all garbage in each call, which takes longer than all the rest."""
    gc.freeze()
    yield
    gc.unfreeze()


def games(wins):
    """A vote a game, each on an item of its own."""
    votes, played = [], 0
    for winner, over in wins.items():
        for loser, times in over.items():
            for _ in range(times):
                votes.append(Vote(f"game {played}", winner, loser, "first", "x", "human"))
                played += 1
    return VoteSet(tuple(votes))


def drawn(rng, truth, items, raters=1, spread=0.0):
    """Votes on every pair of models; on each item each model's strength differs by `spread`."""
    votes = []
    for item in range(items):
        own = {model: value + spread * rng.normal() for model, value in truth.items()}
        for x, y in combinations(truth, 2):
            for rater in range(raters):
                won = rng.random() < 1 / (1 + np.exp(own[y] - own[x]))
                votes.append(Vote(f"item {item}", x, y, "first" if won else "second", f"{rater}", "human"))
    return VoteSet(tuple(votes))


def values(ranking):
    return {one.model: one.value.value for one in ranking.strengths}


def test_strengths_are_the_published_ones():
    found = values(strengths(games(BASEBALL), list(BASEBALL), "human", resamples=10))
    for team, value in PUBLISHED.items():
        assert found[team] - found["Baltimore"] == pytest.approx(value, abs=2e-3)
    assert sum(found.values()) == pytest.approx(0)


def test_strengths_and_their_errors_are_those_of_a_logistic_regression():
    votes = drawn(np.random.default_rng(0), {"a": 0.8, "b": 0.2, "c": -1.0}, items=300, raters=2, spread=1.0)
    design = np.array([[(v.first == m) - (v.second == m) for m in "ab"] for v in votes.votes], float)
    won = np.array([v.winner == "first" for v in votes.votes], float)
    groups = np.unique([v.item for v in votes.votes], return_inverse=True)[1]
    theirs = sm.GLM(won, design, family=sm.families.Binomial()).fit(cov_type="cluster", cov_kwds={"groups": groups})
    found = strengths(votes, ["a", "b", "c"], "human")
    value = values(found)
    np.testing.assert_allclose([value["a"] - value["c"], value["b"] - value["c"]], theirs.params, atol=1e-4)
    centred = np.array([[2, -1], [-1, 2], [-1, -1]]) / 3
    errors = np.sqrt(np.diag(centred @ theirs.cov_params() @ centred.T))
    width = {one.model: one.value.high - one.value.low for one in found.strengths}
    np.testing.assert_allclose([width[m] for m in "abc"], 2 * 1.96 * errors, rtol=0.08)


def test_with_two_models_it_is_the_win_rate():
    votes = drawn(np.random.default_rng(1), {"a": 0.7, "b": 0.0}, items=100)
    rate = np.mean([vote.winner == "first" for vote in votes.votes])
    found = values(strengths(votes, ["a", "b"], "human", resamples=10))
    assert found["a"] - found["b"] == pytest.approx(np.log(rate / (1 - rate)), abs=1e-5)


def test_a_tie_is_half_a_win_for_each():
    tie = Vote("1", "a", "b", "tie", "x", "human")
    one = strengths(VoteSet((tie, Vote("2", "a", "b", "first", "x", "human"))), ["a", "b"], "human", resamples=10)
    found = values(one)
    assert found["a"] - found["b"] == pytest.approx(np.log(3), abs=1e-5)


def test_a_resample_is_solved_as_evalica_solves_it():
    wins = np.random.default_rng(6).integers(1, 30, (20, 5, 5)) * (1 - np.eye(5))
    np.testing.assert_allclose(_of_draws(wins, np.zeros(5)), [_bradley_terry(one) for one in wins], atol=1e-6)


def test_intervals_cover_though_votes_hang_together():
    """Strengths that differ from item to item pull chances to 1/2: the truth is that of the average chance."""
    truth, spread = {"a": 0.6, "b": 0.0, "c": -0.6}, 1.5
    noise = np.random.default_rng(2).normal(0, spread * np.sqrt(2), 100_000)
    value = np.array([*truth.values()])
    average = np.mean(1 / (1 + np.exp(value[None] - value[:, None] + noise[:, None, None])), axis=0)
    true = dict(zip(truth, _of_draws(average[None] * (1 - np.eye(3)), np.zeros(3))[0], strict=True))
    rng, held = np.random.default_rng(3), []
    for _ in range(300):
        found = strengths(drawn(rng, truth, 60, raters=3, spread=spread), list(truth), "human", resamples=200)
        held += [one.value.low <= true[one.model] <= one.value.high for one in found.strengths]
    assert 0.9 <= np.mean(held) <= 0.98


def test_models_alike_are_not_told_apart_and_others_are():
    votes = drawn(np.random.default_rng(4), {"a": 0.0, "b": 2.0, "c": 0.05, "d": -2.0}, items=150)
    found = strengths(votes, ["a", "b", "c", "d"], "human")
    assert set(found.groups) == {("b",), tuple(one.model for one in found.strengths[1:3]), ("d",)}
    assert {one.model: (one.best, one.worst) for one in found.strengths} == {
        "b": (1, 1), "a": (2, 3), "c": (2, 3), "d": (4, 4),
    }  # fmt: skip
    assert str(found) in ("b > a = c > d", "b > c = a > d")


def test_equal_models_are_told_apart_rarely_however_many_pairs_there_are():
    rng = np.random.default_rng(5)
    false = [
        len(strengths(drawn(rng, dict.fromkeys("abcde", 0.0), 40), list("abcde"), "human", resamples=200).groups) > 1
        for _ in range(200)
    ]
    assert np.mean(false) <= 0.08  # without Holm over ten pairs, about a third


def test_a_model_that_never_lost_has_no_finite_strength_and_that_is_said():
    votes = games({"a": {"b": 5, "c": 5}, "b": {"c": 3}, "c": {"b": 3}})
    found = strengths(votes, ["a", "b", "c"], "human")
    assert found.why == "a never lost to the others, so the strengths are infinite"
    assert str(found) == f"no ranking by human votes: {found.why}"
    assert all(one.value.value is None and (one.best, one.worst) == (1, 3) for one in found.strengths)


def test_models_that_never_met_are_not_compared():
    votes = games({"a": {"b": 5}, "b": {"a": 5}, "c": {"d": 5}, "d": {"c": 5}})
    assert strengths(votes, list("abcd"), "human").why.startswith("a, b was never compared with the others")
    assert strengths(votes, list("abcd"), "machine").why == "no votes"


def test_a_handful_of_votes_gives_a_value_and_no_interval():
    votes = games({"a": {"b": 3}, "b": {"a": 1}})
    found = strengths(votes, ["a", "b"], "human")
    assert found.strengths[0].value.low is None
    assert "draws of items have an infinite strength" in found.strengths[0].value.why
    assert found.groups == (("a", "b"),)


def test_one_item_shows_nothing_of_others_however_many_vote_on_it():
    votes = VoteSet(tuple(Vote("1", "a", "b", "first" if i % 4 else "second", f"{i}", "human") for i in range(40)))
    found = strengths(votes, ["a", "b"], "human")
    assert (found.strengths[0].value.low, found.p["a", "b"]) == (None, None)
    assert found.groups == (("a", "b"),)
    alike = VoteSet((*votes.votes, *(replace(vote, item="2") for vote in votes.votes)))
    assert strengths(alike, ["a", "b"], "human").p["a", "b"] is None


def test_a_ranking_is_of_two_different_models_or_more():
    for models in (["a"], ["a", "a", "b"]):
        with pytest.raises(SettingError, match="name two different ones or more"):
            strengths(VoteSet(()), models, "human")


def test_votes_that_were_not_given_are_told():
    votes = games({"a": {"b": 30, "c": 20}, "b": {"a": 10, "c": 20}, "c": {"a": 9, "b": 9}}).votes
    null, unread = Vote("z", "a", "b", None, "x", "human"), Lost("", frozenset())
    found = strengths(VoteSet((*votes, null), lost=(unread, Lost("machine", frozenset()))), list("abc"), "human")
    assert (found.strengths[0].value.n, found.strengths[0].value.missing) == (98, 2)
