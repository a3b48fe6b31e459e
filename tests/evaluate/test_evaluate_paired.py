"""Two models on the same items: tests keep their level, intervals cover, and a loss is ruled out or it is not."""

from functools import cache

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.effect_size import _noncentrality_t

from helptune.errors import SettingError
from helptune.evaluate.statistics.effects import noncentrality
from helptune.evaluate.statistics.paired import (
    compare_means,
    compare_proportions,
    noninferior,
    swap_test,
    worst_case,
)
from helptune.evaluate.statistics.score_test import difference_limits, ratio_limits

Z95, Z90 = stats.norm.isf(0.025), stats.norm.isf(0.05)


def pairs(both, lost, gained, neither):
    """Answers of a and b: right in both, in a alone, in b alone, in neither."""
    counts = [both, lost, gained, neither]
    return np.repeat([1, 1, 0, 0], counts), np.repeat([1, 0, 1, 0], counts)


@pytest.mark.parametrize(
    ("both", "gained", "lost", "neither", "z", "published"),
    [
        (43, 0, 1, 0, Z90, (-0.096, 0.037)),  # Tango 1998: soft contact lenses
        (4, 9, 3, 16, Z95, (-0.027, 0.390)),  # Tango 1998: crossover trial
        (53, 16, 8, 9, Z95, (-0.020, 0.207)),  # Agresti & Min 2005
        (1, 1, 7, 12, Z95, (-0.517, -0.026)),  # Fagerland, Lydersen & Laake 2014
    ],
)
def test_the_difference_has_tangos_published_interval(both, gained, lost, neither, z, published):
    found = difference_limits(lost, gained, both + gained + lost + neither, z)
    np.testing.assert_allclose(found, published, atol=0.0005)


@pytest.mark.parametrize(
    ("both", "gained", "lost", "neither", "z", "published"),
    [
        (43, 0, 1, 0, Z90, (0.904, 1.039)),  # Tang, Tang & Chan 2003
        (446, 5, 16, 690, Z90, (0.958, 0.992)),
        (1, 1, 7, 12, Z95, (0.065, 0.907)),  # Fagerland, Lydersen & Laake 2014
    ],
)
def test_the_ratio_has_tangs_published_interval(both, gained, lost, neither, z, published):
    found = ratio_limits(both, lost, gained, both + gained + lost + neither, z)
    np.testing.assert_allclose(found, published, atol=0.0005)


def test_mcnemars_test_is_that_of_statsmodels():
    for lost, gained in ((1, 7), (0, 5), (12, 9), (0, 0), (3, 3)):
        a, b = pairs(20, lost, gained, 30)
        theirs = mcnemar([[20, lost], [gained, 30]], exact=True).pvalue if lost + gained else 1.0
        assert compare_proportions(a, b).p == pytest.approx(theirs)


def test_a_paired_t_test_is_that_of_scipy():
    rng = np.random.default_rng(0)
    a = rng.normal(size=20)
    b = a + 0.3 + rng.normal(size=20)
    found, theirs = compare_means(a, b), stats.ttest_rel(b, a)
    assert found.p == pytest.approx(theirs.pvalue)
    np.testing.assert_allclose((found.difference.low, found.difference.high), theirs.confidence_interval())
    assert found.effect.value == pytest.approx(theirs.statistic / np.sqrt(20))


def test_the_interval_of_d_z_is_that_of_statsmodels_and_stays_where_scipy_ends():
    np.testing.assert_allclose(
        [noncentrality(2, 10, 0.975), noncentrality(2, 10, 0.025)], _noncentrality_t(2, 10, 0.05).confint, atol=1e-4
    )
    for t, df in ((9.5, 9), (0.3, 9), (-60, 300)):
        assert noncentrality(t, df, 0.975) < t < noncentrality(t, df, 0.025)


def test_swapping_whole_clusters_is_every_way_to_swap_them():
    changes = np.array([3, -1, 2, 2, 0, 1])
    signs = np.array(np.meshgrid(*[[-1, 1]] * len(changes))).reshape(len(changes), -1)
    sums = np.abs(changes @ signs)
    assert swap_test(changes) == pytest.approx(np.mean(sums >= abs(changes.sum())))


def test_a_difference_counts_pairs_so_hard_items_cost_neither_model():
    """Unpaired, 4 of 60 more would drown in how much items differ."""
    a, b = pairs(30, 0, 6, 24)
    found = compare_proportions(a, b)
    assert found.difference.value == pytest.approx(0.1)
    assert found.p < 0.05
    assert found.difference.low > 0
    assert found.effect.low > 0
    assert stats.fisher_exact([[30, 30], [36, 24]]).pvalue > 0.3


@cache
def outcomes(n, p_lost, p_gained):
    """Every (lost, gained) of n pairs, and its chance."""
    tables = [(lost, gained) for lost in range(n + 1) for gained in range(n + 1 - lost)]
    counts = [(lost, gained, n - lost - gained) for lost, gained in tables]
    return tables, stats.multinomial.pmf(counts, n, (p_lost, p_gained, 1 - p_lost - p_gained))


@pytest.mark.parametrize(("p_lost", "p_gained"), [(0.1, 0.1), (0.05, 0.3), (0.02, 0.08)])
def test_the_score_interval_covers_by_exact_count(p_lost, p_gained):
    """No simulation: every outcome of 20 pairs, weighted by its chance."""
    tables, chance = outcomes(20, p_lost, p_gained)
    truth = p_gained - p_lost
    limits = np.array([difference_limits(lost, gained, 20, Z95) for lost, gained in tables])
    assert chance @ ((limits[:, 0] <= truth) & (truth <= limits[:, 1])) >= 0.935


def test_mcnemars_test_keeps_its_level_by_exact_count():
    tables, chance = outcomes(40, 0.15, 0.15)
    p = np.array([swap_test(np.repeat([-1, 1], table)) for table in tables])
    assert 0.01 < chance @ (p < 0.05) <= 0.05


def clustered_pairs(rng, clusters, loss=0.0):
    """Scores of two models, whose difference hangs together in clusters of 1 to 6."""
    label = np.repeat(np.arange(clusters), rng.integers(1, 7, clusters))
    a = rng.normal(size=len(label))
    return a, a - loss + 0.7 * rng.normal(size=clusters)[label] + 0.7 * rng.normal(size=len(label)), label


def test_a_clustered_test_keeps_its_level_and_a_naive_one_does_not():
    rng = np.random.default_rng(1)
    found = [clustered_pairs(rng, 25) for _ in range(500)]
    assert 0.02 <= np.mean([compare_means(a, b, label).p < 0.05 for a, b, label in found]) <= 0.08
    assert np.mean([compare_means(a, b).p < 0.05 for a, b, _ in found]) > 0.12


def test_swapped_clusters_keep_their_level_and_mcnemar_of_all_answers_does_not():
    rng = np.random.default_rng(2)
    found = []
    for _ in range(500):
        a, b, label = clustered_pairs(rng, 30)
        found.append((a + b < 0, b < a, label))
    changes = [np.bincount(label, np.where(b, 1, -1)).astype(int) for _, b, label in found]
    singles = [np.where(b, 1, -1) for _, b, _ in found]
    assert np.mean([swap_test(change) < 0.05 for change in changes]) <= 0.08
    assert np.mean([swap_test(change) < 0.05 for change in singles]) > 0.12


def test_the_interval_of_d_z_covers():
    rng = np.random.default_rng(3)
    held = []
    for _ in range(400):
        effect = compare_means(np.zeros(15), rng.normal(0.5, 1, 15)).effect
        held.append(effect.low <= 0.5 <= effect.high)
    assert 0.92 <= np.mean(held) <= 0.98


def test_the_interval_of_cohens_h_covers_where_a_proportion_may_be_all():
    rng = np.random.default_rng(4)
    truth = 2 * np.arcsin(np.sqrt(0.95)) - 2 * np.arcsin(np.sqrt(0.9))
    held = []
    for _ in range(300):
        a, b = pairs(*rng.multinomial(60, (0.87, 0.03, 0.08, 0.02)))
        effect = compare_proportions(a, b).effect
        held.append(effect.low <= truth <= effect.high)
    assert np.mean(held) >= 0.92


@pytest.mark.parametrize("relative", [False, True])
def test_a_model_that_loses_the_margin_is_seldom_called_non_inferior(relative):
    """.5 falls to .4: a loss of 10 points, and of 20%, with the margin right there."""
    probabilities = (0.35, 0.15, 0.05, 0.45)
    rng = np.random.default_rng(5)
    claims = []
    for table in rng.multinomial(100, probabilities, size=600):
        a, b = pairs(*table)
        claims.append(noninferior(a, b, 0.2 if relative else 0.1, relative=relative).verdict == "non-inferior")
    assert 0.01 <= np.mean(claims) <= 0.08


def test_a_clustered_loss_of_the_margin_is_seldom_called_non_inferior():
    rng = np.random.default_rng(6)
    claims = []
    for _ in range(500):
        a, b, label = clustered_pairs(rng, 30, loss=0.5)
        claims.append(noninferior(a, b, 0.5, clusters=label).verdict == "non-inferior")
    assert 0.02 <= np.mean(claims) <= 0.09


def test_fiellers_bound_and_its_p_decide_alike():
    rng = np.random.default_rng(7)
    for _ in range(50):
        a, b, label = clustered_pairs(rng, 20, loss=0.2)
        for relative in (False, True):
            found = noninferior(a + 3, b + 3, 0.1, relative=relative, clusters=label)
            assert (found.loss.high < 0.1) == (found.p < 0.05)


def test_models_that_never_differ_on_20_items_may_still_differ_by_more_than_5_points():
    a, b = pairs(10, 0, 0, 10)
    few = noninferior(a, b, 0.05)
    assert (few.verdict, few.loss.value, few.needed) == ("inconclusive", 0, None)
    assert few.loss.high == pytest.approx(Z90**2 / (20 + Z90**2))
    assert noninferior(*pairs(40, 0, 0, 40), 0.05).verdict == "non-inferior"


def test_the_three_verdicts():
    assert noninferior(*pairs(190, 5, 5, 200), 0.05).verdict == "non-inferior"
    assert noninferior(*pairs(190, 80, 5, 125), 0.05).verdict == "inferior"
    close = noninferior(*pairs(70, 9, 9, 32), 0.05)
    assert (close.verdict, close.why) == ("inconclusive", "the interval holds the margin")
    assert close.needed == 371


def test_a_missing_answer_could_be_what_was_lost():
    a, b = (values.astype(object) for values in pairs(198, 2, 2, 198))
    b[:3] = None
    found = noninferior(a, b, 0.05)
    assert (found.verdict, found.loss.missing) == ("inconclusive", 3)
    assert "3 pairs are missing" in found.why
    filled = noninferior(*worst_case(a, b), 0.05)
    assert (filled.verdict, filled.loss.missing) == ("non-inferior", 0)
    assert filled.loss.value == pytest.approx(3 / 400)
    np.testing.assert_array_equal(worst_case([None, 0.2], [0.5, None]), [[1, 0.2], [0.5, 0]])


def test_nothing_to_compare_says_so_and_is_no_exception():
    for a, b, label in (([], [], None), ([None], [1], None), ([1], [0], None), ([1, 0, 1], [1, 1, 0], ["x"] * 3)):
        for compare in (compare_means, compare_proportions):
            found = compare(a, b, label)
            for one in (found.a, found.b, found.difference, found.effect):
                assert one.low is not None or one.why
                assert not any(np.isnan(x) for x in (one.value, one.low, one.high) if x is not None)
        for relative in (False, True):
            found = noninferior(a, b, 0.05, relative=relative, clusters=label)
            assert found.verdict != "non-inferior"
            assert found.why or found.verdict == "inferior"


def test_differences_that_are_all_the_same_have_no_t_test():
    same = compare_means([0.1, 0.2, 0.7], [0.1, 0.2, 0.7])
    assert (same.p, same.difference.low) == (1, None)
    shifted = compare_means([0.1, 0.2, 0.7], [0.2, 0.3, 0.8])
    assert (shifted.p, shifted.effect.value) == (None, None)
    assert "no variance" in shifted.difference.why


def test_what_cannot_be_is_refused():
    with pytest.raises(SettingError, match="0 or 1"):
        compare_proportions([0.5, 1], [1, 0])
    with pytest.raises(SettingError, match="margin"):
        noninferior([1], [1], 0)
    with pytest.raises(SettingError, match="aligned"):
        compare_means([1, 2], [1])
