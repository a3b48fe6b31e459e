"""The items of the capability measure: right where a program can tell, well formed, and never trained on."""

import hashlib
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from helptune.data.conversation import Conversation, Message, load_curated
from helptune.data.decontaminate import hash_set, index_sets, matches
from helptune.data.words import words
from helptune.errors import DataError
from helptune.evaluate.capability.arithmetic import KINDS, arithmetic, in_words
from helptune.evaluate.capability.items import GENRES, TASKS, load_choices, load_passages
from helptune.evaluate.capability.measure import pairs_of

CHOICES, SUMS, PASSAGES = load_choices(), arithmetic(), load_passages()
SPELT = {in_words(number): number for number in range(100)}


def line_of(item):
    """Of a sum: the line itself, without the solved ones."""
    return item.stem.split("\n")[-1]


def test_there_is_enough_to_see_a_loss_of_five_points():
    """371 items show it at a discordance of .15 with 80% power."""
    assert len(CHOICES) + len(SUMS) >= 400
    assert {choice.task for choice in CHOICES} == set(TASKS)
    assert {passage.genre for passage in PASSAGES} == set(GENRES)
    assert {item.task for item in SUMS} == set(KINDS)


def test_the_prose_has_12000_tokens(tokenizer):
    lengths = [len(tokenizer.encode(passage.text)) for passage in PASSAGES]
    assert sum(lengths) >= 12_000
    assert min(lengths) >= 150


def test_no_item_comes_twice():
    ids = [item.id for item in (*CHOICES, *SUMS)]
    assert len(set(ids)) == len(ids)
    assert len({(c.stem, c.right) for c in CHOICES}) == len({c.stem for c in CHOICES}) == len(CHOICES)
    assert len({line_of(item) for item in SUMS}) == len(SUMS)


def test_a_rule_that_never_reads_the_stem_is_hardly_better_than_chance():
    """Chance is a quarter; the right ending must not be told by its length."""
    for best in (min, max):
        right = [len(c.right) == (size := best(map(len, c.endings))) for c in CHOICES]
        shared = [sum(len(ending) == best(map(len, c.endings)) for ending in c.endings) for c in CHOICES]
        assert size
        assert sum(hit / among for hit, among in zip(right, shared, strict=True)) / len(CHOICES) < 0.36


@pytest.mark.parametrize("items", [CHOICES, SUMS], ids=["choices", "sums"])
def test_no_token_reaches_from_the_stem_into_the_ending(items, tokenizer):
    """So the ending's own tokens are those that a model would write after the stem."""
    for item in items:
        endings = item.endings if hasattr(item, "endings") else [f"{item.answer}\n", f"{item.answer}\n\n"]
        for (before, after), ending in zip(pairs_of(item, tokenizer), endings, strict=True):
            assert before[1:] + after == tokenizer.encode(f"{item.stem} {ending}"), item.id


def computed(kind, line):
    """The answer of a line, by other means than the generator's."""
    numbers = [int(found) for found in re.findall(r"\d+", line)]
    match kind:
        case "addition":
            return str(sum(numbers))
        case "subtraction":
            return str(numbers[0] - numbers[1])
        case "multiplication":
            return str(sum([numbers[0]] * numbers[1]))
        case "addition_in_words":
            first, second = (SPELT[word] for word in line.removesuffix(" =").split(" + "))
            return in_words(first + second)
        case "number_words":
            return str(SPELT[line.removesuffix(" =")])
        case "counting":
            spoken = [SPELT[word] for word in line.removesuffix(",").split(", ")]
            return in_words(2 * spoken[-1] - spoken[-2])
        case "comparison":
            return str(max(numbers))
        case "sequence":
            return str(2 * numbers[-1] - numbers[-2])
    raise AssertionError(kind)


def test_every_sum_is_right_and_so_are_the_solved_lines_before_it():
    for item in SUMS:
        *solved, line = item.stem.split("\n")
        assert computed(item.task, line) == item.answer, item
        for example in solved:
            stem, _, answer = example.rpartition(" ")
            assert computed(item.task, stem) == answer, example


def test_no_solved_line_is_an_item():
    lines = {line_of(item) for item in SUMS}
    assert not {line for item in SUMS for line in item.stem.split("\n")[:-1] if line.rpartition(" ")[0] in lines}


def test_numbers_are_spelt_as_in_english():
    assert [in_words(number) for number in (0, 13, 20, 42, 99)] == [
        "zero", "thirteen", "twenty", "forty-two", "ninety-nine",
    ]  # fmt: skip
    assert len(SPELT) == 100


def test_a_seed_always_draws_the_same_sums():
    text = "\n".join(f"{item.id} {item.stem} {item.answer}" for item in SUMS)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "80ca430e82488134"
    assert arithmetic(seed=1) != SUMS


def texts_of(item):
    """What would give an item away: its question, and the sentence with its end."""
    return [item.stem, f"{item.stem} {item.right}"]


def test_no_training_conversation_holds_an_item():
    """Neither what is asked nor what is answered, by the measure that keeps the held-out conversations apart.

    A stem of a few words is no secret: "The capital of Egypt is" counts together with its ending.
    """
    prompts = [text for choice in CHOICES for text in texts_of(choice) if len(words(text)) >= 5]
    prompts += [part for passage in PASSAGES for part in passage.text.split("\n\n") if len(words(part)) >= 5]
    index = index_sets([hash_set(prompts, "capability", "", "Apache-2.0")])
    for conversation in load_curated("train"):
        for message in conversation.messages:
            said = Conversation("one", "", "", (Message("user", message.content),))
            assert matches(said, index) == [], (conversation.id, message.content)


GOOD = {"id": "a", "task": "science", "stem": "Ice is", "right": "cold", "wrong": ["hot", "dry", "red"]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "magic"}, "'magic' is not one of knowledge"),
        ({"wrong": ["hot", "dry"]}, "a list of 3 texts"),
        ({"wrong": ["hot", "dry", "Cold"]}, "two endings are the same"),
        ({"wrong": ["hot", "dry", 3]}, "field 'wrong'"),
        ({"right": " cold"}, "field 'right' must be a text without spaces around it"),
        ({"stem": ""}, "field 'stem'"),
        ({"hint": "x"}, "field 'hint' is unknown"),
    ],
)
def test_a_bad_item_is_named_by_file_line_and_field(change, message, tmp_path):
    for task in TASKS:
        (tmp_path / f"{task}.jsonl").write_text("")
    lines = [json.dumps(GOOD), json.dumps(GOOD | {"id": "b"} | change)]
    (tmp_path / "science.jsonl").write_text("\n".join(lines))
    with pytest.raises(DataError, match=rf"science\.jsonl:2: .*{re.escape(message)}"):
        load_choices(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '"text"', "[" * 100_000], ids=["cut", "list", "string", "deep"])
def test_a_line_that_is_no_record_is_named(text, tmp_path):
    (tmp_path / "passages.jsonl").write_text(f"\n{text}\n")
    with pytest.raises(DataError, match=r"passages\.jsonl:2: "):
        load_passages(tmp_path)


def test_an_id_that_comes_twice_is_named(tmp_path):
    line = json.dumps({"id": "essay-01", "genre": "essay", "text": "Once."})
    (tmp_path / "passages.jsonl").write_text(f"{line}\n{line}\n")
    with pytest.raises(DataError, match="'essay-01' comes twice"):
        load_passages(tmp_path)


def test_the_card_counts_what_is_there(tokenizer):
    card = (Path(__file__).parents[2] / "data_cards" / "capability.md").read_text(encoding="utf-8")
    lines = re.findall(r"\| (choice|sum|prose) \| (\w+) \| (\d+) \|", card)
    stated = {(part, task): int(count) for part, task, count in lines}
    assert stated == Counter(
        [("choice", c.task) for c in CHOICES] + [("sum", e.task) for e in SUMS] + [("prose", p.genre) for p in PASSAGES]
    )
    assert f"{sum(len(tokenizer.encode(p.text)) for p in PASSAGES):,} tokens" in card
