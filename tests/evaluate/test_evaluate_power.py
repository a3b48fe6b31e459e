"""The numbers a claim takes are known before the voting, and a family of tests shares one chance of a false alarm."""

import io

import numpy as np
import pytest
from rich.console import Console
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from helptune.errors import SettingError
from helptune.evaluate.statistics.families import holm
from helptune.evaluate.statistics.planner import plan, show
from helptune.evaluate.statistics.power import (
    margin_shown,
    pairs_for_difference,
    pairs_for_noninferiority,
    power_above,
    trials_above,
)


@pytest.mark.parametrize(("true", "votes"), [(0.8, 463), (0.85, 117), (0.9, 50)])
def test_votes_for_a_win_rate_above_75_percent(true, votes):
    assert trials_above(0.75, true) == votes


def test_items_for_non_inferiority_by_5_points_and_by_5_percent_of_35():
    assert pairs_for_noninferiority(0.05, 0.15) == 371
    assert pairs_for_noninferiority(0.05 * 0.35, 0.15) == 3029


@pytest.mark.parametrize(("bound", "true"), [(0.75, 0.8), (0.9, 0.95), (0.5, 0.6), (0.9, 1.0)])
def test_from_the_number_on_power_stays_and_one_fewer_falls_short(bound, true):
    n = trials_above(bound, true)
    assert power_above(n - 1, bound, true) < 0.8
    assert (power_above(np.arange(n, 3 * n), bound, true) >= 0.8).all()


def test_the_power_of_the_exact_bound_is_that_of_the_binomial_test():
    n, counts = 50, np.arange(51)
    claims = np.array([stats.binomtest(k, n, 0.75, alternative="greater").pvalue <= 0.05 for k in counts])
    assert power_above(n, 0.75, 0.9) == pytest.approx(stats.binom.pmf(counts, n, 0.9) @ claims)


def test_no_number_shows_what_is_not_so():
    assert trials_above(0.75, 0.75) is None
    assert pairs_for_noninferiority(0.05, 0.15, loss=0.05) is None
    assert pairs_for_difference(0, 1) is None


def test_pairs_for_a_mean_difference_are_those_of_statsmodels():
    n = pairs_for_difference(0.2, 1)
    assert TTestPower().power(0.2, n, 0.05) >= 0.8 > TTestPower().power(0.2, n - 1, 0.05)
    assert pairs_for_difference(-0.4, 2) == n
    assert pairs_for_difference(100, 1) == 2


def test_the_margin_that_can_be_shown_is_the_one_that_takes_so_many():
    assert pairs_for_noninferiority(margin_shown(371, 0.15), 0.15) == 371
    assert margin_shown(371, 0.15) < 0.05


def test_the_plan_is_one_table_with_what_is_assumed():
    needs = plan(items=216)
    numbers = {need.assumed: need.needed for need in needs}
    assert numbers["80% prefer it"] == 463
    assert needs[-1].claim == "loses less than 6.6 points"
    screen = io.StringIO()
    show([*needs, *plan(win_rates=[0.7])], Console(file=screen, width=200))
    assert "3,029" in screen.getvalue()
    assert "no number" in screen.getvalue()


def test_a_design_effect_multiplies_votes_and_not_groups_which_are_the_clusters():
    once = {(need.claim, need.assumed): need for need in plan()}
    for need in plan(design_effect=2):
        factor = 1 if need.unit == "groups of paraphrases" else 2
        assert need.needed == factor * once[need.claim, need.assumed].needed


def test_settings_that_cannot_be_are_refused():
    for wrong in ({"alpha": 0}, {"power": 1}, {"design_effect": 0.5}, {"score": 0}, {"margin": 0}, {"preferred": 75}):
        with pytest.raises(SettingError):
            plan(**wrong)


def test_holm_is_the_example_worked_by_hand():
    """.01 x 4, .02 x 3, .03 x 2, and .04 is lifted to the one before it."""
    found = holm({"c": 0.03, "a": 0.01, "d": 0.04, "b": 0.02})
    assert found == pytest.approx({"c": 0.06, "a": 0.04, "d": 0.06, "b": 0.06})
    assert list(found) == ["c", "a", "d", "b"]


def test_holm_is_that_of_statsmodels():
    rng = np.random.default_rng(1)
    for size in (1, 2, 7, 12):
        p = rng.random(size) ** 3
        p[-1] = p[0]
        theirs = multipletests(p, method="holm")[1]
        np.testing.assert_allclose(list(holm({str(i): one for i, one in enumerate(p)}).values()), theirs)


def test_a_test_that_could_not_be_made_is_not_counted():
    assert holm({"a": 0.03, "b": None}) == {"a": pytest.approx(0.03), "b": None}
    assert holm({}) == {}
    assert holm({"a": None}) == {"a": None}
    with pytest.raises(SettingError, match="p of 'a'"):
        holm({"a": float("nan")})


def test_holm_keeps_one_chance_of_a_false_alarm_for_the_family():
    rng = np.random.default_rng(0)
    families = rng.random((600, 8))
    alarms = [min(holm(dict(enumerate(family))).values()) < 0.05 for family in families]
    assert np.mean(alarms) <= 0.08
    assert np.mean(families.min(axis=1) < 0.05) > 0.25
