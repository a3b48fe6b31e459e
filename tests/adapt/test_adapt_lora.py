"""Laws of LoRA: what an adapter adds to the model, where, how strongly, and how few numbers that takes."""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helptune.adapt.adapters import attach, init_adapters, parameter_count
from helptune.adapt.lora import LoraConfig, low_rank
from helptune.gemma.base import SITES, site_shapes
from helptune.gemma.config import gemma3_270m, gemma_7b, tiny
from helptune.gemma.model import logits


@pytest.fixture
def scores(hidden):
    return lambda base, adapter=None: logits(base, hidden(base, adapter))


def test_a_new_adapter_changes_no_bit_of_the_logits(tiny_base, scores):
    adapters = init_adapters(LoraConfig(rank=4), tiny_base.config, jax.random.key(2))
    run = jax.jit(scores, compiler_options={"xla_backend_optimization_level": 3})  # as it is compiled for people
    with_adapter = run(tiny_base, attach(adapters, LoraConfig(rank=4)))
    np.testing.assert_array_equal(with_adapter, run(tiny_base))


@pytest.mark.parametrize("stabilized", [False, True])
def test_an_adapter_equals_weights_with_its_product_merged_in(tiny_base, scores, trained, stabilized):
    config = LoraConfig(rank=4, alpha=6.0, rank_stabilized=stabilized)
    adapters = trained(config, tiny_base.config)
    blocks = dict(tiny_base.blocks)
    for site, pair in adapters.items():
        blocks[site] = blocks[site] + config.scale * jnp.einsum("LIR,LRO->LIO", pair["a"], pair["b"])
    merged = scores(replace(tiny_base, blocks=blocks))
    assert float(jnp.abs(merged - scores(tiny_base)).max()) > 0.1
    np.testing.assert_allclose(scores(tiny_base, attach(adapters, config)), merged, rtol=1e-4, atol=1e-4)


def test_the_scale_is_alpha_over_rank_or_over_its_root():
    assert LoraConfig(rank=16, alpha=32.0).scale == 2.0
    assert LoraConfig(rank=16, alpha=32.0, rank_stabilized=True).scale == 8.0


def test_doubling_alpha_doubles_what_is_added(trained):
    model, x = tiny(3), jax.random.normal(jax.random.key(0), (1, 5, 32))
    config = LoraConfig(rank=4, alpha=3.0)
    adapters = trained(config, model)

    def delta(config):
        lora = attach(adapters, config)
        return lora.delta(jax.tree.map(lambda leaf: leaf[0], lora.layers), "q", x, x)

    np.testing.assert_allclose(delta(replace(config, alpha=6.0)), 2 * delta(config), rtol=1e-6)


def test_only_the_listed_sites_get_an_adapter(trained):
    config = LoraConfig(rank=4, sites=("v", "down"))
    adapters = trained(config, tiny(3))
    assert set(adapters) == {"v", "down"}
    lora = attach(adapters, config)
    layer = jax.tree.map(lambda leaf: leaf[0], lora.layers)
    for site in set(SITES) - {"v", "down"}:
        x, y = (jnp.ones((1, 1, width)) for width in site_shapes(tiny(3))[site])
        assert lora.delta(layer, site, x, y) is None


@pytest.mark.parametrize("site", SITES)
def test_every_site_reaches_the_logits(site, tiny_base, scores, trained):
    config = LoraConfig(rank=4)
    new, adapters = init_adapters(config, tiny_base.config, jax.random.key(2)), trained(config, tiny_base.config)
    only_here = {**new, site: adapters[site]}
    assert not np.array_equal(scores(tiny_base, attach(only_here, config)), scores(tiny_base))


def test_a_starts_uniform_within_one_over_root_of_its_inputs_and_b_at_zero():
    adapters = init_adapters(LoraConfig(rank=8), tiny(3), jax.random.key(0))
    for site, (d_in, d_out) in site_shapes(tiny(3)).items():
        a, b, bound = adapters[site]["a"], adapters[site]["b"], 1 / math.sqrt(d_in)
        assert (a.shape, b.shape) == ((4, d_in, 8), (4, 8, d_out))
        assert 0.9 * bound < float(jnp.abs(a).max()) <= bound
        assert float(a.std()) == pytest.approx(bound / math.sqrt(3), rel=0.1)
        assert not b.any()


@pytest.mark.parametrize("shape", [(1, 1, 3, 1, 2), (2, 5, 8, 3, 6), (3, 4, 5, 7, 2)], ids=str)
def test_the_hand_written_gradient_equals_autodiff(shape):
    B, T, I, R, O = shape  # noqa: E741
    keys = jax.random.split(jax.random.key(0), 4)
    x, a, b, dy = map(jax.random.normal, keys, [(B, T, I), (I, R), (R, O), (B, T, O)])
    expected_y, expected = jax.vjp(lambda x, a, b: (x @ a) @ b, x, a, b)
    y, pullback = jax.vjp(low_rank, x, a, b)
    np.testing.assert_array_equal(y, expected_y)
    for ours, theirs in zip(pullback(dy), expected(dy), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_rank_16_on_gemma3_270m_trains_3_796_992_numbers():
    shapes = jax.eval_shape(lambda key: init_adapters(LoraConfig(rank=16), gemma3_270m(), key), jax.random.key(0))
    assert parameter_count(shapes) == 3_796_992
    assert parameter_count(shapes) / gemma3_270m().parameters < 0.015


def test_rank_16_on_gemma_7b_trains_about_50_million_numbers():
    shapes = jax.eval_shape(lambda key: init_adapters(LoraConfig(rank=16), gemma_7b(), key), jax.random.key(0))
    assert parameter_count(shapes) == pytest.approx(50.0e6, rel=2e-3)


def test_adapters_are_float32_and_reproducible():
    one, same, other = (init_adapters(LoraConfig(), tiny(3), jax.random.key(seed)) for seed in (0, 0, 1))
    assert {leaf.dtype for leaf in jax.tree.leaves(one)} == {jnp.dtype("float32")}
    np.testing.assert_array_equal(one["q"]["a"], same["q"]["a"])
    assert not np.array_equal(one["q"]["a"], other["q"]["a"])
    assert not np.array_equal(one["gate"]["a"], one["up"]["a"])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sites": ("q", "qkv")}, "choose a subset of q, k, v, o, gate, up, down"),
        ({"sites": ()}, "choose a subset"),
        ({"sites": ("q", "q")}, "each once"),
        ({"rank": 0}, "rank=0"),
        ({"rank": -4}, "must be positive"),
        ({"alpha": 0.0}, "alpha=0.0"),
        ({"alpha": float("inf")}, "alpha=inf"),
        ({"dropout": 1.0}, "dropout=1.0: must be at least 0 and below 1"),
        ({"dropout": -0.1}, "dropout=-0.1"),
    ],
    ids=str,
)
def test_an_impossible_adapter_is_refused_with_what_to_change(wrong, message):
    with pytest.raises(ValueError, match=message):
        LoraConfig(**wrong)
