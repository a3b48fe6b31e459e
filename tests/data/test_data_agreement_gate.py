"""The gate: what is dropped, what is told about it, and what a filter cannot buy."""

import json
from io import StringIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from helptune import plots
from helptune.data.agreement.gate import BIAS, Gate, check, filtered, spread_at_most, with_at_least
from helptune.data.agreement.ratings import HELPSTEER2, MISSING, Ratings
from helptune.data.agreement.table import NAMELESS, agreement_table, show
from helptune.errors import SettingError
from helptune.plots.agreement import agreement_before_after

M = MISSING


def ratings(values):
    values = np.asarray(values, np.int8)
    items, raters = (tuple(map(str, range(size))) for size in values.shape)
    return Ratings("helpfulness", items, raters, values)


def simulated(items=100, noise=0.8, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.integers(5, size=(items, 1)) + rng.normal(0, noise, (items, 3))
    return ratings(np.clip(np.rint(values), 0, 4))


@pytest.fixture
def rating_file(tmp_path):
    path = tmp_path / "ratings.jsonl"
    rows = [
        {"item": item, "rater": f"r{rater}", "rating": int(rating), "attribute": attribute}
        for attribute, seed in (("helpfulness", 1), ("correctness", 2))
        for item, row in enumerate(simulated(40, seed=seed).values)
        for rater, rating in enumerate(row)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


MATRIX = st.lists(st.lists(st.integers(-1, 4), min_size=3, max_size=3), min_size=1, max_size=12)


@given(values=MATRIX, most=st.integers(0, 4))
def test_the_spread_of_an_item_is_between_its_own_ratings(values, most):
    rated = [[rating for rating in row if rating >= 0] for row in values]
    expected = [str(i) for i, row in enumerate(rated) if not row or max(row) - min(row) <= most]
    assert list(spread_at_most(ratings(values), most).items) == expected


@given(values=MATRIX, least=st.integers(1, 3), most=st.none() | st.integers(0, 4))
def test_a_filter_drops_items_and_changes_no_rating(values, least, most):
    whole = ratings(values)
    kept = filtered(whole, most, least)
    places = [int(item) for item in kept.items]
    np.testing.assert_array_equal(kept.values, whole.values[places])
    assert all(count >= least for count in kept.per_item)
    assert set(kept.items) <= set(with_at_least(whole, least).items)


def test_dropping_disagreement_raises_the_figure_and_both_are_told_with_retention():
    verdict = check(simulated(), Gate(max_spread=1))
    assert verdict.before.value < 0.75 < verdict.after.value
    assert verdict.passed
    assert 0.5 < verdict.retention < 1
    told = str(verdict)
    for figure in (f"{verdict.before.value:.3f}", f"{verdict.after.value:.3f}", f"({verdict.retention:.0%})", BIAS):
        assert figure in told


def test_filtering_pure_noise_cannot_buy_a_pass():
    """Ratings without any truth behind them reach .7 by selection alone; the share of items kept gives it away."""
    noise = ratings(np.random.default_rng(0).integers(5, size=(400, 3)))
    verdict = check(noise, Gate(max_spread=1))
    assert abs(verdict.before.value) < 0.1
    assert verdict.after.low > 0.7
    assert not verdict.passed
    assert verdict.reasons[0].endswith("of the items stayed, less than 50%")


def test_without_a_filter_nothing_is_said_of_bias():
    verdict = check(simulated(noise=0.3), Gate())
    assert verdict.passed
    assert verdict.before == verdict.after
    assert BIAS not in str(verdict)


def test_the_lower_end_is_harder_to_pass_than_the_point():
    given = simulated(60, noise=0.7)
    between = check(given, Gate()).after
    above = (between.low + between.value) / 2
    assert check(given, Gate(above=above)).passed
    refused = check(given, Gate(above=above, on="lower"))
    assert refused.reasons == (f"the low end of the interval, {between.low:.3f}, is not above {above:g}",)


def test_the_threshold_itself_does_not_pass():
    given = simulated(60, noise=0.7)
    assert not check(given, Gate(above=check(given, Gate()).after.value)).passed


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([[3, 3]] * 30, "undefined (no variance"),
        ([[3, M], [2, M]], "undefined (one rater"),
        ([[M, M], [M, M]], "undefined (no ratings"),
        ([[0, 4]], "undefined (one item"),
        ([[0, 0], [4, 4], [2, 2]], "3 items with two ratings are fewer than 20"),
    ],
)
def test_what_cannot_be_known_does_not_pass_and_says_why(values, said):
    verdict = check(ratings(values), Gate())
    assert not verdict.passed
    assert verdict.reasons[0].startswith(said)
    assert said in str(verdict)


def test_perfect_agreement_over_enough_items_passes():
    verdict = check(ratings([[i % 5] * 3 for i in range(20)]), Gate(on="lower"))
    assert verdict.passed
    assert (verdict.after.value, verdict.after.low, verdict.after.high) == (1, 1, 1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"measure": "alpha"},
        {"level": "quadratic"},
        {"above": 1.0},
        {"above": float("nan")},
        {"on": "upper"},
        {"max_spread": -1},
        {"min_ratings": 0},
        {"min_items": 1},
        {"min_retention": 1.5},
    ],
)
def test_a_gate_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(SettingError):
        Gate(**wrong)


def test_the_table_has_every_measure_before_and_after_and_is_json(rating_file):
    rows = agreement_table(rating_file, "helpfulness", max_spread=1, resamples=50)
    assert json.loads(json.dumps(rows, allow_nan=False))
    assert [row["stage"] for row in rows] == ["all"] * 7 + ["kept"] * 7
    assert rows[0]["retention"] == 1
    assert rows[7]["retention"] == rows[7]["total"] / rows[0]["total"] < 1


def test_a_filter_that_leaves_nothing_says_so(tmp_path):
    path = tmp_path / "r.csv"
    path.write_text("item,rater,rating\n" + "".join(f"{i},x,0\n{i},y,4\n" for i in range(12)))
    kept = agreement_table(path, max_spread=1, resamples=20)[7:]
    assert {row["undefined"] for row in kept} == {"no items: none are left"}
    assert "0%" in shown(kept)


def test_without_filter_or_attribute_the_table_has_all_items_of_all_attributes(rating_file):
    rows = agreement_table(rating_file, resamples=20)
    assert {row["stage"] for row in rows} == {"all"}
    assert [row["attribute"] for row in rows[::7]] == ["helpfulness", "correctness"]


def test_an_attribute_that_is_not_there_is_refused_with_those_that_are(rating_file):
    with pytest.raises(SettingError, match=r"no attribute 'safety'; it has 'helpfulness', 'correctness'"):
        agreement_table(rating_file, "safety")


def shown(rows):
    console = Console(file=StringIO(), width=200)
    show(rows, console)
    return " ".join(console.file.getvalue().split())


def test_what_is_shown_says_how_the_figures_were_made_and_how_they_mislead(rating_file):
    rows = agreement_table(rating_file, "helpfulness", max_spread=1, resamples=50)
    told = shown(rows)
    assert "95% percentile bootstrap over items, 50 draws, seed 0" in told
    assert BIAS in told
    assert f"{rows[5]['value']:.3f}" in told
    assert BIAS not in shown(rows[:7])


def test_anonymous_ratings_say_so(tmp_path):
    path = tmp_path / "disagreements.jsonl"
    record = {"prompt": "p", "response": "r"}
    lists = [[i % 5, i % 4] for i in range(20)]
    path.write_text("".join(json.dumps(record | dict.fromkeys(HELPSTEER2, two)) + "\n" for two in lists))
    rows = agreement_table(path, "helpfulness", resamples=20)
    assert [row["measure"] for row in rows] == ["weighted_kappa", "weighted_kappa", "krippendorff_alpha"]
    assert NAMELESS in shown(rows)


def test_pairs_that_kappa_leaves_out_are_told(tmp_path):
    path = tmp_path / "r.jsonl"
    rows = [{"item": i, "rater": r, "rating": (i + r) % 3} for i in range(12) for r in range(3) if r < 2 or i < 5]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "Kappa leaves out 2 pairs of raters who share fewer than 10 items." in shown(agreement_table(path))


def test_a_hostile_name_is_shown_harmlessly(tmp_path):
    path = tmp_path / "r.jsonl"
    name = "[bold]\x1b[31mred"
    rows = [{"item": i, "rater": r, "rating": (i + r) % 3, "attribute": name} for i in range(12) for r in range(2)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    told = shown(agreement_table(path, resamples=20))
    assert "[bold]" in told
    assert "\x1b" not in told


def test_the_picture_shows_each_figure_the_gate_and_what_was_kept(rating_file):
    rows = agreement_table(rating_file, max_spread=1, resamples=50)
    alpha = [row for row in rows if (row["measure"], row["level"]) == ("krippendorff_alpha", "ordinal")]
    ax = agreement_before_after(plots.blank(), alpha, above=0.7)
    drawn = sorted(x for line in ax.lines if line.get_marker() in ("o", "D") for x in line.get_xdata())
    np.testing.assert_allclose(drawn, sorted(row["value"] for row in alpha))
    words = {text.get_text() for text in ax.texts}
    assert {f"{row['retention']:.0%}" for row in alpha if row["stage"] == "kept"} <= words
    assert any(list(line.get_xdata()) == [0.7, 0.7] for line in ax.lines)


def test_the_picture_says_where_there_is_no_figure(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text("".join(json.dumps({"item": i, "rater": r, "rating": 3}) + "\n" for i in range(3) for r in "xy"))
    row = agreement_table(path, resamples=20)[5]
    ax = agreement_before_after(plots.blank(), [row], above=0.7)
    assert "undefined: no variance" in {text.get_text() for text in ax.texts}
