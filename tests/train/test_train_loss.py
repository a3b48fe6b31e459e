"""Laws of the loss: walking the vocabulary in blocks gives what full logits give, and only supervised tokens count.

Chunks are made tiny here (4 positions, 16 words), so that a handful of tokens already takes several of each.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from train_runs import COMPILE_FAST

from helptune.train import loss
from helptune.train.loss import chunked_nll, token_nll


@pytest.fixture(autouse=True, scope="module")
def tiny_chunks():
    """The constants are read while tracing, so the shapes in this file must occur nowhere else: compiled code stays."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loss, "POSITIONS", 4)
        patch.setattr(loss, "REST", 3)
        patch.setattr(loss, "VOCABULARY_BLOCK", 16)
        yield


def problem(shape, weights, seed=0, size=1.0):
    """Random (hidden, embedding, targets, weights) of `shape` (B, T, V, D); `size` scales the logits."""
    B, T, V, D = shape
    keys = jax.random.split(jax.random.key(seed), 3)
    hidden = size * jax.random.normal(keys[0], (B, T, D))
    embedding = jax.random.normal(keys[1], (V, D))
    targets = jax.random.randint(keys[2], (B, T), 0, V)
    return hidden, embedding, targets, jnp.asarray(weights, jnp.float32).reshape(B, T)


def full(hidden, embedding, targets, weights):
    return jnp.sum(weights * token_nll(hidden, embedding, targets))


full_with_gradient = jax.jit(jax.value_and_grad(full), compiler_options=COMPILE_FAST)
chunked_with_gradient = jax.jit(jax.value_and_grad(chunked_nll), compiler_options=COMPILE_FAST)


@st.composite
def problems(draw):
    """Ragged sizes: fewer and more positions than a chunk, vocabularies smaller, equal, and no multiple of a block."""
    shape = draw(st.sampled_from([(1, 1, 16, 3), (1, 3, 5, 2), (2, 4, 48, 4), (3, 5, 37, 6), (1, 13, 50, 1)]))
    size = shape[0] * shape[1]
    weights = draw(st.lists(st.sampled_from([0.0, 0.0, 1.0, 1.0, 0.25, 2.5]), min_size=size, max_size=size))
    return problem(shape, weights, draw(st.integers(0, 2**31 - 1)))


@settings(max_examples=40, deadline=None)
@given(problems())
def test_chunked_loss_and_gradient_equal_those_of_full_logits(problem):
    value, gradient = chunked_with_gradient(*problem)
    expected_value, expected_gradient = full_with_gradient(*problem)
    np.testing.assert_allclose(value, expected_value, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(chunked_nll(*problem), value, rtol=1e-6, atol=1e-6)


def test_token_nll_is_minus_log_of_the_softmax_probability():
    hidden, embedding, targets, _ = problem((1, 3, 20, 4), np.ones(3))
    odds = np.exp(np.asarray(hidden[0], np.float64) @ np.asarray(embedding, np.float64).T)
    expected = -np.log(odds[np.arange(3), targets[0]] / odds.sum(-1))
    np.testing.assert_allclose(token_nll(hidden, embedding, targets)[0], expected, rtol=1e-5)


def test_the_gradient_is_scaled_by_what_comes_after_the_loss():
    parts = problem((2, 4, 48, 4), [1, 0, 1, 1, 0, 1, 1, 1])
    tripled = jax.jit(jax.grad(lambda hidden: 3.0 * chunked_nll(hidden, *parts[1:])), compiler_options=COMPILE_FAST)(
        parts[0]
    )
    np.testing.assert_allclose(tripled, 3.0 * chunked_with_gradient(*parts)[1], rtol=1e-6)


def test_without_supervised_tokens_loss_and_gradient_are_zero():
    value, gradient = chunked_with_gradient(*problem((2, 4, 48, 4), np.zeros(8)))
    assert value == 0
    assert not gradient.any()


def test_unsupervised_targets_change_no_bit():
    hidden, embedding, targets, weights = problem((3, 5, 37, 6), np.arange(15) % 3 == 0)
    others = jnp.where(weights == 0, (targets + 7) % 37, targets)
    for ours, theirs in zip(
        chunked_with_gradient(hidden, embedding, targets, weights),
        chunked_with_gradient(hidden, embedding, others, weights),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_hidden_states_of_prompt_tokens_get_no_gradient():
    parts = problem((3, 5, 37, 6), np.arange(15) % 3 == 0)
    gradient = np.asarray(chunked_with_gradient(*parts)[1])
    supervised = np.asarray(parts[3]) > 0
    assert not gradient[~supervised].any()
    assert np.abs(gradient[supervised]).max(axis=-1).all()


def test_the_loss_of_two_parts_is_the_sum_of_their_losses():
    hidden, embedding, targets, weights = problem((2, 4, 48, 4), [0, 1, 1, 1, 1, 1, 0, 1])
    parts = [chunked_nll(hidden[i : i + 1], embedding, targets[i : i + 1], weights[i : i + 1]) for i in (0, 1)]
    np.testing.assert_allclose(chunked_nll(hidden, embedding, targets, weights), sum(parts), rtol=1e-6)


@pytest.mark.parametrize("size", [1e2, 1e8, 1e30])
def test_extreme_logits_do_not_overflow(size):
    parts = problem((3, 5, 37, 6), np.ones(15), size=size)
    value, gradient = chunked_with_gradient(*parts)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose(value, full(*parts), rtol=1e-5)


def test_a_certain_prediction_costs_nothing_and_a_wrong_certainty_costs_its_margin():
    embedding = jnp.eye(37)
    hidden = 1000.0 * embedding[None, [3, 20]]
    assert chunked_nll(hidden, embedding, jnp.array([[3, 20]]), jnp.ones((1, 2))) == 0
    assert chunked_nll(hidden, embedding, jnp.array([[3, 4]]), jnp.ones((1, 2))) == 1000


def test_bfloat16_hidden_states_give_a_float32_loss_and_a_bfloat16_gradient():
    hidden, embedding, targets, weights = problem((2, 4, 48, 4), np.ones(8))
    rounded = hidden.astype(jnp.bfloat16), embedding.astype(jnp.bfloat16)
    value, gradient = chunked_with_gradient(*rounded, targets, weights)
    exact, exact_gradient = full_with_gradient(*(x.astype(jnp.float32) for x in rounded), targets, weights)
    assert (value.dtype, gradient.dtype) == (jnp.float32, jnp.bfloat16)
    np.testing.assert_allclose(value, exact, rtol=1e-5)
    np.testing.assert_allclose(gradient.astype(jnp.float32), exact_gradient, atol=0.02)
