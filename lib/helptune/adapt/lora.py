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
from helptune.shapes import Array, Bool, Float, PRNGKeyArray


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


def lora_shapes(config: LoraConfig, model: GemmaConfig) -> dict[str, dict[str, tuple[int, ...]]]:
    """{site: {"a": [L, in, R], "b": [L, R, out]}}."""
    L, R, shapes = model.layers, config.rank, site_shapes(model)
    return {site: {"a": (L, shapes[site][0], R), "b": (L, R, shapes[site][1])} for site in config.sites}


def init_lora(config: LoraConfig, model: GemmaConfig, key: PRNGKeyArray) -> dict[str, dict[str, Array]]:
    """A uniform in +-1/sqrt(in) (Kaiming, as in the reference code of the paper), B zero."""
    adapters = {}
    shapes = lora_shapes(config, model)
    for (site, leaves), site_key in zip(shapes.items(), jax.random.split(key, len(shapes)), strict=True):
        a = jax.random.uniform(site_key, leaves["a"], minval=-1.0, maxval=1.0) * leaves["a"][1] ** -0.5
        adapters[site] = {"a": a, "b": jnp.zeros(leaves["b"])}
    return adapters


@jax.custom_vjp
def low_rank(
    x: Float[Array, "B T I"],
    a: Float[Array, "I R"],
    b: Float[Array, "R O"],
    keep: Bool[Array, "B 1 R"] | None = None,
) -> Float[Array, "B T O"]:
    """(x A) B, in each row through those of the R features that `keep` names.

    The gradient is written by hand for its layouts: A's is made as (dz^T x)^T, behind a barrier that keeps XLA from
    turning it back into x^T dz, which takes four times as long on a CPU.
    """
    return _kept(x @ a, keep) @ b


def _kept(z, keep):
    return z if keep is None else jnp.where(keep, z, 0)


def _low_rank_forward(x, a, b, keep):
    z = _kept(x @ a, keep)
    return z @ b, (x, z, a, b, keep)


def _low_rank_backward(saved, dy):
    x, z, a, b, keep = saved
    dz = _kept(jnp.einsum("BTO,RO->BTR", dy, b), keep)
    da = jax.lax.optimization_barrier(jnp.einsum("BTR,BTI->RI", dz, x)).T
    db = jnp.einsum("BTR,BTO->RO", z, dy)
    return jnp.einsum("BTR,IR->BTI", dz, a), da, db, None


low_rank.defvjp(_low_rank_forward, _low_rank_backward)


@struct.dataclass
class Lora:
    """Adapters ready for `forward`: the model's `Adapter` protocol. Dropout exists only where keys do."""

    layers: dict[str, Any]
    scale: float = struct.field(pytree_node=False)
    dropout: float = struct.field(pytree_node=False)

    def delta(
        self, layer: dict[str, Any], site: str, x: Float[Array, "B T I"], y: Array
    ) -> Float[Array, "B T O"] | None:
        """scale * dropout(x) A B, multiplied in x's dtype: the float32 masters are cast on the way."""
        if site not in layer["adapters"]:
            return None
        a, b = layer["adapters"][site]["a"], layer["adapters"][site]["b"]
        if self.dropout and "key" in layer:
            x = _dropout(x, jax.random.fold_in(layer["key"], SITES.index(site)), self.dropout)
        return low_rank(x, a.astype(x.dtype), (b * self.scale).astype(x.dtype))


def attach_lora(
    adapters: dict[str, dict[str, Array]], config: LoraConfig, dropout_key: PRNGKeyArray | None = None
) -> Lora:
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
