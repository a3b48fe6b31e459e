"""Laws of one step: every supervised token counts once, however texts are packed into rows and rows into batches."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from train_runs import COMPILE_FAST, examples, same_bits

from helptune.adapt.adapters import init_adapters
from helptune.adapt.bottleneck import BottleneckConfig
from helptune.adapt.lora import LoraConfig
from helptune.data.packing import Example, collate
from helptune.gemma.base import init_base
from helptune.gemma.config import tiny
from helptune.gemma.model import REMAT
from helptune.train.optimizer import OptimizerConfig, make_optimizer
from helptune.train.step import eval_step, gradients, init_state, nll_sum, train_step

LORA = LoraConfig(rank=4, sites=("q", "v", "gate"))
KEY = jax.random.key(0)
nll_and_gradient = jax.jit(
    jax.value_and_grad(nll_sum, argnums=1), static_argnames="method", compiler_options=COMPILE_FAST
)
batch_gradients = jax.jit(
    gradients, static_argnames=("method", "remat", "neftune_alpha"), compiler_options=COMPILE_FAST
)


@pytest.fixture(scope="module")
def base():
    return init_base(tiny(3), KEY)


@pytest.fixture(scope="module")
def adapters(base):
    """As after some training: with B at zero, A would get no gradient."""
    new = init_adapters(LORA, base.config, KEY)
    return jax.tree.map(lambda leaf: leaf + 0.1 * jax.random.normal(KEY, leaf.shape), new)


@pytest.fixture(scope="module")
def uneven():
    """Eight rows of one text each; the numbers of supervised tokens run from 1 to 20."""
    ids = np.random.default_rng(3).integers(3, 512, (8, 24)).tolist()
    counts = (1, 20, 1, 1, 2, 18, 3, 1)
    texts = [Example(tuple(row), (False,) * (24 - n) + (True,) * n) for row, n in zip(ids, counts, strict=True)]
    return collate(texts, [[i] for i in range(8)], 24, 8)


def split(batch, parts):
    """[8, T] -> [parts, 8 / parts, T]"""
    return jax.tree.map(lambda a: a.reshape(parts, -1, *a.shape[1:]), batch)


def close(ours, theirs, rtol=2e-4, atol=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), ours, theirs)


def test_packed_loss_and_gradient_equal_the_sum_over_padded_rows(base, adapters):
    texts = examples(3, seed=5, words=512)
    nll, gradient = nll_and_gradient(base, adapters, LORA, collate(texts, [[0, 1, 2]], 72, 1))
    alone = [nll_and_gradient(base, adapters, LORA, collate(texts, [[i]], 72, 1)) for i in range(3)]
    assert float(nll) == pytest.approx(sum(float(n) for n, _ in alone), rel=1e-5)
    close(gradient, jax.tree.map(lambda *parts: sum(parts), *(g for _, g in alone)))


def test_padding_rows_change_neither_loss_nor_gradient(base, adapters):
    texts = examples(3, seed=5, words=512)
    one, padded = (collate(texts, [[0, 1, 2]], 72, rows) for rows in (1, 3))
    close(nll_and_gradient(base, adapters, LORA, padded), nll_and_gradient(base, adapters, LORA, one))


def test_1x8_2x4_and_8x1_micro_batches_give_one_gradient(base, adapters, uneven):
    nll, gradient = nll_and_gradient(base, adapters, LORA, uneven)
    count = uneven.weights.sum()
    expected = nll, count, jax.tree.map(lambda g: g / count, gradient)
    for parts in (1, 2, 8):
        close(batch_gradients(base, adapters, LORA, split(uneven, parts), KEY), expected)


def test_64_rows_one_by_one_or_in_4_parts_give_one_gradient(base, adapters):
    """The smallest effective batch of the 7B preset; 256 rows are four times the same sum."""
    texts = examples(64, seed=7, words=512)
    rows = collate(texts, [[i] for i in range(64)], 24, 64)
    single, parts = (batch_gradients(base, adapters, LORA, split(rows, n), KEY) for n in (64, 4))
    close(single, parts)
    assert float(single[1]) == sum(sum(text.supervised[1:]) for text in texts)


@pytest.mark.parametrize(
    "method", [replace(LORA, dropout=0.2), BottleneckConfig(8, "houlsby")], ids=["lora", "houlsby"]
)
@pytest.mark.parametrize("remat", REMAT[1:])
def test_recomputing_changes_no_gradient(base, uneven, method, remat):
    new = init_adapters(method, base.config, KEY)
    trained = jax.tree.map(lambda leaf: leaf + 0.1 * jax.random.normal(KEY, leaf.shape), new)
    micro = split(uneven, 2)
    kept = batch_gradients(base, trained, method, micro, KEY)
    close(batch_gradients(base, trained, method, micro, KEY, remat), kept, rtol=1e-4)


def test_averaging_the_means_of_micro_batches_would_be_another_gradient(base, adapters, uneven):
    micro = [jax.tree.map(lambda a, i=i: a[i], split(uneven, 8)) for i in range(8)]
    means = [
        jax.tree.map(lambda g, m=m: g / m.weights.sum(), nll_and_gradient(base, adapters, LORA, m)[1]) for m in micro
    ]
    averaged = jax.tree.map(lambda *parts: sum(parts) / 8, *means)
    _, _, right = batch_gradients(base, adapters, LORA, split(uneven, 8), KEY)
    assert distance(averaged, right) > 0.2


def distance(a, b):
    """How far tree a is from tree b, relative to b."""

    def norm(tree):
        return float(jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree))))

    return norm(jax.tree.map(jnp.subtract, a, b)) / norm(b)


def test_a_batch_without_supervised_tokens_has_gradient_zero_and_no_nan(base, adapters, uneven):
    silent = replace(uneven, weights=np.zeros_like(uneven.weights))
    nll, weight, gradient = batch_gradients(base, adapters, LORA, split(silent, 2), KEY)
    assert (nll, weight) == (0, 0)
    assert not any(leaf.any() for leaf in jax.tree.leaves(gradient))


def test_every_adapter_leaf_gets_a_gradient_and_at_first_only_b(base, adapters, uneven):
    _, gradient = nll_and_gradient(base, adapters, LORA, uneven)
    assert jax.tree.structure(gradient) == jax.tree.structure(adapters)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(gradient))
    _, first = nll_and_gradient(base, init_adapters(LORA, base.config, KEY), LORA, uneven)
    for pair in first.values():
        assert not np.any(pair["a"])
        assert np.any(pair["b"])


def test_a_bfloat16_base_gives_float32_gradients_near_the_exact_ones(base, adapters, uneven):
    rounded = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), base)
    nll, gradient = nll_and_gradient(rounded, adapters, LORA, uneven)
    exact_nll, exact = nll_and_gradient(base, adapters, LORA, uneven)
    assert {leaf.dtype for leaf in jax.tree.leaves((nll, gradient))} == {jnp.dtype("float32")}
    assert float(nll) == pytest.approx(float(exact_nll), rel=0.01)
    assert distance(gradient, exact) < 0.1


def test_a_step_reports_the_loss_before_it_and_changes_only_the_state(base, adapters, uneven):
    optimizer = make_optimizer(OptimizerConfig(learning_rate=1e-2, warmup_steps=0), 10)
    state, before = init_state(jax.tree.map(jnp.copy, adapters), optimizer), jax.tree.map(jnp.copy, base)
    nll, weight = eval_step(base, adapters, uneven, method=LORA)
    state, metrics = train_step(base, state, split(uneven, 2), KEY, method=LORA, optimizer=optimizer)
    assert float(metrics.loss) == pytest.approx(float(nll / weight), rel=1e-5)
    assert metrics.supervised == weight == 47
    assert state.step == 1
    assert same_bits(base, before)
    assert eval_step(base, state.adapters, uneven, method=LORA)[0] < nll


def test_dropout_is_drawn_anew_for_each_micro_batch(base, adapters, uneven):
    lora = replace(LORA, dropout=0.5)
    half = jax.tree.map(lambda a: a[:4], uneven)
    twins = jax.tree.map(lambda a: np.stack([a, a]), half)
    alone = [nll_and_gradient(base, adapters, lora, half, key)[0] for key in jax.random.split(KEY, 2)]
    assert alone[0] != alone[1]
    assert float(batch_gradients(base, adapters, lora, twins, KEY)[0]) == pytest.approx(float(sum(alone)), rel=1e-5)


def test_dropout_is_a_function_of_seed_and_step(base, adapters, uneven):
    lora, optimizer = replace(LORA, dropout=0.5), make_optimizer(OptimizerConfig(), 10)

    def loss(seed, step):
        state = init_state(jax.tree.map(jnp.copy, adapters), optimizer).replace(step=jnp.int32(step))
        key = jax.random.key(seed)
        return float(train_step(base, state, split(uneven, 2), key, method=lora, optimizer=optimizer)[1].loss)

    assert loss(0, 0) == loss(0, 0)
    assert len({loss(0, 0), loss(0, 1), loss(1, 0)}) == 3
