"""Intervals hold the truth as often as they say, with clusters and without; and a figure without one says why."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from helptune.errors import SettingError
from helptune.evaluate.statistics.intervals import (
    bootstrap,
    bootstrap_means,
    clustered_mean,
    clustered_proportion,
    exact,
    relative_gain,
    wilson,
)
from helptune.evaluate.statistics.observations import observe

TRIALS = 500
NOMINAL = (0.92, 0.98)
"""Where the share of 500 intervals of 95% lies, but for 3 standard errors."""


def answers_in_clusters(rng, clusters, within=0.6):
    """Standard normal values whose clusters, of 1 to 8, share `within`**2 of their variance; and the clusters."""
    label = np.repeat(np.arange(clusters), rng.integers(1, 9, clusters))
    shared = rng.normal(size=clusters)[label]
    return within * shared + np.sqrt(1 - within**2) * rng.normal(size=len(label)), label


def share_that_hold(truth, interval):
    rng = np.random.default_rng(0)
    found = [interval(rng) for _ in range(TRIALS)]
    return np.mean([one.low is not None and one.low <= truth <= one.high for one in found])


def test_wilson_is_the_published_interval():
    """81 of 263 and 15 of 148: Newcombe 1998, Table I, method 3."""
    assert [round(x, 4) for x in (wilson(81, 263).low, wilson(81, 263).high)] == [0.2553, 0.3662]
    assert [round(x, 4) for x in (wilson(15, 148).low, wilson(15, 148).high)] == [0.0624, 0.1605]
    assert (wilson(0, 20).low, round(wilson(0, 20).high, 4)) == (0, 0.1611)
    assert wilson(7, 10, missing=3).missing == 3


def test_wilson_and_exact_are_those_of_scipy():
    for successes, total in ((0, 5), (3, 7), (45, 50), (9, 9)):
        for ours, method in ((wilson, "wilson"), (exact, "exact")):
            for side, alternative in (("two", "two-sided"), ("lower", "greater"), ("upper", "less")):
                found = ours(successes, total, side=side)
                theirs = stats.binomtest(successes, total, alternative=alternative).proportion_ci(0.95, method)
                np.testing.assert_allclose((found.low, found.high), theirs, atol=1e-9)


def test_no_failure_of_100_leaves_3_6_percent():
    assert round(exact(0, 100).high, 3) == 0.036


def test_a_tie_is_half_a_success():
    found = wilson(7.5, 12)
    assert found.value == 7.5 / 12
    np.testing.assert_allclose((found.low, found.high), proportion_confint(7.5, 12, method="wilson"))


def test_a_claim_by_wilsons_lower_bound_is_bolder_than_by_the_exact_one():
    """Claiming more than 75% where 75% is all there is: for some n too often by Wilson, never by `exact`."""
    chances = {}
    for bound in (wilson, exact):
        chances[bound] = []
        for n in range(10, 60):
            claims = [bound(x, n, side="lower").low > 0.75 for x in range(n + 1)]
            chances[bound].append(stats.binom.pmf(np.arange(n + 1), n, 0.75) @ np.array(claims))
    assert max(chances[exact]) <= 0.05 < max(chances[wilson])


def test_a_clustered_mean_has_the_error_of_statsmodels():
    values, label = answers_in_clusters(np.random.default_rng(1), 25)
    theirs = sm.OLS(values, np.ones(len(values))).fit(cov_type="cluster", cov_kwds={"groups": label}, use_t=True)
    found = clustered_mean(values, label)
    np.testing.assert_allclose((found.low, found.high), theirs.conf_int()[0], rtol=1e-10)
    assert (found.n, found.clusters) == (len(values), 25)


def test_without_clusters_a_mean_has_the_t_interval_of_a_textbook():
    values = np.random.default_rng(2).normal(size=15)
    found = clustered_mean(values.tolist())
    theirs = stats.t.interval(0.95, 14, values.mean(), stats.sem(values))
    np.testing.assert_allclose((found.low, found.high), theirs)


def test_the_design_effect_of_copies_is_how_many_there_are():
    """Asking for 30 answers 4 times each, word for word the same, teaches nothing new."""
    once = np.random.default_rng(3).normal(size=30)
    label = np.repeat(np.arange(30), 4)
    copies = observe([np.repeat(once, 4)], label)
    assert copies.design_effect() == pytest.approx(4, rel=0.05)
    alone, copied = clustered_mean(once), clustered_mean(np.repeat(once, 4), label)
    np.testing.assert_allclose((copied.low, copied.high), (alone.low, alone.high))


@pytest.mark.parametrize("clusters", [10, 60])
def test_a_clustered_interval_covers_and_a_naive_one_does_not(clusters):
    """The lesson of Miller 2024: 4.5 answers a prompt, counted as if each were a prompt, make intervals that lie."""
    clustered = share_that_hold(0, lambda rng: clustered_mean(*answers_in_clusters(rng, clusters)))
    naive = share_that_hold(0, lambda rng: clustered_mean(answers_in_clusters(rng, clusters)[0]))
    assert 0.90 <= clustered <= NOMINAL[1]
    assert naive < 0.85


@pytest.mark.parametrize("clusters", [10, 60])
def test_a_clustered_proportion_covers_and_wilson_of_all_answers_does_not(clusters):
    below = stats.norm.ppf(0.7)

    def clustered(rng):
        values, label = answers_in_clusters(rng, clusters, within=0.8)
        return clustered_proportion(values < below, label)

    def naive(rng):
        right = answers_in_clusters(rng, clusters, within=0.8)[0] < below
        return wilson(right.sum(), len(right))

    assert 0.90 <= share_that_hold(0.7, clustered) <= 0.99
    assert share_that_hold(0.7, naive) < 0.85


def test_a_clustered_proportion_of_single_answers_is_wilsons():
    assert clustered_proportion([1, 0, 1, 1]) == wilson(3, 4)
    assert clustered_proportion([1, 0, 1, None], ["a", "b", "c", "c"]) == wilson(2, 3, missing=1)


def test_clusters_that_all_agree_are_worth_one_observation_each():
    found = clustered_proportion([1] * 40, np.repeat(np.arange(10), 4), side="lower")
    assert (found.value, found.low) == (1, pytest.approx(wilson(10, 10, side="lower").low))


@pytest.mark.parametrize("clusters", [12, 60])
def test_a_bootstrapped_gain_covers(clusters):
    def gain(rng):
        values, label = answers_in_clusters(rng, clusters)
        b = 1.2 * np.exp(0.4 * (values + rng.normal(size=len(values))) - 0.08)
        return relative_gain(np.exp(0.4 * values), b, label, resamples=400)

    assert 0.89 <= share_that_hold(0.2, gain) <= NOMINAL[1]


def test_both_bootstraps_draw_the_same_clusters():
    values, label = answers_in_clusters(np.random.default_rng(4), 30)
    columns, lengths = [values + 3, values**2 + 1], {"resamples": 300, "seed": 5}
    slow = bootstrap(lambda a, b: b.mean() / a.mean(), columns, label, **lengths)
    fast = bootstrap_means(lambda a, b: b / a, columns, label, **lengths)
    np.testing.assert_allclose((slow.value, slow.low, slow.high), (fast.value, fast.low, fast.high))
    assert fast == bootstrap_means(lambda a, b: b / a, columns, label, **lengths)


def test_a_bootstrap_is_that_of_scipy_but_for_its_widening():
    values = np.random.default_rng(6).exponential(size=200)
    theirs = stats.bootstrap((values,), np.median, method="percentile", n_resamples=4000, rng=np.random.default_rng(0))
    found = bootstrap(np.median, [values], resamples=4000)
    np.testing.assert_allclose((found.low, found.high), theirs.confidence_interval, atol=0.02)


def test_a_bootstrapped_mean_has_the_t_interval_where_clusters_are_few():
    """Without widening, eight observations give an interval that is a quarter too short."""
    values = stats.norm.ppf((np.arange(8) + 0.5) / 8)
    found, t = bootstrap_means(lambda x: x, [values], resamples=20_000), clustered_mean(values)
    assert found.high - found.low == pytest.approx(t.high - t.low, rel=0.1)


@pytest.mark.parametrize("estimate", [clustered_mean, clustered_proportion])
def test_nothing_observed_is_no_estimate(estimate):
    for values in ([], [None, None]):
        found = estimate(values)
        assert (found.value, found.low, found.missing) == (None, None, len(values))
        assert found.why == "nothing was observed"
    assert wilson(0, 0).value is exact(0, 0).value is relative_gain([], []).value is None


def test_what_does_not_vary_has_a_value_and_no_interval():
    for values, label, why in (
        ([2.5], None, "one observation"),
        ([1, 2, 3], ["a"] * 3, "one cluster"),
        ([0.1 + 0.2, 0.3, 0.3], None, "no variance"),
        ([1, -1, 1, -1], ["a", "a", "b", "b"], "no variance between clusters"),
    ):
        found = clustered_mean(values, label)
        assert found.value == pytest.approx(np.mean(values))
        assert found.low is found.high is None
        assert found.why.startswith(why)
        assert bootstrap_means(lambda x: x, [values], label).low is None


def test_a_hole_is_counted_and_never_filled():
    found = clustered_mean([1, None, 3, float("nan"), float("inf")], missing=2)
    assert (found.value, found.n, found.missing) == (2, 2, 5)


def test_a_gain_over_nothing_is_undefined():
    found = relative_gain([0, 0, 0], [1, 2, 3])
    assert (found.value, found.why) == (None, "the statistic is undefined for these values")
    assert "undefined in" in relative_gain([0, 0, 0, 0, 1], [1, 2, 3, 4, 5]).why


def test_what_cannot_be_is_refused():
    with pytest.raises(SettingError, match="5 successes of 4"):
        wilson(5, 4)
    with pytest.raises(SettingError, match="level = 95"):
        clustered_mean([1, 2], level=95)
    with pytest.raises(SettingError, match="side"):
        wilson(1, 2, side="left")
    with pytest.raises(SettingError, match="aligned, found lengths 3, 2"):
        clustered_mean([1, 2, 3], ["a", "b"])
    with pytest.raises(SettingError, match="between 0 and 1"):
        clustered_proportion([0, 2])
    with pytest.raises(SettingError, match="resamples"):
        bootstrap(np.mean, [[1, 2]], resamples=0)
