"""The small functions of a block: RMSNorm, GeGLU, RoPE and attention, each against a plain definition.

Three of them have gradients written by hand; automatic differentiation of the plain definition is the judge.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helptune.gemma.attention import attend, distances
from helptune.gemma.config import RMS_NORM_EPS
from helptune.gemma.layers import geglu, rms_norm
from helptune.gemma.rope import rope_tables, rotate


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def plain_rms_norm(x, scale):
    return x / jnp.sqrt((x * x).mean(-1, keepdims=True) + RMS_NORM_EPS) * (1 + scale)


def plain_geglu(gate, up):
    return jax.nn.gelu(gate, approximate=True) * up


def plain_attend(q, k, v, distance, window):
    """Every query head gets its own copy of its key head; one einsum a step."""
    copies = q.shape[2] // k.shape[2]
    k, v = jnp.repeat(k, copies, axis=2), jnp.repeat(v, copies, axis=2)
    scores = jnp.einsum("btnh,bsnh->bnts", q, k) / np.sqrt(q.shape[-1])
    visible = (distance >= 0) & (distance < window)
    probs = jax.nn.softmax(scores, where=visible[:, None], axis=-1)
    return jnp.einsum("bnts,bsnh->btnh", probs, v)


def attention_case(kv_heads, window):
    """Two rows of two packed texts, 4 query heads of width 8."""
    positions = jnp.array([[0, 1, 2, 3, 4, 5, 0, 1, 2, 3], [0, 1, 2, 0, 1, 2, 3, 4, 5, 6]])
    segments = jnp.array([[1] * 6 + [2] * 4, [1] * 3 + [2] * 7])
    distance = distances(positions, segments, positions, segments)
    q, k, v = normal(1, 2, 10, 4, 8), normal(2, 2, 10, kv_heads, 8), normal(3, 2, 10, kv_heads, 8)
    return (q, k, v), (distance, jnp.int32(window))


def test_rms_norm_makes_the_root_mean_square_one_plus_scale():
    y = rms_norm(100 * normal(0, 5, 64), jnp.full(64, 0.5))
    np.testing.assert_allclose(jnp.sqrt((y * y).mean(-1)), 1.5, rtol=1e-5)


def test_rms_norm_rounds_bfloat16_once_at_the_end():
    x, scale = normal(0, 5, 64).astype(jnp.bfloat16), normal(1, 64).astype(jnp.bfloat16)
    exact = plain_rms_norm(x.astype(jnp.float32), scale.astype(jnp.float32))
    np.testing.assert_array_equal(rms_norm(x, scale), exact.astype(jnp.bfloat16))


def test_geglu_is_the_tanh_form_of_gelu():
    gate, up = 3 * normal(0, 1000), normal(1, 1000)
    np.testing.assert_allclose(geglu(gate, up), plain_geglu(gate, up), atol=1e-6)
    exact = jax.nn.gelu(gate, approximate=False) * up
    assert 1e-4 < jnp.abs(geglu(gate, up) - exact).max() < 1e-2


@pytest.mark.parametrize("window", [3, 100])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_grouped_queries_equal_repeated_key_heads(kv_heads, window):
    arrays, mask = attention_case(kv_heads, window)
    np.testing.assert_allclose(jax.jit(attend)(*arrays, *mask), jax.jit(plain_attend)(*arrays, *mask), atol=1e-6)


def test_a_long_text_is_read_in_blocks_of_queries_with_the_same_result():
    """More queries than one block holds, fewer than there are keys, as in the second turn of a chat."""
    q, k, v = normal(1, 2, 640, 4, 8), normal(2, 2, 700, 2, 8), normal(3, 2, 700, 2, 8)
    places, ones = np.tile(np.arange(700), (2, 1)), np.ones((2, 700), int)
    mask = distances(places[:, 60:], ones[:, 60:], places, ones), jnp.int32(500)
    np.testing.assert_allclose(jax.jit(attend)(q, k, v, *mask), jax.jit(plain_attend)(q, k, v, *mask), atol=1e-6)


def test_the_scores_of_a_long_text_never_exist_at_once():
    T, heads = 4096, 4
    q, k = (jax.ShapeDtypeStruct((1, T, n, 8), jnp.float32) for n in (heads, 1))
    distance, window = jax.ShapeDtypeStruct((1, T, T), jnp.int32), jax.ShapeDtypeStruct((), jnp.int32)
    memory = jax.jit(attend).lower(q, k, k, distance, window).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 4 * heads * T * T / 2


def with_mask(function, window=3):
    return lambda q, k, v: function(q, k, v, *attention_case(2, window)[1])


HAND_WRITTEN = {
    "rms_norm": (rms_norm, plain_rms_norm, (normal(0, 3, 5, 16), normal(1, 16))),
    "geglu": (geglu, plain_geglu, (3 * normal(0, 5, 16), normal(1, 5, 16))),
    "attend, local": (with_mask(attend), with_mask(plain_attend), attention_case(2, 3)[0]),
    "attend, global": (with_mask(attend, 100), with_mask(plain_attend, 100), attention_case(2, 100)[0]),
}


@pytest.mark.parametrize("name", HAND_WRITTEN)
def test_hand_written_gradient_equals_automatic_differentiation(name):
    ours, plain, arguments = HAND_WRITTEN[name]
    cotangent = normal(9, *jax.eval_shape(ours, *arguments).shape)
    mine, judge = (jax.jit(lambda *args, f=f: jax.vjp(f, *args)[1](cotangent))(*arguments) for f in (ours, plain))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-5), mine, judge)


@pytest.mark.parametrize("name", HAND_WRITTEN)
def test_gradients_come_in_the_dtype_of_their_arguments(name):
    ours, _, arguments = HAND_WRITTEN[name]
    half = [jax.ShapeDtypeStruct(a.shape, jnp.bfloat16) for a in arguments]
    out = jax.eval_shape(ours, *half)
    gradients = jax.eval_shape(lambda dy, *args: jax.vjp(ours, *args)[1](dy), out, *half)
    assert {leaf.dtype for leaf in (out, *gradients)} == {jnp.dtype(jnp.bfloat16)}


def test_a_row_of_padding_is_finite_and_has_no_gradient():
    """Padding queries see nothing at all; nothing becomes NaN, and what they compute reaches nobody."""
    positions, segments = jnp.arange(6)[None], jnp.array([[1, 1, 1, 1, 0, 0]])
    distance = np.asarray(distances(positions, segments, positions, segments))
    assert (distance[0, 4:] == -1).all()
    assert (distance[0, :4, 4:] == -1).all()

    @jax.jit
    def out_and_gradients(*qkv):
        out, pull = jax.vjp(lambda q, k, v: attend(q, k, v, distance, jnp.int32(100)), *qkv)
        return out, pull(out.at[:, 4:].set(0))

    out, gradients = out_and_gradients(normal(1, 1, 6, 4, 8), normal(2, 1, 6, 2, 8), normal(3, 1, 6, 2, 8))
    assert np.isfinite(out).all()
    for gradient in map(np.asarray, gradients):
        assert np.isfinite(gradient).all()
        assert not gradient[:, 4:].any()
        assert gradient[:, :4].any()


@jax.jit
def turned(x, positions, base):
    return rotate(x, rope_tables(positions[None], x.shape[-1], base))


@pytest.mark.parametrize("base", [1e4, 1e6])
def test_rotation_keeps_lengths_and_leaves_position_zero_alone(base):
    x = normal(0, 1, 50, 2, 16)
    y = turned(x, jnp.arange(50), base)
    np.testing.assert_allclose(jnp.linalg.norm(y, axis=-1), jnp.linalg.norm(x, axis=-1), rtol=1e-5)
    np.testing.assert_array_equal(y[:, 0], x[:, 0])


@pytest.mark.parametrize("base", [1e4, 1e6])
def test_scores_depend_on_relative_distance_only(base):
    """The same query and key, 7 positions apart, wherever they stand in the text."""
    starts = jnp.array([0, 1, 13, 500, 4000])
    q, k = (jnp.broadcast_to(normal(seed, 1, 1, 1, 16), (1, 5, 1, 16)) for seed in (0, 1))
    scores = (turned(q, starts + 7, base) * turned(k, starts, base)).sum(-1).ravel()
    np.testing.assert_allclose(scores, scores[0], atol=5e-3)


def test_rotation_pairs_feature_i_with_feature_i_plus_half():
    one_hot = jnp.eye(16)[3].reshape(1, 1, 1, 16)
    y = turned(one_hot, jnp.array([5]), 1e4).ravel()
    assert np.flatnonzero(y).tolist() == [3, 3 + 8]
