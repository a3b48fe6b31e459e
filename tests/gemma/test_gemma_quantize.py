"""Laws of quantized bases: how far a weight may move, parts are quantized as the whole, training goes through codes."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import qwix
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from helptune.adapt.adapters import attach, init_adapters
from helptune.adapt.lora import LoraConfig
from helptune.data.packing import Batch
from helptune.errors import SettingError
from helptune.gemma import model
from helptune.gemma.base import SITES, init_base, site_shapes
from helptune.gemma.config import tiny
from helptune.gemma.quantize import (
    GROUP,
    Quantized,
    base_bytes,
    check_precision,
    dequantize,
    matmul,
    precision_of,
    quantize,
    quantize_base,
)
from helptune.gemma.sharding import abstract_base
from helptune.train.step import nll_sum

BITS = [4, 8]
QUANTIZED = ["int8", "int4"]
LORA = LoraConfig(rank=4, alpha=8.0)
COMPILE_FAST = {"xla_backend_optimization_level": 0}
"""For what a test runs a few times: compiled in half the time, and slower."""


def weights(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def in_scales(difference, q):
    """A difference of two matrices, each element divided by the scale of its group."""
    *leading, d_in, d_out = q.shape
    groups = np.asarray(difference, np.float32).reshape(*leading, d_in // q.group, q.group, d_out)
    return groups / np.asarray(q.scales, np.float32)[..., None, :]


def same_bits(a, b):
    return jax.tree.all(jax.tree.map(lambda x, y: x.dtype == y.dtype and bool((np.asarray(x) == y).all()), a, b))


@pytest.fixture
def batch():
    tokens = jax.random.randint(jax.random.key(1), (2, 17), 3, 512)
    positions = jnp.broadcast_to(jnp.arange(16), (2, 16))
    return Batch(tokens[:, :-1], tokens[:, 1:], jnp.ones((2, 16)), positions, jnp.ones((2, 16), jnp.int32))


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16])
@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_no_weight_moves_by_more_than_half_a_scale(bits, dtype, size):
    w = (size * weights(3, 128, 40)).astype(dtype)
    q = quantize(w, bits)
    moved = in_scales(np.asarray(dequantize(q, jnp.float32)) - w.astype(np.float32), q)
    assert 0.4 < np.abs(moved).max() <= 0.5 * (1 + 1e-5)


@pytest.mark.parametrize("bits", BITS)
def test_codes_and_scales_equal_those_of_qwix(bits):
    """Weights whose scales bfloat16 holds exactly: nothing is rounded but the weights, and those as in the oracle.

    The largest of each group is positive: a negative one would lie halfway between two codes, where noise decides.
    """
    rng = np.random.default_rng(0)
    scales = np.exp2(rng.integers(-9, 3, (3, 1, 24))).astype(np.float32) * rng.integers(128, 256, (3, 1, 24)) / 128
    bound = 2 ** (bits - 1) - 0.5
    in_codes = rng.uniform(-bound, bound, (3, GROUP, 24)).astype(np.float32)
    in_codes[:, 5] = bound
    w = (scales * in_codes).astype(np.float32).reshape(3 * GROUP, 24)
    expected = qwix.quantize(jnp.asarray(w), f"int{bits}", channelwise_axes=[1], tiled_axes={0: GROUP})
    q = quantize(w, bits)
    np.testing.assert_allclose(q.scales.astype(np.float32), expected.scale, rtol=2e-7)
    np.testing.assert_array_equal(in_scales(dequantize(q, jnp.float32), q).reshape(w.shape), expected.qvalue)


@pytest.mark.parametrize("bits", BITS)
def test_a_scale_is_that_of_qwix_rounded_up_to_bfloat16(bits):
    w = weights(128, 40)
    expected = qwix.quantize(jnp.asarray(w), f"int{bits}", channelwise_axes=[1], tiled_axes={0: GROUP}).scale
    found = quantize(w, bits).scales
    assert (found.astype(np.float32) >= expected * (1 - 1e-6)).all()
    below = np.nextafter(found, np.zeros_like(found))
    assert (below.astype(np.float32) < expected).all()


@settings(deadline=None)
@given(arrays(np.int8, (2, GROUP, 3), elements=st.integers(-7, 7)), st.integers(0, GROUP - 1))
def test_codes_of_four_bits_survive_packing(codes, where):
    """Whole numbers and, in each group, one -7.5, which becomes -8: the scale is 1, every other number its own code."""
    w = codes.astype(np.float32)
    w[:, where], codes[:, where] = -7.5, -8
    np.testing.assert_array_equal(dequantize(quantize(w, 4), jnp.float32), codes)


def test_a_byte_holds_two_neighbouring_rows_the_first_in_its_low_half():
    w = np.zeros((GROUP, 1), np.float32)
    w[:4, 0] = [-7.5, 1, 2, 3]
    assert quantize(w, 4).codes[:3, 0].tolist() == [0x90, 0xBA, 0x88]


@pytest.mark.parametrize("bits", BITS)
def test_numpy_and_jax_give_the_same_bits(bits):
    w = weights(2, 64, 24, dtype=jnp.bfloat16)
    on_host, on_device = quantize(w, bits), jax.jit(quantize, static_argnums=1)(jnp.asarray(w), bits)
    assert isinstance(on_host.codes, np.ndarray)
    assert same_bits(on_device, on_host)


@pytest.mark.parametrize("bits", BITS)
def test_parts_are_quantized_as_the_whole_is(bits):
    """Layer by layer, and each layer in four parts as two devices along `in` and two along `out` would hold it."""
    w = weights(3, 4 * GROUP, 40)
    layers = []
    for layer in w:
        rows = [[quantize(part, bits) for part in np.split(half, 2, axis=1)] for half in np.split(layer, 2)]
        layers.append(jax.tree.map(lambda *parts: np.block([list(parts[:2]), list(parts[2:])]), *rows[0], *rows[1]))
    assert same_bits(jax.tree.map(lambda *leaves: np.stack(leaves), *layers), quantize(w, bits))


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("value", [0.0, 1e-30, -1e-40])
def test_a_group_of_nothing_becomes_zeros(bits, value):
    w = weights(2 * GROUP, 8)
    w[:GROUP] = value
    values = np.asarray(dequantize(quantize(w, bits), jnp.float32))
    assert (values[:GROUP] == 0).all()
    assert np.isfinite(values).all()


@pytest.mark.parametrize("bits", BITS)
def test_a_larger_group_shares_its_scale_and_says_so(bits):
    q = quantize(weights(2, 256, 8), bits, group=128)
    assert (q.shape, q.group, q.scales.shape) == ((2, 256, 8), 128, (2, 2, 8))


@pytest.mark.parametrize("group", [64, 24, 31, 1, 0])
def test_a_group_that_does_not_divide_the_inputs_is_an_error(group):
    with pytest.raises(SettingError, match=f"32 inputs cannot be quantized in groups of {group}"):
        quantize(weights(32, 8), 4, group)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("bits", BITS)
def test_matmul_and_its_gradient_are_those_of_the_dequantized_matrix(bits, dtype):
    q = quantize(weights(64, 24), bits)
    x = jnp.asarray(weights(2, 5, 64, seed=1), dtype)
    twin = dequantize(q, dtype)
    out, back = jax.vjp(lambda x: matmul(x, q), x)
    expected, expected_back = jax.vjp(lambda x: x @ twin, x)
    assert out.dtype == dtype
    np.testing.assert_array_equal(out, expected)
    (gradient,), (expected_gradient,) = back(out), expected_back(expected)
    tolerance = float(jnp.finfo(dtype).eps) * 8
    np.testing.assert_allclose(
        gradient.astype(jnp.float32), expected_gradient.astype(jnp.float32), rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize("precision", QUANTIZED)
def test_only_projections_are_quantized(tiny_base, precision):
    quantized = quantize_base(tiny_base, precision)
    for name, leaf in quantized.blocks.items():
        assert isinstance(leaf, Quantized) if name in SITES else leaf is tiny_base.blocks[name]
    assert quantized.embedding is tiny_base.embedding
    assert (precision_of(tiny_base), precision_of(quantized)) == ("float32", precision)


def test_bytes_are_those_of_the_arrays_also_before_there_are_any(tiny_base):
    """A code and a thirty-second of two bytes a weight, or half a code."""
    config = tiny_base.config
    projections = config.layers * sum(d_in * d_out for d_in, d_out in site_shapes(config).values())
    bfloat16 = base_bytes(abstract_base(config, "bfloat16"))
    assert bfloat16 == 2 * config.parameters
    assert base_bytes(abstract_base(config, "int8")) == bfloat16 - projections * (2 - 1 - 2 / 32)
    assert base_bytes(abstract_base(config, "int4")) == bfloat16 - projections * (2 - 1 / 2 - 2 / 32)
    quantized = quantize_base(tiny_base, "int4")
    assert base_bytes(quantized) == sum(leaf.nbytes for leaf in jax.tree.leaves(quantized))


@pytest.mark.parametrize("precision", ["int2", "bf16", ""])
def test_an_unknown_precision_is_an_error(precision):
    with pytest.raises(SettingError, match="is not one of bfloat16, float32, int8, int4"):
        check_precision(precision)


def test_a_base_is_quantized_once_and_to_a_quantized_precision(tiny_base):
    with pytest.raises(SettingError, match="to one of int8, int4, not to 'bfloat16'"):
        quantize_base(tiny_base, "bfloat16")
    with pytest.raises(SettingError, match="already int4"):
        quantize_base(quantize_base(tiny_base, "int4"), "int8")


@pytest.fixture(scope="module")
def base():
    return init_base(tiny(3), jax.random.key(0))


@pytest.fixture(scope="module")
def gradient():
    """base, adapters, batch -> loss and gradient, compiled once for each kind of base."""

    def loss(adapters, base, batch):
        return nll_sum(base, adapters, LORA, batch)

    return jax.jit(jax.value_and_grad(loss), compiler_options=COMPILE_FAST)


@pytest.mark.parametrize("precision", QUANTIZED)
def test_gradients_through_a_quantized_base_are_those_of_its_dequantized_twin(base, batch, gradient, precision):
    quantized = quantize_base(base, precision)
    blocks = {n: dequantize(w, jnp.float32) if n in SITES else w for n, w in quantized.blocks.items()}
    adapters = init_adapters(LORA, base.config, jax.random.key(2))
    adapters = jax.tree.map(lambda leaf: leaf + 0.05, adapters)
    loss, found = gradient(adapters, quantized, batch)
    twin_loss, expected = gradient(adapters, quantized.replace(blocks=blocks), batch)
    unquantized_loss, _ = gradient(adapters, base, batch)
    assert abs(loss - twin_loss) < 1e-6 * loss < 1e-2 * abs(loss - unquantized_loss)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), found, expected)


@pytest.mark.parametrize("precision", QUANTIZED)
def test_training_through_a_quantized_base_lowers_the_loss(base, batch, gradient, precision):
    quantized, optimizer = quantize_base(base, precision), optax.adam(1e-2)
    adapters = init_adapters(LORA, base.config, jax.random.key(0))
    state, losses = optimizer.init(adapters), []
    for _ in range(12):
        loss, slope = gradient(adapters, quantized, batch)
        losses.append(float(loss))
        updates, state = optimizer.update(slope, state)
        adapters = optax.apply_updates(adapters, updates)
    assert losses[-1] < 0.8 * losses[0]


def temporary_bytes(precision):
    """What the compiled gradient of a model with wide matrices and few tokens needs beside its arguments."""
    config = replace(tiny(3), layers=16, width=256, mlp_width=1024)
    ids, lora = jax.ShapeDtypeStruct((1, 16), jnp.int32), LoraConfig(rank=4, sites=("q",))
    adapters = jax.eval_shape(lambda: init_adapters(lora, config, jax.random.key(0)))

    def total(adapters, base, *text):
        return jnp.sum(model.forward(base, *text, attach(adapters, lora))[0].astype(jnp.float32))

    lowered = jax.jit(jax.grad(total)).lower(adapters, abstract_base(config, precision), ids, ids, ids)
    return lowered.compile(COMPILE_FAST).memory_analysis().temp_size_in_bytes


def test_the_matrices_of_all_layers_never_exist_at_once(monkeypatch):
    """Training through codes needs no more room than through bfloat16; the plain product would keep every matrix."""
    unquantized = temporary_bytes("bfloat16")
    assert temporary_bytes("int4") < 1.05 * unquantized
    monkeypatch.setattr(model, "matmul", lambda x, w: x @ dequantize(w, x.dtype))
    assert temporary_bytes("int4") > 5 * unquantized
