"""The base as a CPU generates from it fastest: one token after the other, each reads every weight once.

Layers lie apart, so that no layer is first copied out of its stack, matrices that read the same input lie side by side,
and the weights of an output lie in a row. An int8 base is multiplied in integers.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from helptune.gemma.base import Base
from helptune.gemma.quantize import Quantized, base_bytes, dequantize
from helptune.gemma.rows import OutputRows, output_rows
from helptune.gemma.sharding import current_mesh
from helptune.shapes import Array, Float, Int

JOINED = (("q", "k", "v"), ("gate", "up"))
"""The sites that read the same input."""
LARGEST_COPY = 2 * 2**30
"""Bytes of the blocks up to which a second copy of them, in this layout, is worth its memory."""


def is_worth_it(base: Base) -> bool:
    """Whether generation from `base` should use `lay_apart`: on one CPU device, unless the model is large."""
    alone = jax.default_backend() == "cpu" and current_mesh() is None
    return alone and base_bytes(base.blocks) <= LARGEST_COPY


def lay_apart(base: Base) -> Base:
    """The base with a tuple of layers, joined matrices and, if it is int8, a head of integers."""
    integers = isinstance(base.blocks["q"], Quantized) and base.blocks["q"].bits == 8
    layers = tuple(_layer(base.blocks, i, integers) for i in range(base.config.layers))
    return replace(base, blocks=layers, head=_integer_head(base.embedding) if integers else None)


@partial(jax.jit, static_argnames="integers")
def _layer(blocks: dict[str, Any], index: Int[Array, ""], integers: bool) -> dict[str, Any]:
    own = {name: jax.tree.map(lambda leaf: leaf[index], leaf) for name, leaf in blocks.items()}
    dtype = own["pre_mlp_norm"].dtype
    own = {name: dequantize(leaf, dtype) if isinstance(leaf, Quantized) else leaf for name, leaf in own.items()}
    for sites in JOINED:
        own["+".join(sites)] = jnp.concatenate([own.pop(site) for site in sites], axis=1)
    return {name: output_rows(leaf, integers=integers) if leaf.ndim == 2 else leaf for name, leaf in own.items()}


@jax.jit
def _integer_head(embedding: Float[Array, "V D"]) -> OutputRows:
    return output_rows(embedding.T, integers=True)
