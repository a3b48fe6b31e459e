"""Weights of the helpfulness score, fitted to votes."""

import numpy as np
import pytest

from helptune.errors import DataError
from helptune.evaluate.calibration import LEAST, calibrate
from helptune.evaluate.helpfulness import PARTS, WEIGHTS
from helptune.evaluate.table import Row
from helptune.evaluate.votes import Vote, VoteSet

TRUE = dict(zip(PARTS, (0.0, 0.5, 4.0, 1.0, 0.0, 0.5), strict=True))


def world(n, weights, seed=0, temperature=0.1):
    """Rows of two models whose parts are random, and the votes of people who weigh the parts so."""
    rng = np.random.default_rng(seed)
    parts = rng.uniform(size=(2, n, len(PARTS)))
    rows = [
        Row("helpful", f"q{i}", model, dict(zip(PARTS, map(float, parts[m, i]), strict=True)), f"q{i}")
        for m, model in enumerate(("base", "tuned"))
        for i in range(n)
    ]
    lead = (parts[0] - parts[1]) @ np.array([weights[name] for name in PARTS]) / sum(weights.values())
    first = rng.uniform(size=n) < 1 / (1 + np.exp(-lead / temperature))
    votes = [Vote(f"q{i}", "base", "tuned", "first" if w else "second", "ann", "human") for i, w in enumerate(first)]
    return VoteSet(tuple(votes)), rows


def test_the_weights_people_vote_by_are_found_again():
    votes, rows = world(1000, TRUE, temperature=0.03)
    found = calibrate(votes, rows, "base", "tuned", "human")
    expected = np.array([TRUE[name] for name in PARTS]) / np.mean(list(TRUE.values()))
    assert list(found.weights.values()) == pytest.approx(expected, abs=0.35)
    assert max(found.weights, key=found.weights.__getitem__) == "correctness"


def test_fitted_weights_agree_better_on_items_they_have_not_seen():
    votes, rows = world(600, TRUE, temperature=0.03)
    found = calibrate(votes, rows, "base", "tuned", "human")
    assert found.after.value > found.before.value + 0.03
    assert found.before.low < found.before.value < found.before.high


def test_votes_by_coin_are_agreed_with_half_the_time():
    """Held out: fitting to noise must not look like knowing."""
    votes, rows = world(400, WEIGHTS, temperature=1e9)
    found = calibrate(votes, rows, "base", "tuned", "human")
    assert found.after.low < 0.5 < found.after.high
    assert found.kappa.low < 0 < found.kappa.high


def test_no_part_counts_against_an_answer():
    votes, rows = world(300, {**TRUE, "relevance": 0.0})
    assert min(calibrate(votes, rows, "base", "tuned", "human").weights.values()) > 0


def test_swapping_the_models_changes_nothing():
    votes, rows = world(200, TRUE)
    one, other = (calibrate(votes, rows, *names, "human") for names in (("base", "tuned"), ("tuned", "base")))
    assert one.weights == pytest.approx(other.weights, abs=2e-3)
    assert one.before.value == other.before.value


def test_too_few_votes_are_refused_and_machine_votes_are_not_people():
    votes, rows = world(LEAST - 1, TRUE)
    with pytest.raises(DataError, match=f"human votes on {LEAST} items at least, found {LEAST - 1}"):
        calibrate(votes, rows, "base", "tuned", "human")
    votes, rows = world(100, TRUE)
    with pytest.raises(DataError, match="machine votes on 50 items at least, found 0"):
        calibrate(votes, rows, "base", "tuned", "machine")


def test_a_vote_on_an_answer_without_a_score_is_counted_as_unused():
    votes, rows = world(100, TRUE)
    assert calibrate(votes, rows[:-5], "base", "tuned", "human").unscored == 5
