"""Bottleneck adapters: y + up(gelu(down(y))) after a projection, with `width` features between the two.

Houlsby et al. 2019 (arXiv:1902.00751) put one after the attention and one after the MLP of every block, before the
residual is added; Pfeiffer et al. 2021 (arXiv:2005.00247) found that the one after the MLP does nearly as well. Unlike
LoRA they are not linear: they cannot be merged into the weights, and every answer pays for them.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from helptune.errors import SettingError
from helptune.gemma.base import site_shapes
from helptune.gemma.config import GemmaConfig
from helptune.shapes import Array, Float, PRNGKeyArray

PLACEMENTS = {"houlsby": ("o", "down"), "pfeiffer": ("down",)}


@dataclass(frozen=True)
class BottleneckConfig:
    """`placement` is houlsby (after attention and MLP) or pfeiffer (after the MLP alone)."""

    width: int = 64
    placement: str = "pfeiffer"

    def __post_init__(self) -> None:
        if self.width < 1:
            raise SettingError(f"bottleneck width={self.width}: must be at least 1")
        if self.placement not in PLACEMENTS:
            raise SettingError(f"bottleneck placement={self.placement!r}: choose one of {', '.join(PLACEMENTS)}")

    @property
    def sites(self) -> tuple[str, ...]:
        return PLACEMENTS[self.placement]


def bottleneck_shapes(config: BottleneckConfig, model: GemmaConfig) -> dict[str, dict[str, tuple[int, ...]]]:
    L, W = model.layers, config.width
    return {
        site: {"down": (L, D, W), "down_bias": (L, W), "up": (L, W, D), "up_bias": (L, D)}
        for site, D in ((site, site_shapes(model)[site][1]) for site in config.sites)
    }


def init_bottleneck(config: BottleneckConfig, model: GemmaConfig, key: PRNGKeyArray) -> dict[str, dict[str, Array]]:
    """Down uniform in +-1/sqrt(D), all else zero: exactly the identity, where the paper starts close to it."""
    adapters = {}
    shapes = bottleneck_shapes(config, model)
    for (site, leaves), site_key in zip(shapes.items(), jax.random.split(key, len(shapes)), strict=True):
        bound = leaves["down"][1] ** -0.5
        down = jax.random.uniform(site_key, leaves["down"], minval=-bound, maxval=bound)
        adapters[site] = {name: down if name == "down" else jnp.zeros(shape) for name, shape in leaves.items()}
    return adapters


@struct.dataclass
class Bottleneck:
    """Adapters ready for `forward`: the model's `Adapter` protocol."""

    layers: Any

    def delta(self, layer: Any, site: str, x: Array, y: Float[Array, "B T O"]) -> Float[Array, "B T O"] | None:
        """up(gelu(down(y))), multiplied in y's dtype: the float32 masters are cast on the way."""
        if site not in layer:
            return None
        leaves = {name: leaf.astype(y.dtype) for name, leaf in layer[site].items()}
        z = jax.nn.gelu(y @ leaves["down"] + leaves["down_bias"])
        return z @ leaves["up"] + leaves["up_bias"]


def attach_bottleneck(adapters: dict[str, dict[str, Array]]) -> Bottleneck:
    return Bottleneck(adapters)
