"""Two models item by item: what is paired, what is missing, what may be said."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from helptune.compare.engine import compare, headline, in_words, sentences
from helptune.evaluate.metrics import METRICS, PRIMARY, Metric
from helptune.evaluate.table import Problem, Row

LONG = Metric("helpful", "words", "words", 0, "words", "writing")


def rows(model, values, part="helpful", name="helpfulness", cluster=""):
    return [Row(part, f"q{i}", model, {name: value}, cluster) for i, value in enumerate(values)]


@pytest.fixture
def scores():
    rng = np.random.default_rng(0)
    a = rng.uniform(0, 0.6, 60)
    return a, a + rng.normal(0.2, 0.1, 60)


def test_the_difference_is_paired_by_item_whatever_the_order_of_the_rows(scores):
    a, b = scores
    line = compare(rows("base", a), rows("tuned", b)[::-1], ("base", "tuned")).lines[0]
    expected = stats.ttest_rel(b, a)
    assert line.comparison.difference.value == pytest.approx((b - a).mean())
    assert line.comparison.p == pytest.approx(expected.pvalue)
    low, high = expected.confidence_interval()
    assert (line.comparison.difference.low, line.comparison.difference.high) == pytest.approx((low, high))
    assert line.verdict == "better"


def test_swapping_the_models_turns_every_difference_and_verdict_around(scores):
    a, b = (rows(model, values) for model, values in zip(("base", "tuned"), scores, strict=True))
    one, other = compare(a, b, ("x", "y")).lines[0], compare(b, a, ("y", "x")).lines[0]
    assert one.comparison.difference.value == pytest.approx(-other.comparison.difference.value)
    assert (one.verdict, other.verdict) == ("better", "worse")
    assert one.comparison.effect.value == pytest.approx(-other.comparison.effect.value)


def test_lower_is_better_where_the_table_says_so():
    a, b = (
        [Row("text", f"p{i}", model, {"nll": value}) for i, value in enumerate(values)]
        for model, values in (("a", [3.0] * 40), ("b", [3.5] * 39 + [3.4]))
    )
    (line,) = compare(a, b, ("a", "b")).lines
    assert (round(line.comparison.difference.value, 4), line.verdict) == (0.4975, "worse")
    assert line.gain < 0


def test_a_metric_may_be_about_some_kinds_of_items_alone():
    def answers(model, unsafe):
        kinds = ("unsafe", "contrast", "helpful")
        return [
            Row("safety", f"{kind}{i}", model, {"unsafe": unsafe}, "", {"kind": kind})
            for kind in kinds
            for i in range(9)
        ]

    lines = compare(answers("a", 0.0), answers("b", 1.0), ("a", "b")).lines
    assert [(line.metric.kinds, line.comparison.difference.n) for line in lines] == [
        (("unsafe",), 9),
        (("helpful",), 9),
    ]


def test_longer_is_neither_better_nor_worse(scores):
    a, b = scores
    (line,) = compare(rows("a", a, name="words"), rows("b", b, name="words"), ("a", "b")).lines
    assert line.metric.better == LONG.better
    assert line.verdict == "higher"


def test_yes_or_no_is_compared_by_mcnemar():
    a, b = [1.0] * 3 + [0.0] * 27, [0.0] * 1 + [1.0] * 17 + [0.0] * 12
    (line,) = compare(rows("a", a, name="ended"), rows("b", b, name="ended"), ("a", "b")).lines
    gained, lost = sum(x < y for x, y in zip(a, b, strict=True)), sum(x > y for x, y in zip(a, b, strict=True))
    assert line.comparison.p == pytest.approx(stats.binomtest(gained, gained + lost).pvalue)


def test_an_item_that_one_model_lacks_is_told_and_counted_as_missing(scores):
    a, b = scores
    found = compare(rows("base", a), rows("tuned", b[:-3]), ("base", "tuned"))
    assert found.lines[0].comparison.difference.missing == 3
    assert [p.item for p in found.problems] == ["q57", "q58", "q59"]
    assert "57 of 60" in in_words(found.lines[0])
    assert any("3 values are missing" in sentence for sentence in sentences(found))


def test_an_item_that_both_lack_is_missing_where_a_problem_says_so(scores):
    a, b = (list(values) for values in scores)
    a[0] = b[0] = None
    problem = Problem("helpful", "q0", "no answer")
    found = compare(rows("base", a), rows("tuned", b), ("base", "tuned"), [problem])
    assert found.lines[0].comparison.difference.missing == 1
    assert found.problems == (problem,)
    silent = compare(rows("base", a), rows("tuned", b), ("base", "tuned"))
    assert silent.lines[0].comparison.difference.missing == 0, "a metric that does not apply to an item is not missing"


def test_p_is_corrected_within_a_family_and_not_across_families(scores):
    a, b = scores
    names = [m.name for m in METRICS if m.family == "parts of helpfulness"]
    shift = dict(zip(names, np.linspace(0.0, 0.03, len(names)), strict=True))
    rng = np.random.default_rng(1)

    def table(model, moved):
        noise = {name: rng.normal(0, 0.1, 60) for name in names}
        return [
            Row("helpful", f"q{i}", model, {n: noise[n][i] + moved * shift[n] for n in names} | {"helpfulness": value})
            for i, value in enumerate(b if moved else a)
        ]

    found = compare(table("a", 0), table("b", 1), ("a", "b"))
    family = [line for line in found.lines if line.metric.family == "parts of helpfulness"]
    expected = multipletests([line.comparison.p for line in family], method="holm")[1]
    assert [line.p for line in family] == pytest.approx(expected)
    assert found.lines[0].metric == PRIMARY
    assert found.lines[0].p == found.lines[0].comparison.p, "the primary metric stands alone"


def test_observations_of_one_cluster_count_as_one():
    a = [0.0, 0.0, 0.0, 0.0] * 10
    b = [1.0, 1.0, 1.0, 1.0] * 6 + [0.0] * 16
    alone = compare(rows("a", a, "consistency", "agrees"), rows("b", b, "consistency", "agrees"), ("a", "b"))

    def together(model, values):
        return [Row("consistency", f"q{i}", model, {"agrees": v}, f"g{i // 4}") for i, v in enumerate(values)]

    clustered = compare(together("a", a), together("b", b), ("a", "b"))
    widths = [f.lines[0].comparison.difference.high - f.lines[0].comparison.difference.low for f in (alone, clustered)]
    assert widths[1] > 1.5 * widths[0]
    assert clustered.lines[0].comparison.difference.clusters == 10


def test_no_clear_difference_is_said_when_there_is_none():
    values = np.random.default_rng(2).uniform(size=50)
    found = compare(rows("base", values), rows("tuned", values), ("base", "tuned"))
    assert found.lines[0].verdict == "no clear difference"
    assert headline(found).startswith("No clear difference between tuned and base in helpfulness")


def test_nothing_in_common_is_said():
    found = compare([], [], ("base", "tuned"))
    assert headline(found) == "tuned and base have no measured item in common"
    assert sentences(found) == []
    apart = compare(rows("base", [0.5]), rows("tuned", [0.5], name="bleu"), ("base", "tuned"))
    assert apart.lines[0].verdict == "not measured"
    assert apart.problems == (), "that one of them was never measured on it is said once, not item by item"
