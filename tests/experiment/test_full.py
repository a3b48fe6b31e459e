"""Laws of the full step: its loss and gradients are those of plain automatic differentiation, and it learns."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helptune.adapt.lora import LoraConfig
from helptune.experiment import full
from helptune.experiment.full import full_flops, full_gradients, full_memory, full_step, masters_of, tied_nll
from helptune.experiment.steps import random_batch
from helptune.gemma.base import init_base
from helptune.gemma.config import gemma_7b, tiny
from helptune.gemma.model import forward
from helptune.train.config import TrainConfig
from helptune.train.flops import step_flops
from helptune.train.loss import token_nll
from helptune.train.memory import step_memory
from helptune.train.optimizer import OptimizerConfig, make_optimizer
from helptune.train.step import init_state

SEVEN = gemma_7b()
COMPILE_FAST = {"xla_backend_optimization_level": 0}
"""What is run once is compiled in half the time, and slower."""


@pytest.fixture(autouse=True, scope="module")
def tiny_chunks():
    """So that a handful of tokens takes several chunks, the last one not full, and several blocks of words."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(full, "POSITIONS", 8)
        patch.setattr(full, "REST", 3)
        patch.setattr(full, "VOCABULARY_BLOCK", 48)
        yield


@pytest.fixture(scope="module")
def batch():
    return jax.tree.map(lambda leaf: leaf[0], random_batch(512, 3, 20, prompt=9))


def plain_nll(hidden, embedding, targets, weights):
    return jnp.sum(weights * token_nll(hidden, embedding, targets))


def plain_loss(base, batch):
    """The definition: full logits, no hand-written product or loss."""
    hidden, _ = forward(base, batch.tokens, batch.positions, batch.segments)
    return plain_nll(hidden, base.embedding, batch.targets, batch.weights) / jnp.sum(batch.weights)


def close(ours, theirs, rtol=1e-3, atol=2e-5):
    jax.tree.map(partial(np.testing.assert_allclose, rtol=rtol, atol=atol), ours, theirs)


@pytest.mark.parametrize("kept", [1.0, 0.4, 0.0])
def test_value_and_both_gradients_of_the_loss_are_those_of_full_logits(kept):
    rng = np.random.default_rng(1)
    hidden, embedding = jnp.asarray(rng.normal(size=(2, 15, 6)), jnp.float32), jnp.asarray(rng.normal(size=(130, 6)))
    targets, weights = rng.integers(0, 130, (2, 15)), np.float32(2.5 * (rng.random((2, 15)) < kept))
    ours, theirs = (
        jax.value_and_grad(lambda h, e, f=f: 3.0 * f(h, e, targets, weights), argnums=(0, 1))(hidden, embedding)
        for f in (tied_nll, plain_nll)
    )
    close(ours, theirs, rtol=1e-4)


def test_the_gradient_of_every_weight_is_that_of_plain_autodiff(tiny_base, batch):
    """With blocks computed twice in one of the two generations."""
    remat = "full" if tiny_base.config.post_norms else "none"
    nll, weight, ours = jax.jit(full_gradients, static_argnums=(2, 3), compiler_options=COMPILE_FAST)(
        tiny_base, batch, "float32", remat
    )
    loss, theirs = jax.jit(jax.value_and_grad(plain_loss), compiler_options=COMPILE_FAST)(tiny_base, batch)
    np.testing.assert_allclose(nll / weight, loss, rtol=1e-5)
    close(ours, theirs)
    assert all(np.abs(leaf).max() > 1e-4 for leaf in jax.tree.leaves(theirs))


def test_a_few_steps_lower_the_loss_and_change_every_weight_but_not_the_base_they_start_from(batch):
    base = init_base(tiny(3), jax.random.key(0), jnp.bfloat16)
    optimizer = make_optimizer(OptimizerConfig(learning_rate=3e-3, warmup_steps=0), 8)
    before = jax.tree.map(np.array, base)
    state, losses = init_state(masters_of(base), optimizer), []
    for _ in range(8):
        state, metrics = full_step(state, batch, optimizer=optimizer)
        losses.append(float(metrics.loss))
    assert losses[-1] < 0.8 * losses[0]
    assert losses == sorted(losses, reverse=True)
    jax.tree.map(np.testing.assert_array_equal, base, before)
    for leaf, old in zip(jax.tree.leaves(state.adapters), jax.tree.leaves(base), strict=True):
        assert leaf.dtype == jnp.float32
        assert np.any(np.asarray(leaf) != np.asarray(old, np.float32))


def test_logits_of_all_words_never_exist():
    """Only compiled: 512 positions of 65,536 words would be 134 MB."""
    V, D, P = 65_536, 16, 512
    arguments = [jax.ShapeDtypeStruct(s, d) for s, d in (((1, P, D), "float32"), ((V, D), "float32"),
                 ((1, P), "int32"), ((1, P), "float32"))]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(full, "POSITIONS", P)
        patch.setattr(full, "VOCABULARY_BLOCK", 4_096)
        compiled = jax.jit(jax.value_and_grad(tied_nll, argnums=(0, 1))).lower(*arguments).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < P * V * 4 / 2


def test_a_full_step_holds_eighteen_bytes_a_parameter_and_what_waits():
    train = TrainConfig(batch_rows=8, seq_len=1024, remat="full")
    memory = full_memory(SEVEN, train, "bfloat16")
    waiting = step_memory(SEVEN, LoraConfig(), (1, 1, 1), train, "bfloat16").activations
    held = memory.base + memory.adapters + memory.optimizer + memory.gradients
    assert (held, memory.activations) == (18 * SEVEN.parameters, waiting)
    assert full_memory(SEVEN, train, "float32").base == 0


@pytest.mark.parametrize(("remat", "full_n", "lora_n"), [("none", 6, 4), ("full", 8, 6)])
def test_a_short_full_step_costs_6n_operations_a_token_where_lora_costs_4n(remat, full_n, lora_n):
    """N: the projections. With remat both compute them once more. The vocabulary, which LoRA leaves alone, costs 6."""
    train = TrainConfig(batch_rows=1, seq_len=1, remat=remat)
    projections = SEVEN.parameters - SEVEN.vocab * SEVEN.width - (2 * SEVEN.layers + 1) * SEVEN.width
    assert full_flops(SEVEN, train, 0.0) / projections == pytest.approx(full_n, rel=1e-3)
    assert step_flops(SEVEN, LoraConfig(rank=1), train, 0.0) / projections == pytest.approx(lora_n, rel=1e-3)
    vocabulary = full_flops(SEVEN, train, 1.0) - full_flops(SEVEN, train, 0.0)
    assert vocabulary == pytest.approx(6 * SEVEN.vocab * SEVEN.width)
