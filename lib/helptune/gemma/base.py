"""The frozen model as a pytree: which leaves a Gemma has, and their shapes.

Leaves of the blocks are stacked on a leading axis L. Matrices are stored per site, [in, out].
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from helptune.gemma.config import GemmaConfig
from helptune.shapes import AnyArray, Float, PRNGKeyArray

SITES = ("q", "k", "v", "o", "gate", "up", "down")


@struct.dataclass
class Base:
    """The frozen model. `blocks` maps each name of `block_shapes` to one leaf with a leading axis L.

    For generation on a CPU `gemma.layout` puts beside it the same weights, `apart`. There `blocks` is a tuple of L such
    mappings, without that axis, and `head` the form of the tied embedding to be multiplied with.
    """

    embedding: Float[AnyArray, "V D"]
    blocks: Any
    final_norm: Float[AnyArray, "D"]
    config: GemmaConfig = struct.field(pytree_node=False)
    head: Any = None
    apart: Any = None

    @property
    def dtype(self) -> jnp.dtype:
        return self.embedding.dtype


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
