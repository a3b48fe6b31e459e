"""The pictures of preference show the figures, and what there is no figure for."""

import numpy as np
import pytest
from ballots import drawn
from test_evaluate_strength import games

from helptune import plots
from helptune.evaluate.preference import win_rate
from helptune.evaluate.strength import strengths
from helptune.evaluate.votes import VoteSet
from helptune.text import printable


@pytest.fixture(scope="module")
def found():
    rng = np.random.default_rng(0)
    lengths = {name: {f"item {i}": rng.normal(50, 20) for i in range(60)} for name in "ab"}
    machine = drawn(rng, items=60, kind="machine", both_orders=True, raters=1, first=0.2)
    return [
        win_rate(drawn(rng, items=60), "a", "b", "human", lengths=lengths, resamples=100),
        win_rate(machine, "a", "b", "machine", resamples=100),
        win_rate(VoteSet(()), "a", "c\x1b[2J", "human", resamples=100),
    ]


def points(ax, marker):
    return [(x, y) for line in ax.lines if line.get_marker() == marker for x, y in zip(*line.get_data(), strict=True)]


def test_each_win_rate_stands_beside_the_share_to_exceed_and_its_lower_bound(found):
    ax = plots.win_rates(plots.blank(), found, above=0.75)
    assert [x for x, _ in points(ax, "o")] == [one.win_rate.value for one in found[:2]]
    assert [x for x, _ in points(ax, "|")] == [one.lower for one in found[:2]]
    assert [x for x, _ in points(ax, "D")] == [found[0].length_controlled.value]  # lengths are known of one alone
    assert any(list(line.get_xdata()) == [0.75, 0.75] for line in ax.lines)
    assert [text.get_text() for text in ax.texts] == ["no votes"]
    names = [tick.get_text() for tick in ax.get_yticklabels()]
    assert names[1:] == ["a over b\nmachines, n = 60", "a over b\npeople, n = 180"]
    assert names[0] == f"a over {printable('c\x1b[2J')}\npeople, n = 0"


def test_the_place_has_its_own_picture(found):
    ax = plots.by_place(plots.blank(), found)
    assert [x for x, _ in points(ax, "o")] == [one.when_first.value for one in found[:2]]
    assert [x for x, _ in points(ax, "s")] == [one.when_second.value for one in found[:2]]


def test_models_that_are_not_told_apart_are_joined():
    ranking = strengths(
        games({"a": {"b": 50, "c": 90}, "b": {"a": 48, "c": 90}, "c": {"a": 10, "b": 10}}), list("abc"), "human"
    )
    ax = plots.strength_scale(plots.blank(), ranking)
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["c", "b", "a"]
    assert [x for x, _ in points(ax, "o")] == [one.value.value for one in ranking.strengths]
    joined = [line for line in ax.lines if line.get_label() == "not told apart"]
    assert [list(line.get_ydata()) for line in joined] == [[0.8, 2.2]]


def test_without_strengths_the_picture_says_so():
    ax = plots.strength_scale(plots.blank(), strengths(VoteSet(()), ["a", "b"], "human"))
    assert [text.get_text() for text in ax.texts] == ["strengths are not defined"]


def test_the_same_picture_has_the_same_bytes(found):
    assert plots.to_svg(plots.win_rates(plots.blank(), found)) == plots.to_svg(plots.win_rates(plots.blank(), found))
