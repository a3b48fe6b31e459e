"""Several adapters at work in one batch: every row is computed with the base alone or with one of them, in one call.

The matrices of all adapters lie side by side, [in, F] and [F, out] with F the sum of their ranks, so all rows go
through all of them in products as dense as those of one adapter; of the F features a row then keeps those of its own
adapter. Serving many adapters over one base goes back to Punica (arXiv:2310.18547) and S-LoRA (arXiv:2311.03285).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import struct

from helptune.adapt.adapters import AdapterConfig, Adapters
from helptune.adapt.lora import LoraConfig, low_rank
from helptune.errors import AdapterError
from helptune.gemma.base import site_shapes
from helptune.gemma.config import GemmaConfig
from helptune.shapes import AnyArray, Array, Float, Int

BASE = "base"
"""The name of the base where adapters are named; its number is 0."""


@struct.dataclass
class Mixed:
    """Adapters ready for `forward`: the model's `Adapter` protocol.

    `layers` is {site: {"a": [L, in, F], "b": [L, F, out]}}, each adapter's scale folded into b; `owners`, [F], is the
    number of the adapter a feature belongs to, from 1; `rows`, [B], that of each row's adapter, 0 for the base.
    """

    layers: Any
    owners: Int[AnyArray, "F"]
    rows: Int[AnyArray, "B"]

    def delta(self, layer: Any, site: str, x: Float[Array, "B T I"], y: Array) -> Float[Array, "B T O"] | None:
        if site not in layer:
            return None
        keep = (jnp.asarray(self.rows)[:, None] == self.owners)[:, None]
        return low_rank(x, layer[site]["a"].astype(x.dtype), layer[site]["b"].astype(x.dtype), keep)


def side_by_side(adapters: Sequence[Adapters], config: LoraConfig, rows: Int[AnyArray, "B"]) -> Mixed:
    """Adapters of one configuration as they train: the float32 masters, differentiable."""
    layers = {
        site: {
            "a": jnp.concatenate([each[site]["a"] for each in adapters], axis=2),
            "b": jnp.concatenate([each[site]["b"] * config.scale for each in adapters], axis=1),
        }
        for site in config.sites
    }
    return Mixed(layers, np.repeat(np.arange(1, len(adapters) + 1), config.rank), rows)


@struct.dataclass
class Rack:
    """`size` places for named adapters of one base, of up to `rank` each. Hanging one up changes no shape, so whatever
    was compiled for the rack serves on.
    """

    layers: Any
    names: tuple[str, ...] = struct.field(pytree_node=False)
    size: int = struct.field(pytree_node=False)
    rank: int = struct.field(pytree_node=False)


def empty_rack(model: GemmaConfig, size: int = 4, rank: int = 16, dtype: Any = jnp.bfloat16) -> Rack:
    """A rack for all sites. `dtype` is that of the base, in which adapters are multiplied."""
    L, F = model.layers, size * rank
    layers = {
        site: {"a": jnp.zeros((L, d_in, F), dtype), "b": jnp.zeros((L, F, d_out), dtype)}
        for site, (d_in, d_out) in site_shapes(model).items()
    }
    return Rack(layers, (), size, rank)


def hang(rack: Rack, name: str, adapters: Adapters, method: AdapterConfig) -> Rack:
    """The rack with one more adapter, or with another one under a name it has.

    Raises AdapterError for a bottleneck, a rank the rack is too small for, and a full rack.
    """
    if not isinstance(method, LoraConfig):
        raise AdapterError(f"adapter {name!r} is a bottleneck: only LoRA adapters are mixed in a batch")
    if name == BASE:
        raise AdapterError(f"{BASE!r} is what the base itself is called: give the adapter another name")
    if method.rank > rack.rank:
        raise AdapterError(f"adapter {name!r} has rank {method.rank}, this rack holds up to {rack.rank}")
    names = rack.names if name in rack.names else (*rack.names, name)
    if len(names) > rack.size:
        raise AdapterError(f"adapter {name!r} finds no place: {', '.join(rack.names)} fill this rack of {rack.size}")
    layers = _hung(rack.layers, adapters, names.index(name) * rack.rank, rack.rank, method)
    return replace(rack, layers=layers, names=names)


def mixed(rack: Rack, names: Sequence[str]) -> Mixed:
    """The adapter of a batch whose rows use `names`, one each; "base" is the base. Raises AdapterError if unknown."""
    numbers = {BASE: 0} | {name: number for number, name in enumerate(rack.names, start=1)}
    if unknown := [name for name in names if name not in numbers]:
        raise AdapterError(f"adapter {unknown[0]!r} is not one of {', '.join(numbers)}")
    owners = np.repeat(np.arange(1, rack.size + 1), rack.rank)
    return Mixed(rack.layers, owners, np.array([numbers[name] for name in names]))


def rack_of(
    named: Mapping[str, tuple[Adapters, AdapterConfig]], model: GemmaConfig, dtype: Any = jnp.bfloat16, size: int = 4
) -> Rack:
    """A rack with these adapters, as large as they need and at least `size`. Raises AdapterError as `hang` does."""
    ranks = [method.rank for _, method in named.values() if isinstance(method, LoraConfig)]
    rack = empty_rack(model, max(size, len(named)), max(ranks, default=1), dtype)
    for name, (adapters, method) in named.items():
        rack = hang(rack, name, adapters, method)
    return rack


def _hung(layers: Any, adapters: Adapters, first: int, rank: int, config: LoraConfig) -> Any:
    """`layers` with this adapter from feature `first` on; zeros where it has no site, or less rank than its place."""
    place, own = slice(first, first + rank), slice(first, first + config.rank)
    new = {}
    for site, pair in layers.items():
        a, b = pair["a"].at[:, :, place].set(0), pair["b"].at[:, place].set(0)
        if site in adapters:
            a = a.at[:, :, own].set(adapters[site]["a"].astype(a.dtype))
            b = b.at[:, own].set((adapters[site]["b"] * config.scale).astype(b.dtype))
        new[site] = {"a": a, "b": b}
    return new
