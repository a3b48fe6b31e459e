"""An adapter merged into the base: W + (alpha / R) A B, summed in float32 and rounded once.

Section 4.1 of Hu et al. 2021, arXiv:2106.09685: a merged model costs nothing extra to run. Rounding to bfloat16 loses
what is smaller than half a step of a weight, so merging is never undone by subtraction: the base is kept. The
embedding, which is the output head too, is never merged into.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from helptune.adapt.adapters import Adapters
from helptune.adapt.lora import LoraConfig
from helptune.errors import AdapterError
from helptune.gemma.base import SITES, Base
from helptune.gemma.checkpoints import check_dtype
from helptune.gemma.hf_folder import write_weights
from helptune.gemma.quantize import Quantized, dequantize
from helptune.shapes import Array, Float


@dataclass(frozen=True)
class Merged:
    """`base` with an adapter inside, and the `original` it was made from: unmerging is to take that one.

    Leaves without an adapter are the same arrays in both.
    """

    base: Base
    original: Base


def merge(base: Base, adapters: Adapters, config: LoraConfig, dtype: str = "bfloat16") -> Merged:
    """The base with dense leaves of `dtype` and the adapter in them, made site by site and layer by layer.

    A quantized base is dequantized on the way. Raises SettingError for another dtype than bfloat16 and float32,
    AdapterError for an adapter of another shape than the base.
    """
    check_dtype(dtype)
    check_fits(base, adapters)
    blocks = {
        name: merged_leaf(name, leaf, adapters.get(name), config.scale, dtype) for name, leaf in base.blocks.items()
    }
    embedding = merged_leaf("embedding", base.embedding, None, config.scale, dtype)
    final_norm = merged_leaf("final_norm", base.final_norm, None, config.scale, dtype)
    return Merged(Base(embedding, blocks, final_norm, base.config), base)


def check_fits(base: Base, adapters: Adapters) -> None:
    """Raises AdapterError for an adapter whose sites or shapes are not those of the base."""
    for site, pair in adapters.items():
        layers, d_in, d_out = base.blocks[site].shape if site in SITES else (0, 0, 0)
        rank = pair["a"].shape[-1]
        if pair["a"].shape != (layers, d_in, rank) or pair["b"].shape != (layers, rank, d_out):
            raise AdapterError(
                f"adapter at {site}: A {pair['a'].shape} and B {pair['b'].shape} do not fit {base.config.name}, "
                f"whose matrix there is {(layers, d_in, d_out)}"
            )


def merged_leaf(name: str, leaf: Any, pair: dict[str, Array] | None, scale: float, dtype: str) -> Float[Array, "..."]:
    """A leaf of the base as it is in the merged model, of all layers or of some: a site summed, any other cast."""
    return merged_site(leaf, pair, scale, dtype) if name in SITES else jnp.asarray(leaf).astype(dtype)


@partial(jax.jit, static_argnames=("scale", "dtype"))
def merged_site(w: Any, pair: dict[str, Float[Array, "..."]] | None, scale: float, dtype: str) -> Float[Array, "L I O"]:
    """One site of all layers, one layer after the other; without an adapter (`pair` is None) the base, dense."""
    return jax.lax.map(lambda layer: merged_sum(layer[0], layer[1], scale).astype(dtype), (w, pair))


def write_merged(folder: Path, base: Base, adapters: Adapters, config: LoraConfig, dtype: str) -> None:
    """The weights of `merge` as a Hugging Face folder, one matrix after the other: never a second model in memory."""
    check_dtype(dtype)
    check_fits(base, adapters)

    def leaf(name: str, layer: int | None) -> np.ndarray:
        if layer is None:
            return np.asarray(merged_leaf(name, getattr(base, name), None, config.scale, dtype))
        values, pair = jax.tree.map(lambda leaf: leaf[layer : layer + 1], (base.blocks[name], adapters.get(name)))
        return np.asarray(merged_leaf(name, values, pair, config.scale, dtype)[0])

    write_weights(folder, base.config, leaf)


def merged_sum(w: Any, pair: dict[str, Array] | None, scale: float) -> Float[Array, "I O"]:
    """W + scale A B in float32, not rounded yet."""
    dense = dequantize(w, jnp.float32) if isinstance(w, Quantized) else w.astype(jnp.float32)
    return dense if pair is None else dense + product(pair, scale)


def product(pair: dict[str, Array], scale: float) -> Float[Array, "I O"]:
    """scale A B, with every product in full float32 on accelerators too."""
    return scale * jnp.matmul(pair["a"], pair["b"], precision=jax.lax.Precision.HIGHEST)
