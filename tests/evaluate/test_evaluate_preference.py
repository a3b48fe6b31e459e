"""Win rates: known figures, what must not move them, and what must be told beside them."""

import numpy as np
import pytest
from ballots import drawn
from scipy.stats import binomtest

from helptune.errors import SettingError
from helptune.evaluate.judgements import judgements
from helptune.evaluate.preference import win_rate
from helptune.evaluate.votes import Lost, Vote, VoteSet


def ballot(winners, kind="human", rater="x", flipped=False):
    """One vote an item for "a", "b", a "tie", or none."""
    first, second = ("b", "a") if flipped else ("a", "b")
    place = {first: "first", second: "second", "tie": "tie", None: None}
    return tuple(Vote(f"item {i}", first, second, place[w], rater, kind) for i, w in enumerate(winners))


def rate(*votes, **more):
    return win_rate(VoteSet(sum(votes, ())), "a", "b", **({"kind": "human", "resamples": 200} | more))


def test_ties_count_half():
    found = rate(ballot(["a"] * 6 + ["tie"] * 2 + ["b"] * 2))
    assert (found.wins, found.ties, found.losses) == (6, 2, 2)
    assert found.win_rate.value == found.bootstrap.value == 0.7


def test_with_a_vote_a_prompt_the_interval_is_wilsons_and_the_test_exact():
    found = rate(ballot(["a"] * 60 + ["b"] * 40))
    theirs = binomtest(60, 100)
    interval = theirs.proportion_ci(method="wilson")
    assert found.design_effect == pytest.approx(1)
    np.testing.assert_allclose([found.win_rate.low, found.win_rate.high], [interval.low, interval.high])
    assert found.p_votes == found.p_items == theirs.pvalue
    assert found.lower == pytest.approx(binomtest(60, 100, alternative="greater").proportion_ci(0.95).low)


def test_the_other_model_has_the_complement():
    votes = drawn(np.random.default_rng(0), ties=0.2)
    one, other = (win_rate(votes, *pair, "human", resamples=200) for pair in (("a", "b"), ("b", "a")))
    assert one.win_rate.value == pytest.approx(1 - other.win_rate.value)
    assert one.win_rate.low == pytest.approx(1 - other.win_rate.high)
    assert one.lower == pytest.approx(1 - other.upper)
    assert (one.p_votes, one.p_items) == (other.p_votes, other.p_items)
    assert one.first_wins == other.first_wins


def test_votes_of_people_and_machines_never_meet():
    votes = (ballot(["a"] * 10), ballot(["b"] * 10, kind="machine", rater="judge"))
    assert rate(*votes).win_rate.value == 1
    assert rate(*votes, kind="machine").win_rate.value == 0


def test_the_same_votes_three_times_are_worth_no_more():
    winners = ["a"] * 30 + ["b"] * 20
    once = rate(ballot(winners))
    thrice = rate(*(ballot(winners, rater=rater) for rater in "xyz"))
    assert thrice.design_effect == pytest.approx(3, rel=0.02)
    np.testing.assert_allclose([thrice.lower, thrice.p_items], [once.lower, once.p_items], atol=0.005)
    assert thrice.p_votes < once.p_votes  # as if they were independent, which is why it stands beside p_items


@pytest.mark.parametrize(("p", "ties", "items"), [(0.75, 0, 40), (0.9, 0, 100), (0.75, 0.3, 60)])
def test_intervals_cover_the_win_rate_though_votes_hang_together(p, ties, items):
    rng, true = np.random.default_rng(1), p * (1 - ties) + ties / 2
    held = {"wilson": 0, "bootstrap": 0, "lower": 0, "naive": 0}
    trials = 150
    for _ in range(trials):
        votes = drawn(rng, items=items, raters=4, p=p, ties=ties, alike=0.5)
        found = win_rate(votes, "a", "b", "human", resamples=300)
        naive = binomtest(round(found.win_rate.value * found.judged), found.judged).proportion_ci(method="wilson")
        held["wilson"] += found.win_rate.low <= true <= found.win_rate.high
        held["bootstrap"] += found.bootstrap.low <= true <= found.bootstrap.high
        held["lower"] += found.lower <= true
        held["naive"] += naive.low <= true <= naive.high
    assert held["wilson"] >= 0.92 * trials
    assert held["lower"] >= 0.92 * trials
    assert held["bootstrap"] >= 0.89 * trials
    if not ties:
        assert held["naive"] < 0.88 * trials  # what counting votes as if they were independent would claim


def test_a_machine_wins_only_in_both_orders():
    shown = [
        ballot(w, "machine", flipped=f) for w, f in ((["a", "a", "tie", "b"], False), (["a", "b", "a", "b"], True))
    ]
    assert [one.score for one in judgements(sum(shown, ()), "a")] == [1, 0.5, 0.5, 0]
    found = rate(*shown, kind="machine")
    assert (found.wins, found.ties, found.losses, found.one_sided) == (1, 2, 1, 0)


def test_a_judge_that_loves_the_first_place_prefers_nobody_and_it_shows():
    shown = [ballot([name] * 50, "machine", flipped=f) for name, f in (("a", False), ("b", True))]
    found = rate(*shown, kind="machine")
    assert found.win_rate.value == 0.5
    assert found.first_wins.value == found.when_first.value == 1
    assert found.when_second.value == 0


def test_a_place_that_helps_is_told_from_a_model_that_wins():
    found = win_rate(
        drawn(np.random.default_rng(2), items=2000, raters=1, p=0.6, alike=0, first=0.2), "a", "b", "human"
    )
    for estimate, true in (
        (found.win_rate, 0.6),
        (found.first_wins, 0.7),
        (found.when_first, 0.8),
        (found.when_second, 0.4),
    ):
        assert estimate.low < true < estimate.high


def test_one_sided_machine_votes_are_counted_told_and_no_claim_rests_on_them():
    both = [ballot(["a"] * 20, "machine", flipped=f) for f in (False, True)]
    one = tuple(Vote(f"more {i}", "a", "b", "first", "x", "machine") for i in range(5))
    found = rate(*both, one, kind="machine")
    assert (found.judged, found.one_sided, found.win_rate.value) == (25, 5, 1)
    assert len(found.problems) == 5
    assert (
        found.problems[0].what == "machine rater 'x' voted on a and b in one order only, a first: no claim rests on it"
    )
    assert found.lower == rate(ballot(["a"] * 20 + ["b"] * 5)).lower


def test_a_person_is_shown_one_order():
    assert rate(ballot(["a"] * 5)).one_sided == 0


def test_what_is_missing_counts_against_and_for_a_claim():
    votes = ballot(["a"] * 30 + ["b"] * 10 + [None] * 4)
    unread = (
        Lost("human", frozenset("a")),
        Lost("", frozenset()),
        Lost("machine", frozenset()),
        Lost("", frozenset("ac")),
    )
    items = [f"item {i}" for i in range(45)]
    found = win_rate(VoteSet(votes, lost=unread), "a", "b", "human", items=items, resamples=200)
    assert found.missing == found.win_rate.missing == 4 + 2 + 1  # null votes, lost lines, an item without any vote
    assert found.win_rate.value == 0.75
    assert found.lower == rate(ballot(["a"] * 30 + ["b"] * 17)).lower
    assert found.upper == rate(ballot(["a"] * 37 + ["b"] * 10)).upper
    assert [problem.item for problem in found.problems] == ["item 44"]


def test_longer_answers_that_win_are_told_beside_the_win_rate():
    rng = np.random.default_rng(3)
    lengths = {"a": {}, "b": {}}
    winners = []
    for i in range(400):
        lengths["a"][f"item {i}"], lengths["b"][f"item {i}"] = rng.normal(130, 40), rng.normal(100, 40)
        longer = "a" if lengths["a"][f"item {i}"] > lengths["b"][f"item {i}"] else "b"
        winners.append(longer if rng.random() < 0.9 else "ab".replace(longer, ""))
    found = rate(ballot(winners), lengths=lengths)
    assert found.longer_wins.low < 0.9 < found.longer_wins.high
    assert found.win_rate.low > 0.55
    assert found.length_controlled.low < 0.5 < found.length_controlled.high


def test_answers_without_a_length_are_missing_from_figures_of_length_alone():
    lengths = {name: {f"item {i}": 10.0 * i + ord(name) * (i % 2 or -1) for i in range(30)} for name in "ab"}
    found = rate(ballot(["a", "b", "b"] * 20), lengths=lengths)
    assert found.win_rate.missing == 0
    assert found.longer_wins.missing == found.length_controlled.missing == 30
    assert found.length_controlled.n == 30
    assert rate(ballot(["a"])).longer_wins.why == "the lengths of the answers are not known"


def test_agreement_of_raters_is_told():
    winners = ["a", "b", "tie", "a", "b"] * 10
    alike = rate(*(ballot(winners, rater=rater) for rater in "xy"))
    assert (alike.raters, alike.same.value, alike.agreement.value) == (2, 1, 1)
    chance = win_rate(drawn(np.random.default_rng(4), items=300, p=0.5, alike=0), "a", "b", "human", resamples=200)
    assert chance.same.low < 0.5 < chance.same.high
    assert abs(chance.agreement.value) < 0.1
    assert rate(ballot(winners)).agreement.undefined.startswith("one rater")


def test_without_votes_there_are_reasons_and_no_figures():
    found = rate((), items=["item 0"])
    assert (found.judged, found.missing, found.lower, found.upper, found.p_votes, found.design_effect) == (
        0,
        0,
        *[None] * 4,
    )
    for estimate in (found.win_rate, found.bootstrap, found.first_wins, found.longer_wins, found.length_controlled):
        assert (estimate.value, estimate.why) == (None, "nothing was observed")


@pytest.mark.parametrize("winners", [["a"], ["tie"], [None], ["a"] * 40, ["tie"] * 40])
def test_votes_that_are_few_or_all_alike_are_no_error(winners):
    found = rate(ballot(winners), lengths={"a": {"item 0": 3}, "b": {"item 0": 3}})
    for estimate in (found.win_rate, found.bootstrap, found.first_wins, found.same, found.length_controlled):
        assert estimate.value is None or np.isfinite(estimate.value)


def test_nobody_is_preferred_over_itself():
    with pytest.raises(SettingError, match="name two models"):
        win_rate(VoteSet(()), "a", "a", "human")
