"""Cross-entropy over a 262,144-word vocabulary without ever holding its logits.

Only supervised positions are projected (a prompt or padding token costs nothing), in chunks of P positions. Within a
chunk the vocabulary is visited in blocks with a running maximum and sum, the online softmax of Milakov and Gimelshein
2018 (arXiv:1805.02867). Because the head is frozen and the loss is a scalar sum, the gradient with respect to the
hidden states is softmax(h E^T) E - E[target]: the same running sums give it in the same visit, as FlashAttention does
for its output (Dao et al. 2022, arXiv:2205.14135).
"""

from functools import partial

import jax
import jax.numpy as jnp

from helptune.shapes import Array, Float, Int

POSITIONS = 256
VOCABULARY_BLOCK = 8_192


def token_nll(
    hidden: Float[Array, "*batch D"], embedding: Float[Array, "V D"], targets: Int[Array, "*batch"]
) -> Float[Array, "*batch"]:
    """-log p(target) in nats at every position, with full logits: the definition, for tests and small texts."""
    scores = jnp.einsum("...D,VD->...V", hidden, embedding, preferred_element_type=jnp.float32)
    return -jnp.take_along_axis(jax.nn.log_softmax(scores), targets[..., None], axis=-1)[..., 0]


@jax.custom_vjp
def chunked_nll(
    hidden: Float[Array, "B T D"],
    embedding: Float[Array, "V D"],
    targets: Int[Array, "B T"],
    weights: Float[Array, "B T"],
) -> Float[Array, ""]:
    """Sum over positions of weight * -log p(target), in nats and float32; divide by the sum of weights yourself.

    Differentiable in `hidden` only: the embedding is frozen.
    """
    return _nll_and_gradient(hidden, embedding, targets, weights, with_gradient=False)[0]


def _forward(hidden, embedding, targets, weights):
    return _nll_and_gradient(hidden, embedding, targets, weights, with_gradient=True)


def _backward(gradient, cotangent):
    return (gradient * cotangent.astype(gradient.dtype), None, None, None)


chunked_nll.defvjp(_forward, _backward)


@partial(jax.jit, static_argnames="with_gradient")
def _nll_and_gradient(hidden, embedding, targets, weights, *, with_gradient):
    """(weighted sum, gradient [B, T, D] in hidden's dtype, or None)."""
    D = hidden.shape[-1]
    h, targets, weights = hidden.reshape(-1, D), targets.reshape(-1), weights.reshape(-1)
    size = min(POSITIONS, h.shape[0])
    # Supervised positions first, in order; the loop then stops after the last chunk that holds one.
    order = jnp.argsort(weights == 0, stable=True)
    order = jnp.pad(order, (0, -len(order) % size), constant_values=len(order))
    chunks = -(-jnp.sum(weights != 0) // size)

    def chunk(i, state):
        total, gradient = state
        where = jax.lax.dynamic_slice(order, (i * size,), (size,))
        rows, row_targets = h.at[where].get(mode="fill", fill_value=0), targets.at[where].get(mode="fill", fill_value=0)
        row_weights = weights.at[where].get(mode="fill", fill_value=0)
        log_sum, mean_embedding = _online_softmax(rows, embedding, with_gradient)
        target_embedding = embedding[row_targets].astype(jnp.float32)
        nll = log_sum - jnp.sum(rows.astype(jnp.float32) * target_embedding, axis=-1)
        total = total + jnp.sum(row_weights * nll)
        if with_gradient:
            rows_gradient = (row_weights[:, None] * (mean_embedding - target_embedding)).astype(h.dtype)
            gradient = gradient.at[where].set(rows_gradient, mode="drop")
        return total, gradient

    start = (jnp.float32(0), jnp.zeros_like(h) if with_gradient else None)
    total, gradient = jax.lax.fori_loop(0, chunks, chunk, start)
    return total, gradient.reshape(hidden.shape) if with_gradient else None


def _online_softmax(rows, embedding, with_mean):
    """log sum exp(rows E^T) for each row [P], and the softmax-weighted mean embedding [P, D] when asked for."""
    V, D = embedding.shape
    size = min(VOCABULARY_BLOCK, V)
    P = rows.shape[0]

    def visit(block, state):
        maximum, total, mean = state
        scores = jax.lax.dot_general(rows, block, (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32)
        new_maximum = jnp.maximum(maximum, jnp.max(scores, axis=-1))
        decay, exp = jnp.exp(maximum - new_maximum), jnp.exp(scores - new_maximum[:, None])
        total = total * decay + jnp.sum(exp, axis=-1)
        if with_mean:
            block_sum = jnp.matmul(exp.astype(block.dtype), block, preferred_element_type=jnp.float32)
            mean = mean * decay[:, None] + block_sum
        return new_maximum, total, mean

    def step(i, state):
        return visit(jax.lax.dynamic_slice(embedding, (i * size, 0), (size, D)), state)

    state = (jnp.full(P, -jnp.inf), jnp.zeros(P), jnp.zeros((P, D)) if with_mean else None)
    state = jax.lax.fori_loop(0, V // size, step, state)
    if V % size:
        state = visit(embedding[V - V % size :], state)
    maximum, total, mean = state
    return maximum + jnp.log(total), mean / total[:, None] if with_mean else None
