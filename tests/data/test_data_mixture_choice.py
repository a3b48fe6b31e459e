"""What a recipe's rules choose: a small build for each rule, and what is held out of it."""

import json
from dataclasses import replace

import pytest
from mixtures import UNJUDGED, messages_file

from helptune.data.conversation import load_curated, read_conversations
from helptune.data.filters import FILTERS
from helptune.data.mixture.build import build
from helptune.data.mixture.recipe import Balance, Recipe, SourceSpec
from helptune.errors import SettingError

RECIPE = Recipe("x", (SourceSpec("messages", path="a.jsonl"),), safety=UNJUDGED)
TEXTS = [(c.messages[0].content, c.messages[1].content) for c in load_curated("train")]


@pytest.fixture
def make(tmp_path):
    """(texts of a.jsonl, changes of the recipe) -> the conversations of (train.jsonl, heldout.jsonl)."""

    def run(texts, fields=(), **changes):
        messages_file(tmp_path / "a.jsonl", texts, **dict(fields))
        build(replace(RECIPE, **changes), tmp_path, tmp_path / "out", workers=1)
        return [list(read_conversations(tmp_path / "out" / f"{name}.jsonl")) for name in ("train", "heldout")]

    return run


@pytest.fixture
def dropped(tmp_path):
    """() -> the reason code of each conversation that the build dropped, by its id."""

    def read():
        lines = map(json.loads, (tmp_path / "out" / "dropped.jsonl").read_text().splitlines())
        return {line["conversation"]["id"]: line["reason"] for line in lines}

    return read


def two_answers_a_prompt(count):
    texts = TEXTS[::9][: 2 * count]
    return [(texts[i][0], texts[k][1]) for i in range(count) for k in (i, i + count)]


def test_no_held_out_prompt_stands_in_the_training_file(make):
    """HelpSteer2 has two responses a prompt; those of one prompt are held out together."""
    train, heldout = make(two_answers_a_prompt(30), heldout=20, skip=tuple(FILTERS))
    assert (len(train), len(heldout)) == (40, 20)
    assert not {c.prompt for c in train} & {c.prompt for c in heldout}
    assert len({c.prompt for c in heldout}) == 10


def test_the_words_of_the_first_question_tell_prompts_apart(make):
    """Not their letters; and what follows the first answer makes no other prompt of it."""
    texts = TEXTS[::9][:20]
    train, heldout = make([*texts, *((q.upper(), TEXTS[1 + 9 * i][1]) for i, (q, _) in enumerate(texts))],
                          heldout=11, skip=tuple(FILTERS))  # fmt: skip
    openings = [{c.messages[0].content.casefold() for c in rows} for rows in (train, heldout)]
    assert (len(train), len(heldout)) == (30, 10)
    assert not openings[0] & openings[1]


def test_holding_out_everything_is_refused_with_both_numbers(make):
    for heldout in (10, 50):
        with pytest.raises(SettingError, match=rf"heldout: {heldout} of the 10 conversations .* leaves none"):
            make(TEXTS[:10], heldout=heldout)


def test_less_than_a_prompt_cannot_be_held_out(make):
    with pytest.raises(SettingError, match="heldout: 1 is less than any prompt has answers, 2 at least"):
        make(two_answers_a_prompt(10), heldout=1, skip=tuple(FILTERS))


def test_a_source_gives_no_more_than_its_cap(make, dropped):
    train, _ = make(TEXTS[:12], source=(replace(RECIPE.source[0], cap=5),))
    assert len(train) == 5
    assert list(dropped().values()) == ["over_source_cap"] * 7


def test_only_the_first_records_of_a_limited_source_are_read(make):
    train, _ = make(TEXTS[:12], source=(replace(RECIPE.source[0], limit=4),))
    assert {c.id for c in train} == {"a-0", "a-1", "a-2", "a-3"}


def test_by_quality_the_best_rated_of_a_cell_get_in(make, tmp_path, dropped):
    rated = [0.5, 0.9, 0.6, 1.0, 0.7, None]
    lines = [
        {"id": f"a-{i}", "source": "s", "license": "MIT", "category": "facts", "difficulty": "easy"}
        | {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]}
        | ({} if rated[i] is None else {"ratings": {"helpfulness": rated[i]}})
        for i, (q, a) in enumerate(TEXTS[:6])
    ]
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    source = (SourceSpec("messages", path="b.jsonl"),)
    train, _ = make([], source=source, balance=Balance(per_cell=2, by="quality"))
    assert {c.id for c in train} == {"a-1", "a-3"}
    assert set(dropped().values()) == {"over_cell_cap"}


SHORT, LONG = ("What is the capital of Norway?", "Oslo."), ("Describe the sea.", "It is " + "very " * 40 + "wide.")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "repetition"),
        ({"skip": ("repetition",)}, ""),
        ({"skip": ("repetition",), "filters": {"too_long": {"max_characters": 100}}}, "too_long"),
    ],
)
def test_filters_are_those_of_the_recipe_with_its_parameters(make, dropped, changes, reason):
    train, _ = make([SHORT, LONG], **changes)
    assert len(train) == (1 if reason else 2)
    assert dropped() == ({"a-1": reason} if reason else {})
