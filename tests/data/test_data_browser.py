"""The browser of a dataset shows what its lists say, and whatever a text contains stays text."""

import json

import pytest

from helptune.data.conversation import load_curated
from helptune.data.mixture.browser import browse
from helptune.data.mixture.build import build
from helptune.data.mixture.recipe import Recipe, Safety, SourceSpec

HOSTILE = "<img src=x onerror=alert(1)>\u202e\x1b[2J"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    with (home / "a.jsonl").open("w") as file:
        for i, c in enumerate(load_curated("train")[:8]):
            fields = {"id": f"a-{i}", "source": f"mine-{i % 2}", "license": "MIT", "category": c.category}
            messages = [{"role": m.role, "content": m.content} for m in c.messages]
            if i == 0:
                fields["source"], messages[0]["content"] = HOSTILE, f"{messages[0]['content']} {HOSTILE}"
            file.write(json.dumps(fields | {"messages": messages}) + "\n")
        file.write('{"id": "<b>", "messages": 3, "license": "MIT"}\n')
    build(Recipe("x", (SourceSpec("messages", path="a.jsonl"),), safety=Safety("none")), home, home / "out", workers=1)
    return home / "out"


def parts(folder):
    """(lists by name, the button, what shows the samples)."""
    lists, more, shown = browse(folder).children
    return {chosen.description: chosen for chosen in lists.children}, more, shown


def test_what_is_shown_changes_with_the_lists(folder):
    lists, _, shown = parts(folder)
    lists["source"].value = "mine-1"
    assert "mine-1" in shown.value
    assert "mine-0" not in shown.value
    lists["source"].value = "mine-0"
    assert "mine-0" in shown.value
    assert "mine-1" not in shown.value


def test_the_button_draws_other_samples(folder):
    _, more, shown = parts(folder)
    seen = {shown.value}
    for _ in range(5):
        more.click()
        seen.add(shown.value)
    assert len(seen) > 1


def test_a_rejected_record_is_shown_with_file_line_and_reason(folder):
    lists, _, shown = parts(folder)
    lists["reason"].value = "malformed"
    assert "a.jsonl:9: " in shown.value


def test_hostile_text_stays_text(folder):
    lists, _, shown = parts(folder)
    lists["source"].value = HOSTILE
    assert "&lt;img" in shown.value
    assert not {"<img", "\u202e", "\x1b"} & {part for part in ("<img", "\u202e", "\x1b") if part in shown.value}


def test_an_empty_choice_says_so(folder):
    lists, _, shown = parts(folder)
    lists["difficulty"].value = "hard"
    lists["reason"].value = "malformed"
    assert "<p>Nothing in this dataset fits." in shown.value


def test_the_samples_are_told_in_words_where_no_kernel_lives(folder):
    browser = browse(folder)
    assert browser.words.startswith("kept: a-")
    browser.lists["reason"].value = "malformed"
    assert browser.words.startswith("malformed: a.jsonl:9: ")
