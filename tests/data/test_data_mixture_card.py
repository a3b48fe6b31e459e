"""The card of a dataset says what was counted and what was asked for, and no more."""

import json
from dataclasses import replace

import pytest
import yaml

from helptune.data.conversation import load_curated
from helptune.data.mixture.build import build
from helptune.data.mixture.recipe import Decontamination, Recipe, Safety, SourceSpec

RECIPE = Recipe("x", (SourceSpec("messages", path="a.jsonl"),), safety=Safety("none"), skip=("language",))


@pytest.fixture
def card(tmp_path):
    """(the messages of each conversation, what else their records say, changes of the recipe) -> (header, text)."""

    def run(conversations, meta=None, **changes):
        lines = [
            {"id": f"a-{i}", "source": "mine", "license": "MIT", "meta": meta or {}}
            | {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]}
            for i, (asked, answered) in enumerate(conversations)
        ]
        (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        build(replace(RECIPE, **changes), tmp_path, tmp_path / "out", workers=1)
        _, header, text = (tmp_path / "out" / "README.md").read_text().split("---\n", 2)
        return yaml.safe_load(header), text

    return run


GERMAN = [
    ("Warum ist der Himmel blau?", "Die Luft streut blaues Licht stärker als rotes."),
    ("Wie kocht man Reis?", "Einen Teil Reis in zwei Teilen Wasser, bei kleiner Hitze, bis das Wasser weg ist."),
]
ENGLISH = [(c.messages[0].content, c.messages[1].content) for c in load_curated("train")[:3]]


def test_a_language_that_no_record_states_is_not_guessed(card):
    header, text = card(GERMAN)
    assert "language" not in header
    assert "| not stated | 2 |" in text


def test_a_language_that_is_stated_stands_in_the_header(card):
    header, text = card(GERMAN, {"lang": "de"})
    assert header["language"] == ["de"]
    assert "| de | 2 |" in text


def test_the_curated_conversations_are_english_without_saying_so(card):
    header, text = card(GERMAN, source=(*RECIPE.source, SourceSpec("curated", limit=4)))
    assert header["language"] == ["en"]
    assert "| not stated | 2 |" in text
    assert "| en | 4 |" in text


def test_evaluation_sets_are_named_where_some_were_asked_for(card):
    assert "**Evaluation prompts**: none of curated-heldout is among the prompts; a match would" in card(ENGLISH)[1]


def test_no_evaluation_set_is_no_gate(card):
    _, text = card(ENGLISH, decontamination=Decontamination(()))
    assert "**Evaluation prompts**: no set was asked for." in text
