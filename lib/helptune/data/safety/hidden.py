"""What the frozen model makes of a text, as one vector: hidden states after some layer, pooled over the text's tokens.

A model that predicts text well has to know what the text is about, so much can be read linearly from its middle layers
(Alain and Bengio 2016, arXiv:1610.01644). The layers above are never computed: the base is cut off there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from helptune.gemma.base import Base
from helptune.gemma.model import forward
from helptune.gemma.tokenizer import PAD
from helptune.shapes import Float

LENGTHS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768)
"""Tokens of a row, the shortest that fits: one compiled program each."""
_TOKENS = 1_024
"""Of a batch, padding included."""


@dataclass(frozen=True)
class Reading:
    """A row of token ids, and the span [start, end) of them that is the text to be judged."""

    ids: tuple[int, ...]
    start: int
    end: int


def cut_off(base: Base, layers: int) -> Base:
    """The base without what follows its first `layers` layers; the final norm scales nothing."""
    blocks = {name: jax.tree.map(lambda leaf: leaf[:layers], leaf) for name, leaf in base.blocks.items()}
    norm = jnp.zeros_like(base.final_norm)
    return replace(base, blocks=blocks, final_norm=norm, config=replace(base.config, layers=layers), head=None)


def pooled(base: Base, readings: Sequence[Reading]) -> Float[np.ndarray, "B 2*D"]:
    """Of each reading, the hidden states at unit root mean square: their mean over the span, then the row's last one.

    Rows of a length share a batch, so that little is computed for padding; a row is at most `LENGTHS[-1]` tokens. The
    pooling is done where the states are, and two vectors a row come back.
    """
    out = np.empty((len(readings), 2 * base.config.width), np.float32)
    order = sorted(range(len(readings)), key=lambda i: len(readings[i].ids))
    by_length: dict[int, list[int]] = {}
    for i in order:
        by_length.setdefault(next(n for n in LENGTHS if n >= len(readings[i].ids)), []).append(i)
    for length, indices in by_length.items():
        rows = _TOKENS // length
        for first in range(0, len(indices), rows):
            chosen = indices[first : first + rows]
            out[chosen] = _pool_batch(base, [readings[i] for i in chosen], length, rows)
    return out


def _pool_batch(base: Base, readings: Sequence[Reading], length: int, rows: int) -> np.ndarray:
    """A batch that is not full has fewer rows, a power of two: as few programs, and not much for nothing."""
    rows = min(rows, 1 << (len(readings) - 1).bit_length())
    tokens, spans = np.full((rows, length), PAD, np.int32), np.zeros((rows, 3), np.int32)
    spans[:, 1:] = 1
    for row, reading in enumerate(readings):
        tokens[row, : len(reading.ids)] = reading.ids
        spans[row] = reading.start, reading.end, len(reading.ids)
    return np.asarray(_pool(base, tokens, spans))[: len(readings)]


@jax.jit
def _pool(base, tokens, spans):
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    start, end, used = (spans[:, i, None] for i in range(3))
    hidden, _ = forward(base, tokens, positions, (positions < used).astype(jnp.int32))
    hidden = hidden.astype(jnp.float32)
    inside = ((positions >= start) & (positions < end))[..., None]
    mean = jnp.sum(jnp.where(inside, hidden, 0), axis=1) / (end - start)
    last = jnp.take_along_axis(hidden, used[..., None] - 1, axis=1)[:, 0]
    return jnp.concatenate([mean, last], axis=-1)
