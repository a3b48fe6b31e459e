"""Generation: the cache, the batch and the padding change how fast an answer comes, never what it says."""

import math
from dataclasses import replace
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gemma_golden import hidden_states
from hypothesis import example, given, settings
from hypothesis import strategies as st

from helptune.adapt.mixed import Mixed
from helptune.errors import ContextError
from helptune.gemma import generate as station
from helptune.gemma.base import init_base
from helptune.gemma.config import tiny
from helptune.gemma.generate import generate, stream, stream_text
from helptune.gemma.model import logits
from helptune.gemma.sampling import GREEDY, Sampling, choose

CONFIG = tiny(3)
NEW, NEVER = 12, -1
BRIEF = replace(GREEDY, max_new_tokens=NEW)
WARM = Sampling(temperature=1.0, top_k=None, top_p=None, max_new_tokens=NEW)
# one shorter than the window of tiny-3, one longer, one that crosses a step of the padded length with its answer
PROMPTS = [[2, 11, 7], [2, *range(20, 50)], [2, *range(100, 160)]]


def stopping_at(token, gemma=3, dtype="float32"):
    return init_base(replace(tiny(gemma), turn_end=token), jax.random.key(0), dtype)


@pytest.fixture(scope="module", params=[1, 3], ids=["gemma1", "gemma3"])
def either(request):
    """A model of either generation, with a stop token that it never says."""
    return stopping_at(NEVER, request.param)


@pytest.fixture(scope="module")
def base():
    return stopping_at(NEVER)


@pytest.fixture(scope="module")
def greedy(base):
    return texts(generate(base, PROMPTS, BRIEF))


@pytest.fixture(scope="module")
def stop(greedy):
    """A token in the middle of one greedy answer."""
    return greedy[1][4]


def argmax_loop(base, prompt, steps):
    """The definition of greedy decoding: the whole text again for every token."""
    text = jnp.array([*prompt, *[0] * steps])  # the zeros stand after every token that is read: nobody sees them
    next_tokens = jax.jit(lambda base, text: jnp.argmax(logits(base, hidden_states(base, text)), axis=-1))
    for t in range(len(prompt), len(text)):
        text = text.at[t].set(next_tokens(base, text)[t - 1])
    return tuple(text[len(prompt) :].tolist())


def scores_of(base, prompt, answer):
    """The scores from which each token of an answer was chosen."""
    return np.asarray(logits(base, hidden_states(base, [*prompt, *answer])[len(prompt) - 1 : -1]))


def texts(completions):
    return [c.tokens for c in completions]


def test_cached_generation_equals_the_uncached_argmax_loop(either):
    """Prompts of different lengths in one batch, longer than the window and than one step of padding."""
    assert texts(generate(either, PROMPTS, BRIEF)) == [argmax_loop(either, p, NEW) for p in PROMPTS]


def test_a_batch_says_what_its_rows_say_alone(either):
    assert generate(either, PROMPTS, BRIEF) == [generate(either, [p], BRIEF)[0] for p in PROMPTS]


def test_a_bfloat16_batch_says_what_its_rows_say_alone():
    """One row alone has a kernel of its own on a CPU; it rounds as the others do."""
    base = stopping_at(NEVER, dtype="bfloat16")
    assert generate(base, PROMPTS, BRIEF) == [generate(base, [prompt], BRIEF)[0] for prompt in PROMPTS]


def starting_alike(same):
    """Prompts that share exactly `same` tokens; the shortest ends one later."""
    start = [2, *(3 + i % 90 for i in range(same - 1))]
    return [[*start, 100], [*start, *range(101, 140)], [*start, 100, 5, 6]]


@pytest.mark.parametrize("same", [127, 128, 150, 192])
def test_a_start_that_is_read_once_changes_no_answer(either, same, monkeypatch):
    prompts = starting_alike(same)
    shared = generate(either, prompts, BRIEF)
    assert station.shared_start(prompts) == same // 8 * 8 * (same >= 128)
    monkeypatch.setattr(station, "SHARED", 10_000)
    assert generate(either, prompts, BRIEF) == shared == [generate(either, [p], BRIEF)[0] for p in prompts]


def test_every_prompt_keeps_a_token_of_its_own():
    """Its scores choose the first word of the answer."""
    prompt = list(range(128))
    assert station.shared_start([prompt, prompt]) == 0
    assert station.shared_start([[*prompt, 1], [*prompt, 1]]) == 128


def test_prompts_that_go_on_for_long_share_no_start():
    prompt = list(range(128))
    assert station.shared_start([[*prompt, *range(512)], [*prompt, 1]]) == 128
    assert station.shared_start([[*prompt, *range(513)], [*prompt, 1]]) == 0


def test_rows_of_different_adapters_share_no_start():
    """What an adapter makes of the same tokens is its own."""
    prompts = starting_alike(128)
    assert station.shared_start(prompts, Mixed({}, np.array([1]), np.array([1, 1, 1]))) == 128
    assert station.shared_start(prompts, Mixed({}, np.array([1]), np.array([1, 0, 1]))) == 0


def test_the_same_seed_says_the_same(base):
    first, again, other = (texts(generate(base, PROMPTS, replace(WARM, seed=s))) for s in (7, 7, 8))
    assert first == again != other


def test_a_new_seed_compiles_nothing_and_a_new_temperature_the_choice_alone(base):
    def programs():
        return station._decode._cache_size(), choose._cache_size()

    generate(base, PROMPTS, WARM)
    first = programs()
    generate(base, PROMPTS, replace(WARM, seed=3))
    assert programs() == first
    generate(base, PROMPTS, replace(WARM, temperature=0.5))
    assert programs() == (first[0], first[1] + 1)


def test_equal_prompts_in_one_batch_get_different_randomness(base):
    assert len(set(texts(generate(base, [PROMPTS[0]] * 3, WARM)))) == 3


def test_a_shorter_limit_gives_a_prefix(base):
    """Randomness depends on seed, row and position; not on how much was asked for."""
    long, short = (texts(generate(base, PROMPTS, replace(WARM, max_new_tokens=n))) for n in (NEW, 5))
    assert [t[:5] for t in long] == short


@pytest.mark.parametrize("narrow", [{"top_k": 1}, {"top_p": 1e-6}], ids=str)
def test_sampling_narrowed_to_one_token_is_greedy(base, greedy, narrow):
    assert texts(generate(base, PROMPTS, replace(WARM, **narrow))) == greedy


def test_top_k_keeps_the_k_best_tokens(base):
    (answer,) = texts(generate(base, PROMPTS[:1], replace(WARM, top_k=3)))
    for token, scores in zip(answer, scores_of(base, PROMPTS[0], answer), strict=True):
        assert (scores > scores[token]).sum() < 3


def test_top_p_keeps_the_smallest_set_that_holds_that_probability(base):
    """With a `top_k` beyond the vocabulary, which keeps everything."""
    (answer,) = texts(generate(base, PROMPTS[:1], replace(WARM, top_p=0.02, top_k=10_000)))
    for token, scores in zip(answer, scores_of(base, PROMPTS[0], answer), strict=True):
        probs = np.exp(scores) / np.exp(scores).sum()
        assert probs[probs > probs[token]].sum() < 0.02


def test_a_stop_token_ends_its_row_and_only_its_row(greedy, stop):
    cut = generate(stopping_at(stop), PROMPTS, BRIEF)
    assert {completion.ended for completion in cut} == {True, False}
    for before, after in zip(greedy, cut, strict=True):
        assert after.ended == (stop in before)
        assert after.tokens == (before[: before.index(stop)] if after.ended else before)


def test_stopped_rows_stream_none_until_all_have_stopped(stop):
    """The stop token itself is streamed; nothing after it is."""
    steps = list(stream(stopping_at(stop), PROMPTS, BRIEF))
    for row in zip(*steps, strict=True):
        spoken = [token for token in row if token is not None]
        assert list(row) == spoken + [None] * (NEW - len(spoken))
        assert stop not in spoken[:-1]


def test_a_stream_ends_when_every_row_has_stopped(greedy, stop):
    assert len(list(stream(stopping_at(stop), PROMPTS[1:2], BRIEF))) == greedy[1].index(stop) + 1


def test_the_limit_is_exact_and_marks_the_answer_as_cut(base):
    for limit in (1, 5):
        for completion in generate(base, PROMPTS, replace(GREEDY, max_new_tokens=limit)):
            assert (len(completion.tokens), completion.ended) == (limit, False)


def test_prompt_and_answer_must_fit_the_context(base):
    room = base.config.context - NEW
    assert len(generate(base, [[2] * room], BRIEF)[0].tokens) == NEW
    with pytest.raises(ContextError, match=f"{room + 1} tokens and {NEW} new ones exceed the context of 256"):
        generate(base, [[2], [2] * (room + 1)], BRIEF)


def test_an_empty_prompt_is_refused(base):
    with pytest.raises(ValueError, match="<bos>"):
        generate(base, [[2], []], BRIEF)


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1.0}, {"temperature": math.nan}, {"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.5},
        {"max_new_tokens": 0}, {"repetition_penalty": math.nan},
    ],
    ids=str,
)  # fmt: skip
def test_impossible_sampling_is_refused_by_field(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Sampling(**wrong)


def streamed(tokenizer, tokens):
    """The pieces of text that a scripted model's tokens become."""
    with mock.patch.object(station, "stream", return_value=([token] for token in tokens)):
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


def test_a_repetition_penalty_ends_a_loop_and_one_changes_nothing(tiny_base):
    """Greedy decoding of a random model soon goes round in circles; a strong penalty forbids coming back."""
    plain = generate(tiny_base, [[2, 5, 7]], Sampling(max_new_tokens=40))
    assert generate(tiny_base, [[2, 5, 7]], Sampling(max_new_tokens=40, repetition_penalty=1.0)) == plain
    (free,) = generate(tiny_base, [[2, 5, 7]], Sampling(max_new_tokens=40, repetition_penalty=1e6))
    assert len(set(free.tokens)) == len(free.tokens)
    with pytest.raises(ValueError, match=r"repetition_penalty=0\.5"):
        Sampling(repetition_penalty=0.5)
