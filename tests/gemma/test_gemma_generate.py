"""Generation: the cache, the batch and the padding change how fast an answer comes, never what it says."""

from dataclasses import replace
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gemma_golden import hidden_states
from hypothesis import example, given, settings
from hypothesis import strategies as st

from helptune.errors import ContextError
from helptune.gemma import generate as station
from helptune.gemma.config import tiny
from helptune.gemma.generate import GREEDY, Sampling, generate, stop_tokens, stream, stream_text
from helptune.gemma.model import init_base, logits

CONFIG = tiny(3)
NEW = 12
BRIEF = replace(GREEDY, max_new_tokens=NEW)
WARM = Sampling(temperature=1.0, top_k=None, top_p=None, max_new_tokens=NEW)
# one shorter than the window of tiny-3, one longer, one so long that prompt and answer cross a step of the padded length
PROMPTS = [[2, 11, 7], [2, *range(20, 50)], [2, *range(100, 160)]]


@pytest.fixture(scope="module")
def endless(tiny_base):
    """A stop token that the greedy answers to PROMPTS do not contain, so that lengths are under the tests' control."""
    said = {t for c in generate(tiny_base, PROMPTS, BRIEF) for t in c.tokens}
    return stopping_at(tiny_base, min(set(range(200, 300)) - said))


def stopping_at(base, token):
    return base.replace(config=replace(base.config, turn_end=token))


def argmax_loop(base, prompt, steps):
    """The definition of greedy decoding: the whole text again for every token."""
    text = jnp.array(
        [*prompt, *[0] * steps]
    )  # the zeros are later than every token that is read, so they change nothing
    next_tokens = jax.jit(lambda base, text: jnp.argmax(logits(base, hidden_states(base, text)), axis=-1))
    for t in range(len(prompt), len(text)):
        text = text.at[t].set(next_tokens(base, text)[t - 1])
    return tuple(text[len(prompt) :].tolist())


def texts(completions):
    return [c.tokens for c in completions]


def test_cached_generation_equals_the_uncached_argmax_loop(endless):
    """Prompts of different lengths in one batch, longer than the window and than one step of padding."""
    assert texts(generate(endless, PROMPTS, BRIEF)) == [argmax_loop(endless, p, NEW) for p in PROMPTS]


def test_a_batch_says_what_its_rows_say_alone(endless):
    assert generate(endless, PROMPTS, BRIEF) == [generate(endless, [p], BRIEF)[0] for p in PROMPTS]


def test_a_bfloat16_batch_says_what_its_rows_say_alone():
    """bfloat16 rows are padded to eight on a CPU; nobody sees the added ones."""
    base = init_base(CONFIG, jax.random.key(0), jnp.bfloat16)
    assert generate(base, PROMPTS, BRIEF) == [generate(base, [prompt], BRIEF)[0] for prompt in PROMPTS]


def test_the_same_seed_says_the_same(endless):
    first, again, other = (texts(generate(endless, PROMPTS, replace(WARM, seed=s))) for s in (7, 7, 8))
    assert first == again != other


def test_equal_prompts_in_one_batch_get_different_randomness(endless):
    a, b = texts(generate(endless, [PROMPTS[0]] * 2, WARM))
    assert a != b


def test_a_shorter_limit_gives_a_prefix(endless):
    """Randomness depends on seed, row and position; not on how much was asked for."""
    long, short = (texts(generate(endless, PROMPTS, replace(WARM, max_new_tokens=n))) for n in (NEW, 5))
    assert [t[:5] for t in long] == short


@pytest.mark.parametrize(
    "narrow", [{"top_k": 1}, {"top_p": 1e-6}, {"top_p": 1e-6, "top_k": 5}, {"temperature": 1e-4}], ids=str
)
def test_sampling_narrowed_to_one_token_is_greedy(endless, narrow):
    assert generate(endless, PROMPTS, replace(WARM, **narrow)) == generate(endless, PROMPTS, BRIEF)


@pytest.mark.parametrize("filters", [{"top_k": 3}, {"top_k": None, "top_p": 0.02}], ids=str)
def test_a_filter_keeps_only_the_best_tokens(endless, filters):
    """top_k: the k best. top_p: the smallest set that holds at least this probability."""
    (answer,) = texts(generate(endless, [PROMPTS[0]], replace(WARM, **filters)))
    hidden = hidden_states(endless, [*PROMPTS[0], *answer])[len(PROMPTS[0]) - 1 : -1]
    for token, scores in zip(answer, np.asarray(logits(endless, hidden)), strict=True):
        better = np.exp(scores[scores > scores[token]] - scores.max()).sum() / np.exp(scores - scores.max()).sum()
        if filters["top_k"]:
            assert (scores > scores[token]).sum() < filters["top_k"]
        else:
            assert better < filters["top_p"]


def test_top_k_beyond_the_vocabulary_keeps_everything(endless):
    wide = replace(WARM, top_k=10 * endless.config.vocab)
    assert generate(endless, PROMPTS, wide) == generate(endless, PROMPTS, WARM)


def test_a_stop_token_ends_its_row_and_only_its_row(endless):
    """Choose as stop a token that one greedy answer contains, and see every answer cut before it."""
    whole = texts(generate(endless, PROMPTS, BRIEF))
    stop = whole[1][4]
    cut = generate(stopping_at(endless, stop), PROMPTS, BRIEF)
    for before, after in zip(whole, cut, strict=True):
        assert after.ended == (stop in before)
        assert after.tokens == (before[: before.index(stop)] if after.ended else before)


def test_stopped_rows_stream_none_until_all_have_stopped(endless):
    whole = texts(generate(endless, PROMPTS, BRIEF))
    base = stopping_at(endless, whole[1][4])
    steps = list(stream(base, PROMPTS, BRIEF))
    for row in zip(*steps, strict=True):
        spoken = [t for t in row if t is not None]
        assert list(row) == spoken + [None] * (len(row) - len(spoken))
        assert not set(spoken[:-1]) & set(stop_tokens(base.config))
    assert any(token is not None for token in steps[-1])


def test_the_limit_is_exact_and_marks_the_answer_as_cut(endless):
    for limit in (1, 5):
        for completion in generate(endless, PROMPTS, replace(GREEDY, max_new_tokens=limit)):
            assert (len(completion.tokens), completion.ended) == (limit, False)


def test_prompt_and_answer_must_fit_the_context(endless):
    room = endless.config.context - NEW
    assert len(generate(endless, [[2] * room], BRIEF)[0].tokens) == NEW
    with pytest.raises(ContextError, match=f"{room + 1} tokens and {NEW} new ones exceed the context of 256"):
        generate(endless, [[2], [2] * (room + 1)], BRIEF)


def test_an_empty_prompt_is_refused(endless):
    with pytest.raises(ValueError, match="<bos>"):
        generate(endless, [[2], []], BRIEF)


@pytest.mark.parametrize(
    "wrong", [{"temperature": -1.0}, {"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.5}, {"max_new_tokens": 0}], ids=str
)
def test_impossible_sampling_is_refused_by_field(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Sampling(**wrong)


def streamed(tokenizer, tokens):
    """The pieces of text that a scripted model's tokens become."""
    with mock.patch.object(station, "stream", lambda *_: ([token] for token in tokens)):
        return list(stream_text(mock.Mock(config=CONFIG), tokenizer, [2]))


def byte_tokens(tokenizer, text):
    return [tokenizer.processor.piece_to_id(f"<0x{byte:02X}>") for byte in text.encode()]


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=20).filter(lambda s: not {"▁", "\ufffd"} & set(s)), st.booleans())
@example("naïve 👩‍👩‍👧 𓀀", True)
def test_streamed_text_never_shows_a_broken_character(tokenizer, text, by_bytes):
    """Even when every character comes byte by byte."""
    tokens = byte_tokens(tokenizer, text) if by_bytes else tokenizer.encode(text)
    pieces = streamed(tokenizer, tokens)
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)


def test_streamed_text_stops_before_the_stop_token(tokenizer):
    tokens = [*tokenizer.encode("Yes."), CONFIG.turn_end, *tokenizer.encode("No.")]
    assert "".join(streamed(tokenizer, tokens)) == "Yes."


def test_an_answer_cut_inside_a_character_shows_that_it_was(tokenizer):
    """Nothing is lost or invented: the stream ends as decoding all its tokens does."""
    tokens = [*tokenizer.encode("ok"), *byte_tokens(tokenizer, "é")[:1]]
    assert "".join(streamed(tokenizer, tokens)) == tokenizer.decode(tokens) == "ok\ufffd"
