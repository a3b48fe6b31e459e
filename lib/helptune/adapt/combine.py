"""One adapter out of several: a weighted sum of what they add, exact at the sum of their ranks, or cut to a smaller.

Side by side, [A1 | A2] and [w1 s1 B1; w2 s2 B2] multiply to w1 s1 A1 B1 + w2 s2 A2 B2: nothing is lost. Averaging the
A's and the B's instead would add products of one adapter's A with another's B. Weights are free: 1 and 1 stack two
adapters, 0.5 and 0.5 average them, -1 takes one away (task arithmetic, Ilharco et al. 2023, arXiv:2212.04089).
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp

from helptune.adapt.adapters import AdapterConfig, Adapters
from helptune.adapt.artifact import AdapterCard
from helptune.adapt.lora import LoraConfig
from helptune.errors import AdapterError
from helptune.gemma.base import SITES
from helptune.shapes import Array, Float


def combine(parts: Sequence[tuple[Adapters, AdapterCard, float]]) -> tuple[Adapters, AdapterCard]:
    """The adapter that adds weight x what each part adds, and its card. Its rank is the sum of theirs, its scale 1.

    Raises AdapterError for fewer than one part, bottlenecks, or parts of different bases or chat templates.
    """
    if not parts:
        raise AdapterError("no adapter to combine: name at least one")
    methods = [_lora(card.method) for _, card, _ in parts]
    first = parts[0][1]
    for _, card, weight in parts:
        if (card.base, card.base_sha256, card.template_hash) != (first.base, first.base_sha256, first.template_hash):
            raise AdapterError(
                f"adapters of different bases cannot be combined: one is of {first.base} {first.base_sha256[:12]}, "
                f"another of {card.base} {card.base_sha256[:12]}, or their chat templates differ"
            )
        if not math.isfinite(weight):
            raise AdapterError(f"weight {weight} of an adapter: must be a finite number")
    rank = sum(method.rank for method in methods)
    sites = [site for site in SITES if any(site in adapters for adapters, _, _ in parts)]
    combined = {site: _side_by_side(site, parts, methods) for site in sites}
    method = LoraConfig(rank=rank, alpha=float(rank), sites=tuple(sites))
    return combined, replace(first, method=method, step=0, eval_loss=None)


def truncate(adapters: Adapters, method: AdapterConfig, rank: int) -> tuple[Adapters, LoraConfig, float]:
    """The nearest adapter of a smaller rank, layer by layer, and the share of the update's norm that is lost.

    The best approximation in the Frobenius norm is the truncated SVD (Eckart and Young 1936), taken here of the R x R
    core between the QR factors of A and B, so that [in, out] is never built. Raises AdapterError for a bottleneck and a
    rank that is not smaller.
    """
    config = _lora(method)
    if not 1 <= rank < config.rank:
        raise AdapterError(f"rank {rank}: an adapter of rank {config.rank} can be cut to 1 to {config.rank - 1}")
    cut, lost, whole = {}, 0.0, 0.0
    for site, pair in adapters.items():
        a, b, singular = _cut(pair["a"], pair["b"] * config.scale, rank)
        cut[site] = {"a": a, "b": b}
        lost += float(jnp.sum(singular[:, rank:] ** 2))
        whole += float(jnp.sum(singular**2))
    return cut, LoraConfig(rank, float(rank), sites=config.sites), math.sqrt(lost / whole) if whole else 0.0


def _lora(method: AdapterConfig) -> LoraConfig:
    if not isinstance(method, LoraConfig):
        raise AdapterError("a bottleneck is not linear: only LoRA adapters can be combined or cut to a smaller rank")
    return method


def _side_by_side(
    site: str, parts: Sequence[tuple[Adapters, AdapterCard, float]], methods: Sequence[LoraConfig]
) -> dict[str, Array]:
    """A part without this site keeps its place with zeros, so that all sites have one rank."""
    shape = next(adapters[site] for adapters, _, _ in parts if site in adapters)
    (L, d_in, _), d_out = shape["a"].shape, shape["b"].shape[2]
    a, b = [], []
    for (adapters, _, weight), method in zip(parts, methods, strict=True):
        own = adapters.get(site) or {"a": jnp.zeros((L, d_in, method.rank)), "b": jnp.zeros((L, method.rank, d_out))}
        a.append(own["a"])
        b.append(own["b"] * (weight * method.scale))
    return {"a": jnp.concatenate(a, axis=2), "b": jnp.concatenate(b, axis=1)}


@partial(jax.jit, static_argnames="rank")
def _cut(
    a: Float[Array, "L I F"], b: Float[Array, "L F O"], rank: int
) -> tuple[Float[Array, "L I R"], Float[Array, "L R O"], Float[Array, "L F"]]:
    """Factors of the largest `rank` singular values of A B, each taking the root of them, and all singular values."""
    q_a, r_a = jnp.linalg.qr(a)
    q_b, r_b = jnp.linalg.qr(jnp.swapaxes(b, 1, 2))
    u, s, vt = jnp.linalg.svd(r_a @ jnp.swapaxes(r_b, 1, 2), full_matrices=False)
    root = jnp.sqrt(s[:, :rank])
    left = q_a @ (u[:, :, :rank] * root[:, None])
    right = (root[:, :, None] * vt[:, :rank]) @ jnp.swapaxes(q_b, 1, 2)
    # A matrix narrower than the rank has fewer singular values: the other features hold nothing.
    missing = rank - left.shape[2]
    if missing > 0:
        left, right = jnp.pad(left, ((0, 0), (0, 0), (0, missing))), jnp.pad(right, ((0, 0), (0, missing), (0, 0)))
    return left, right, s
