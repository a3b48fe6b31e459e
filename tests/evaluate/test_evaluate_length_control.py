"""The win rate at equal length: it removes what length adds, covers the truth, and knows when it cannot tell."""

import numpy as np
import statsmodels.api as sm
from sklearn.linear_model import LogisticRegression

from helptune.evaluate.length_control import LEAST, PRIOR_SD, length_controlled


def votes(rng, items=200, at_equal=0.5, slope=2.0, longer_by=40.0, raters=1):
    """(scores, differences, items): raters who favour length by `slope`, and an `a` that writes more on average."""
    item = np.repeat(np.arange(items), raters)
    differences = rng.normal(longer_by, 60, items)[item]
    p = 1 / (1 + np.exp(-(np.log(at_equal / (1 - at_equal)) + slope * np.tanh(differences / differences.std()))))
    return (rng.random(len(item)) < p).astype(float), differences, item


def test_what_length_adds_to_a_win_rate_is_removed():
    scores, differences, items = votes(np.random.default_rng(0), items=4000)
    found = length_controlled(scores, differences, items, resamples=200)
    assert scores.mean() > 0.62
    assert abs(found.value - 0.5) < 0.03
    assert found.low < 0.5 < found.high


def test_where_length_does_not_matter_it_is_the_win_rate():
    scores, differences, items = votes(np.random.default_rng(1), items=4000, at_equal=0.7, slope=0)
    assert abs(length_controlled(scores, differences, items, resamples=10).value - scores.mean()) < 0.02


def test_it_is_the_penalized_fit_of_scikit_learn():
    scores, differences, items = votes(np.random.default_rng(2), items=60)
    terms = np.stack([np.ones(60), np.tanh(differences / differences.std())], 1) * PRIOR_SD
    theirs = LogisticRegression(C=1, fit_intercept=False, tol=1e-10).fit(terms, scores)
    ours = length_controlled(scores, differences, items, resamples=10).value
    np.testing.assert_allclose(np.log(ours / (1 - ours)), theirs.coef_[0, 0] * PRIOR_SD[0], atol=1e-5)


def test_its_interval_is_that_of_a_cluster_robust_regression():
    scores, differences, items = votes(np.random.default_rng(3), items=400, raters=3)
    terms = np.stack([np.ones(1200), np.tanh(differences / differences.std())], 1)
    model = sm.GLM(scores, terms, family=sm.families.Binomial())
    low, high = model.fit(cov_type="cluster", cov_kwds={"groups": items}).conf_int()[0]
    found = length_controlled(scores, differences, items)
    np.testing.assert_allclose([found.low, found.high], 1 / (1 + np.exp([-low, -high])), atol=0.01)


def test_a_tie_is_half_a_win_and_half_a_loss():
    rng = np.random.default_rng(4)
    scores, differences, items = votes(rng, items=100)
    ties = np.where(rng.random(100) < 0.3, 0.5, scores)
    halves = np.concatenate([np.ceil(ties), np.floor(ties)])
    twice = length_controlled(halves, np.tile(differences, 2), np.tile(items, 2), resamples=100, seed=1)
    once = length_controlled(np.tile(ties, 2), np.tile(differences, 2), np.tile(items, 2), resamples=100, seed=1)
    np.testing.assert_allclose([twice.value, twice.low, twice.high], [once.value, once.low, once.high], atol=1e-9)


def test_the_interval_covers_the_win_rate_at_equal_length():
    rng, held = np.random.default_rng(5), []
    for _ in range(200):
        found = length_controlled(*votes(rng, items=100, at_equal=0.6), resamples=200)
        held.append(found.low <= 0.6 <= found.high)
    assert 0.9 <= np.mean(held) <= 0.99


def test_where_one_model_always_writes_more_nothing_is_claimed():
    differences, items = np.linspace(1, 50, 100), np.arange(100)
    differences[: LEAST - 1] *= -1
    found = length_controlled(np.ones(100), differences, items)
    assert found.value is None
    assert found.why.startswith("a wrote more on 91 prompts and b on 9")
    assert length_controlled(np.array([]), np.array([]), np.array([], int)).value is None


def test_votes_that_are_all_alike_do_not_tell_what_length_adds():
    found = length_controlled(np.ones(100), np.linspace(-50, 50, 100), np.arange(100))
    assert (found.value, found.why[:19]) == (None, "all votes are alike")


def test_votes_that_only_follow_length_are_half_and_half_at_equal_length():
    differences = np.linspace(-50, 50, 100)
    found = length_controlled((differences > 0).astype(float), differences, np.arange(100), resamples=50)
    assert found.low < 0.5 < found.high
    assert abs(found.value - 0.5) < 0.01
