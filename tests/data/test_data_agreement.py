"""Agreement against worked examples in print, against libraries, and against what must be true of any such measure."""

import json
from itertools import combinations

import evalica
import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import fleiss_kappa

from helptune.data.agreement import coefficients
from helptune.data.agreement.coefficients import ANONYMOUS, MEASURES, agreement_of, distances, measure
from helptune.data.agreement.ratings import HELPSTEER2, MISSING, Ratings, read_ratings
from helptune.errors import SettingError

ALL = [(name, level) for name, levels in MEASURES.items() for level in levels]
M = MISSING


def ratings(values, **more):
    values = np.asarray(values, np.int8)
    items, raters = (tuple(map(str, range(size))) for size in values.shape)
    return Ratings("helpfulness", items, raters, values, **more)


def value(values, name, level="nominal", **more):
    return measure(ratings(values, **more), name, level, resamples=20).value


def simulated(items, raters, noise, seed):
    """Ratings 0 to 4 around a truth of each item."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(5, items, p=[0.05, 0.1, 0.2, 0.35, 0.3])
    return np.clip(np.rint(truth[:, None] + rng.normal(0, noise, (items, raters))), 0, 4).astype(int)


# Worked examples

FLEISS_1971 = """
00060 03003 01401 00006 03030 20400 00402 20310 20040 00006 10050 11040 03300 10050 02031
00501 30012 51000 02040 10203 00006 01050 02013 20040 10041 05010 40002 02040 10500 00006
"""
"""Six psychiatrists chose one of five diagnoses for each of 30 patients: how many chose each."""

KRIPPENDORFF_2011 = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, M, M, M],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, M, 3],
    [M, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, M],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, M],
]
"""Four observers (rows), twelve units."""

COHEN_1968 = np.array([[88, 10, 2], [14, 40, 6], [18, 10, 12]])
"""Two psychiatrists sort 200 patients: personality disorder, neurosis, psychosis."""


def test_fleiss_psychiatric_diagnoses():
    patients = [
        [diagnosis for diagnosis, n in enumerate(map(int, row)) for _ in range(n)] for row in FLEISS_1971.split()
    ]
    assert value(patients, "fleiss_kappa") == pytest.approx(0.430, abs=5e-4)


@pytest.mark.parametrize(("level", "printed"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_krippendorff_four_observers_twelve_units(level, printed):
    assert value(np.transpose(KRIPPENDORFF_2011), "krippendorff_alpha", level) == pytest.approx(printed, abs=5e-4)


def test_cohen_kappa_of_two_psychiatrists():
    pairs = [(c, d) for (c, d), n in np.ndenumerate(COHEN_1968) for _ in range(n)]
    assert value(pairs, "cohen_kappa") == pytest.approx(0.492, abs=5e-4)


def test_cohen_weighted_kappa_with_the_weights_of_his_paper():
    weights = np.array([[0, 1, 3], [1, 0, 6], [3, 6, 0]])
    assert agreement_of(COHEN_1968, weights) == pytest.approx(0.348, abs=5e-4)


# Libraries: the value is theirs, and the tables that are drawn anew give the same one.


def from_tables(given, name, level):
    met = coefficients._meetings(given.where(given.per_item >= 2), name, seed=0)
    tables = np.asarray(met.tables().sum(axis=0)).reshape(1, met.pairs, met.scale, met.scale)
    return coefficients._of_tables(tables, name, level)[0]


@pytest.mark.parametrize(("name", "level"), ALL)
def test_the_tables_of_the_bootstrap_give_the_value_of_the_library(name, level):
    values = simulated(60, 4, 0.8, seed=1)
    if name != "fleiss_kappa":
        values[np.random.default_rng(2).random(values.shape) < 0.3] = MISSING
    assert from_tables(ratings(values), name, level) == pytest.approx(measure(ratings(values), name, level).value)


def test_kappa_of_several_raters_is_the_mean_over_their_pairs():
    values = simulated(50, 3, 0.8, seed=3)
    expected = np.mean(
        [cohen_kappa_score(*values[:, pair].T, weights="quadratic") for pair in combinations(range(3), 2)]
    )
    assert value(values, "weighted_kappa", "quadratic") == pytest.approx(expected)


def test_fleiss_kappa_is_that_of_statsmodels_and_alpha_that_of_evalica():
    values = simulated(50, 3, 0.8, seed=4)
    chosen = [[list(row).count(rating) for rating in range(5)] for row in values]
    assert value(values, "fleiss_kappa") == pytest.approx(fleiss_kappa(chosen))
    assert value(values, "krippendorff_alpha", "ordinal") == pytest.approx(
        evalica.alpha(pd.DataFrame(values.T), "ordinal").alpha
    )


def test_a_rating_nobody_gave_still_counts_as_a_step_of_the_scale():
    """sklearn numbers the ratings it sees, and would take 0 and 4 for neighbours of one another."""
    values = np.array([[0, 0], [4, 4], [1, 0], [4, 1]] * 5)
    squares = distances("quadratic", np.zeros((5, 5)))
    table = np.zeros((5, 5))
    np.add.at(table, tuple(values.T), 1)
    assert value(values, "weighted_kappa", "quadratic") == pytest.approx(agreement_of(table, squares))


def test_pairs_of_raters_who_hardly_meet_are_left_out_of_kappa():
    often, hardly = simulated(40, 3, 0.5, seed=5), np.full((40, 1), MISSING)
    hardly[:9, 0] = 4 - often[:9, 0]
    together = np.hstack([often, hardly])
    assert measure(ratings(together), "cohen_kappa", "nominal", resamples=20).pairs_left_out == 3
    assert value(together, "weighted_kappa", "linear") == pytest.approx(value(often, "weighted_kappa", "linear"))
    alone = measure(ratings(together[:, 2:]), "weighted_kappa", "linear")
    assert alone.value is None
    assert alone.undefined.startswith("too few shared: no two raters share 10 items")


# Laws

MATRIX = st.integers(10, 16).flatmap(
    lambda items: st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), min_size=items, max_size=items)
)


@settings(deadline=None, max_examples=25)
@given(values=MATRIX, order=st.permutations(range(3)))
@pytest.mark.parametrize(("name", "level"), ALL)
def test_who_the_raters_are_changes_nothing(name, level, values, order):
    one, other = value(values, name, level), value(np.asarray(values)[:, order], name, level)
    assert one == pytest.approx(other) if one is not None else other is None


@settings(deadline=None, max_examples=25)
@given(column=st.lists(st.integers(0, 4), min_size=10, max_size=20), raters=st.integers(2, 5))
@pytest.mark.parametrize(("name", "level"), ALL)
def test_perfect_agreement_is_1_and_undefined_only_without_variance(name, level, column, raters):
    found = measure(ratings([[rating] * raters for rating in column]), name, level, resamples=50)
    if len(set(column)) == 1:
        assert found.value is found.low is found.high is None
        assert found.undefined.startswith("no variance")
    else:
        assert found.value == 1
        assert (found.low, found.high) in ((1, 1), (None, None))


@settings(deadline=None, max_examples=25)
@given(values=MATRIX, seed=st.integers(0, 3))
@pytest.mark.parametrize(("name", "level"), ALL)
def test_the_interval_contains_the_value(name, level, values, seed):
    found = measure(ratings(values), name, level, resamples=50, seed=seed)
    assume(found.low is not None)
    assert found.low <= found.value <= found.high


@pytest.mark.parametrize(("name", "level"), ALL)
def test_four_times_the_items_halve_the_interval(name, level):
    few = simulated(60, 3, 0.8, seed=6)
    narrow, wide = (measure(ratings(values), name, level) for values in (np.tile(few, (4, 1)), few))
    assert narrow.high - narrow.low == pytest.approx((wide.high - wide.low) / 2, rel=0.2)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    """200 samples of 60 items from a population; 95% of 200, give or take 3.3 standard errors, is 180 to 199."""
    population = simulated(20_000, 3, 0.7, seed=7)
    truth, rng = value(population, "krippendorff_alpha", "ordinal"), np.random.default_rng(8)
    held = 0
    for seed in range(200):
        sample = ratings(population[rng.integers(len(population), size=60)])
        found = measure(sample, "krippendorff_alpha", "ordinal", resamples=200, seed=seed)
        held += found.low <= truth <= found.high
    assert 180 <= held <= 199


def test_the_same_seed_gives_the_same_interval_and_another_one_another():
    given = ratings(simulated(40, 3, 0.8, seed=9))
    one, same, other = (measure(given, "krippendorff_alpha", "ordinal", seed=seed) for seed in (0, 0, 1))
    assert one == same
    assert one.low != other.low
    assert one.interval == "95% percentile bootstrap over items, 1000 draws, seed 0"


def test_many_draws_in_small_pieces_are_the_same_draws(monkeypatch):
    given = ratings(simulated(40, 3, 0.8, seed=10))
    whole = measure(given, "cohen_kappa", "nominal", resamples=50)
    monkeypatch.setattr(coefficients, "_NUMBERS", 300)
    assert measure(given, "cohen_kappa", "nominal", resamples=50) == whole


# What has no value says why

VARIED = [[0, 1], [2, 2], [4, 3]]


@pytest.mark.parametrize(
    ("values", "name", "said"),
    [
        ([[M, M], [M, M]], "krippendorff_alpha", "no ratings"),
        ([[0, M], [2, M], [4, M]], "krippendorff_alpha", "one rater"),
        ([[0, 4]], "krippendorff_alpha", "one item"),
        ([[0, 4], [M, 2]], "krippendorff_alpha", "one item"),
        ([[0, M], [M, 2]], "krippendorff_alpha", "no item"),
        ([[3, 3], [3, 3]], "krippendorff_alpha", "no variance: every rating is 3"),
        ([[0, 1, M], [2, 2, 2]], "fleiss_kappa", "unequal: items have 2 to 3 ratings"),
        ([[3, 3, M]] * 10 + [[M, M, 1], [1, 2, 3]], "cohen_kappa", ""),
        (VARIED, "cohen_kappa", "too few shared"),
    ],
)
def test_an_undefined_measure_names_its_reason(values, name, said):
    found = measure(ratings(values), name, "nominal", resamples=50)
    assert found.undefined.startswith(said)
    assert (found.value is None) == bool(said)


def test_two_constant_raters_who_differ_have_kappa_0_and_two_who_agree_none():
    differ = measure(ratings([[2, 3]] * 12), "cohen_kappa", "nominal", resamples=20)
    assert differ.value == 0
    pairs_agree = [[2, 2, M, M]] * 10 + [[M, M, 3, 3]] * 10
    found = measure(ratings(pairs_agree), "cohen_kappa", "nominal", resamples=20)
    assert found.undefined.startswith("no variance: no two raters")


def test_too_many_draws_without_variance_leave_a_value_without_an_interval():
    found = measure(ratings(VARIED), "krippendorff_alpha", "ordinal")
    assert found.value is not None
    assert found.low is found.high is None or found.low <= found.value
    lonely = measure(ratings([[3, 3], [3, 3], [3, 3], [4, 4]]), "krippendorff_alpha", "ordinal")
    assert (lonely.value, lonely.low) == (1, None)
    assert lonely.undefined.startswith("no interval")


def test_counts_say_what_the_figure_rests_on():
    found = measure(ratings([[0, 1, M], [2, 2, 3], [4, M, M], [M, M, M]]), "krippendorff_alpha", "ordinal")
    assert (found.items, found.raters, found.ratings, found.missing) == (2, 3, 6, 6)
    assert found.ratings_per_item == (0, 1.5, 3)


@pytest.mark.parametrize(("name", "level"), [("kappa", "nominal"), ("cohen_kappa", "ordinal"), ("fleiss_kappa", "")])
def test_a_measure_that_does_not_exist_is_refused_with_those_that_do(name, level):
    with pytest.raises(SettingError, match="weighted_kappa: linear, quadratic"):
        measure(ratings(VARIED), name, level)


# Anonymous raters


def test_anonymous_ratings_have_only_the_measures_that_need_no_names():
    nameless = ratings(simulated(40, 3, 0.6, seed=11), anonymous=True)
    defined = [(name, level) for name, level in ALL if measure(nameless, name, level, resamples=20).value is not None]
    assert defined == list(ANONYMOUS)
    assert measure(nameless, "cohen_kappa", "nominal").undefined.startswith("anonymous raters")


def test_the_order_of_anonymous_ratings_changes_nothing_but_chance(tmp_path):
    """Sorted lists make column 0 a harsh rater; kappa takes that for a habit and forgives it. Random pairs do not."""
    values = np.sort(simulated(3_000, 4, 0.8, seed=12), axis=1)
    path = tmp_path / "disagreements.jsonl"
    records = ({"prompt": "", "response": ""} | dict.fromkeys(HELPSTEER2, row) for row in values.tolist())
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    given = read_ratings(path)["helpfulness"]
    paired = measure(given, "weighted_kappa", "quadratic", resamples=20, seed=1)
    interval = measure(ratings(values), "krippendorff_alpha", "interval", resamples=20)
    assert paired.value == pytest.approx(interval.value, abs=0.02)
    assert measure(ratings(values), "weighted_kappa", "quadratic", resamples=20).value > interval.value + 0.03
