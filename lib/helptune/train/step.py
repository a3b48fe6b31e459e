"""One optimizer step: gradients of a token-weighted sum, added over micro-batches, divided once.

Dividing after all sums are taken makes a batch of 8 rows the same gradient as 1x8, 2x4 or 8x1 micro-batches; averaging
the micro-batches' means would weight a token by how many neighbours it happened to have.
"""

from functools import partial

import jax
import jax.numpy as jnp
import optax
from flax import struct

from helptune.adapt.adapters import AdapterConfig, Adapters, attach
from helptune.data.packing import Batch
from helptune.gemma.base import Base
from helptune.gemma.model import forward
from helptune.gemma.sharding import constrain
from helptune.shapes import Array, Bool, Float, Int, PRNGKeyArray
from helptune.train.loss import chunked_nll
from helptune.train.neftune import embedding_noise


@struct.dataclass
class TrainState:
    """All that changes in training. Data order, dropout and noise are functions of the seed and `step`."""

    adapters: Adapters
    opt_state: optax.OptState
    step: Int[Array, ""]


@struct.dataclass
class StepMetrics:
    """`loss`: nats per supervised token; `grad_norm`: global norm before clipping.

    `finite` says of each leaf's gradient, layer by layer, whether it is a number. It is read only when the first two
    are not both numbers.
    """

    loss: Float[Array, ""]
    grad_norm: Float[Array, ""]
    supervised: Float[Array, ""]
    finite: dict[str, dict[str, Bool[Array, "L"]]]


def init_state(adapters: Adapters, optimizer: optax.GradientTransformation) -> TrainState:
    return TrainState(adapters, optimizer.init(adapters), jnp.int32(0))


def nll_sum(
    base: Base,
    adapters: Adapters,
    method: AdapterConfig,
    batch: Batch,
    key: PRNGKeyArray | None = None,
    remat: str = "none",
    neftune_alpha: float = 0.0,
) -> Float[Array, ""]:
    """Sum of weight * -log p(target) over a batch, in nats. Without `key` nothing is dropped and there is no noise."""
    adapter, noise = attach(adapters, method, key), None
    if key is not None and neftune_alpha:
        own_key = jax.random.fold_in(key, base.config.layers)  # the layers' dropout has the keys before it
        noise = embedding_noise(own_key, neftune_alpha, batch.segments, base.config.width)
    hidden, _ = forward(base, batch.tokens, batch.positions, batch.segments, adapter, noise=noise, remat=remat)
    return chunked_nll(hidden, base.embedding, batch.targets, batch.weights)


def gradients(
    base: Base,
    adapters: Adapters,
    method: AdapterConfig,
    micro_batches: Batch,
    key: PRNGKeyArray,
    remat: str = "none",
    neftune_alpha: float = 0.0,
) -> tuple[Float[Array, ""], Float[Array, ""], Adapters]:
    """(nll sum, weight sum, gradient of their ratio) over micro-batches stacked on a leading axis.

    On a mesh all three are whole on every device.
    """

    def add(totals, micro):
        batch, key = micro
        nll, gradient = jax.value_and_grad(nll_sum, argnums=1)(base, adapters, method, batch, key, remat, neftune_alpha)
        return jax.tree.map(jnp.add, totals, (nll, jnp.sum(batch.weights), gradient)), None

    keys = jax.random.split(key, micro_batches.tokens.shape[0])
    zeros = (jnp.float32(0), jnp.float32(0), jax.tree.map(jnp.zeros_like, adapters))
    (nll, weight, gradient), _ = jax.lax.scan(add, zeros, (micro_batches, keys))
    return nll, weight, jax.tree.map(lambda g: constrain(g / jnp.maximum(weight, 1.0)), gradient)


@partial(jax.jit, static_argnames=("method", "optimizer", "remat", "neftune_alpha"), donate_argnames="state")
def train_step(
    base: Base,
    state: TrainState,
    micro_batches: Batch,
    seed_key: PRNGKeyArray,
    *,
    method: AdapterConfig,
    optimizer: optax.GradientTransformation,
    remat: str = "none",
    neftune_alpha: float = 0.0,
) -> tuple[TrainState, StepMetrics]:
    """One update from micro-batches [A, B, T]; dropout and noise are drawn from (seed, step)."""
    key = jax.random.fold_in(seed_key, state.step)
    nll, weight, gradient = gradients(base, state.adapters, method, micro_batches, key, remat, neftune_alpha)
    updates, opt_state = optimizer.update(gradient, state.opt_state, state.adapters)
    metrics = StepMetrics(
        nll / jnp.maximum(weight, 1.0), optax.global_norm(gradient), weight, jax.tree.map(finite_layers, gradient)
    )
    return TrainState(optax.apply_updates(state.adapters, updates), opt_state, state.step + 1), metrics


def finite_layers(gradient: Float[Array, "L ..."]) -> Bool[Array, "L"]:
    return jnp.isfinite(gradient).reshape(gradient.shape[0], -1).all(axis=1)


@partial(jax.jit, static_argnames="method")
def eval_step(base: Base, adapters: Adapters, batch: Batch, *, method: AdapterConfig) -> tuple[Array, Array]:
    """(nll sum, weight sum) of one batch [B, T], without dropout."""
    return nll_sum(base, adapters, method, batch), jnp.sum(batch.weights)
