"""What the gradients say: how strong they are and where, how far a step moves each matrix, in how many directions, how
noisy a batch is, and whether two tasks pull the same way.

The noise is that of noise.py. Effective rank: Roy and Vetterli 2007, "The effective rank: a measure of effective
dimensionality". Nothing of size [in, out] is ever made: LoRA's update is measured through its factors. An analysis
draws nothing at random (no dropout) and changes nothing of the training beside it.
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from helptune.adapt.adapters import AdapterConfig, Adapters
from helptune.adapt.lora import LoraConfig
from helptune.data.packing import Batch
from helptune.errors import SettingError
from helptune.gemma.base import Base
from helptune.gemma.quantize import Quantized, dequantize
from helptune.gemma.sharding import constrain, on_mesh, row_parts
from helptune.shapes import Array, Float
from helptune.train.noise import noise_sums
from helptune.train.step import nll_sum

BySite = dict[str, Float[Array, "L"]]

DIGITS = 3
"""Significant ones of what is logged: a line of 18 layers and 7 sites is 6.5 kB long."""

_einsum = partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)


def analyse(
    base: Base,
    adapters: Adapters,
    method: AdapterConfig,
    batch: Batch,
    optimizer: optax.GradientTransformation,
    opt_state: optax.OptState,
    *,
    remat: str = "none",
) -> dict[str, Any]:
    """The step that training would take on `batch` [B, T], seen closely; numbers and lists alone, ready for JSON.

    - `norm`: {site: [L]} of the gradient, nats per token;
    - `parameter_ratio`: {site: [L]}, ||update|| / ||parameters|| of the leaf that does not start at zero;
    - `noise`: what `noise_sums` gives, None where fewer than two micro-batches have a loss;
    - of LoRA alone `moved` and `step_ratio`, {site: [L]}: s ||A B|| / ||W|| so far and s ||d(A B)|| / ||W|| of this
      step, and `effective_rank` and `stable_rank` of A B, {site: [L]}, 0 where it is zero.

    The batch is taken a row at a time, on a mesh data x fsdp rows, so an analysis costs about a step and less memory.
    """
    micro_batches = split(batch)
    total, sums = None, []
    for micro in micro_batches:
        weight, gradient, squared = micro_gradient(base, adapters, micro, method=method, remat=remat)
        total = gradient if total is None else _add(total, gradient)
        sums.append((weight, squared))
    weights, squares = (np.array(jax.device_get(column), np.float64) for column in zip(*sums, strict=True))
    found = jax.device_get(
        _anatomy(base, adapters, total, float(weights.sum()), opt_state, method=method, optimizer=optimizer)
    )
    found = {name: {site: by_site[site] for site in method.sites} for name, by_site in found.items()}
    squared_norm = sum(float(np.sum(np.square(norms, dtype=np.float64))) for norms in found["norm"].values())
    noise = noise_sums(squares, squared_norm, weights)
    rows = int(np.count_nonzero(np.asarray(batch.weights).sum(-1)))
    return _rounded({**found, "noise": noise and {**noise, "rows": rows}})


def split(batch: Batch) -> list[Batch]:
    """Micro-batches of one row, on a mesh of one for each part of data x fsdp; the padding of a last batch is left out.

    Raises SettingError when the mesh does not divide the rows.
    """
    parts, used = row_parts(), np.flatnonzero(np.asarray(batch.weights).sum(-1))
    if len(batch.tokens) % parts:
        raise SettingError(f"{len(batch.tokens)} rows cannot be cut over the {parts} devices of data x fsdp")

    def rows(start: int) -> Batch:
        return on_mesh(jax.tree.map(lambda leaf: leaf[start : start + parts], batch))

    return [rows(start) for start in range(0, int(used[-1]) + 1 if len(used) else 1, parts)]


@partial(jax.jit, static_argnames=("method", "remat"))
def micro_gradient(
    base: Base, adapters: Adapters, batch: Batch, *, method: AdapterConfig, remat: str = "none"
) -> tuple[Float[Array, ""], Adapters, Float[Array, ""]]:
    """(weight sum, gradient of the nll sum, its squared norm) of one micro-batch, whole on every device of a mesh."""
    gradient = jax.tree.map(constrain, jax.grad(nll_sum, argnums=1)(base, adapters, method, batch, None, remat))
    return jnp.sum(batch.weights), gradient, jnp.square(optax.global_norm(gradient))


@partial(jax.jit, donate_argnums=0)
def _add(total: Adapters, gradient: Adapters) -> Adapters:
    return jax.tree.map(jnp.add, total, gradient)


@partial(jax.jit, static_argnames=("method", "optimizer"))
def _anatomy(
    base: Base,
    adapters: Adapters,
    gradient_sum: Adapters,
    weight: float,
    opt_state: optax.OptState,
    *,
    method: AdapterConfig,
    optimizer: optax.GradientTransformation,
) -> dict[str, BySite]:
    gradient = jax.tree.map(lambda g: g / jnp.maximum(weight, 1.0), gradient_sum)
    updates, _ = optimizer.update(gradient, opt_state, adapters)
    found = {"norm": site_norms(gradient), "parameter_ratio": parameter_ratio(updates, adapters)}
    if isinstance(method, LoraConfig):
        frozen = {site: frozen_norm(base.blocks[site]) for site in adapters}
        spectra = {site: spectrum(pair["a"], pair["b"], method.scale) for site, pair in adapters.items()}
        steps = {site: method.scale * step_norm(adapters[site], updates[site]) for site in adapters}
        found |= {
            "moved": {site: jnp.linalg.norm(s, axis=-1) / frozen[site] for site, s in spectra.items()},
            "step_ratio": {site: step / frozen[site] for site, step in steps.items()},
            "effective_rank": {site: effective_rank(s) for site, s in spectra.items()},
            "stable_rank": {site: stable_rank(s) for site, s in spectra.items()},
        }
    return found


def site_norms(gradient: Adapters) -> BySite:
    """Norm of the gradient of each layer at each site, over all leaves of the adapter there."""
    return {site: jnp.sqrt(sum(map(_squared, leaves.values()))) for site, leaves in gradient.items()}  # type: ignore[arg-type]


def parameter_ratio(updates: Adapters, adapters: Adapters) -> BySite:
    """||update|| / ||parameters|| of the matrix that reads the input, LoRA's A or a bottleneck's `down`.

    The other one starts at zero, where the ratio says nothing.
    """
    ratios = {}
    for site, leaves in adapters.items():
        reads = "a" if "a" in leaves else "down"
        ratios[site] = jnp.sqrt(_squared(updates[site][reads]) / _squared(leaves[reads]))
    return ratios


def frozen_norm(w: Any) -> Float[Array, "L"]:
    """Frobenius norm of each layer of a frozen matrix [L, in, out], an array or Quantized; one layer at a time."""

    def norm(layer):
        return jnp.linalg.norm(
            dequantize(layer, jnp.float32) if isinstance(w, Quantized) else layer.astype(jnp.float32)
        )

    return jax.lax.map(norm, w)


def spectrum(a: Float[Array, "L I R"], b: Float[Array, "L R O"], scale: float = 1.0) -> Float[Array, "L R"]:
    """The singular values of scale * A B that can differ from zero, largest first.

    A = Q_a R_a and B^T = Q_b R_b, so A B = Q_a (R_a R_b^T) Q_b^T has the singular values of the R x R matrix between.
    """
    r_a = jnp.linalg.qr(a, mode="r")
    r_b = jnp.linalg.qr(jnp.swapaxes(b, -1, -2), mode="r")
    return scale * jnp.linalg.svd(_einsum("LiR,LjR->Lij", r_a, r_b), compute_uv=False)


def effective_rank(singular_values: Float[Array, "*L R"]) -> Float[Array, "*L"]:
    """exp of the entropy of the singular values scaled to sum 1: R when all are equal, 1 with one alone, 0 of zero."""
    total = jnp.sum(singular_values, -1, keepdims=True)
    p = singular_values / jnp.where(total > 0, total, 1)
    return jnp.where(total[..., 0] > 0, jnp.exp(jnp.sum(jax.scipy.special.entr(p), -1)), 0)


def stable_rank(singular_values: Float[Array, "*L R"]) -> Float[Array, "*L"]:
    """||M||_F^2 / ||M||_2^2: how many directions as strong as the strongest would hold all of it; 0 of zero."""
    largest = jnp.max(singular_values, -1)
    squares = jnp.sum(jnp.square(singular_values / jnp.where(largest > 0, largest, 1)[..., None]), -1)
    return jnp.where(largest > 0, squares, 0)


def step_norm(adapter: Mapping[str, Array], update: Mapping[str, Array]) -> Float[Array, "L"]:
    """||(A + dA)(B + dB) - A B||_F of each layer.

    The difference is dA (B + dB) + A dB = [dA | A] [B + dB ; dB] = P Q, and ||P Q||^2 = sum(P^T P * Q Q^T): a small
    step is not lost as the difference of two large products would lose it.
    """
    p = jnp.concatenate([update["a"], adapter["a"]], axis=-1)
    q = jnp.concatenate([adapter["b"] + update["b"], update["b"]], axis=-2)
    products = _einsum("LIR,LIS->LRS", p, p) * _einsum("LRO,LSO->LRS", q, q)
    return jnp.sqrt(jnp.maximum(jnp.sum(products, axis=(-2, -1)), 0))


def cosines(gradients: Sequence[Adapters]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Cosine between every two gradients, of the whole adapter and at each site: [K, K] and {site: [K, K]}.

    NaN where a gradient is zero. Where LoRA's B is zero, so is the gradient of A, and the cosines are those of B.
    """
    products = {}
    for site in gradients[0]:
        flat = [
            np.concatenate([np.asarray(leaf, np.float32).ravel() for leaf in gradient[site].values()])
            for gradient in gradients
        ]
        products[site] = np.array([[np.dot(x, y) for y in flat] for x in flat], np.float64)
    return _normalized(sum(products.values())), {site: _normalized(p) for site, p in products.items()}


def task_gradients(
    base: Base,
    adapters: Adapters,
    method: AdapterConfig,
    tasks: Mapping[str, Sequence[Batch]],
    *,
    remat: str = "none",
) -> dict[str, Any]:
    """Do tasks pull the adapter the same way? {task: its batches} -> their gradients' cosines, ready for JSON.

    - `tasks`, `cosines` [K, K] and `by_site` {site: [K, K]} of the tasks' whole gradients;
    - `halves` [K]: the cosine between the two halves of one task's batches, None with a single one. It shows how far
      sampling alone keeps cosines below 1.
    """
    totals, halves = [], []
    for batches in tasks.values():
        parts = [_gradient_sum(base, adapters, method, batches[i::2], remat) for i in range(min(2, len(batches)))]
        halves.append(float(cosines(parts)[0][0, 1]) if len(parts) == 2 else math.nan)
        totals.append(jax.tree.map(lambda *leaves: np.sum(leaves, axis=0), *parts))
    whole, by_site = cosines(totals)
    found = {"cosines": whole, "by_site": by_site, "halves": np.array(halves)}
    return {"tasks": list(tasks), **_rounded(found)}


def _gradient_sum(base, adapters, method, batches, remat) -> Adapters:
    total = None
    for micro in (micro for batch in batches for micro in split(batch)):
        _, gradient, _ = micro_gradient(base, adapters, micro, method=method, remat=remat)
        total = gradient if total is None else _add(total, gradient)
    return jax.device_get(total)


def _normalized(products: Any) -> np.ndarray:
    norms = np.sqrt(np.diag(products))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.clip(products / norms / norms[:, None], -1, 1)


def _squared(leaf: Float[Array, "L ..."]) -> Float[Array, "L"]:
    return jnp.sum(jnp.square(leaf), axis=tuple(range(1, leaf.ndim)))


def _rounded(tree: Any) -> Any:
    """Arrays as lists, numbers with DIGITS significant digits, None for what is not a number."""
    if isinstance(tree, Mapping):
        return {name: _rounded(value) for name, value in tree.items()}
    if isinstance(tree, np.ndarray):
        return [_rounded(value) for value in (tree if tree.ndim > 1 else tree.tolist())]
    if isinstance(tree, float):
        return float(f"{tree:.{DIGITS}g}") if math.isfinite(tree) else None
    return tree
