"""An update without the corset of a low rank: y = x W + x dW with every entry of dW trained. What rank does it take?

It follows the model's `Adapter` protocol, so the frozen model runs it as it runs LoRA.
"""

from collections.abc import Iterable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from helptune.data.conversation import Conversation
from helptune.data.packing import Batch, collate, pack, tokenize
from helptune.experiment.full import Trained
from helptune.gemma.base import Base, site_shapes
from helptune.gemma.config import GemmaConfig
from helptune.gemma.model import forward
from helptune.gemma.tokenizer import Tokenizer
from helptune.shapes import Array, Float
from helptune.train.loss import chunked_nll

Update = dict[str, Float[Array, "L I O"]]
"""{site: dW of all layers}."""


@struct.dataclass
class FullUpdate:
    """dW ready for `forward`."""

    layers: Update

    def delta(
        self, layer: dict[str, Float[Array, "I O"]], site: str, x: Float[Array, "B T I"], y: Array
    ) -> Float[Array, "B T O"] | None:
        return x @ Trained(layer[site].astype(x.dtype)) if site in layer else None


def short_batches(
    conversations: Sequence[Conversation],
    tokenizer: Tokenizer,
    config: GemmaConfig,
    count: int,
    rows: int,
    seq_len: int = 128,
    seed: int = 0,
) -> list[Batch]:
    """`count` conversations of at most `seq_len` tokens, drawn without replacement, packed into batches of `rows`."""
    drawn = np.random.default_rng(seed).permutation(len(conversations))[: 8 * count]
    examples = tokenize((conversations[i] for i in drawn), tokenizer, config, config.context)
    examples = [example for example in examples if len(example) <= seq_len][:count]
    packed = pack([len(example) for example in examples], seq_len)
    return [collate(examples, packed[i : i + rows], seq_len, rows) for i in range(0, len(packed), rows)]


@jax.jit
def mean_nll(base: Base, update: Update, batch: Batch) -> Float[Array, ""]:
    """Nats per supervised token."""
    hidden, _ = forward(base, batch.tokens, batch.positions, batch.segments, FullUpdate(update))
    return chunked_nll(hidden, base.embedding, batch.targets, batch.weights) / jnp.sum(batch.weights)


def train_update(base: Base, batches: Iterable[Batch], sites: Sequence[str], rate: float) -> tuple[Update, list[float]]:
    """dW after one step of Adam for each batch, from zero, and the loss before each step."""
    optimizer = optax.adam(rate)
    update = {site: jnp.zeros((base.config.layers, *site_shapes(base.config)[site])) for site in sites}
    memory, losses = optimizer.init(update), []
    for batch in batches:
        update, memory, loss = _step(base, update, memory, batch, optimizer=optimizer)
        losses.append(float(loss))
    return update, losses


@partial(jax.jit, static_argnames="optimizer", donate_argnames=("update", "memory"))
def _step(base, update, memory, batch, *, optimizer):
    loss, gradient = jax.value_and_grad(mean_nll, argnums=1)(base, update, batch)
    change, memory = optimizer.update(gradient, memory)
    return optax.apply_updates(update, change), memory, loss
