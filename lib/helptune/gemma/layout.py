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
from helptune.gemma.model import Adapter
from helptune.gemma.quantize import Quantized, base_bytes, dequantize
from helptune.gemma.rows import OutputRows, output_rows
from helptune.gemma.sharding import current_mesh
from helptune.shapes import Array, Float, Int

JOINED = (("q", "k", "v"), ("gate", "up"))
"""The sites that read the same input."""
LARGEST_COPY = 2 * 2**30
"""Bytes of the blocks up to which a second copy of them, in this layout, is worth its memory."""


def prepared(base: Base) -> Base:
    """`base` with this layout of it as `base.apart`: on one CPU device, unless the model is large.

    Generation does this for each answer. Who writes many answers from one base does it once, and lets it go with them.
    """
    alone = jax.default_backend() == "cpu" and current_mesh() is None
    if base.apart is not None or not alone or _copy_bytes(base) > LARGEST_COPY:
        return base
    return replace(base, apart=lay_apart(base))


def _copy_bytes(base: Base) -> int:
    """Of the blocks of `lay_apart`, where an int4 base is unpacked."""
    return base_bytes(jax.eval_shape(lay_apart, base).blocks)


def lay_apart(base: Base) -> Base:
    """The base with a tuple of layers, joined matrices and a head, of integers if the base is int8."""
    integers = isinstance(base.blocks["q"], Quantized) and base.blocks["q"].bits == 8
    layers = tuple(_layer(base.blocks, i, integers) for i in range(base.config.layers))
    head = _integer_head(base.embedding) if integers else OutputRows(jnp.asarray(base.embedding))
    return replace(base, blocks=layers, head=head)


def adapter_apart(adapter: Adapter, layers: int) -> Adapter:
    """The adapter with its layers in a tuple, as those of the base beside it: cutting them out of their stack for each
    token takes longer than multiplying by them.
    """
    apart = tuple(_slice(adapter.layers, i) for i in range(layers))
    return replace(adapter, layers=apart)  # type: ignore[type-var]


@jax.jit
def _slice(tree: Any, index: Int[Array, ""]) -> Any:
    return jax.tree.map(lambda leaf: leaf[index], tree)


@partial(jax.jit, static_argnames="integers")
def _layer(blocks: dict[str, Any], index: Int[Array, ""], integers: bool) -> dict[str, Any]:
    own = _slice(blocks, index)
    dtype = own["pre_mlp_norm"].dtype
    own = {name: dequantize(leaf, dtype) if isinstance(leaf, Quantized) else leaf for name, leaf in own.items()}
    for sites in JOINED:
        own["+".join(sites)] = jnp.concatenate([own.pop(site) for site in sites], axis=1)
    return {name: output_rows(leaf, integers=integers) if leaf.ndim == 2 else leaf for name, leaf in own.items()}


@jax.jit
def _integer_head(embedding: Float[Array, "V D"]) -> OutputRows:
    return output_rows(embedding.T, integers=True)
