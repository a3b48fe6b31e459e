"""Several models in an order: who scores higher item by item, by how much on average, and whom an item cannot rank."""

import numpy as np
import pytest

from helptune.compare.ranking import rank
from helptune.evaluate.judging.composite import BAND
from helptune.evaluate.table import Problem, Row


def rows(model, values):
    return [Row("helpful", f"q{i}", model, {"helpfulness": value}, f"q{i}") for i, value in enumerate(values)]


@pytest.fixture
def scores():
    rng = np.random.default_rng(0)
    return {name: shift + rng.normal(0.4, 0.15, 80) for name, shift in (("a", 0.0), ("b", 0.15), ("c", 0.3))}


def ranked(scores, problems=()):
    return rank({name: rows(name, values) for name, values in scores.items()}, problems)


def order(found):
    return [one.model for one in found.ranking.strengths]


def test_the_order_is_that_of_who_scores_higher_more_often(scores):
    found = ranked(scores)
    assert order(found) == ["c", "b", "a"]
    assert str(found.ranking) == "c > b > a"
    assert [*found.means] == ["c", "b", "a"]
    for name, values in scores.items():
        assert found.means[name].value == pytest.approx(values.mean())


def test_the_order_in_which_models_are_named_changes_nothing(scores):
    forth, back = ranked(scores), ranked(dict(reversed(scores.items())))
    assert order(forth) == order(back)
    for one, other in zip(forth.ranking.strengths, back.ranking.strengths, strict=True):
        assert one.value.value == pytest.approx(other.value.value, abs=1e-6)


def test_a_few_great_wins_make_the_mean_and_not_the_strength():
    """The mean asks how good, the strength how often better."""
    often = np.full(60, 0.5)
    rarely = np.where(np.arange(60) < 15, 1.0, 0.4)
    third = np.where(np.arange(60) % 2, 0.3, 0.6)
    found = ranked({"often": often, "rarely": rarely, "third": third})
    assert found.means["rarely"].value > found.means["often"].value
    assert order(found).index("often") < order(found).index("rarely")


def test_scores_that_hardly_differ_tie():
    """Ties alone tell nobody apart."""
    found = ranked({"a": np.full(30, 0.5), "b": np.full(30, 0.5 + 0.9 * BAND), "c": np.full(30, 0.5 - 0.0)})
    assert [one.value.value for one in found.ranking.strengths] == pytest.approx([0, 0, 0], abs=1e-6)
    assert str(found.ranking).count("=") == 2
    assert [(one.best, one.worst) for one in found.ranking.strengths] == [(1, 3)] * 3


def test_an_item_that_one_model_lacks_is_a_problem_and_ranks_nobody(scores):
    lacking = {name: list(values) for name, values in scores.items()}
    lacking["b"][3] = None
    found = rank({name: rows(name, own)[: 79 if name == "a" else 80] for name, own in lacking.items()})
    assert [(p.item, p.what) for p in found.problems] == [("q3", "b has no score"), ("q79", "a has no score")]
    assert {(one.n, one.missing) for one in found.means.values()} == {(78, 2)}


def test_problems_of_the_runs_are_kept(scores):
    problem = Problem("safety", "s1", "no answer", "tuned")
    assert ranked(scores, [problem]).problems == (problem,)


def test_nothing_in_common_ranks_nobody():
    found = rank({"a": rows("a", [0.1]), "b": [], "c": []})
    assert found.ranking.why == "no votes"
    assert all(one.value.value is None for one in found.ranking.strengths)
    assert all(mean.value is None for mean in found.means.values())
