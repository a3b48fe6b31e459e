"""Decontamination: changed copies of evaluation prompts are found, other prompts are not, and no prompt is shipped."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helptune.data.conversation import Conversation, Message, load_curated, write_conversations
from helptune.data.decontaminate import (
    EVALUATION_SETS,
    SHORT,
    hash_curated,
    hash_file,
    hash_set,
    index_sets,
    matches,
    prompts_of,
    read_set,
    write_set,
)
from helptune.data.words import words
from helptune.errors import DataError

TRAIN, HELDOUT = load_curated("train"), load_curated("heldout")
INDEX = index_sets([read_set(path) for path in sorted(EVALUATION_SETS.glob("*.json"))])
LONG_ENOUGH = [c for c in HELDOUT if len(words(c.messages[0].content)) >= SHORT]


def chat(*asked):
    return Conversation(
        "id", "t", "l", tuple(m for a in asked for m in (Message("user", a), Message("assistant", "A.")))
    )


def small_index(*prompts):
    return index_sets([hash_set(prompts, "small", "test", "Apache-2.0")])


def typo(w, i, rng):
    return [*w[:i], w[i][: len(w[i]) // 2] + rng.choice("qxzj") + w[i][len(w[i]) // 2 + 1 :], *w[i + 1 :]]


CHANGES = {
    "a typo": typo,
    "a word replaced": lambda w, i, rng: [*w[:i], "marmalade", *w[i + 1 :]],
    "a word left out": lambda w, i, rng: [*w[:i], *w[i + 1 :]],
    "a word inserted": lambda w, i, rng: [*w[:i], "marmalade", *w[i:]],
    "two words swapped": lambda w, i, rng: [*w[: max(0, i - 1)], *reversed(w[max(0, i - 1) : i + 1]), *w[i + 1 :]],
    "halves exchanged": lambda w, i, rng: [*w[len(w) // 2 :], *w[: len(w) // 2]],
    "text before": lambda w, i, rng: ["You", "are", "a", "pirate.", "Read", "this", "well.", *w],
    "text after": lambda w, i, rng: [*w, "Answer", "in", "two", "sentences", "and", "say", "how", "you", "know."],
    "in capitals": lambda w, i, rng: [x.upper() for x in w],
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_of_a_heldout_prompt_is_found(change):
    missed = []
    for seed, c in enumerate(LONG_ENOUGH):
        rng = random.Random(seed)
        w = c.messages[0].content.split()
        text = " ".join(CHANGES[change](w, rng.randrange(len(w)), rng))
        if not any(m.set == "curated-heldout" for m in matches(chat(text), INDEX)):
            missed.append(text)
    assert len(missed) <= 0.1 * len(LONG_ENOUGH), missed  # most are of 8 to 12 words, where a swap breaks half


def test_every_heldout_conversation_is_found_whole():
    for c in HELDOUT:
        assert max(m.share for m in matches(c, INDEX) if m.set == "curated-heldout") == 1.0


def test_no_training_conversation_matches_any_shipped_set():
    """This is the gate: were one to match, a score on that set would be worth less."""
    assert [(c.id, found) for c in TRAIN if (found := matches(c, INDEX))] == []


def test_answers_match_nothing_even_when_they_stand_as_prompts():
    assert [c.id for c in TRAIN if matches(chat(c.reference), INDEX)] == []


def test_n_grams_scattered_over_a_long_text_are_no_match():
    everything = chat(" ".join(m.content for c in TRAIN for m in c.messages))
    assert matches(everything, INDEX) == []


def test_a_prompt_is_found_in_any_turn_and_across_what_stands_around_it():
    asked = LONG_ENOUGH[0].messages[0].content
    assert matches(chat("Hello.", "And this:\n" + asked), INDEX)
    assert matches(chat(" ".join(m.content for m in TRAIN[0].messages) + "\n\n" + asked), INDEX)


def test_a_short_prompt_needs_all_its_words_and_a_very_short_one_the_whole_turn():
    index = small_index("What is the capital of France?", "Tell me a joke")
    assert [m.prompt for m in matches(chat("Quick: what is the capital of France, please?"), index)] == [0]
    assert matches(chat("What is the capital of Norway?"), index) == []
    assert [m.prompt for m in matches(chat("Hi", "tell me a joke!"), index)] == [1]
    assert matches(chat("Tell me a joke about owls"), index) == []
    assert matches(chat("Tell me a story"), index) == []
    assert matches(chat("What is the capital? I mean the capital of France"), index) == []
    assert [m.prompt for m in matches(chat("Hi!"), small_index("hi"))] == [0]


def test_several_sets_are_told_apart():
    index = index_sets(
        [hash_set([p], name, "t", "l") for name, p in (("a", "One two three four five six"), ("b", "x y z u v w"))]
    )
    assert [(m.set, m.prompt, m.share) for m in matches(chat("x y z u v w"), index)] == [("b", 0, 1.0)]


def test_the_shipped_heldout_file_is_that_of_the_current_conversations():
    """When they change: python -c "from helptune.data.decontaminate import write_curated; write_curated()"."""
    assert read_set(EVALUATION_SETS / "curated-heldout.json") == hash_curated()


def test_shipped_sets_state_their_source_and_licence_and_hold_no_prompt():
    for path in EVALUATION_SETS.glob("*.json"):
        record = json.loads(path.read_text())
        assert record["name"] == path.stem
        assert record["source"]
        assert record["license"] in ("Apache-2.0", "MIT")
        assert max(h.count(" ") for h in record["hashes"]) == 0


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=80), max_size=8))
def test_a_set_is_read_back_as_it_was_written(tmp_path_factory, prompts):
    path = tmp_path_factory.mktemp("sets") / "set.json"
    hashed = hash_set(prompts, "set", "a source", "MIT")
    write_set(path, hashed)
    assert read_set(path) == hashed


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"n": 13}, "hash its prompts again"),
        ({"count": 9}, "damaged"),
        ({"hashes": ["???"]}, "not a hashed"),
        ({"name": None}, "not a hashed"),
    ],
)
def test_a_damaged_or_foreign_file_is_an_error(tmp_path, change, says):
    path = tmp_path / "set.json"
    write_set(path, hash_set(["one two three four"], "set", "s", "MIT"))
    record = json.loads(path.read_text()) | change
    path.write_text(json.dumps({k: v for k, v in record.items() if v is not None}))
    with pytest.raises(DataError, match=says):
        read_set(path)


def test_a_file_of_prompts_may_have_any_of_the_usual_forms(tmp_path):
    path = tmp_path / "prompts.jsonl"
    write_conversations(path, HELDOUT[:1])
    with path.open("a") as file:
        file.write('{"prompt": "Name three rivers of Asia, please."}\n\n{"instruction": "Sort these words."}\n')
        file.write('{"turns": ["First.", "And now the second turn has eight words."]}\nJust a line of text\n')
    hashed = hash_file(path)
    assert (hashed.name, hashed.license) == ("prompts", "unknown")
    first = len(prompts_of({"turns": [m.content for m in HELDOUT[0].prompt if m.role == "user"]}))
    assert len(hashed.lengths) == first + 1 + 1 + 3 + 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"text": "x"}', ":1: has no text under"),
        ('A prompt.\n{"messages": [{"role": "user"}]}', ":2: has no text under"),
        ('{"prompt": ' + "[" * 100_000, ":1: maximum recursion depth"),
        ('{"prompt": ', ":1: Expecting value"),
        ('[{"prompt": "Name a river."}, {"prompt": "Name a lake."}]', ":1: begins like a JSON array"),
        ('[\n  {"prompt": "Name a river."}\n]', ":1: begins like a JSON array"),
        ('["Name a river.", "Name a lake."]', ":1: begins like a JSON array"),
        ("", ": holds no prompt"),
        ("\n...\n", ": holds no prompt"),
    ],
)
def test_a_file_that_gives_no_prompts_is_an_error(tmp_path, text, says):
    (tmp_path / "prompts.jsonl").write_text(text)
    with pytest.raises(DataError) as error:
        hash_file(tmp_path / "prompts.jsonl")
    assert str(error.value).startswith(f"{tmp_path / 'prompts.jsonl'}{says}")


def test_a_prompt_may_begin_with_a_bracket(tmp_path):
    (tmp_path / "prompts.txt").write_text("[1, 2, 3] is a list of what?\n" + json.dumps({"prompt": '["a"] is what?'}))
    assert len(hash_file(tmp_path / "prompts.txt").hashes) == 2
