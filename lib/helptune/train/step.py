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
from helptune.shapes import Array, Float, Int, PRNGKeyArray
from helptune.train.loss import chunked_nll


@struct.dataclass
class TrainState:
    """All that changes in training. Data order and dropout are functions of the seed and `step`."""

    adapters: Adapters
    opt_state: optax.OptState
    step: Int[Array, ""]


@struct.dataclass
class StepMetrics:
    """`loss`: nats per supervised token; `grad_norm`: global norm before clipping."""

    loss: Float[Array, ""]
    grad_norm: Float[Array, ""]
    supervised: Float[Array, ""]


def init_state(adapters: Adapters, optimizer: optax.GradientTransformation) -> TrainState:
    return TrainState(adapters, optimizer.init(adapters), jnp.int32(0))


def nll_sum(
    base: Base,
    adapters: Adapters,
    method: AdapterConfig,
    batch: Batch,
    dropout_key: PRNGKeyArray | None = None,
    remat: bool = False,
) -> Float[Array, ""]:
    """Sum of weight * -log p(target) over a batch, in nats. Without `dropout_key` nothing is dropped."""
    adapter = attach(adapters, method, dropout_key)
    hidden, _ = forward(base, batch.tokens, batch.positions, batch.segments, adapter, remat=remat)
    return chunked_nll(hidden, base.embedding, batch.targets, batch.weights)


def gradients(
    base: Base,
    adapters: Adapters,
    method: AdapterConfig,
    micro_batches: Batch,
    dropout_key: PRNGKeyArray,
    remat: bool = False,
) -> tuple[Float[Array, ""], Float[Array, ""], Adapters]:
    """(nll sum, weight sum, gradient of their ratio) over micro-batches stacked on a leading axis.

    On a mesh all three are whole on every device.
    """

    def add(totals, micro):
        batch, key = micro
        nll, gradient = jax.value_and_grad(nll_sum, argnums=1)(base, adapters, method, batch, key, remat)
        return jax.tree.map(jnp.add, totals, (nll, jnp.sum(batch.weights), gradient)), None

    keys = jax.random.split(dropout_key, micro_batches.tokens.shape[0])
    zeros = (jnp.float32(0), jnp.float32(0), jax.tree.map(jnp.zeros_like, adapters))
    (nll, weight, gradient), _ = jax.lax.scan(add, zeros, (micro_batches, keys))
    return nll, weight, jax.tree.map(lambda g: constrain(g / jnp.maximum(weight, 1.0)), gradient)


@partial(jax.jit, static_argnames=("method", "optimizer", "remat"), donate_argnames="state")
def train_step(
    base: Base,
    state: TrainState,
    micro_batches: Batch,
    seed_key: PRNGKeyArray,
    *,
    method: AdapterConfig,
    optimizer: optax.GradientTransformation,
    remat: bool = False,
) -> tuple[TrainState, StepMetrics]:
    """One update from micro-batches [A, B, T]; dropout is drawn from (seed, step)."""
    dropout_key = jax.random.fold_in(seed_key, state.step)
    nll, weight, gradient = gradients(base, state.adapters, method, micro_batches, dropout_key, remat)
    updates, opt_state = optimizer.update(gradient, state.opt_state, state.adapters)
    metrics = StepMetrics(nll / jnp.maximum(weight, 1.0), optax.global_norm(gradient), weight)
    return TrainState(optax.apply_updates(state.adapters, updates), opt_state, state.step + 1), metrics


@partial(jax.jit, static_argnames="method")
def eval_step(base: Base, adapters: Adapters, batch: Batch, *, method: AdapterConfig) -> tuple[Array, Array]:
    """(nll sum, weight sum) of one batch [B, T], without dropout."""
    return nll_sum(base, adapters, method, batch), jnp.sum(batch.weights)
