"""Likelihoods of continuations: the definition, however the texts are packed, shared and mixed.

Every letter is a token and a block holds 100 of the 256 words, so a tiny model already meets several blocks.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helptune.adapt.adapters import attach, init_adapters
from helptune.adapt.lora import LoraConfig
from helptune.adapt.mixed import rack_of
from helptune.errors import AdapterError, ContextError
from helptune.evaluate import likelihood as station
from helptune.evaluate.likelihood import Likelihood, likelihoods, mixed_likelihoods
from helptune.evaluate.score import score_text
from helptune.gemma.base import init_base
from helptune.gemma.config import tiny
from helptune.gemma.generate import generate
from helptune.gemma.sampling import Sampling
from helptune.gemma.tokenizer import BOS
from helptune.train import loss

LORA = LoraConfig(rank=2, alpha=4.0)


class Letters:
    """A tokenizer whose tokens are the bytes of a text."""

    def encode(self, text):
        return list(text.encode())

    def decode(self, ids):
        return bytes(ids).decode()


@pytest.fixture(autouse=True, scope="module")
def small_blocks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loss, "VOCABULARY_BLOCK", 100)
        yield


@pytest.fixture(scope="module")
def tokenizer():
    return Letters()


@pytest.fixture(scope="module")
def word_base():
    return init_base(replace(tiny(3, vocab=256), context=512), jax.random.key(0))


@pytest.fixture(scope="module")
def pairs(tokenizer):
    """Questions with rival answers of one letter and of several, one the beginning of another; a long text."""
    texts = [
        *[("The sky is ", end) for end in ("b", "green and far away", "green")],
        *[("Answer: A or B?\nAnswer: ", end) for end in ("A", "B")],
        ("word " * 60 + "word", " and the end of it."),
        ("Ice", " is cold"),
    ]
    return [([BOS, *tokenizer.encode(context)], tokenizer.encode(end)) for context, end in texts]


@pytest.fixture(scope="module")
def moved(word_base):
    """Two adapters that change what the model says."""

    def one(seed):
        fresh = init_adapters(LORA, word_base.config, jax.random.key(seed))
        return jax.tree.map(lambda leaf: leaf + 0.03 * seed, fresh), LORA

    return {"first": one(1), "second": one(2)}


def assert_close(found, expected):
    assert [(f.tokens, f.greedy) for f in found] == [(e.tokens, e.greedy) for e in expected]
    np.testing.assert_allclose([f.logprob for f in found], [e.logprob for e in expected], rtol=1e-4, atol=1e-4)


def test_it_is_the_sum_of_the_scores_of_the_continuation(word_base, tokenizer, pairs):
    for (context, continuation), found in zip(pairs, likelihoods(word_base, tokenizer, pairs), strict=True):
        text = tokenizer.decode([*context[1:], *continuation])
        nll = score_text(word_base, tokenizer, text)
        assert len(nll) == len(context) - 1 + len(continuation)
        assert found.tokens == len(continuation)
        assert found.logprob == pytest.approx(-nll[len(context) - 1 :].sum(), rel=1e-4)


def test_a_pair_scores_alone_as_among_others(word_base, tokenizer, pairs):
    alone = [likelihoods(word_base, tokenizer, [pair])[0] for pair in pairs]
    assert_close(likelihoods(word_base, tokenizer, pairs), alone)
    assert_close(likelihoods(word_base, tokenizer, pairs[::-1]), alone[::-1])


def test_the_size_of_a_batch_changes_nothing(word_base, tokenizer, pairs, monkeypatch):
    expected = likelihoods(word_base, tokenizer, pairs)
    for name, value in {"_PLACES": 256, "POSITIONS": 8, "REST": 3, "_TARGETS": 3}.items():
        monkeypatch.setattr(station, name, value)
    station._survey.clear_cache()  # it read the limits while it was traced
    assert_close(likelihoods(word_base, tokenizer, pairs), expected)
    station._survey.clear_cache()


def test_greedy_is_what_generation_would_have_written(tokenizer):
    """True of every prefix of the greedy answer, false as soon as one token is another."""
    base = init_base(replace(tiny(3), turn_end=-1), jax.random.key(0))
    prompts = [[2, 11, 7], [2, *range(20, 50)]]
    pairs, expected = [], []
    for prompt, completion in zip(prompts, generate(base, prompts, Sampling(max_new_tokens=6)), strict=True):
        written = list(completion.tokens)
        for cut in range(1, 7):
            other = [*written[: cut - 1], (written[cut - 1] + 1) % base.config.vocab]
            pairs += [(prompt, written[:cut]), (prompt, other)]
            expected += [True, False]
    assert [found.greedy for found in likelihoods(base, tokenizer, pairs)] == expected


def test_rivals_of_one_token_share_the_reading_of_their_question(word_base, tokenizer, pairs):
    """The sky is green AND FAR AWAY begins with what its rivals need; A and B need the question alone."""
    read = {station._text(pair) for pair in pairs}
    assert len(read) == 6
    assert len(set(station._read_once([station._text(pair) for pair in pairs]))) == 4


def test_the_answers_to_one_question_share_its_probability(tokenizer):
    """The whole vocabulary as one-token continuations: more targets than are looked up at once; together they are 1."""
    base = init_base(tiny(3), jax.random.key(0))
    found = likelihoods(base, tokenizer, [([2, 5, 9], [token]) for token in range(base.config.vocab)])
    assert np.exp([f.logprob for f in found]).sum() == pytest.approx(1, rel=1e-4)
    assert sum(f.greedy for f in found) == 1
    assert max(found, key=lambda f: f.logprob).greedy


def test_an_adapter_takes_part(word_base, tokenizer, pairs, moved):
    weights, config = moved["second"]
    (found,) = likelihoods(word_base, tokenizer, pairs[1:2], attach(weights, config))
    (plain,) = likelihoods(word_base, tokenizer, pairs[1:2])
    nll = score_text(word_base, tokenizer, "The sky is green and far away", attach(weights, config))
    assert found.logprob == pytest.approx(-nll[-found.tokens :].sum(), rel=1e-4)
    assert abs(found.logprob - plain.logprob) > 0.1


def test_pairs_of_the_base_and_of_adapters_share_batches(word_base, tokenizer, pairs, moved):
    rack = rack_of(moved, word_base.config, jnp.float32)
    names = ["second", "base", "first", "base", "first", "second", "first"]
    together = mixed_likelihoods(word_base, tokenizer, pairs, rack, names)
    adapters = {"base": None} | {name: attach(*one) for name, one in moved.items()}
    assert_close(
        together,
        [likelihoods(word_base, tokenizer, [pair], adapters[name])[0] for pair, name in zip(pairs, names, strict=True)],
    )
    with pytest.raises(AdapterError, match="'third' is not one of base, first, second"):
        mixed_likelihoods(word_base, tokenizer, pairs[:1], rack, ["third"])


def test_nothing_to_say_is_certain(word_base, tokenizer):
    assert likelihoods(word_base, tokenizer, []) == []
    assert likelihoods(word_base, tokenizer, [([BOS], [])]) == [Likelihood(0.0, 0, True)]


def test_what_cannot_be_scored_is_named(word_base, tokenizer, pairs):
    with pytest.raises(ValueError, match="pair 1 has an empty context: it needs at least <bos>"):
        likelihoods(word_base, tokenizer, [pairs[0], ([], [5])])
    short = word_base.replace(config=replace(word_base.config, context=64))
    with pytest.raises(ContextError, match=r"pair 5, which begins '.*word word.*', has \d+ tokens, the context of"):
        likelihoods(short, tokenizer, pairs)
