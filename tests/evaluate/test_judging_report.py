"""A judge's habits are found where they are put, and nothing it failed at leaves a denominator."""

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score

from helptune.errors import DataError, SettingError
from helptune.evaluate.judging.report import judge_report
from helptune.evaluate.judging.words import sentences
from helptune.evaluate.votes import Vote

A, B = "base", "tuned"


def both_orders(winners, rater="wise"):
    """Machine votes; of each item (winner with base first, winner with tuned first)."""
    return [
        Vote(f"item {i}", first, second, winner, rater, "machine", note="" if winner else "no answer: timeout")
        for i, pair in enumerate(winners)
        for (first, second), winner in zip(((A, B), (B, A)), pair, strict=True)
    ]


def people(scores, rater="ann"):
    """Human votes; of each item tuned's score, or None without a vote."""
    said = {1: "second", 0.5: "tie", 0: "first"}
    return [Vote(f"item {i}", A, B, said[score], rater, "human") for i, score in enumerate(scores) if score is not None]


FOR_B, FOR_A, TIE = ("second", "first"), ("first", "second"), ("tie", "tie")
FIRST, SECOND, HALF, FAILED, LOST = ("first",) * 2, ("second",) * 2, ("first", "tie"), ("second", None), (None, None)


def test_only_what_both_orders_say_is_won():
    report = judge_report(both_orders([FOR_B] * 6 + [FOR_A] + [FIRST] * 2 + [HALF]), A, B)
    assert report.score.value == pytest.approx((6 + 0.5 * 3) / 10)


def test_a_judge_without_a_favourite_place_never_flips():
    report = judge_report(both_orders([FOR_B] * 30 + [FOR_A] * 10 + [TIE] * 5), A, B)
    assert (report.flips.value, report.first_wins.value) == (0, 0.5)
    assert report.flips.high > 0, "no flip in 45 pairs does not say never"
    assert report.to_first.value is None


def test_a_judge_that_always_says_first_flips_always_and_knows_nothing():
    report = judge_report(both_orders([FIRST] * 40), A, B)
    assert (report.flips.value, report.to_first.value, report.first_wins.value) == (1, 1, 1)
    assert report.score.value == 0.5


def test_flips_are_counted_over_pairs_and_their_places_over_contradictions():
    """A tie against a win is a flip, and names no favourite place."""
    report = judge_report(both_orders([FOR_B] * 10 + [FIRST] * 4 + [SECOND] * 2 + [HALF] * 3 + [TIE]), A, B)
    assert (report.flips.value, report.flips.n) == (9 / 20, 20)
    assert (report.to_first.value, report.to_first.n) == (4 / 6, 6)
    known = binomtest(9, 20).proportion_ci(method="wilson")
    assert (report.flips.low, report.flips.high) == pytest.approx(tuple(known))


def test_what_failed_is_missing_and_stays_counted():
    report = judge_report(both_orders([FOR_B] * 5 + [FAILED] * 2 + [LOST]), A, B)
    assert (report.items, report.votes, report.one_sided, report.unjudged) == (8, 16, 2, 1)
    assert report.failures == {"no answer": 4}
    assert (report.flips.n, report.flips.missing) == (5, 3)
    assert report.score.missing == 1
    assert (report.first_wins.n, report.first_wins.missing) == (12, 4)


def test_agreement_with_people_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    theirs = rng.choice([0, 0.5, 1], size=60)
    ours = np.where(rng.random(60) < 0.7, theirs, rng.choice([0, 0.5, 1], size=60))
    orders = {0: FOR_A, 0.5: TIE, 1: FOR_B}
    found = judge_report(both_orders([orders[score] for score in ours]), A, B, people(theirs)).humans
    assert found.same.value == pytest.approx((theirs == ours).mean())
    assert found.kappa.value == pytest.approx(cohen_kappa_score(2 * theirs, 2 * ours))
    assert found.kappa.low < found.kappa.value < found.kappa.high
    decided = (theirs != 0.5) & (ours != 0.5)
    assert found.same_winner.value == pytest.approx((theirs == ours)[decided].mean())
    assert found.same_winner.n == decided.sum()


def test_a_judge_that_always_says_first_agrees_with_nobody_beyond_chance():
    """It is left with ties alone, which no person gave."""
    found = judge_report(both_orders([FIRST] * 30), A, B, people([0, 1] * 15)).humans
    assert found.same.value == 0
    assert found.kappa.value == 0
    assert found.same_winner.n == 0


def test_several_people_on_an_item_are_one():
    votes = people([1, 1, 0, 1], "ann") + people([1, 0, 0, 1], "bea") + people([1, 0, 1, None], "cleo")
    found = judge_report(both_orders([FOR_B, FOR_A, FOR_A, TIE]), A, B, votes).humans
    assert (found.same.value, found.same.n) == (3 / 4, 4)


def test_what_people_judged_and_the_judge_did_not_is_missing():
    found = judge_report(both_orders([FOR_B, LOST]), A, B, people([1, 1, 1])).humans
    assert (found.same.n, found.same.missing) == (1, 2)


@pytest.mark.parametrize(("own", "favoured"), [(B, 0.3), (A, -0.3)])
def test_self_preference_is_the_judges_score_beside_that_of_people(own, favoured):
    votes = both_orders([FOR_B] * 80 + [FOR_A] * 20)
    theirs = people([1] * 50 + [0] * 50)
    found = judge_report(votes, A, B, theirs, own=own).self_preference
    assert found.difference.value == pytest.approx(favoured)
    assert (found.difference.low > 0) == (favoured > 0)


def test_without_people_self_preference_is_not_known():
    report = judge_report(both_orders([FOR_B] * 9), A, B, own=B)
    assert report.self_preference is None
    assert any("cannot be told from their being better" in one for one in sentences(report))


def test_judges_and_people_are_not_mixed():
    votes = both_orders([FOR_B] * 3)
    with pytest.raises(DataError, match="expected machine votes"):
        judge_report(people([1, 0]), A, B)
    with pytest.raises(DataError, match="expected human votes"):
        judge_report(votes, A, B, votes)
    with pytest.raises(DataError, match="2 judges"):
        judge_report(votes + both_orders([FOR_A], "wiser"), A, B)
    with pytest.raises(SettingError, match="cannot be 'wise'"):
        judge_report(votes, A, B, own="wise")


def test_other_pairs_are_not_looked_at():
    other = [Vote("item 0", "few_shot", B, "first", "wise", "machine")]
    assert judge_report(both_orders([FOR_B]) + other, A, B).votes == 2


def test_no_votes_are_no_figures():
    report = judge_report([], A, B, people([1, 1]))
    assert report.score.value is None
    assert report.humans.same.missing == 2
    assert sentences(report) == ["No machine votes on base and tuned."]


def test_every_figure_is_said():
    votes = both_orders([FOR_B] * 12 + [FOR_A] * 3 + [FIRST] * 4 + [FAILED])
    said = " ".join(sentences(judge_report(votes, A, B, people([1] * 10 + [0] * 10), own=B)))
    for words in (
        "wise judged 20 pairs of base and tuned in 40 votes",
        "votes of a machine",
        "1 of the votes are null (no answer 1)",
        "1 pairs have a vote in one order only",
        "The order decides 21% (9% to 43%, n = 19)",
        "100% (51% to 100%, n = 4)",
        "kappa is",
        "scores its own answers",
    ):
        assert words in said


def test_a_name_cannot_speak_to_the_terminal():
    assert "\x1b" not in " ".join(sentences(judge_report(both_orders([FOR_B], "\x1b[2J"), A, B)))
