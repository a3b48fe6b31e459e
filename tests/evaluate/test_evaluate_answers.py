"""Answers to held-out prompts: made once, kept on disk, the same however often the work was interrupted."""

import json
from dataclasses import asdict, replace

import pytest

from helptune.data.conversation import Conversation, Message
from helptune.errors import ContextError
from helptune.evaluate import generations as station
from helptune.evaluate.answers import (
    Answer,
    chat_prompt,
    check_prompts,
    read_answers,
    solved_examples,
    transcript_prompt,
    write_answers,
)
from helptune.evaluate.generations import Answering, Rule, Speaker, answer_sets
from helptune.gemma import generate as generate_module
from helptune.gemma.chat import render
from helptune.gemma.generate import generate
from helptune.gemma.sampling import Sampling
from helptune.gemma.tokenizer import BOS

NEW = 6


def conversation(name, *texts, system=None):
    """User and assistant in turns."""
    roles = ("user", "assistant") * len(texts)
    turns = [Message(role, text) for role, text in zip(roles, texts, strict=False)]
    first = [Message("system", system)] if system else []
    return Conversation(name, "test", "Apache-2.0", tuple(first + turns))


TWO_TURNS = conversation("two", "A fruit?", "Plum.", "A colour that rhymes with nothing?", "Orange.")
SYSTEM = conversation("rules", "Hello", "Hi.", system="Be brief.")
EXAMPLES = [conversation("e1", "Is ice cold?", "Yes.\nAlways."), conversation("e2", "Name a bird.", "Wren.")]
QUESTIONS = [
    conversation("long", "Why is the sky blue? " * 4, "Air."),
    TWO_TURNS,
    SYSTEM,
    conversation("short", "?", "!"),
]


def answer_all(base, tokenizer, conversations, path, *, examples=(), **rule):
    """The answers of one speaker."""
    model, speaker = Answering(base, tokenizer, "weights", "float32"), Speaker(path.stem, examples=tuple(examples))
    return answer_sets(model, conversations, [speaker], Rule(**rule), path.parent)[path.stem]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "eval" / "base.jsonl"


@pytest.fixture(scope="module")
def expected(word_base, tokenizer, tmp_path_factory):
    """The answers of an evaluation that was never interrupted."""
    path = tmp_path_factory.mktemp("whole") / "base.jsonl"
    return answer_all(word_base, tokenizer, QUESTIONS, path, max_new_tokens=NEW)


@pytest.fixture
def asked(monkeypatch):
    """Numbers of prompts that were given to the model, batch by batch."""
    batches = []
    real = generate_module.stream

    def watched(base, prompts, *how):
        batches.append(len(prompts))
        return real(base, prompts, *how)

    monkeypatch.setattr(generate_module, "stream", watched)
    return batches


def scripted(monkeypatch, tokenizer, *rows):
    """A model that says these texts; an integer in a row is a stop. Returns the list of steps it was asked for."""
    said = [[t for part in row for t in ([part] if isinstance(part, int) else tokenizer.encode(part))] for row in rows]
    stops = {part for row in rows for part in row if isinstance(part, int)}
    taken = []

    def stream(base, prompts, sampling, adapter, numbers, over):
        stopped = set()
        for step in range(max(map(len, said))):
            if len(stopped | over) == len(said):
                return
            taken.append(step)
            now = [None if r in stopped | over or step >= len(row) else row[step] for r, row in enumerate(said)]
            stopped |= {r for r, token in enumerate(now) if token in stops}
            yield now

    monkeypatch.setattr(generate_module, "stream", stream)
    return taken


def test_a_prompt_that_leaves_no_room_for_its_answer_is_named(tokenizer, word_base):
    """Before anything is computed."""
    room = word_base.config.context - max(len(chat_prompt(c, word_base.config, tokenizer)) for c in QUESTIONS)
    check_prompts(QUESTIONS, tokenizer, word_base.config, room)
    with pytest.raises(ContextError, match=r"'long': its prompt of \d+ tokens .* lower --max-new-tokens"):
        check_prompts(QUESTIONS, tokenizer, word_base.config, room + 1)


def test_solved_examples_are_the_first_four_that_fit(tokenizer, word_base):
    huge = conversation("huge", "word " * word_base.config.context, "x")
    short = [conversation(f"s{i}", f"{i}?", "yes") for i in range(6)]
    chosen = solved_examples([short[0], huge, *short[1:]], QUESTIONS, tokenizer, word_base.config, NEW)
    assert [c.id for c in chosen] == ["s0", "s1", "s2", "s3"]
    for question in QUESTIONS:
        assert len(transcript_prompt(question, chosen, tokenizer)) + NEW <= word_base.config.context
    with pytest.raises(ContextError, match="no training conversation fits the context of"):
        solved_examples([huge], QUESTIONS, tokenizer, word_base.config, NEW)


def test_answers_follow_the_order_of_the_conversations(expected):
    """They are made shortest prompt first, to share batches of like length."""
    assert [a.id for a in expected] == [c.id for c in QUESTIONS]


def test_an_answer_is_the_greedy_completion_of_the_chat_prompt(expected, word_base, tokenizer):
    prompts = [render(c.prompt, tokenizer, word_base.config, reply=True)[0] for c in QUESTIONS]
    for answer, prompt in zip(expected, prompts, strict=True):
        (alone,) = generate(word_base, [prompt], Sampling(max_new_tokens=NEW))
        assert answer.text == tokenizer.decode(alone.tokens).strip()
        assert (answer.ended, answer.tokens) == (alone.ended, len(alone.tokens))


@pytest.mark.parametrize("rows", [1, 3])
def test_the_size_of_a_batch_changes_no_answer(rows, expected, path, word_base, tokenizer, monkeypatch):
    monkeypatch.setattr(station, "_ROWS", rows)
    assert answer_all(word_base, tokenizer, QUESTIONS, path, max_new_tokens=NEW) == expected


def test_what_is_in_the_file_is_what_was_returned(expected, path, word_base, tokenizer, asked):
    first = answer_all(word_base, tokenizer, QUESTIONS, path, max_new_tokens=NEW)
    assert sorted(read_answers(path), key=lambda a: a.id) == sorted(expected, key=lambda a: a.id)
    assert answer_all(word_base, tokenizer, QUESTIONS, path, max_new_tokens=NEW) == first
    assert asked == [len(QUESTIONS)]


def test_finished_answers_stay_and_the_others_are_made_in_the_batch_they_are_of(
    path, expected, word_base, tokenizer, asked
):
    """So an evaluation that was interrupted ends on the same bits: in bfloat16 they hang on the shape of a batch."""
    path.parent.mkdir()
    kept = replace(expected[1], text="kept from before")
    path.write_text(json.dumps(asdict(kept)) + "\n")
    answers = answer_all(word_base, tokenizer, QUESTIONS, path, max_new_tokens=NEW)
    assert answers == [kept if a.id == "two" else a for a in expected]
    assert asked == [len(QUESTIONS)]


@pytest.mark.parametrize("cut", [1, 20], ids=["at the end", "in the middle"])
def test_a_line_cut_short_is_made_again_and_spoils_no_other(cut, path, expected, word_base, tokenizer, asked):
    """A killed process leaves half a line. The next one must not continue that line, or it would lose its own first."""
    path.parent.mkdir()
    lines = [json.dumps(asdict(replace(a, text="ünïcode 🙂")), ensure_ascii=False) + "\n" for a in expected[:2]]
    path.write_bytes("".join(lines).encode()[: -cut - 1])
    with pytest.warns(UserWarning, match=r"base\.jsonl: damaged line 2; what is missing is answered again"):
        answers = answer_all(word_base, tokenizer, QUESTIONS, path, max_new_tokens=NEW)
    assert answers == [replace(expected[0], text="ünïcode 🙂"), *expected[1:]]
    assert asked == [len(QUESTIONS)]
    assert {a.id: a for a in read_answers(path)} == {a.id: a for a in answers}


def test_a_line_cut_within_a_character_is_ignored(path):
    """UTF-8 writes a smile in four bytes."""
    path.parent.mkdir()
    path.write_bytes(b'{"id": "a", "text": "ok", "ended": true, "tokens": 1}\n{"id": "b", "text": "\xf0\x9f')
    assert read_answers(path) == [Answer("a", "ok", True, 1)]


def test_an_answer_may_hold_any_character(path):
    """Some line separators of Unicode are no line ends of JSON lines."""
    odd = [Answer("a", "one\u2028two\u0085three\nfour\tfive 🙂", True, 9), Answer("b", "", False, 0)]
    write_answers(path, odd)
    assert read_answers(path) == odd


def test_no_file_means_no_answers_yet(path):
    assert read_answers(path) == []


def test_the_few_shot_transcript_is_exactly_this(tokenizer):
    ids = transcript_prompt(TWO_TURNS, EXAMPLES, tokenizer)
    assert ids[0] == BOS
    assert tokenizer.decode(ids[1:]) == (
        "User: Is ice cold?\nAssistant: Yes.\nAlways.\n\n"
        "User: Name a bird.\nAssistant: Wren.\n\n"
        "User: A fruit?\nAssistant: Plum.\nUser: A colour that rhymes with nothing?\nAssistant:"
    )


def test_a_system_message_has_its_own_line_in_the_transcript(tokenizer):
    assert (
        tokenizer.decode(transcript_prompt(SYSTEM, [], tokenizer)[1:]) == "System: Be brief.\nUser: Hello\nAssistant:"
    )


def test_the_transcript_never_shows_the_reference(tokenizer):
    assert "Orange" not in tokenizer.decode(transcript_prompt(TWO_TURNS, EXAMPLES, tokenizer))


def test_the_next_speaker_ends_a_few_shot_answer(path, word_base, tokenizer, monkeypatch):
    """Plain text has no stop token: the model that begins to ask its own question has finished answering."""
    rows = ["A plum.\nUser: And then what? And then?"], ["A very much longer answer that goes on alone"]
    scripted(monkeypatch, tokenizer, *rows)
    plum, longer = answer_all(word_base, tokenizer, QUESTIONS[:2], path, examples=EXAMPLES)[::-1]
    assert (plum.text, plum.ended) == ("A plum.", True)
    assert (longer.text, longer.ended) == ("A very much longer answer that goes on alone", False)
    assert plum.tokens == len(tokenizer.encode("A plum.\nUser:"))


def test_generation_stops_when_every_row_has_ended(path, word_base, tokenizer, monkeypatch):
    stop = word_base.config.turn_end
    steps = scripted(monkeypatch, tokenizer, ["One", stop, "ignored " * 9], ["Two\nUser: ignored " * 9])
    answers = answer_all(word_base, tokenizer, QUESTIONS[:2], path, examples=EXAMPLES)
    assert {(a.text, a.ended) for a in answers} == {("One", True), ("Two", True)}
    assert len(steps) == len(tokenizer.encode("Two\nUser:"))


def test_in_the_chat_format_the_marker_is_ordinary_text(path, word_base, tokenizer, monkeypatch):
    scripted(monkeypatch, tokenizer, ["Write:\nUser: hello", word_base.config.turn_end])
    (answer,) = answer_all(word_base, tokenizer, QUESTIONS[:1], path)
    assert (answer.text, answer.ended) == ("Write:\nUser: hello", True)
    assert answer.tokens == len(tokenizer.encode(answer.text))
