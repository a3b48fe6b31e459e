"""The layout for generation on a CPU: another arrangement of the same model, and integers where the base is int8."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helptune.adapt.adapters import attach, init_adapters
from helptune.adapt.lora import LoraConfig
from helptune.gemma import generate, layout, sampling
from helptune.gemma.attention import empty_cache
from helptune.gemma.layout import adapter_apart, lay_apart, prepared
from helptune.gemma.model import forward, logits
from helptune.gemma.quantize import base_bytes, dequantize, quantize_base
from helptune.gemma.rows import output_rows, rows_matmul
from helptune.gemma.sampling import Sampling
from helptune.gemma.sharding import make_mesh, shard_base


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def test_rows_of_plain_numbers_multiply_like_the_matrix():
    x, w = normal(0, 2, 3, 64), normal(1, 64, 48)
    np.testing.assert_allclose(rows_matmul(x, output_rows(w, integers=False)), x @ w, atol=1e-5)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), size=st.sampled_from([1e-20, 1e-3, 1.0, 1e4]))
def test_every_element_of_a_product_of_integers_is_as_near_as_its_roundings_allow(seed, size):
    """|x - x'| is at most half a scale of its row, and |w - w'| half a scale of its output."""
    x, w = np.asarray(size * normal(seed, 3, 40), np.float64), np.asarray(normal(seed + 1, 40, 8), np.float64)
    found = rows_matmul(jnp.asarray(x, jnp.float32), output_rows(jnp.asarray(w, jnp.float32), integers=True))
    half_x, half_w = abs(x).max(-1, keepdims=True) / 254, abs(w).max(0) / 254
    bound = half_x * abs(w).sum(0) + abs(x).sum(-1, keepdims=True) * half_w + 40 * half_x * half_w
    assert (abs(np.asarray(found, np.float64) - x @ w) <= bound * 1.001).all()


def test_a_row_of_zeros_gives_zeros():
    w = output_rows(normal(0, 16, 8).at[:, 3].set(0), integers=True)
    found = np.asarray(rows_matmul(jnp.zeros((2, 16)).at[1].set(1.0), w))
    assert (found[0] == 0).all()
    assert found[1, 3] == 0
    assert found[1, 2] != 0


def read(base, adapter=None):
    """Logits of a text of twelve tokens, read in two parts through a cache."""
    tokens, positions = jnp.arange(20, 32).reshape(1, 12), jnp.arange(12)[None]
    cache = empty_cache(base.config, 1, 16, base.dtype)
    if isinstance(base.blocks, tuple):
        cache = cache.replace(k=tuple(cache.k), v=tuple(cache.v))
        adapter = None if adapter is None else adapter_apart(adapter, base.config.layers)
    parts = []
    for part in (slice(0, 9), slice(9, 12)):
        ones = jnp.ones_like(tokens[:, part])
        hidden, cache = forward(base, tokens[:, part], positions[:, part], ones, adapter, cache)
        parts.append(hidden)
    return logits(base, jnp.concatenate(parts, axis=1))


@pytest.mark.parametrize("adapted", [False, True], ids=["base", "adapter"])
def test_layers_laid_apart_are_the_same_model(tiny_base, adapted):
    lora = LoraConfig(rank=4)
    adapters = jax.tree.map(lambda leaf: leaf + 0.05, init_adapters(lora, tiny_base.config, jax.random.key(1)))
    adapter = attach(adapters, lora) if adapted else None
    np.testing.assert_allclose(read(lay_apart(tiny_base), adapter), read(tiny_base, adapter), atol=2e-5)


def test_an_int8_base_is_multiplied_in_integers_and_stays_near(tiny_base):
    quantized = quantize_base(tiny_base, "int8")
    apart = lay_apart(quantized)
    for matrix in (apart.head, apart.blocks[0]["o"], apart.blocks[1]["q+k+v"]):
        assert matrix.rows.dtype == jnp.int8
    ours, exact = read(apart), read(quantized)
    difference = float(jnp.linalg.norm(ours - exact) / jnp.linalg.norm(exact))
    assert 1e-4 < difference < 0.05


def test_int4_weights_are_unpacked_and_not_rounded_again(tiny_base):
    apart, quantized = lay_apart(quantize_base(tiny_base, "int4")), quantize_base(tiny_base, "int4")
    np.testing.assert_array_equal(apart.blocks[1]["down"].rows.T, dequantize(quantized.blocks["down"], jnp.float32)[1])
    assert apart.head.rows is apart.embedding


def test_the_layout_is_made_once_for_one_device_and_not_for_a_large_model(tiny_base, monkeypatch):
    once = prepared(tiny_base)
    assert once.apart is not None
    assert prepared(once) is once
    monkeypatch.setattr(layout, "LARGEST_COPY", 0)
    assert prepared(tiny_base) is tiny_base


def test_an_int4_base_is_as_large_as_its_unpacked_copy(tiny_base, monkeypatch):
    packed = quantize_base(tiny_base, "int4")
    monkeypatch.setattr(layout, "LARGEST_COPY", 2 * base_bytes(packed.blocks))
    assert prepared(packed) is packed


def test_a_base_made_from_a_prepared_one_is_not_prepared(tiny_base):
    """Its layout would still hold the old weights."""
    assert quantize_base(prepared(tiny_base), "int8").apart is None
    assert shard_base(prepared(tiny_base), make_mesh((1, 1, 1))).apart is None


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_large_model_answers_from_its_stacked_layers(tiny_base, precision, monkeypatch):
    base = tiny_base if precision == "float32" else quantize_base(tiny_base, precision)
    prompts, brief = [[2, 5, 7, 9]], Sampling(max_new_tokens=6, ignore_stops=True)
    apart = generate.generate(base, prompts, brief)
    monkeypatch.setattr(layout, "LARGEST_COPY", 0)
    stacked = generate.generate(base, prompts, brief)
    assert len(stacked[0].tokens) == 6
    assert precision == "int8" or stacked == apart


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(-3, 3), min_size=64, max_size=64))
def test_the_two_step_argmax_is_argmax_ties_included(values):
    scores = jnp.asarray([values], jnp.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "_VOCABULARY_PARTS", 8)
        assert int(sampling._argmax(scores)[0]) == int(jnp.argmax(scores[0]))
