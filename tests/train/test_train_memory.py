"""The law the loss exists for: no buffer ever holds positions x vocabulary. Nothing is computed here, only compiled."""

import math
import re

import jax
import jax.numpy as jnp
import pytest

from helptune.train.loss import POSITIONS, VOCABULARY_BLOCK, chunked_nll, token_nll

ROWS, TOKENS, VOCABULARY, WIDTH = 2, 256, 65_536, 32
LOGITS = ROWS * TOKENS * VOCABULARY
SHAPES = (
    jax.ShapeDtypeStruct((ROWS, TOKENS, WIDTH), jnp.float32),
    jax.ShapeDtypeStruct((VOCABULARY, WIDTH), jnp.float32),
    jax.ShapeDtypeStruct((ROWS, TOKENS), jnp.int32),
    jax.ShapeDtypeStruct((ROWS, TOKENS), jnp.float32),
)


def full(hidden, embedding, targets, weights):
    return jnp.sum(weights * token_nll(hidden, embedding, targets))


def largest_value(jaxpr):
    """Elements of the largest array in a program, written there as f32[512,65536], inside loops and calls too."""
    return max(math.prod(map(int, shape.split(","))) for shape in re.findall(r"\w\[(\d[\d,]*)\]", str(jaxpr)))


@pytest.mark.parametrize("with_gradient", [False, True], ids=["loss", "gradient"])
@pytest.mark.parametrize(("function", "builds_logits"), [(chunked_nll, False), (full, True)], ids=["chunked", "full"])
def test_only_the_full_loss_holds_positions_times_vocabulary(function, builds_logits, with_gradient):
    function = jax.value_and_grad(function) if with_gradient else function
    traced = jax.jit(function).trace(*SHAPES)
    largest = largest_value(traced.jaxpr)
    temporary = traced.lower().compile().memory_analysis().temp_size_in_bytes
    if builds_logits:
        assert largest >= LOGITS
        assert temporary >= 4 * LOGITS
    else:
        block = POSITIONS * VOCABULARY_BLOCK
        assert largest <= block < LOGITS / 8
        assert temporary <= 4 * 4 * block < 4 * LOGITS / 3
