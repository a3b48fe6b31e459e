"""Verdicts in words: what they say, how often they are wrong, and how many votes they ask for."""

import numpy as np
import pytest
from ballots import drawn
from test_evaluate_preference import ballot, rate

from helptune.errors import SettingError
from helptune.evaluate.claim import cautions, claim
from helptune.evaluate.preference import win_rate
from helptune.evaluate.statistics.power import trials_above


def votes(wins, losses):
    return rate(ballot(["a"] * wins + ["b"] * losses))


@pytest.mark.parametrize(
    ("wins", "losses", "state"),
    [(170, 30, "met"), (130, 70, "not met"), (155, 45, "inconclusive"), (0, 0, "not measurable")],
)
def test_each_verdict_has_its_votes(wins, losses, state):
    found = claim(votes(wins, losses))
    assert found.state == state
    assert f": {state}" in found.words


def test_the_words_hold_the_figures_they_rest_on():
    assert claim(votes(170, 30)).words == (
        "a preferred over b in more than 75% of judgements by people: met. "
        "Lower bound 80.2% (85.0% of 200 judgements of 200 prompts)"
    )
    assert claim(votes(160, 40)).words == (
        "a preferred over b in more than 75% of judgements by people: inconclusive, 74.8% to 84.5% "
        "(80.0% of 200 judgements of 200 prompts). About 270 more judgements would tell, if 80.0% is the true rate"
    )


def test_an_inconclusive_claim_asks_for_what_the_planner_plans():
    assert claim(votes(160, 40)).more == trials_above(0.75, 0.8) - 200 == 263
    assert claim(votes(70, 30)).more == trials_above(0.25, 0.3) - 100  # votes that would show that it is not so
    alike = claim(rate(*(ballot(["a"] * 80 + ["b"] * 20, rater=rater) for rater in "xy")))
    assert alike.more == pytest.approx(2 * 463 - 200, abs=10)  # a second rater who says the same adds nothing
    assert claim(votes(75, 25)).more is None
    assert claim(votes(75, 25)).words.endswith(
        "is so close to the share claimed that no sensible number of votes would tell"
    )


def test_as_many_votes_as_were_asked_for_decide_in_four_of_five_cases():
    rng, needed = np.random.default_rng(0), trials_above(0.75, 0.85)
    wins = rng.binomial(needed, 0.85, 300)
    states = {w: claim(votes(w, needed - w)).state for w in set(wins.tolist())}
    met = np.mean([states[w] == "met" for w in wins.tolist()])
    assert needed == 117
    assert 0.75 <= met <= 0.9


@pytest.mark.parametrize("alike", [0.0, 0.5])
def test_a_claim_that_is_just_not_true_is_met_in_one_of_twenty_cases_at_most(alike):
    rng = np.random.default_rng(1)
    drawings = (drawn(rng, items=60, raters=3, p=0.75, alike=alike) for _ in range(200))
    met = [win_rate(votes, "a", "b", "human", resamples=1).lower > 0.75 for votes in drawings]
    assert np.mean(met) <= 0.08


def test_votes_that_are_missing_can_unmake_a_claim_but_never_make_it():
    given = ["a"] * 85 + ["b"] * 15
    assert claim(rate(ballot(given))).state == "met"
    missing = claim(rate(ballot(given * 2 + [None] * 20)))
    assert missing.state == "inconclusive"
    assert "20 missing and 0 one-sided ones counted against the claim" in missing.words
    assert missing.more is None
    assert missing.words.endswith("have it voted on in full")
    assert claim(rate(ballot(["a"] * 60 + ["b"] * 40 + [None] * 100))).state == "inconclusive"


def test_a_vote_of_machines_is_never_called_one_of_people():
    found = rate(*(ballot(["a"] * 90 + ["b"] * 10, "machine", flipped=f) for f in (False, True)), kind="machine")
    assert "judgements by machine judges: met" in claim(found).words
    assert cautions(found)[0] == "These are votes of machines, not of people."


def test_a_share_that_is_no_share_is_an_error():
    with pytest.raises(SettingError, match="above = 75"):
        claim(votes(1, 1), above=75)


def test_cautions_name_what_else_could_have_made_the_rate():
    lengths = {"a": {f"item {i}": 90.0 for i in range(100)}, "b": {f"item {i}": 30.0 for i in range(100)}}
    said = cautions(rate(ballot(["a"] * 70 + ["b"] * 28 + [None] * 2), lengths=lengths))
    assert [sentence.split(",")[0].split(" (")[0] for sentence in said] == [
        "2 judgements are missing",
        "a was shown first in 98 of 98 votes",
        "The answer shown first won 71.4% [61.8%",
        "The longer answer won 71.4% [61.8%",
        "Nothing is said of equal length: a wrote more on 98 prompts and b on 0: "
        "equal lengths are outside of what was seen",
    ]


def test_votes_without_blemish_need_no_caution():
    assert cautions(rate(ballot(["a", "a", "b"] * 50), ballot(["a", "a", "b"] * 50, flipped=True, rater="y"))) == [
        "Two raters of the same prompt said the same 100.0%."
    ]


def test_a_difference_that_may_be_chance_is_called_so():
    assert "is not ruled out (p = 1, a vote a prompt)" in cautions(rate(ballot(["a", "b"] * 10)))[-1]
