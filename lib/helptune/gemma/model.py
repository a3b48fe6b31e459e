"""Gemma from token ids to hidden states, in one readable pass: embed, scan over the blocks, normalize.

The block leaves are stacked on a leading axis L and run by `jax.lax.scan`, so a model of 28 layers compiles as fast as
one of 2. Gemma 1 and Gemma 3 share this path; what differs is in `GemmaConfig`.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from helptune.gemma.attention import ATTENDED, KVCache, attend, attend_after, distances, of_layer, remember
from helptune.gemma.base import SITES, Base, site_shapes
from helptune.gemma.layers import geglu, rms_norm
from helptune.gemma.quantize import matmul
from helptune.gemma.rope import rope_tables, rotate
from helptune.gemma.rows import rows_matmul
from helptune.gemma.sharding import ROWS, constrain
from helptune.shapes import AnyArray, Array, Float, Int

REMAT = ("none", "dots", "full")
"""What the backward pass computes again, from nothing to whole blocks: each saves more memory than the one before."""
KEPT = (*SITES, ATTENDED)
"""What "dots" keeps of a block: its products with weights, and attention's. The cheap rest is made again."""


class Adapter(Protocol):
    """What the model asks of an adapter: leaves stacked on L, and what to add to a site's output.

    `layers` is a tuple of L trees without that axis where the base's layers lie apart.
    """

    layers: Any

    def delta(self, layer: Any, site: str, x: Array, y: Array) -> Array | None:
        """The addition to y = x @ W at `site`, given one layer's slice of `layers`; None where nothing is adapted."""


def forward(
    base: Base,
    tokens: Int[AnyArray, "B T"],
    positions: Int[AnyArray, "B T"],
    segments: Int[AnyArray, "B T"],
    adapter: Adapter | None = None,
    cache: KVCache | None = None,
    *,
    noise: Float[Array, "B T D"] | None = None,
    remat: str = "none",
) -> tuple[Float[Array, "B T D"], KVCache | None]:
    """Final hidden states, and the cache with these tokens added when one is given.

    Tokens of different `segments` never see each other; segment 0 is padding. With a cache, queries see its tokens too.
    `noise` is added to the embeddings before they are scaled. `remat` is what of a block the backward pass computes
    again, one of REMAT: with "dots" all but the products in KEPT, with "full" all of it, from its input.
    """
    config = base.config
    if cache is not None:
        cache = replace(
            cache,
            positions=jax.lax.dynamic_update_slice(cache.positions, positions, (0, cache.used)),
            segments=jax.lax.dynamic_update_slice(cache.segments, segments, (0, cache.used)),
        )
    k_positions, k_segments = (positions, segments) if cache is None else (cache.positions, cache.segments)
    distance = distances(positions, segments, k_positions, k_segments)
    start = None if cache is None else cache.start
    if start is not None:
        before = jnp.arange(start[0][0].shape[-3])[None]
        start_distance = distances(positions, segments, before, jnp.ones_like(before))
    bases = (config.rope_base_local, config.rope_base_global)
    ropes = [rope_tables(positions, config.head_width, b) for b in bases]
    widths = {site: d_out for site, (_, d_out) in site_shapes(config).items()}

    def block(carry, layer):
        x, kv = carry
        weights, is_global, index, adapter_layer = layer
        window = jnp.where(is_global, config.context, config.window or config.context)
        rope = jnp.where(is_global, ropes[1], ropes[0])

        def project(x, *sites):
            """x @ W of each site, in one product where their matrices are joined, and what the adapter adds."""
            if (joined := weights.get("+".join(sites))) is not None:
                ends = list(accumulate(widths[site] for site in sites))
                ys = jnp.split(matmul(x, joined), ends[:-1], axis=-1)
            else:
                ys = [matmul(x, weights[site]) for site in sites]
            ys = [checkpoint_name(y, site) for site, y in zip(sites, ys, strict=True)]
            if adapter is None:
                return ys
            deltas = [adapter.delta(adapter_layer, site, x, y) for site, y in zip(sites, ys, strict=True)]
            ys = [y if delta is None else y + delta for y, delta in zip(ys, deltas, strict=True)]
            return [checkpoint_name(y, site) for site, y in zip(sites, ys, strict=True)]

        def heads(site, y, count):
            y = y.reshape(*y.shape[:2], count, config.head_width)
            return rms_norm(y, weights[f"{site}_norm"]) if config.qk_norm and site != "v" else y

        h = rms_norm(x, weights["pre_attention_norm"])
        q, k, v = project(h, "q", "k", "v")
        q = rotate(heads("q", q, config.heads), rope)
        k = rotate(heads("k", k, config.kv_heads), rope)
        v = heads("v", v, config.kv_heads)
        if kv is not None and cache is not None:
            all_k, k = remember(kv[0], index, k, cache.used)
            all_v, v = remember(kv[1], index, v, cache.used)
            kv = all_k, all_v
        if start is None:
            h = attend(q, k, v, distance, window)
        else:
            own = of_layer(start[0], index), of_layer(start[1], index)
            h = attend_after(own, q, k, v, start_distance, distance, window)
        (h,) = project(h.reshape(*x.shape[:2], config.q_width), "o")
        x = x + (rms_norm(h, weights["post_attention_norm"]) if config.post_norms else h)

        h = rms_norm(x, weights["pre_mlp_norm"])
        (h,) = project(geglu(*project(h, "gate", "up")), "down")
        x = x + (rms_norm(h, weights["post_mlp_norm"]) if config.post_norms else h)
        return (constrain(x, ROWS), kv), None

    carry = embed(base, tokens, noise), None if cache is None else (cache.k, cache.v)
    adapted = None if adapter is None else adapter.layers
    if isinstance(base.blocks, tuple):
        for index, weights in enumerate(base.blocks):
            adapter_layer = adapted[index] if adapted is not None else None
            carry, _ = block(carry, (weights, config.is_global[index], index, adapter_layer))
    else:
        layers = base.blocks, jnp.array(config.is_global), jnp.arange(config.layers), adapted
        carry, _ = jax.lax.scan(_recomputed(block, remat), carry, layers)
    x, kv = carry
    if cache is not None and kv is not None:
        cache = replace(cache, k=kv[0], v=kv[1], used=cache.used + tokens.shape[1])
    return rms_norm(x, base.final_norm), cache


def _recomputed(block: Callable, remat: str) -> Callable:
    """The block with the backward pass of that policy."""
    if remat == "none":
        return block
    kept = KEPT if remat == "dots" else ()
    return jax.checkpoint(block, prevent_cse=False, policy=jax.checkpoint_policies.save_only_these_names(*kept))


def embed(
    base: Base, tokens: Int[AnyArray, "B T"], noise: Float[Array, "B T D"] | None = None
) -> Float[Array, "B T D"]:
    """Rows of the embedding times sqrt(D), the factor rounded to the model's dtype as in the reference.

    On a mesh every device looks up its part of the width for the rows of its fsdp neighbours, then they trade parts:
    the table is never whole anywhere, and neither are the rows.
    """
    table = constrain(jnp.asarray(base.embedding), "tensor", "fsdp")
    x = constrain(table[constrain(jnp.asarray(tokens), "data")], "data", None, "fsdp")
    x = constrain(x, ROWS)
    x = x if noise is None else x + constrain(noise, ROWS).astype(x.dtype)
    return x * jnp.sqrt(jnp.float32(base.config.width)).astype(base.dtype)


def logits(base: Base, hidden: Float[Array, "*batch D"]) -> Float[Array, "*batch V"]:
    """Scores over the vocabulary in float32: the head is the embedding again (tied weights)."""
    if base.head is not None:
        return rows_matmul(hidden, base.head)
    contract = (((hidden.ndim - 1,), (1,)), ((), ()))
    return jax.lax.dot_general(hidden, base.embedding, contract, preferred_element_type=jnp.float32)
