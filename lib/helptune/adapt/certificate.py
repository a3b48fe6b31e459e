"""What merging cost, measured: how far the merged model's logits are from those of the adapter beside its base.

Two questions. How much of the adapter did rounding lose, site by site? And does it show in what the model says?
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from helptune.adapt.lora import Adapters, LoraConfig
from helptune.adapt.merge import check_fits, merged_sum, product
from helptune.files import write_text
from helptune.gemma.base import Base
from helptune.gemma.model import Adapter, forward, logits

CERTIFICATE = "certificate.json"


@dataclass(frozen=True)
class SiteRounding:
    """`lost` is ||round(W + D) - (W + D)|| / ||D||, Frobenius norms over all layers, D being what the adapter adds.

    `unchanged` is the share of entries that are, after merging and rounding, what the base rounds to by itself.
    """

    lost: float
    unchanged: float


@dataclass(frozen=True)
class LogitDifference:
    """Two models on the same tokens: absolute differences of logits, and of the next-token distributions.

    `kl` is the mean of KL(beside || merged) in nats, `same_choice` the share of positions with the same likeliest
    token.
    """

    max: float
    mean: float
    same_choice: float
    kl: float
    positions: int


@dataclass(frozen=True)
class Certificate:
    """Of one merged model: what was merged, and the figures. `logits` maps how they were computed to the difference."""

    base: str
    base_sha256: str
    adapter_sha256: str
    precision: str
    dtype: str
    sites: Mapping[str, SiteRounding]
    logits: Mapping[str, LogitDifference]


def site_rounding(base: Base, adapters: Adapters, config: LoraConfig, dtype: str) -> dict[str, SiteRounding]:
    """For each adapted site, what rounding to `dtype` does to the adapter. Raises AdapterError when it does not fit."""
    check_fits(base, adapters)
    found = {}
    for site, pair in adapters.items():
        error, delta, unchanged = (float(total) for total in _rounding(base.blocks[site], pair, config.scale, dtype))
        # An adapter that adds nothing loses nothing.
        found[site] = SiteRounding((error / delta) ** 0.5 if delta else 0.0, unchanged)
    return found


@partial(jax.jit, static_argnames=("scale", "dtype"))
def _rounding(w: Any, pair: dict[str, jax.Array], scale: float, dtype: str) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Sums of squares of the rounding error and of the delta, and the share of unchanged entries."""

    def layer(parts):
        w, pair = parts
        exact = merged_sum(w, pair, scale)
        # Without the barrier XLA may drop a rounding that is undone at once.
        rounded = jax.lax.optimization_barrier(exact.astype(dtype))
        error = rounded.astype(jnp.float32) - exact
        same = rounded == merged_sum(w, None, scale).astype(dtype)
        return jnp.sum(error**2), jnp.sum(product(pair, scale) ** 2), jnp.mean(same, dtype=jnp.float32)

    error, delta, unchanged = jax.lax.map(layer, (w, pair))
    return error.sum(), delta.sum(), unchanged.mean()


def token_logits(base: Base, rows: Sequence[Sequence[int]], adapter: Adapter | None = None) -> list[np.ndarray]:
    """Logits after each token of each row, [T, V] in float32: 1 MB a token for the vocabulary of Gemma 3."""
    longest = max(map(len, rows))
    found = []
    for row in rows:
        tokens = np.zeros((1, longest), np.int32)
        tokens[0, : len(row)] = row
        found.append(np.asarray(_logits(base, adapter, tokens, np.int32(len(row))))[0, : len(row)])
    return found


@jax.jit
def _logits(base, adapter, tokens, length):
    positions = jnp.arange(tokens.shape[1])[None]
    hidden, _ = forward(base, tokens, positions, (positions < length).astype(jnp.int32), adapter)
    return logits(base, hidden)


def logit_difference(beside: Sequence[np.ndarray], merged: Sequence[np.ndarray]) -> LogitDifference:
    """Over all positions of all rows, each [T, V]."""
    rows = [_compare(*pair) for pair in zip(beside, merged, strict=True)]
    largest, totals, same, kl = (np.concatenate(part) for part in zip(*rows, strict=True))
    return LogitDifference(
        max=float(largest.max()),
        mean=float(totals.mean()),
        same_choice=float(same.mean()),
        kl=float(kl.mean()),
        positions=len(kl),
    )


def _compare(p: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, ...]:
    """For each position: largest and mean absolute difference, whether the choice is the same, KL."""
    apart = np.abs(p - q)
    log_p, log_q = (x.astype(np.float64) - _log_sum(x) for x in (p, q))
    kl = (np.exp(log_p) * (log_p - log_q)).sum(-1)
    return apart.max(-1), apart.mean(-1, dtype=np.float64), p.argmax(-1) == q.argmax(-1), kl


def _log_sum(x: np.ndarray) -> np.ndarray:
    top = x.max(-1, keepdims=True).astype(np.float64)
    return top + np.log(np.exp(x - top).sum(-1, keepdims=True))


def write_certificate(folder: Path, certificate: Certificate) -> None:
    """`certificate.json` in `folder`."""
    write_text(folder / CERTIFICATE, json.dumps(asdict(certificate), indent=2) + "\n")


def show(certificate: Certificate, console: Any) -> None:
    """Both tables, on a rich console."""
    from rich.table import Table

    c = certificate
    sites = Table(title=f"{c.base} ({c.precision}) with its adapter, merged in {c.dtype}")
    for column in ("site", "delta lost to rounding", "entries unchanged"):
        sites.add_column(column, justify="left" if column == "site" else "right")
    for site, rounding in c.sites.items():
        sites.add_row(site, f"{rounding.lost:.2%}", f"{rounding.unchanged:.1%}")
    differences = Table(title="logits: merged against the adapter beside its base")
    for column in ("computed as", "max", "mean", "same choice", "KL, nats", "positions"):
        differences.add_column(column, justify="left" if column == "computed as" else "right")
    for name, d in c.logits.items():
        differences.add_row(
            name, f"{d.max:.2e}", f"{d.mean:.2e}", f"{d.same_choice:.1%}", f"{d.kl:.1e}", str(d.positions)
        )
    console.print(sites)
    console.print(differences)
