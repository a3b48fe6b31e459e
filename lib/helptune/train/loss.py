"""Cross-entropy over a 262,144-word vocabulary without ever holding its logits.

Only supervised positions are projected (a prompt or padding token costs nothing), in chunks of P positions. Within a
chunk the vocabulary is visited in blocks with a running maximum and sum, the online softmax of Milakov and Gimelshein
2018 (arXiv:1805.02867). Because the head is frozen and the loss is a scalar sum, the gradient with respect to the
hidden states is softmax(h E^T) E - E[target]: the same running sums give it in the same visit, as FlashAttention does
for its output (Dao et al. 2022, arXiv:2205.14135). On a mesh every device visits the words it holds.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from helptune.errors import SettingError
from helptune.gemma.sharding import ROWS, VOCABULARY, current_mesh
from helptune.shapes import Array, Float, Int

POSITIONS, REST = 512, 128
"""Of a chunk: large ones first, as those multiply fastest, then small ones, which leave little of themselves empty."""
VOCABULARY_BLOCK = 4_096


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
    mesh = current_mesh()
    if mesh is None:
        return _own_rows(
            hidden, embedding, targets, weights, _whole_vocabulary, with_gradient, chunks_of_all=lambda n: n
        )
    if hidden.shape[0] % (rows := mesh.shape["data"] * mesh.shape["fsdp"]):
        raise SettingError(f"a batch of {hidden.shape[0]} rows cannot be cut over data x fsdp = {rows} devices")

    def on_each_device(hidden, embedding, targets, weights):
        # fsdp neighbours meet in every chunk, so they visit as many chunks as the one of them that has most.
        chunks_of_all = partial(jax.lax.pmax, axis_name="fsdp")
        total, gradient = _own_rows(
            hidden, embedding, targets, weights, _cut_vocabulary, with_gradient, chunks_of_all=chunks_of_all
        )
        return jax.lax.psum(total, ROWS), gradient

    return jax.shard_map(
        on_each_device,
        in_specs=(PartitionSpec(ROWS), PartitionSpec(VOCABULARY), PartitionSpec(ROWS), PartitionSpec(ROWS)),
        out_specs=(PartitionSpec(), PartitionSpec(ROWS)),
        check_vma=False,
    )(hidden, embedding, targets, weights)


def _own_rows(hidden, embedding, targets, weights, nll_of, with_gradient, chunks_of_all):
    """(weighted sum, gradient) of the rows of one device, chunk by chunk."""
    D = hidden.shape[-1]
    h, targets, weights = hidden.reshape(-1, D), targets.reshape(-1), weights.reshape(-1)
    size, rest = min(POSITIONS, len(h)), min(REST, len(h))
    # Supervised positions first, in order; the loops then stop after the last chunk that holds one.
    order = jnp.argsort(weights == 0, stable=True)
    order = jnp.pad(order, (0, size + rest), constant_values=len(order))
    supervised = jnp.sum(weights != 0)
    whole = chunks_of_all(supervised // size)
    small = chunks_of_all(-(-jnp.maximum(supervised - whole * size, 0) // rest))

    def chunk(start, size, state):
        total, gradient = state
        where = jax.lax.dynamic_slice(order, (start,), (size,))
        rows, row_targets = h.at[where].get(mode="fill", fill_value=0), targets.at[where].get(mode="fill", fill_value=0)
        row_weights = weights.at[where].get(mode="fill", fill_value=0)
        nll, slope = nll_of(rows, embedding, row_targets, with_gradient)
        total = total + jnp.sum(row_weights * nll)
        if with_gradient:
            rows_gradient = (row_weights[:, None] * slope).astype(h.dtype)
            gradient = gradient.at[where].set(rows_gradient, mode="drop")
        return total, gradient

    state = (jnp.float32(0), jnp.zeros_like(h) if with_gradient else None)
    state = jax.lax.fori_loop(0, whole, lambda i, state: chunk(i * size, size, state), state)
    total, gradient = jax.lax.fori_loop(0, small, lambda i, state: chunk(whole * size + i * rest, rest, state), state)
    return total, gradient.reshape(hidden.shape) if with_gradient else None


def _whole_vocabulary(rows, embedding, targets, with_gradient):
    """(nll [P], its gradient with respect to the rows [P, D] when asked for)."""
    maximum, total, weighted = online_softmax(rows, embedding, with_gradient)
    target_embedding = embedding[targets].astype(jnp.float32)
    nll = maximum + jnp.log(total) - jnp.sum(rows.astype(jnp.float32) * target_embedding, axis=-1)
    return nll, weighted / total[:, None] - target_embedding if with_gradient else None


def _cut_vocabulary(rows, embedding, targets, with_gradient):
    """The same where each device holds its words of the vocabulary: the positions of the fsdp neighbours come to the
    words, and what they add up to goes back.
    """
    P, words = rows.shape[0], embedding.shape[0]
    rows, targets = (jax.lax.all_gather(x, "fsdp", tiled=True) for x in (rows, targets))
    own_maximum, own_total, own_weighted = online_softmax(rows, embedding, with_gradient)
    maximum = jax.lax.pmax(own_maximum, VOCABULARY)
    share = jnp.exp(own_maximum - maximum)
    total = jax.lax.psum(own_total * share, VOCABULARY)
    own = targets - jax.lax.axis_index(VOCABULARY) * words
    target_embedding = jnp.where(
        ((own >= 0) & (own < words))[:, None], embedding.at[own].get(mode="clip").astype(jnp.float32), 0
    )
    score = jax.lax.psum(jnp.sum(rows.astype(jnp.float32) * target_embedding, axis=-1), VOCABULARY)
    nll = jax.lax.dynamic_slice(maximum + jnp.log(total) - score, (jax.lax.axis_index("fsdp") * P,), (P,))
    if not with_gradient:
        return nll, None
    slope = own_weighted * (share / total)[:, None] - target_embedding
    return nll, jax.lax.psum(jax.lax.psum_scatter(slope, "fsdp", tiled=True), "tensor")


def online_softmax(rows, embedding, with_mean):
    """For each row [P] the largest score m, the sum of exp(score - m), and the sum of exp(score - m) times its word's
    embedding [P, D] when asked for.
    """
    P, D = rows.shape

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

    state = (jnp.full(P, -jnp.inf), jnp.zeros(P), jnp.zeros((P, D)) if with_mean else None)
    return over_vocabulary(embedding, lambda _, block, state: visit(block, state), state)


def over_vocabulary(embedding, visit, state):
    """The state after `visit(number of the first word, embeddings of the block, state)` of every block in order."""
    V, D = embedding.shape
    size = min(VOCABULARY_BLOCK, V)

    def step(i, state):
        return visit(i * size, jax.lax.dynamic_slice(embedding, (i * size, 0), (size, D)), state)

    state = jax.lax.fori_loop(0, V // size, step, state)
    if V % size:
        state = visit(V - V % size, embedding[V - V % size :], state)
    return state
