"""Grouped-query attention, its masks, and the cache of keys and values.

Grouped-query attention: Ainslie et al. 2023, arXiv:2305.13245. One rule makes every mask: a query sees a key of its
own segment that is not later than itself and, in a local layer, less than `window` positions back. Segment 0 is
padding.
"""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
from flax import struct

from helptune.gemma.config import GemmaConfig
from helptune.shapes import AnyArray, Array, Float, Int

_MASKED = -1e30
_QUERIES = 512


@struct.dataclass
class KVCache:
    """Keys and values of all layers, and which token each slot holds. `used` slots are filled, the same in each row."""

    k: Float[Array, "L B S K H"]
    v: Float[Array, "L B S K H"]
    positions: Int[Array, "B S"]
    segments: Int[Array, "B S"]
    used: Int[Array, ""]


def empty_cache(config: GemmaConfig, rows: int, slots: int, dtype: jnp.dtype) -> KVCache:
    shape = (config.layers, rows, slots, config.kv_heads, config.head_width)
    k, v = jnp.zeros(shape, dtype), jnp.zeros(shape, dtype)
    positions, segments = jnp.zeros((rows, slots), jnp.int32), jnp.zeros((rows, slots), jnp.int32)
    return KVCache(k, v, positions, segments, used=jnp.int32(0))


def with_spare_rows(cache: KVCache, spare: int) -> KVCache:
    """The cache with rows of padding added at the end."""

    def more(leaf, axis):
        return jnp.pad(leaf, [(0, spare if i == axis else 0) for i in range(leaf.ndim)])

    k, v, positions, segments = more(cache.k, 1), more(cache.v, 1), more(cache.positions, 0), more(cache.segments, 0)
    return replace(cache, k=k, v=v, positions=positions, segments=segments)


def distances(
    q_positions: Int[AnyArray, "B T"],
    q_segments: Int[AnyArray, "B T"],
    k_positions: Int[AnyArray, "B S"],
    k_segments: Int[AnyArray, "B S"],
) -> Int[Array, "B T S"]:
    """How many positions key s lies behind query t; negative where t must not see s at all."""
    back = q_positions[:, :, None] - k_positions[:, None, :]
    same = (q_segments[:, :, None] == k_segments[:, None, :]) & (k_segments[:, None, :] != 0)
    return jnp.where(same, back, -1)


@jax.custom_vjp
def attend(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B S K H"],
    v: Float[Array, "B S K H"],
    distance: Int[Array, "B T S"],
    window: Int[Array, ""],
) -> Float[Array, "B T N H"]:
    """softmax(q k^T / sqrt(H)) v over the keys with 0 <= distance < window; scores and softmax in float32.

    The query heads that share a key head are rows of one matrix, so that each product is large. The gradient is written
    by hand and recomputes the probabilities from the saved log-sum (as in FlashAttention, arXiv:2205.14135): the
    [T, S] scores of a layer do not wait for the backward pass. Without a gradient, a long text is read a block of
    queries at a time, so that its [T, S] scores never exist at once.
    """
    T, size = q.shape[1], math.gcd(q.shape[1], _QUERIES)
    if T <= _QUERIES or size == 1:
        return _attend_forward(q, k, v, distance, window)[0]

    def block(start):
        queries, back = (jax.lax.dynamic_slice_in_dim(x, start, size, axis=1) for x in (q, distance))
        return _attend_forward(queries, k, v, back, window)[0]

    return jax.lax.map(block, jnp.arange(0, T, size)).swapaxes(0, 1).reshape(q.shape)


def _rows_by_key_head(q, kv_heads):
    B, T, N, H = q.shape
    G = N // kv_heads
    return q.reshape(B, T, kv_heads, G, H).transpose(0, 2, 3, 1, 4).reshape(B, kv_heads, G * T, H)


def _heads_side_by_side(rows, shape):
    B, T, N, H = shape
    K = rows.shape[1]
    return rows.reshape(B, K, N // K, T, H).transpose(0, 3, 1, 2, 4).reshape(shape)


def _scores(rows, k, distance, window):
    """Masked scores [B, K, G T, S] in float32."""
    B, K, GT, H = rows.shape
    T, S = distance.shape[1:]
    scores = jnp.einsum("BKQH,BSKH->BKQS", rows * H**-0.5, k, preferred_element_type=jnp.float32)
    visible = (distance >= 0) & (distance < window)
    scores = jnp.where(visible[:, None, None], scores.reshape(B, K, GT // T, T, S), _MASKED)
    return scores.reshape(B, K, GT, S)


def _attend_forward(q, k, v, distance, window):
    rows = _rows_by_key_head(q, k.shape[2])
    scores = _scores(rows, k, distance, window)
    maximum = jnp.max(scores, axis=-1, keepdims=True)
    exp = jnp.exp(scores - maximum)
    total = jnp.sum(exp, axis=-1, keepdims=True)
    probs = (exp / total).astype(v.dtype)
    out = _heads_side_by_side(jnp.einsum("BKQS,BSKH->BKQH", probs, v), q.shape)
    return out, (q, k, v, distance, window, out, maximum + jnp.log(total))


def _attend_backward(saved, grad):
    q, k, v, distance, window, out, log_sum = saved
    K, H = k.shape[2], q.shape[-1]
    rows, dout = _rows_by_key_head(q, K), _rows_by_key_head(grad, K)
    probs = jnp.exp(_scores(rows, k, distance, window) - log_sum)
    overlap = jnp.sum(dout.astype(jnp.float32) * _rows_by_key_head(out, K).astype(jnp.float32), axis=-1, keepdims=True)
    dprobs = jnp.einsum("BKQH,BSKH->BKQS", dout, v, preferred_element_type=jnp.float32)
    dscores = (probs * (dprobs - overlap) * H**-0.5).astype(q.dtype)
    dq = _heads_side_by_side(jnp.einsum("BKQS,BSKH->BKQH", dscores, k), q.shape)
    dk = jnp.einsum("BKQS,BKQH->BSKH", dscores, rows)
    dv = jnp.einsum("BKQS,BKQH->BSKH", probs.astype(v.dtype), dout)
    return dq, dk, dv, None, None


attend.defvjp(_attend_forward, _attend_backward)
