"""LoRA: y = x W + (alpha / R) x A B, with W frozen and two thin matrices A, B trained.

Hu et al. 2021, arXiv:2106.09685. The rank-stabilized scale alpha / sqrt(R) is Kalajdzievski 2023, arXiv:2312.03732.
B starts at zero, so inserting the adapter changes nothing until the first step.
"""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from helptune.errors import SettingError
from helptune.gemma.base import SITES, site_shapes
from helptune.gemma.config import GemmaConfig
from helptune.shapes import Array, Float, PRNGKeyArray

Adapters = dict[str, dict[str, Array]]
"""{site: {"a": [L, in, R], "b": [L, R, out]}} in float32: all that is trained, checkpointed and exported."""


@dataclass(frozen=True)
class LoraConfig:
    """Where the adapter sits and how strong it is. `dropout` acts on the adapter's input, in training only."""

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    sites: tuple[str, ...] = SITES
    rank_stabilized: bool = False

    def __post_init__(self) -> None:
        unknown = [site for site in self.sites if site not in SITES]
        if unknown or not self.sites or len(set(self.sites)) != len(self.sites):
            raise SettingError(f"lora sites {list(self.sites)}: choose a subset of {', '.join(SITES)}, each once")
        if self.rank < 1 or not 0 < self.alpha < math.inf:
            raise SettingError(f"lora rank={self.rank}, alpha={self.alpha}: both must be positive")
        if not 0.0 <= self.dropout < 1.0:
            raise SettingError(f"lora dropout={self.dropout}: must be at least 0 and below 1")

    @property
    def scale(self) -> float:
        return self.alpha / (math.sqrt(self.rank) if self.rank_stabilized else self.rank)


def init_adapters(config: LoraConfig, model: GemmaConfig, key: PRNGKeyArray) -> Adapters:
    """A uniform in +-1/sqrt(in) (Kaiming, as in the reference code of the paper), B zero."""
    shapes = site_shapes(model)
    adapters = {}
    for site, site_key in zip(config.sites, jax.random.split(key, len(config.sites)), strict=True):
        d_in, d_out = shapes[site]
        a = jax.random.uniform(site_key, (model.layers, d_in, config.rank), minval=-1.0, maxval=1.0) * d_in**-0.5
        adapters[site] = {"a": a, "b": jnp.zeros((model.layers, config.rank, d_out))}
    return adapters


def parameter_count(adapters: Adapters) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(adapters))


@jax.custom_vjp
def low_rank(x: Float[Array, "B T I"], a: Float[Array, "I R"], b: Float[Array, "R O"]) -> Float[Array, "B T O"]:
    """(x A) B. The gradient is written by hand for its layouts: A's is made as (dz^T x)^T, behind a barrier that keeps
    XLA from turning it back into x^T dz, which takes four times as long on a CPU.
    """
    return (x @ a) @ b


def _low_rank_forward(x, a, b):
    z = x @ a
    return z @ b, (x, z, a, b)


def _low_rank_backward(saved, dy):
    x, z, a, b = saved
    dz = jnp.einsum("BTO,RO->BTR", dy, b)
    da = jax.lax.optimization_barrier(jnp.einsum("BTR,BTI->RI", dz, x)).T
    db = jnp.einsum("BTR,BTO->RO", z, dy)
    return jnp.einsum("BTR,IR->BTI", dz, a), da, db


low_rank.defvjp(_low_rank_forward, _low_rank_backward)


@struct.dataclass
class Lora:
    """Adapters ready for `forward`: the model's `Adapter` protocol. Dropout exists only where keys do."""

    layers: dict[str, Any]
    scale: float = struct.field(pytree_node=False)
    dropout: float = struct.field(pytree_node=False)

    def delta(self, layer: dict[str, Any], site: str, x: Float[Array, "B T I"]) -> Float[Array, "B T O"] | None:
        """scale * dropout(x) A B, multiplied in x's dtype: the float32 masters are cast on the way."""
        if site not in layer["adapters"]:
            return None
        a, b = layer["adapters"][site]["a"], layer["adapters"][site]["b"]
        if self.dropout and "key" in layer:
            x = _dropout(x, jax.random.fold_in(layer["key"], SITES.index(site)), self.dropout)
        return low_rank(x, a.astype(x.dtype), (b * self.scale).astype(x.dtype))


def attach(adapters: Adapters, config: LoraConfig, dropout_key: PRNGKeyArray | None = None) -> Lora:
    """Adapters as the model takes them. Without `dropout_key` (evaluation, generation) dropout cannot happen."""
    layers: dict[str, Any] = {"adapters": adapters}
    if dropout_key is not None and config.dropout:
        depth = jax.tree.leaves(adapters)[0].shape[0]
        layers["key"] = jax.random.split(dropout_key, depth)
    return Lora(layers, config.scale, config.dropout)


def _dropout(x: Array, key: PRNGKeyArray, rate: float) -> Array:
    # Eight random bits decide for each element: a quarter of the random numbers, and rates to within 1/512.
    dropped = min(round(rate * 256), 255)
    keep = jax.random.bits(key, x.shape, jnp.uint8) >= dropped
    return jnp.where(keep, x / (1.0 - dropped / 256), 0).astype(x.dtype)
