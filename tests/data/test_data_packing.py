"""Packing: several conversations share a row, and nothing about any of them changes."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helptune.data.conversation import load_curated
from helptune.data.packing import Example, collate, pack, padding_share, plan_batches, tokenize
from helptune.errors import ContextError
from helptune.gemma.config import gemma3_270m, tiny
from helptune.gemma.model import forward
from helptune.gemma.tokenizer import PAD

SEQ_LEN = 16
hidden_states = jax.jit(lambda base, b: forward(base, b.tokens, b.positions, b.segments)[0])


@st.composite
def examples(draw):
    """Conversations of 1 to SEQ_LEN places; every token id occurs once, so that each can be found again."""
    lengths = draw(st.lists(st.integers(1, SEQ_LEN), min_size=1, max_size=12))
    made, start = [], 1
    for length in lengths:
        flags = draw(st.lists(st.booleans(), min_size=length, max_size=length))
        made.append(Example(tuple(range(start, start + length + 1)), (False, *flags)))
        start += length + 1
    return made


def lengths_of(many):
    return [len(e) for e in many]


@given(st.lists(st.integers(1, SEQ_LEN), max_size=40))
def test_every_example_is_packed_once_and_no_row_overflows(lengths):
    rows = pack(lengths, SEQ_LEN)
    assert sorted(n for row in rows for n in row) == list(range(len(lengths)))
    assert all(0 < sum(lengths[n] for n in row) <= SEQ_LEN for row in rows)


@given(st.lists(st.integers(1, SEQ_LEN), min_size=1, max_size=40))
def test_any_two_rows_together_hold_more_than_one(lengths):
    """Were there two that fit into one, best fit would have joined them: at most twice the least number of rows."""
    filled = sorted(sum(lengths[n] for n in row) for row in pack(lengths, SEQ_LEN))
    assert len(filled) == 1 or filled[0] + filled[1] > SEQ_LEN


def test_best_fit_fills_gaps_longest_first():
    assert pack([4, 10, 6, 12], SEQ_LEN) == [[3, 0], [1, 2]]


def test_an_example_longer_than_a_row_is_refused():
    with pytest.raises(ContextError, match="example 1 has 17 tokens, a row holds 16"):
        pack([3, 17], SEQ_LEN)


@given(examples())
def test_a_segment_holds_one_example_with_positions_from_zero(many):
    rows = pack(lengths_of(many), SEQ_LEN)
    batch = collate(many, rows, SEQ_LEN, len(rows))
    for r, row in enumerate(rows):
        for segment, number in enumerate(row, start=1):
            inside = batch.segments[r] == segment
            assert tuple(batch.tokens[r][inside]) == many[number].ids[:-1]
            assert tuple(batch.positions[r][inside]) == tuple(range(len(many[number])))


@given(examples())
def test_targets_are_the_next_tokens_of_the_same_example(many):
    """Also at the end of a segment: its target is the example's own last token, never the neighbour's first."""
    rows = pack(lengths_of(many), SEQ_LEN)
    batch = collate(many, rows, SEQ_LEN, len(rows))
    for r, row in enumerate(rows):
        for segment, number in enumerate(row, start=1):
            assert tuple(batch.targets[r][batch.segments[r] == segment]) == many[number].ids[1:]


@given(examples())
def test_weights_are_one_exactly_where_the_target_is_supervised(many):
    rows = pack(lengths_of(many), SEQ_LEN)
    batch = collate(many, rows, SEQ_LEN, len(rows))
    learned = {i for e in many for i, flag in zip(e.ids, e.supervised, strict=True) if flag}
    assert sorted(batch.targets[batch.weights == 1]) == sorted(learned)
    assert set(np.unique(batch.weights)) <= {0.0, 1.0}


@given(examples(), st.integers(0, 3))
def test_padding_is_segment_zero_and_weighs_nothing(many, extra):
    """Missing rows too: a batch has its shape whatever is in it."""
    rows = pack(lengths_of(many), SEQ_LEN)
    batch = collate(many, rows, SEQ_LEN, len(rows) + extra)
    padding = batch.segments == 0
    assert batch.tokens.shape == (len(rows) + extra, SEQ_LEN)
    assert padding.sum() == batch.tokens.size - sum(lengths_of(many))
    assert not batch.weights[padding].any()
    assert (batch.tokens[padding] == PAD).all()


PLANS = st.tuples(st.lists(st.integers(1, SEQ_LEN), min_size=1, max_size=20), st.integers(1, 4), st.integers(0, 99))


@given(PLANS)
def test_an_epoch_visits_every_example_once(plan):
    lengths, batch_rows, seed = plan
    epochs = [plan_batches(lengths, SEQ_LEN, batch_rows, epochs, seed) for epochs in (1, 2)]
    for steps in (epochs[0], epochs[1][len(epochs[0]) :]):
        assert sorted(n for rows in steps for row in rows for n in row) == list(range(len(lengths)))
        assert all(1 <= len(rows) <= batch_rows for rows in steps)


@given(PLANS)
def test_the_plan_is_a_pure_function_and_more_epochs_only_add_to_it(plan):
    lengths, batch_rows, seed = plan
    first = plan_batches(lengths, SEQ_LEN, batch_rows, 2, seed)
    assert plan_batches(list(lengths), SEQ_LEN, batch_rows, 2, seed) == first
    assert plan_batches(lengths, SEQ_LEN, batch_rows, 3, seed)[: len(first)] == first


@given(PLANS, st.integers(1, 40))
def test_a_limit_of_steps_only_cuts_the_plan(plan, max_steps):
    lengths, batch_rows, seed = plan
    whole = plan_batches(lengths, SEQ_LEN, batch_rows, 3, seed)
    assert plan_batches(lengths, SEQ_LEN, batch_rows, 3, seed, max_steps) == whole[:max_steps]


def test_epochs_and_seeds_order_the_examples_differently():
    lengths = [1 + n % SEQ_LEN for n in range(40)]
    one, other_seed = (plan_batches(lengths, SEQ_LEN, 2, 1, seed) for seed in (0, 1))
    second_epoch = plan_batches(lengths, SEQ_LEN, 2, 2, 0)[len(one) :]
    assert one != other_seed
    assert one != second_epoch


@settings(max_examples=5, deadline=None)
@given(examples())
def test_a_packed_example_gets_the_hidden_states_it_has_alone(tiny_base, many):
    """The reason for segments and positions: the model cannot tell that there are neighbours."""
    rows = pack(lengths_of(many), SEQ_LEN)
    together, alone = collate(many, rows, SEQ_LEN, 12), collate(many, [[n] for n in range(len(many))], SEQ_LEN, 12)
    packed, single = hidden_states(tiny_base, together), hidden_states(tiny_base, alone)
    for r, row in enumerate(rows):
        for segment, number in enumerate(row, start=1):
            inside = together.segments[r] == segment
            np.testing.assert_allclose(packed[r][inside], single[number][: len(many[number])], atol=1e-4)


def test_tokenize_supervises_answers_only(tokenizer):
    conversation = load_curated("train")[0]
    (example,) = tokenize([conversation], tokenizer, gemma3_270m(), 256)
    learned = [i for i, flag in zip(example.ids, example.supervised, strict=True) if flag]
    assert tokenizer.decode(learned[:-1]) == conversation.reference
    assert learned[-1] == gemma3_270m().turn_end


def test_a_conversation_that_does_not_fit_is_named_not_cut(tokenizer):
    conversation = load_curated("train")[0]
    with pytest.raises(ContextError, match=rf"'{conversation.id}' needs \d+ tokens, seq_len is 32: raise --seq-len"):
        tokenize([conversation], tokenizer, gemma3_270m(), 32)


def test_a_conversation_longer_than_the_context_is_named(tokenizer):
    conversation = load_curated("train")[0]
    with pytest.raises(ContextError, match=rf"'{conversation.id}' has \d+ tokens, the context of tiny-3 is 32"):
        tokenize([conversation], tokenizer, replace(tiny(3), context=32), 1_024)


def test_the_curated_rows_are_more_than_nine_tenths_full(tokenizer):
    lengths = lengths_of(tokenize(load_curated("train"), tokenizer, gemma3_270m(), 256))
    assert sum(lengths) / (len(pack(lengths, 256)) * 256) > 0.9


def test_padding_is_what_no_conversation_takes():
    assert padding_share([[3, 4], [5]], 8) == pytest.approx(4 / 16)
    assert padding_share([[8]], 8) == 0
