"""Laws of merging: one rounding of W + scale A B, what is not adapted stays the same array, and unmerging is exact."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gemma_layouts import assert_same_leaves
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from helptune.adapt.adapters import attach
from helptune.adapt.lora import LoraConfig
from helptune.adapt.merge import merge, merged_site, write_merged
from helptune.errors import AdapterError, SettingError
from helptune.gemma.base import init_base
from helptune.gemma.checkpoints import load_checkpoint
from helptune.gemma.config import tiny
from helptune.gemma.model import logits
from helptune.gemma.quantize import dequantize, quantize_base

CONFIG = LoraConfig(rank=4, alpha=6.0, sites=("q", "o", "down"))


def whole_numbers(*shape):
    return arrays.arrays(np.float32, shape, elements=st.integers(-15, 15).map(float))


@settings(deadline=None, max_examples=30)
@given(w=whole_numbers(2, 6, 5), a=whole_numbers(2, 6, 3), b=whole_numbers(2, 3, 5), exponent=st.integers(-6, 2))
def test_the_sum_is_rounded_once_and_to_nearest(w, a, b, exponent):
    """With whole numbers every sum is exact in float64, so a second rounding, or one of the product, would show."""
    scale = 2.0**exponent
    exact = w.astype(np.float64) + scale * (a.astype(np.float64) @ b)
    for dtype in ("float32", "bfloat16"):
        found = merged_site(jnp.asarray(w), {"a": a, "b": b}, scale, dtype)
        np.testing.assert_array_equal(np.asarray(found), exact.astype(jnp.dtype(dtype)))


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8", "int4"])
def test_a_base_of_any_precision_is_merged_from_its_own_values(precision, dtype, trained):
    base = init_base(tiny(3), jax.random.key(0), "float32" if precision == "float32" else "bfloat16")
    base = quantize_base(base, precision, 16) if precision.startswith("int") else base
    adapters = trained(CONFIG, base.config)
    found = merge(base, adapters, CONFIG, dtype).base
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype(dtype)}
    for site, leaf in base.blocks.items():
        dense = dequantize(leaf, jnp.float32) if hasattr(leaf, "codes") else leaf
        expected = np.asarray(dense, np.float64)
        if site in adapters:
            expected = expected + CONFIG.scale * np.asarray(adapters[site]["a"], np.float64) @ adapters[site]["b"]
        step = np.spacing(np.abs(expected).astype(jnp.dtype(dtype))).astype(np.float64)
        assert (np.abs(np.asarray(found.blocks[site], np.float64) - expected) <= 0.501 * step + 1e-6).all()


def test_unmerging_gives_the_base_back_bit_for_bit(tiny_base, trained):
    before = jax.tree.map(lambda leaf: np.array(leaf), tiny_base)
    merged = merge(tiny_base, trained(LoraConfig(rank=4), tiny_base.config), LoraConfig(rank=4))
    assert merged.original is tiny_base
    assert_same_leaves(jax.tree.map(np.asarray, merged.original), before)


def test_embedding_and_norms_are_never_merged_into(tiny_base, trained):
    merged = merge(tiny_base, trained(LoraConfig(rank=4), tiny_base.config), LoraConfig(rank=4), "float32").base
    np.testing.assert_array_equal(merged.embedding, tiny_base.embedding)
    np.testing.assert_array_equal(merged.final_norm, tiny_base.final_norm)
    norms = [name for name in tiny_base.blocks if name.endswith("norm")]
    assert norms
    for name in norms:
        np.testing.assert_array_equal(merged.blocks[name], tiny_base.blocks[name])


@pytest.mark.parametrize("stabilized", [False, True])
def test_merged_in_float32_says_what_the_adapter_beside_its_base_says(tiny_base, hidden, trained, stabilized):
    config = replace(CONFIG, rank_stabilized=stabilized)
    adapters = trained(config, tiny_base.config)
    beside = logits(tiny_base, hidden(tiny_base, attach(adapters, config)))
    merged = merge(tiny_base, adapters, config, "float32").base
    assert float(jnp.abs(beside - logits(tiny_base, hidden(tiny_base))).max()) > 0.1
    np.testing.assert_allclose(logits(merged, hidden(merged)), beside, rtol=1e-4, atol=1e-4)


def test_written_one_matrix_at_a_time_it_is_the_same_model(tiny_base, trained, tmp_path):
    adapters = trained(CONFIG, tiny_base.config)
    for dtype in ("bfloat16", "float32"):
        (tmp_path / dtype).mkdir()
        write_merged(tmp_path / dtype, tiny_base, adapters, CONFIG, dtype)
        read = load_checkpoint(tmp_path / dtype, tiny_base.config, dtype)
        assert_same_leaves(read, merge(tiny_base, adapters, CONFIG, dtype).base)


def test_another_dtype_is_refused(tiny_base):
    with pytest.raises(SettingError, match="dtype 'int8' is not one of bfloat16, float32"):
        merge(tiny_base, {}, CONFIG, "int8")


def test_an_adapter_of_another_model_is_refused_with_both_shapes(trained):
    adapters = trained(CONFIG, replace(tiny(3), width=64))
    with pytest.raises(AdapterError, match=r"adapter at \w+: A \(4, 64, 4\) and B .* do not fit tiny-3, .* is \(4, "):
        merge(init_base(tiny(3), jax.random.key(0)), adapters, CONFIG)
