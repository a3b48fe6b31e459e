"""Sample answers: the same prompts each time, by a rule that looks at no answer; the given adapter writes them."""

import jax
import pytest

from helptune.adapt.adapters import attach, init_adapters
from helptune.adapt.lora import LoraConfig
from helptune.data.conversation import Conversation, Message, load_curated
from helptune.experiment import samples
from helptune.experiment.samples import SAMPLE_IDS, choose, sampler
from helptune.experiment.split import HELD_BACK
from helptune.gemma.chat import render
from helptune.gemma.generate import generate
from helptune.gemma.sampling import Sampling

METHOD = LoraConfig(rank=2, alpha=4.0)


def conversation(name, category="", words="Why?"):
    return Conversation(name, "test", "Apache-2.0", (Message("user", words), Message("assistant", "So.")), category)


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(samples, "NEW_TOKENS", 4)


def test_of_the_curated_set_the_named_ones_are_held_back_and_chosen():
    held_back = load_curated("train")[HELD_BACK - 1 :: HELD_BACK]
    assert tuple(c.id for c in choose(held_back)) == SAMPLE_IDS


def test_of_other_data_the_first_of_three_categories_are_chosen():
    given = [conversation(name, name[0]) for name in ("a1", "a2", "b1", "a3", "c1", "d1")]
    assert [c.id for c in choose(given)] == ["a1", "b1", "c1"]
    assert [c.id for c in choose([conversation(name) for name in "vwxyz"])] == ["v", "w", "x"]
    assert choose([]) == []


def test_an_answer_is_what_the_model_with_this_adapter_generates(word_base, tokenizer):
    adapters = init_adapters(METHOD, word_base.config, jax.random.key(1))
    adapters = jax.tree.map(lambda leaf: leaf + 0.1, adapters)  # a new adapter would change nothing
    held_back = [conversation("a", "facts", "What is it?"), conversation("b", "write", "Say it.")]
    written = sampler(word_base, tokenizer, held_back, METHOD, 1.1)(adapters)
    assert [(s["id"], s["prompt"]) for s in written] == [("a", "What is it?"), ("b", "Say it.")]
    prompts = [render(c.prompt, tokenizer, word_base.config, reply=True)[0] for c in held_back]
    rule = Sampling(max_new_tokens=4, repetition_penalty=1.1)
    for sample, expected in zip(written, generate(word_base, prompts, rule, attach(adapters, METHOD)), strict=True):
        assert sample["answer"] == tokenizer.decode(expected.tokens).strip()
        assert sample["ended"] == expected.ended


def test_a_prompt_that_leaves_no_room_is_passed_over(word_base, tokenizer):
    long = conversation("long", "facts", "word " * word_base.config.context)
    adapters = init_adapters(METHOD, word_base.config, jax.random.key(1))
    assert sampler(word_base, tokenizer, [long], METHOD, 1.0)(adapters) == []
