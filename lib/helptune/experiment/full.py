"""Full fine-tuning, one optimizer step of it: what LoRA is compared with, written to be as good as we can make it.

Mixed precision as in Micikevicius et al. 2018 (arXiv:1710.03740): float32 masters of every weight, cast to the model's
dtype for the step, float32 gradients and moments. The same as for LoRA (`train.step`): the model's code, attention with
its gradient by hand, the loss in chunks of supervised positions, AdamW and its clip, float32 masters, a donated state.
Not the same: the embedding is trained too, as input and as head, so the loss visits the vocabulary a second time for
its gradient; the whole batch is computed at once, without a second buffer of gradients to add parts in; one device.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from helptune.adapt.lora import LoraConfig
from helptune.data.packing import Batch
from helptune.gemma.base import SITES, Base, site_shapes
from helptune.gemma.config import GemmaConfig
from helptune.gemma.model import forward
from helptune.shapes import Array, Float, Int
from helptune.train.config import TrainConfig
from helptune.train.flops import adapter_parameters, step_flops
from helptune.train.loss import POSITIONS, REST, VOCABULARY_BLOCK, online_softmax
from helptune.train.memory import StepMemory, step_memory
from helptune.train.step import StepMetrics, TrainState


def masters_of(base: Base) -> Any:
    """A float32 copy of every weight, for `init_state`: the optimizer changes these."""
    return jax.tree.map(lambda leaf: jnp.array(leaf, jnp.float32, copy=True), base)


@partial(jax.jit, static_argnames=("optimizer", "dtype", "remat"), donate_argnames="state")
def full_step(
    state: TrainState,
    batch: Batch,
    *,
    optimizer: optax.GradientTransformation,
    dtype: str = "bfloat16",
    remat: str = "none",
) -> tuple[TrainState, StepMetrics]:
    """One update of every weight from a batch [B, T]; the `adapters` of this state are the masters."""
    nll, weight, gradient = full_gradients(state.adapters, batch, dtype, remat)
    updates, opt_state = optimizer.update(gradient, state.opt_state, state.adapters)
    metrics = StepMetrics(nll / jnp.maximum(weight, 1.0), optax.global_norm(gradient), weight, finite={})
    return TrainState(optax.apply_updates(state.adapters, updates), opt_state, state.step + 1), metrics


def full_gradients(masters: Any, batch: Batch, dtype: str, remat: str = "none") -> tuple[Array, Array, Any]:
    """(nll sum, weight sum, float32 gradient of their ratio with respect to every weight)."""
    nll, gradient = jax.value_and_grad(_nll_sum)(masters, batch, dtype, remat)
    weight = jnp.sum(jnp.asarray(batch.weights))
    return nll, weight, jax.tree.map(lambda g: g / jnp.maximum(weight, 1.0), gradient)


def _nll_sum(masters, batch, dtype, remat):
    base = jax.tree.map(lambda leaf: leaf.astype(dtype), masters)
    base = base.replace(blocks={name: Trained(leaf) if name in SITES else leaf for name, leaf in base.blocks.items()})
    hidden, _ = forward(base, batch.tokens, batch.positions, batch.segments, remat=remat)
    return tied_nll(hidden, masters.embedding, batch.targets, batch.weights)


@struct.dataclass
class Trained:
    """A matrix that the model may multiply with, `x @ w`, and that gets a gradient."""

    w: Float[Array, "I O"]

    def __rmatmul__(self, x: Float[Array, "B T I"]) -> Float[Array, "B T O"]:
        return _product(x, self.w)


@jax.custom_vjp
def _product(x, w):
    return x @ w


def _product_backward(saved, dy):
    # As in `adapt.lora.low_rank`, a layout that XLA multiplies fast on a CPU, behind a barrier that keeps it. The
    # gradients of Gemma 3 270M took 10.2 s without (4 x 256 tokens); the whole step takes 4.5 with it.
    x, w = saved
    dw = jax.lax.optimization_barrier(jnp.einsum("BTO,BTI->OI", dy, x)).T
    return jnp.einsum("BTO,IO->BTI", dy, w), dw


_product.defvjp(lambda x, w: (x @ w, (x, w)), _product_backward)


@jax.custom_vjp
def tied_nll(
    hidden: Float[Array, "B T D"],
    embedding: Float[Array, "V D"],
    targets: Int[Array, "B T"],
    weights: Float[Array, "B T"],
) -> Float[Array, ""]:
    """What `train.loss.chunked_nll` computes, differentiable in the embedding too. Logits exist for a block only.

    The embedding is a float32 master, multiplied in the dtype of `hidden`; its gradient is added up in float32.
    """
    return _nll_and_gradients(hidden, embedding, targets, weights)[0]


def _backward(gradients, cotangent):
    return (*(gradient * cotangent.astype(gradient.dtype) for gradient in gradients), None, None)


tied_nll.defvjp(lambda *arguments: _nll_and_gradients(*arguments), _backward)


def _nll_and_gradients(hidden, embedding, targets, weights):
    """(weighted sum, (gradient of hidden, gradient of the embedding)), in the chunks of `chunked_nll`."""
    D, table = hidden.shape[-1], embedding.astype(hidden.dtype)
    h, targets, weights = hidden.reshape(-1, D), jnp.asarray(targets).reshape(-1), jnp.asarray(weights).reshape(-1)
    size, rest = min(POSITIONS, len(h)), min(REST, len(h))
    order = jnp.pad(jnp.argsort(weights == 0, stable=True), (0, size + rest), constant_values=len(h))
    supervised = jnp.sum(weights != 0)
    whole = supervised // size
    small = -(-(supervised - whole * size) // rest)

    def chunk(start, size, state):
        total, of_hidden, of_embedding = state
        where = jax.lax.dynamic_slice(order, (start,), (size,))
        rows, words, shares = (x.at[where].get(mode="fill", fill_value=0) for x in (h, targets, weights))
        maximum, total_exp, weighted = online_softmax(rows, table, True)
        log_sum, target = maximum + jnp.log(total_exp), table[words].astype(jnp.float32)
        nll = log_sum - jnp.sum(rows.astype(jnp.float32) * target, axis=-1)
        slope = shares[:, None] * (weighted / total_exp[:, None] - target)
        of_hidden = of_hidden.at[where].set(slope.astype(h.dtype), mode="drop")
        of_embedding = _add_embedding_gradient(of_embedding, table, rows, words, shares, log_sum)
        return total + jnp.sum(shares * nll), of_hidden, of_embedding

    state = jnp.float32(0), jnp.zeros_like(h), jnp.zeros(embedding.shape, jnp.float32)
    state = jax.lax.fori_loop(0, whole, lambda i, state: chunk(i * size, size, state), state)
    state = jax.lax.fori_loop(0, small, lambda i, state: chunk(whole * size + i * rest, rest, state), state)
    total, of_hidden, of_embedding = state
    return total, (of_hidden.reshape(hidden.shape), of_embedding)


def _add_embedding_gradient(total, table, rows, targets, weights, log_sum):
    """`total` [V, D] and the weighted sum over positions of (softmax - target)^T row, a block of words at a time.

    Scores are made again, words first: no product then transposes anything, which on a CPU is faster than to keep them.
    """
    V, D = table.shape
    size = min(VOCABULARY_BLOCK, V)

    def visit(start, size, total):
        block = jax.lax.dynamic_slice(table, (start, 0), (size, D))
        scores = jax.lax.dot_general(block, rows, (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32)
        is_target = (start + jnp.arange(size))[:, None] == targets
        slope = (weights * (jnp.exp(scores - log_sum) - is_target)).astype(rows.dtype)
        so_far = jax.lax.dynamic_slice(total, (start, 0), (size, D))
        share = jnp.matmul(slope, rows, preferred_element_type=jnp.float32)
        return jax.lax.dynamic_update_slice(total, so_far + share, (start, 0))

    total = jax.lax.fori_loop(0, V // size, lambda i, total: visit(i * size, size, total), total)
    return visit(V - V % size, V % size, total) if V % size else total


def full_memory(config: GemmaConfig, train: TrainConfig, precision: str) -> StepMemory:
    """Memory of one full step on one device, all weights there: `adapters` are the masters, `base` their cast copy.

    18 bytes a parameter in bfloat16: master 4, copy 2, gradient 4, moments 8 (Rajbhandari et al. 2020,
    arXiv:1910.02054, count 16, with gradients in 2). What waits for the backward pass is that of LoRA on all sites,
    which keeps their inputs too; the 1 that LoRA's rank is here counts for nothing.
    """
    held = step_memory(config, LoraConfig(rank=1), (1, 1, 1), train, precision)
    N = config.parameters
    copy = held.base if precision != "float32" else 0
    parts = 2 if train.accumulate > 1 else 1
    return StepMemory(copy, 4 * N, 8 * N, 4 * N * parts, held.activations, held.block, held.loss)


def full_flops(config: GemmaConfig, train: TrainConfig, supervised: float = 1.0) -> float:
    """Operations of one full step, counted as `step_flops` does: 2 more a token for the gradient of each weight.

    The vocabulary's scores count once, as in any full step; that this one makes them again is not counted.
    """
    lora, tokens = LoraConfig(rank=1), train.batch_rows * train.seq_len
    frozen = step_flops(config, lora, train, supervised)
    frozen -= tokens * adapter_parameters(config, lora) * (6 if train.remat == "none" else 8)
    matrices = config.layers * sum(d_in * d_out for d_in, d_out in site_shapes(config).values())
    return frozen + 2 * tokens * (matrices + supervised * config.vocab * config.width)
