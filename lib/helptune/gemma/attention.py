"""Grouped-query attention, its masks, and the cache of keys and values.

Grouped-query attention: Ainslie et al. 2023, arXiv:2305.13245. One rule makes every mask: a query sees a key of its
own segment that is not later than itself and, in a local layer, less than `window` positions back. Segment 0 is
padding.
"""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax.ad_checkpoint import checkpoint_name

from helptune.gemma.config import GemmaConfig
from helptune.shapes import AnyArray, Array, Float, Int

_MASKED = -1e30
ATTENDED = "attended"
"""What attention gives and what its gradient needs of it, by name: a policy of recomputing can keep them."""
QUERIES_AT_ONCE = 512
"""Of a text longer than `_SHORT_TEXT`, so many queries have scores in memory at the same time."""
_SHORT_TEXT, _SHORT_PART = 1_024, 128  # a short text is read in many parts, a longer one in about four


@struct.dataclass
class KVCache:
    """Keys and values of all layers, and which token each slot holds. `used` slots are filled, the same in each row.

    `k` and `v` are stacked on L or, beside layers laid apart, a tuple of L arrays. `start`, where given, is the `k` and
    `v` of the P first tokens of every row, in one row for all of them.
    """

    k: Any  # Float[Array, "L B S K H"] or L times Float[Array, "B S K H"]
    v: Any
    positions: Int[Array, "B S"]
    segments: Int[Array, "B S"]
    used: Int[Array, ""]
    start: Any = None


def empty_cache(config: GemmaConfig, rows: int, slots: int, dtype: jnp.dtype) -> KVCache:
    shape = (config.layers, rows, slots, config.kv_heads, config.head_width)
    k, v = jnp.zeros(shape, dtype), jnp.zeros(shape, dtype)
    positions, segments = jnp.zeros((rows, slots), jnp.int32), jnp.zeros((rows, slots), jnp.int32)
    return KVCache(k, v, positions, segments, used=jnp.int32(0))


@jax.jit
def take_rows(cache: KVCache, rows: AnyArray) -> KVCache:
    """The cache of these rows, in their order; one may be named twice."""

    def taken(kept):
        return tuple(layer[rows] for layer in kept) if isinstance(kept, tuple) else kept[:, rows]

    return replace(
        cache,
        k=taken(cache.k),
        v=taken(cache.v),
        positions=cache.positions[rows],
        segments=cache.segments[rows],
    )


def remember(kept: Any, layer: Any, new: Float[Array, "B T K H"], slot: Int[Array, ""]) -> tuple[Any, Array]:
    """`kept`, the `k` or `v` of a cache, with `new` from `slot` on in one layer; and all that layer holds now."""
    if isinstance(kept, tuple):
        # The barrier keeps XLA from writing two copies, one to return and one to read.
        own = jax.lax.optimization_barrier(jax.lax.dynamic_update_slice(kept[layer], new, (0, slot, 0, 0)))
        return (*kept[:layer], own, *kept[layer + 1 :]), own
    kept = jax.lax.dynamic_update_slice(kept, new[None], (layer, 0, slot, 0, 0))
    return kept, of_layer(kept, layer)


def of_layer(kept: Any, layer: Any) -> Array:
    """What `kept`, the `k` or `v` of a cache, holds of one layer."""
    return kept[layer] if isinstance(kept, tuple) else jax.lax.dynamic_index_in_dim(kept, layer, keepdims=False)


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

    Queries are read in parts, each with the keys that can come before it: up to half of the products are never made.
    This asks that a token sees no key further on in its row. Long parts are read a block at a time, so that the [T, S]
    scores of a long text never exist at once. The query heads that share a key head are rows of one matrix, so that
    each product is large. The gradient is written by hand and recomputes the probabilities from the saved log-sum (as
    in FlashAttention, arXiv:2205.14135): no scores wait for the backward pass.
    """
    return _attend_forward(q, k, v, distance, window)[0]


def _attend_forward(q, k, v, distance, window):
    outs, log_sums = [], []
    for queries, keys in _parts(*distance.shape[1:]):

        def read(_, block, k=k[:, keys], v=v[:, keys]):
            q, distance = block
            return None, _attend_block(q, k, v, distance, window)

        _, (out, log_sum) = jax.lax.scan(read, None, (_cut(q[:, queries]), _cut(distance[:, queries, keys])))
        outs.append(_joined(out))
        log_sums.append(log_sum)
    out, log_sums = checkpoint_name((jnp.concatenate(outs, axis=1), log_sums), ATTENDED)
    return out, (q, k, v, distance, window, out, log_sums)


def _attend_backward(saved, grad):
    q, k, v, distance, window, out, log_sums = saved
    dqs, dk, dv = [], jnp.zeros(k.shape, jnp.float32), jnp.zeros(v.shape, jnp.float32)
    for (queries, keys), log_sum in zip(_parts(*distance.shape[1:]), log_sums, strict=True):
        blocks = tuple(map(_cut, (q[:, queries], distance[:, queries, keys], out[:, queries], grad[:, queries])))

        def add(sums, block, k=k[:, keys], v=v[:, keys]):
            (q, distance, out, grad), log_sum = block
            dq, dk, dv = _block_gradient(q, k, v, distance, window, out, log_sum, grad)
            return (sums[0] + dk, sums[1] + dv), dq

        sums, dq = jax.lax.scan(add, (dk[:, keys], dv[:, keys]), (blocks, log_sum))
        dk, dv = dk.at[:, keys].set(sums[0]), dv.at[:, keys].set(sums[1])
        dqs.append(_joined(dq))
    return jnp.concatenate(dqs, axis=1), dk.astype(k.dtype), dv.astype(v.dtype), None, None


attend.defvjp(_attend_forward, _attend_backward)


def attend_after(
    start: tuple[Float[Array, "1 P K H"], Float[Array, "1 P K H"]],
    q: Float[Array, "B T N H"],
    k: Float[Array, "B S K H"],
    v: Float[Array, "B S K H"],
    start_distance: Int[Array, "B T P"],
    distance: Int[Array, "B T S"],
    window: Int[Array, ""],
) -> Float[Array, "B T N H"]:
    """`attend` where each row's keys and values come after those of `start`, which all rows share.

    The queries of all rows meet the shared keys in one product, as in Hydragen (arXiv:2402.05099), and the softmax is
    over both. It has no gradient of its own.
    """
    rows = _rows_by_key_head(q, k.shape[2])
    first_k, first_v = start[0][0], start[1][0]
    shared = jnp.einsum("BKQH,PKH->BKQP", rows * q.shape[-1] ** -0.5, first_k, preferred_element_type=jnp.float32)
    shared, own = _masked(shared, start_distance, window), _scores(rows, k, distance, window)
    maximum = jnp.maximum(jnp.max(shared, axis=-1, keepdims=True), jnp.max(own, axis=-1, keepdims=True))
    shared, own = jnp.exp(shared - maximum), jnp.exp(own - maximum)
    total = jnp.sum(shared, axis=-1, keepdims=True) + jnp.sum(own, axis=-1, keepdims=True)
    shared, own = (shared / total).astype(v.dtype), (own / total).astype(v.dtype)
    out = jnp.einsum("BKQP,PKH->BKQH", shared, first_v, preferred_element_type=jnp.float32)
    out += jnp.einsum("BKQS,BSKH->BKQH", own, v, preferred_element_type=jnp.float32)
    return _heads_side_by_side(out.astype(v.dtype), q.shape)


def _parts(T: int, S: int) -> list[tuple[slice, slice]]:
    """(queries, keys they can see). T new tokens are the last of at most S: none sees past slot S - T + its own."""
    size = _SHORT_PART if T <= _SHORT_TEXT else QUERIES_AT_ONCE * -(-T // (4 * QUERIES_AT_ONCE))
    ends = [*range(size, T, size), T]
    if (last := T - T % QUERIES_AT_ONCE) not in ends and T > _SHORT_TEXT:
        ends.insert(-1, last)  # every long part is a whole number of blocks
    return [(slice(start, end), slice(0, S - T + end)) for start, end in zip([0, *ends], ends, strict=False)]


def _cut(x):
    """[B, T, ...] to blocks [T / size, B, size, ...]."""
    B, T, *rest = x.shape
    size = min(T, QUERIES_AT_ONCE)
    return jnp.moveaxis(x.reshape(B, T // size, size, *rest), 1, 0)


def _joined(blocks):
    """`_cut` undone."""
    count, B, size, *rest = blocks.shape
    return jnp.moveaxis(blocks, 0, 1).reshape(B, count * size, *rest)


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
    H, T = rows.shape[-1], distance.shape[1]
    if T == 1:  # so the few queries are transposed for the product, and not all the keys of a cache
        scores = jnp.einsum("BSKH,BKQH->BKSQ", k, rows * H**-0.5, preferred_element_type=jnp.float32).swapaxes(2, 3)
    else:
        scores = jnp.einsum("BKQH,BSKH->BKQS", rows * H**-0.5, k, preferred_element_type=jnp.float32)
    return _masked(scores, distance, window)


def _masked(scores, distance, window):
    B, K, GT, S = scores.shape
    T = distance.shape[1]
    visible = (distance >= 0) & (distance < window)
    return jnp.where(visible[:, None, None], scores.reshape(B, K, GT // T, T, S), _MASKED).reshape(scores.shape)


def _attend_block(q, k, v, distance, window):
    """(what the queries read, their log-sums [B, K, G T, 1])."""
    scores = _scores(_rows_by_key_head(q, k.shape[2]), k, distance, window)
    maximum = jnp.max(scores, axis=-1, keepdims=True)
    exp = jnp.exp(scores - maximum)
    total = jnp.sum(exp, axis=-1, keepdims=True)
    probs = (exp / total).astype(v.dtype)
    out = _heads_side_by_side(jnp.einsum("BKQS,BSKH->BKQH", probs, v), q.shape)
    return out, maximum + jnp.log(total)


def _block_gradient(q, k, v, distance, window, out, log_sum, grad):
    """Gradients of the queries, in their dtype, and of the keys and values they see, in float32."""
    K, H = k.shape[2], q.shape[-1]
    rows, dout = _rows_by_key_head(q, K), _rows_by_key_head(grad, K)
    probs = jnp.exp(_scores(rows, k, distance, window) - log_sum)
    overlap = jnp.sum(dout.astype(jnp.float32) * _rows_by_key_head(out, K).astype(jnp.float32), axis=-1, keepdims=True)
    dprobs = jnp.einsum("BKQH,BSKH->BKQS", dout, v, preferred_element_type=jnp.float32)
    dscores = (probs * (dprobs - overlap) * H**-0.5).astype(q.dtype)
    dq = _heads_side_by_side(jnp.einsum("BKQS,BSKH->BKQH", dscores, k), q.shape)
    dk = jnp.einsum("BKQS,BKQH->BSKH", dscores, rows, preferred_element_type=jnp.float32)
    dv = jnp.einsum("BKQS,BKQH->BSKH", probs.astype(v.dtype), dout, preferred_element_type=jnp.float32)
    return dq, dk, dv
