"""Scoring a text: the definition of negative log-likelihood, whatever the length."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helptune.adapt.adapters import attach, init_adapters
from helptune.adapt.lora import LoraConfig
from helptune.errors import ContextError
from helptune.evaluate.score import score_text
from helptune.gemma.model import forward, logits
from helptune.gemma.tokenizer import BOS

SENTENCE = "Packing costs nothing when segments cannot see each other, and ünïcode costs a few tokens more. 🙂"


def defined_nll(base, ids, adapter=None):
    """-log softmax of the logits at each place, at the token that follows: no padding, no blocks."""
    tokens, positions = jnp.array([ids[:-1]]), jnp.arange(len(ids) - 1)[None]
    hidden, _ = forward(base, tokens, positions, jnp.ones_like(tokens), adapter)
    log_probs = jax.nn.log_softmax(logits(base, hidden[0]))
    return -np.asarray(log_probs)[np.arange(len(ids) - 1), ids[1:]]


def text_of(tokens, tokenizer):
    """A text of exactly so many tokens."""
    return tokenizer.decode(tokenizer.encode(" and so on" * tokens)[:tokens])


@pytest.mark.parametrize("tokens", [1, 63, 64, 65, 100])
def test_a_score_is_minus_log_softmax_of_the_logits(tokens, word_base, tokenizer):
    """Lengths around the step of 64 to which a text is padded."""
    text = text_of(tokens, tokenizer)
    nll = score_text(word_base, tokenizer, text)
    assert nll.shape == (tokens,)
    np.testing.assert_allclose(nll, defined_nll(word_base, [BOS, *tokenizer.encode(text)]), rtol=1e-5, atol=1e-5)


def test_the_score_sums_to_the_log_probability_of_the_text(word_base, tokenizer):
    """Each token given those before it: a prefix scores the same as the beginning of the whole."""
    ids = tokenizer.encode(SENTENCE)
    prefix = tokenizer.decode(ids[:9])
    assert tokenizer.encode(prefix) == ids[:9]
    whole = score_text(word_base, tokenizer, SENTENCE)
    np.testing.assert_allclose(score_text(word_base, tokenizer, prefix), whole[:9], rtol=1e-5, atol=1e-5)


def test_an_adapter_takes_part_in_the_score(word_base, tokenizer):
    lora = LoraConfig(rank=2, alpha=4.0)
    adapters = init_adapters(lora, word_base.config, jax.random.key(1))
    plain = score_text(word_base, tokenizer, SENTENCE)
    with jax.disable_jit():  # a compiler may add up in another order where there is an adapter
        unmoved = score_text(word_base, tokenizer, SENTENCE, attach(adapters, lora))
        np.testing.assert_array_equal(unmoved, score_text(word_base, tokenizer, SENTENCE))
    moved = attach(jax.tree.map(lambda leaf: leaf + 0.05, adapters), lora)
    nll = score_text(word_base, tokenizer, SENTENCE, moved)
    assert np.abs(nll - plain).max() > 0.01
    np.testing.assert_allclose(nll, defined_nll(word_base, [BOS, *tokenizer.encode(SENTENCE)], moved), rtol=1e-4)


def test_turn_tokens_written_out_are_scored_as_text(word_base, tokenizer):
    """Several tokens each, as any other text: a text cannot pretend to be a chat."""
    assert len(score_text(word_base, tokenizer, "<start_of_turn>")) > 1


def test_no_text_has_no_score(word_base, tokenizer):
    assert score_text(word_base, tokenizer, "").shape == (0,)


def test_a_text_longer_than_the_context_is_refused(word_base, tokenizer):
    """<bos> takes one place of the context."""
    short = word_base.replace(config=replace(word_base.config, context=64))
    assert len(score_text(short, tokenizer, text_of(63, tokenizer))) == 63
    with pytest.raises(ContextError, match="65 tokens exceeds the context of 64"):
        score_text(short, tokenizer, text_of(64, tokenizer))
