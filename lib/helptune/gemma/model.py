"""Gemma from token ids to hidden states, in one readable pass: embed, scan over the blocks, normalize.

The block leaves are stacked on a leading axis L and run by `jax.lax.scan`, so a model of 28 layers compiles as fast as
one of 2. Gemma 1 and Gemma 3 share this path; what differs is in `GemmaConfig`.
"""

from dataclasses import replace
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from flax import struct

from helptune.gemma.attention import KVCache, attend, distances
from helptune.gemma.config import GemmaConfig
from helptune.gemma.layers import geglu, rms_norm
from helptune.gemma.rope import rope_tables, rotate
from helptune.shapes import AnyArray, Array, Float, Int, PRNGKeyArray

SITES = ("q", "k", "v", "o", "gate", "up", "down")


@struct.dataclass
class Base:
    """The frozen model. `blocks` maps each name of `block_shapes` to one array with a leading axis L."""

    embedding: Float[AnyArray, "V D"]
    blocks: dict[str, AnyArray]
    final_norm: Float[AnyArray, "D"]
    config: GemmaConfig = struct.field(pytree_node=False)

    @property
    def dtype(self) -> jnp.dtype:
        return self.embedding.dtype


class Adapter(Protocol):
    """What the model asks of an adapter: leaves stacked on L, and what to add to a site's output."""

    layers: Any

    def delta(self, layer: Any, site: str, x: Array) -> Array | None:
        """The addition to x @ W at `site`, given one layer's slice of `layers`; None where nothing is adapted."""


def site_shapes(config: GemmaConfig) -> dict[str, tuple[int, int]]:
    """(in, out) of every projection."""
    D, M, Q, KV = config.width, config.mlp_width, config.q_width, config.kv_width
    return {
        "q": (D, Q), "k": (D, KV), "v": (D, KV), "o": (Q, D),
        "gate": (D, M), "up": (D, M), "down": (M, D),
    }  # fmt: skip


def block_shapes(config: GemmaConfig) -> dict[str, tuple[int, ...]]:
    """Shape of every leaf of one block, without the leading L."""
    norms = ["pre_attention_norm", "pre_mlp_norm"]
    norms += ["post_attention_norm", "post_mlp_norm"] if config.post_norms else []
    shapes: dict[str, tuple[int, ...]] = {**site_shapes(config), **dict.fromkeys(norms, (config.width,))}
    return shapes | ({"q_norm": (config.head_width,), "k_norm": (config.head_width,)} if config.qk_norm else {})


def init_base(config: GemmaConfig, key: PRNGKeyArray, dtype: Any = jnp.float32) -> Base:
    """Random weights in the model's layout, for tests and lessons; real ones come from `checkpoints`."""
    keys = iter(jax.random.split(key, 32))
    blocks = {}
    for name, shape in block_shapes(config).items():
        std = 0.1 if name.endswith("norm") else shape[0] ** -0.5
        blocks[name] = (std * jax.random.normal(next(keys), (config.layers, *shape))).astype(dtype)
    embedding = jax.random.normal(next(keys), (config.vocab, config.width)) * config.width**-0.5
    final_norm = 0.1 * jax.random.normal(next(keys), (config.width,))
    return Base(embedding.astype(dtype), blocks, final_norm.astype(dtype), config)


def forward(
    base: Base,
    tokens: Int[AnyArray, "B T"],
    positions: Int[AnyArray, "B T"],
    segments: Int[AnyArray, "B T"],
    adapter: Adapter | None = None,
    cache: KVCache | None = None,
) -> tuple[Float[Array, "B T D"], KVCache | None]:
    """Final hidden states, and the cache with these tokens added when one is given.

    Tokens of different `segments` never see each other; segment 0 is padding. With a cache, queries see its tokens too.
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
    bases = (config.rope_base_local, config.rope_base_global)
    ropes = [rope_tables(positions, config.head_width, b) for b in bases]

    def block(carry, layer):
        x, kv = carry
        weights, is_global, index, adapter_layer = layer
        window = jnp.where(is_global, config.context, config.window or config.context)
        rope = jnp.where(is_global, ropes[1], ropes[0])

        def project(site, x):
            y = x @ weights[site]
            delta = None if adapter is None else adapter.delta(adapter_layer, site, x)
            return y if delta is None else y + delta

        def heads(site, x, count):
            y = project(site, x).reshape(*x.shape[:2], count, config.head_width)
            return rms_norm(y, weights[f"{site}_norm"]) if config.qk_norm and site != "v" else y

        h = rms_norm(x, weights["pre_attention_norm"])
        q = rotate(heads("q", h, config.heads), rope)
        k = rotate(heads("k", h, config.kv_heads), rope)
        v = heads("v", h, config.kv_heads)
        if kv is not None and cache is not None:
            start = (index, 0, cache.used, 0, 0)
            kv = tuple(jax.lax.dynamic_update_slice(old, new[None], start) for old, new in zip(kv, (k, v), strict=True))
            k, v = (jax.lax.dynamic_index_in_dim(all_layers, index, keepdims=False) for all_layers in kv)
        h = project("o", attend(q, k, v, distance, window).reshape(*x.shape[:2], config.q_width))
        x = x + (rms_norm(h, weights["post_attention_norm"]) if config.post_norms else h)

        h = rms_norm(x, weights["pre_mlp_norm"])
        h = project("down", geglu(project("gate", h), project("up", h)))
        x = x + (rms_norm(h, weights["post_mlp_norm"]) if config.post_norms else h)
        return (x, kv), None

    x = embed(base, tokens)
    layers = (
        base.blocks,
        jnp.array(config.is_global),
        jnp.arange(config.layers),
        None if adapter is None else adapter.layers,
    )
    kv = None if cache is None else (cache.k, cache.v)
    (x, kv), _ = jax.lax.scan(block, (x, kv), layers)
    if cache is not None and kv is not None:
        cache = replace(cache, k=kv[0], v=kv[1], used=cache.used + tokens.shape[1])
    return rms_norm(x, base.final_norm), cache


def embed(base: Base, tokens: Int[AnyArray, "B T"]) -> Float[Array, "B T D"]:
    """Rows of the embedding times sqrt(D), the factor rounded to the model's dtype as in the reference."""
    return jnp.asarray(base.embedding)[tokens] * jnp.sqrt(jnp.float32(base.config.width)).astype(base.dtype)


def logits(base: Base, hidden: Float[Array, "*batch D"]) -> Float[Array, "*batch V"]:
    """Scores over the vocabulary in float32: the head is the embedding again (tied weights)."""
    contract = (((hidden.ndim - 1,), (1,)), ((), ()))
    return jax.lax.dot_general(hidden, base.embedding, contract, preferred_element_type=jnp.float32)
