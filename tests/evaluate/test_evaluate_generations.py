"""Sets of answers: who answers beside whom, and in which order, changes no answer; a key tells whose it is."""

import json
from dataclasses import replace

import jax
import pytest

from helptune.adapt.adapters import init_adapters
from helptune.adapt.bottleneck import BottleneckConfig
from helptune.adapt.lora import LoraConfig
from helptune.data.conversation import Conversation, Message
from helptune.errors import AdapterError, Interrupted, SettingError
from helptune.evaluate import generations as station
from helptune.evaluate.answers import read_answers
from helptune.evaluate.generations import Answering, Rule, Speaker, answer_sets
from helptune.gemma import generate as generate_module

RULE = Rule(max_new_tokens=5)
WARM = replace(RULE, temperature=1.0, seed=3)
QUESTIONS = [
    Conversation(name, "test", "Apache-2.0", (Message("user", text), Message("assistant", "Yes.")))
    for name, text in (("ice", "Is ice cold?"), ("sky", "Why is the sky blue, and why not at night?"), ("no", "?"))
]
SPEAKERS = [
    Speaker("base"),
    Speaker("few_shot", examples=(QUESTIONS[0],)),
    Speaker("thin", "thin"),
    Speaker("wide", "wide"),
    Speaker("neck", "neck"),
]
METHODS = {"thin": LoraConfig(rank=2, alpha=4.0), "wide": LoraConfig(rank=4, alpha=4.0), "neck": BottleneckConfig(4)}


@pytest.fixture(scope="module")
def model(word_base, tokenizer):
    """The base with two LoRA adapters and a bottleneck, each of which changes what it says."""

    def moved(seed, method):
        fresh = init_adapters(method, word_base.config, jax.random.key(seed))
        return jax.tree.map(lambda leaf: leaf + 0.05 * (seed + 1), fresh), method

    adapters = {name: moved(seed, method) for seed, (name, method) in enumerate(METHODS.items())}
    return Answering(word_base, tokenizer, "weights", "float32", adapters)


@pytest.fixture(scope="module")
def whole(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, answer_sets(model, QUESTIONS, SPEAKERS, RULE, folder)


@pytest.fixture
def asked(monkeypatch):
    """Numbers of prompts that were given to the model, batch by batch."""
    batches, real = [], generate_module.stream

    def watched(base, prompts, *how):
        batches.append(len(prompts))
        return real(base, prompts, *how)

    monkeypatch.setattr(generate_module, "stream", watched)
    return batches


def test_speakers_answer_together_what_they_answer_alone(whole, model, tmp_path):
    for speaker in SPEAKERS:
        alone = answer_sets(model, QUESTIONS, [speaker], RULE, tmp_path)
        assert alone == {speaker.name: whole[1][speaker.name]}
    assert len({tuple(a.text for a in answers) for answers in whole[1].values()}) == len(SPEAKERS)


def test_lora_adapters_share_batches_and_a_bottleneck_answers_apart(model, tmp_path, asked):
    answer_sets(model, QUESTIONS, SPEAKERS, RULE, tmp_path)
    assert asked == [12, 3]


def test_each_speaker_has_a_file_in_the_order_of_the_conversations(whole):
    folder, sets = whole
    assert {path.stem: read_answers(path) for path in folder.iterdir()} == sets
    assert [a.id for a in sets["thin"]] == [c.id for c in QUESTIONS]


def test_what_is_there_is_not_made_again(whole, model, asked):
    folder, sets = whole
    assert answer_sets(model, QUESTIONS[::-1], SPEAKERS, RULE, folder) == {n: a[::-1] for n, a in sets.items()}
    assert asked == []


@pytest.mark.parametrize("rule", [RULE, WARM], ids=["greedy", "sampled"])
def test_an_interrupted_evaluation_ends_as_if_it_had_not_been(rule, model, tmp_path, monkeypatch):
    """Also where the answers are drawn at random: what is drawn depends on the request alone."""
    speakers = [SPEAKERS[0], SPEAKERS[2]]
    expected = answer_sets(model, QUESTIONS, speakers, rule, tmp_path / "whole")
    monkeypatch.setattr(station, "_ROWS", 2)

    def stop():
        raise Interrupted("asked to")

    for _ in range(2):
        with pytest.raises(Interrupted):
            answer_sets(model, QUESTIONS, speakers, rule, tmp_path / "cut", after_batch=stop)
    assert answer_sets(model, QUESTIONS, speakers, rule, tmp_path / "cut") == expected
    for path in (tmp_path / "whole").iterdir():
        assert (tmp_path / "cut" / path.name).read_bytes() == path.read_bytes()


def test_batches_are_of_one_size_and_do_not_hang_on_what_is_there(model, tmp_path, asked, monkeypatch):
    """Nine prompts, at most two at once: the last batch is filled up from the one before."""
    monkeypatch.setattr(station, "_ROWS", 2)
    speakers = [SPEAKERS[0], replace(SPEAKERS[0], name="again"), replace(SPEAKERS[0], name="and again")]
    sets = answer_sets(model, QUESTIONS, speakers, RULE, tmp_path)
    assert asked == [2] * 5
    path = tmp_path / "again.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[1:]))
    asked.clear()
    assert answer_sets(model, QUESTIONS, speakers, RULE, tmp_path) == sets
    assert asked == [2]


def test_another_seed_draws_other_answers(model, tmp_path):
    first, other = (
        answer_sets(model, QUESTIONS, SPEAKERS[:1], replace(WARM, seed=s), tmp_path / str(s))["base"] for s in (1, 2)
    )
    assert [a.text for a in first] != [a.text for a in other]


CHANGES = {
    "other weights of the base": lambda m: (replace(m, base_sha256="others"), SPEAKERS[2], RULE),
    "another precision": lambda m: (replace(m, precision="bfloat16"), SPEAKERS[2], RULE),
    "a trained adapter": lambda m: (
        replace(m, adapters={"thin": (jax.tree.map(lambda x: x * 2, m.adapters["thin"][0]), METHODS["thin"])}),
        SPEAKERS[2],
        RULE,
    ),
    "another scale": lambda m: (
        replace(m, adapters={"thin": (m.adapters["thin"][0], LoraConfig(rank=2, alpha=8.0))}),
        SPEAKERS[2],
        RULE,
    ),
    "no adapter": lambda m: (m, Speaker("thin"), RULE),
    "solved examples": lambda m: (m, Speaker("thin", "thin", (QUESTIONS[0],)), RULE),
    "another limit": lambda m: (m, SPEAKERS[2], replace(RULE, max_new_tokens=4)),
    "a penalty": lambda m: (m, SPEAKERS[2], replace(RULE, repetition_penalty=1.5)),
    "a temperature": lambda m: (m, SPEAKERS[2], replace(RULE, temperature=0.5)),
    "a seed": lambda m: (m, SPEAKERS[2], replace(RULE, seed=1)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_answer_of_other_circumstances_is_made_again(change, whole, model, tmp_path, monkeypatch):
    """Here by a model that says nothing."""
    asked = []
    monkeypatch.setattr(generate_module, "stream", lambda base, prompts, *how: asked.append(len(prompts)) or [])
    path = tmp_path / "thin.jsonl"
    path.write_bytes((whole[0] / "thin.jsonl").read_bytes())
    changed, speaker, rule = CHANGES[change](model)
    answers = answer_sets(changed, QUESTIONS, [speaker], rule, tmp_path)["thin"]
    assert sum(asked) == len(QUESTIONS)
    assert not {a.key for a in answers} & {a.key for a in whole[1]["thin"]}


def test_another_name_is_no_other_circumstance(whole, model, tmp_path, asked):
    """The name of a model in a report decides nothing of what it answers."""
    (tmp_path / "tuned.jsonl").write_bytes((whole[0] / "thin.jsonl").read_bytes())
    renamed = replace(model, adapters={"tuned": model.adapters["thin"]})
    sets = answer_sets(renamed, QUESTIONS, [Speaker("tuned", "tuned")], RULE, tmp_path)
    assert sets == {"tuned": whole[1]["thin"]}
    assert asked == []


@pytest.mark.parametrize(
    "line", ["{", "null", '{"id": "ice"}', '{"id": 1, "text": "x", "ended": true, "tokens": 2, "key": ""}']
)
def test_a_damaged_line_is_reported_and_answered_again(line, whole, model, tmp_path):
    path = tmp_path / "base.jsonl"
    kept = (whole[0] / "base.jsonl").read_text().splitlines()
    path.write_text("\n".join([line, *kept[1:]]) + "\n")
    with pytest.warns(UserWarning, match="base.jsonl: damaged line 1; what is missing is answered again"):
        assert answer_sets(model, QUESTIONS, SPEAKERS[:1], RULE, tmp_path)["base"] == whole[1]["base"]
    assert path.read_bytes() == (whole[0] / "base.jsonl").read_bytes()


def test_answers_to_other_conversations_are_kept(whole, model, tmp_path):
    other = {"id": "other", "text": "kept", "ended": True, "tokens": 1, "key": "k"}
    (tmp_path / "base.jsonl").write_text(json.dumps(other) + "\n")
    assert answer_sets(model, QUESTIONS, SPEAKERS[:1], RULE, tmp_path)["base"] == whole[1]["base"]
    assert [a.id for a in read_answers(tmp_path / "base.jsonl")] == ["ice", "sky", "no", "other"]


def test_a_speaker_that_cannot_be_is_refused(model, tmp_path):
    with pytest.raises(AdapterError, match="speaker 'x': its adapter 'lost' is not one of base, thin, wide, neck"):
        answer_sets(model, QUESTIONS, [Speaker("x", "lost")], RULE, tmp_path)
    with pytest.raises(SettingError, match="two speakers are called 'x'"):
        answer_sets(model, QUESTIONS, [Speaker("x"), Speaker("x", "thin")], RULE, tmp_path)
