"""Several adapters at work in one batch: every row is answered by the base or by one adapter, in one compiled call.

The matrices of S slots lie side by side, [in, S x R] and [S x R, out], so all rows are multiplied by all of them in
products as dense as those of a single adapter of rank S x R; a row then keeps the R features of its own slot (none, for
the base). Serving many adapters over one base so goes back to Punica (arXiv:2310.18547) and S-LoRA (arXiv:2311.03285).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from helptune.adapt.adapters import Adapters
from helptune.adapt.lora import LoraConfig, low_rank
from helptune.errors import AdapterError
from helptune.gemma.base import SITES, site_shapes
from helptune.gemma.config import GemmaConfig
from helptune.shapes import Array, Float, Int

BASE = "base"
"""What the base is called where adapters have names; its slot is 0."""


@struct.dataclass
class Mixed:
    """Adapters of several rows' own choice, ready for `forward`: the model's `Adapter` protocol.

    `layers` is {site: {"a": [L, in, S, R], "b": [L, S, R, out]}} with each adapter's scale folded into b; `slots`, [B],
    is each row's choice, 0 for the base.
    """

    layers: Any
    slots: Int[Array, "B"]

    def delta(self, layer: Any, site: str, x: Float[Array, "B T I"], y: Array) -> Float[Array, "B T O"] | None:
        if site not in layer:
            return None
        a, b = layer[site]["a"].astype(x.dtype), layer[site]["b"].astype(x.dtype)
        S, R = b.shape[:2]
        own = self.slots[:, None] == jnp.arange(1, S + 1)
        keep = jnp.repeat(own, R, axis=1)[:, None]
        return low_rank(x, a.reshape(-1, S * R), b.reshape(S * R, -1), keep)


@struct.dataclass
class Rack:
    """Slots for adapters of one base. Putting one into a slot changes no shape, so nothing is compiled again."""

    layers: Any
    names: tuple[str, ...] = struct.field(pytree_node=False)
    """Of each slot in use, in order: the first is slot 1."""

    @property
    def size(self) -> int:
        return jax.tree.leaves(self.layers)[0].shape[-2]
