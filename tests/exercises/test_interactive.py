"""A picture that follows its sliders, and leaves a picture where no kernel lives."""

import json

import pytest

from helptune import interactive
from helptune.interactive import choice, explore, slider


def draw(ax, rank, kind):
    ax.bar([0], [rank])
    ax.set_title(kind)


def words(rank, kind):
    return f"one bar of {rank}, {kind}"


@pytest.fixture
def explorer():
    return explore(draw, words, rank=slider(1, 64, 16), kind=choice(["plain", "<b>odd</b>"]))


def test_the_picture_follows_its_controls(explorer):
    before = explorer._page.value
    explorer.controls["rank"].value = 4
    assert explorer.words == "one bar of 4, plain"
    assert explorer._page.value != before
    explorer.controls["rank"].value = 16
    assert explorer._page.value == before


def test_the_words_stand_below_the_picture_and_behind_it(explorer):
    assert explorer._page.value.count("one bar of 16, plain") == 2
    assert "role='img' aria-label='one bar of 16, plain'" in explorer._page.value


def test_texts_are_escaped(explorer):
    explorer.controls["kind"].value = "<b>odd</b>"
    assert "<b>" not in explorer._page.value


def test_a_saved_notebook_keeps_the_picture_of_the_moment(explorer, monkeypatch):
    shown = []
    monkeypatch.setattr(interactive, "display", lambda bundle, raw: shown.append(bundle))
    explorer.controls["rank"].value = 7
    explorer._ipython_display_()
    still, live = shown
    assert "helptune-still" in still["text/html"]
    assert "<svg" in still["text/html"]
    assert still["text/plain"] == live["text/plain"] == "one bar of 7, plain"
    assert "application/vnd.jupyter.widget-view+json" in live
    json.dumps(shown)


def test_a_control_is_called_by_its_argument(explorer):
    assert [control.description for control in explorer.children[:-1]] == ["rank", "kind"]
    named = explore(draw, words, rank=slider(1, 4, 2, name="rank R"), kind=choice(["plain"]))
    assert named.controls["rank"].description == "rank R"


def test_a_slider_of_whole_numbers_gives_whole_numbers():
    assert type(slider(1, 64, 16).value) is int
    assert type(slider(0.5, 64, 16, step=0.5).value) is float
