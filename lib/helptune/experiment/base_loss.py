"""How surprised the base model is by the answers of conversations: one of the signs of a difficult request."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from helptune.data.conversation import Conversation
from helptune.errors import ContextError
from helptune.evaluate.answers import transcript_prompt
from helptune.experiment.models import Source
from helptune.gemma.base import Base
from helptune.gemma.model import forward
from helptune.gemma.tokenizer import PAD, Tokenizer
from helptune.shapes import Array, Float, Int
from helptune.train.loss import token_nll

_ROWS, _STEP = 8, 64
"""Conversations side by side, and what their lengths are rounded up to: few programs are compiled. As many positions
as this meet the vocabulary at once: their logits take 64 MiB."""
_TOKENS = 24 * 1024
"""Side by side at most. Two conversations of 12,000 tokens take 2.3 GiB beside the model."""


def answer_losses(conversations: Sequence[Conversation], precision: str = "bfloat16") -> dict[str, float]:
    """id -> nats per token of the last answer under the embedded base, after the others as a plain transcript.

    A base model knows transcripts and has seen no chat format. Rounded to four decimals. Conversations longer than the
    context are cut at its end. Raises ContextError for a prompt that fills it.
    """
    source = Source()
    base, tokenizer = source.base(precision), source.tokenizer(precision)
    texts = {c.id: _encoded(c, tokenizer, base.config.context) for c in conversations}
    found: dict[str, float] = {}
    with tqdm(total=len(texts), desc="base loss", unit=" conversations", leave=None) as progress:
        waiting = sorted(texts, key=lambda id: len(texts[id][0]))
        while waiting:
            rows = _rows(len(texts[waiting[-1]][0]))
            ids, waiting = waiting[-rows:], waiting[:-rows]
            found |= _losses(base, {id: texts[id] for id in ids}, rows)
            progress.update(len(ids))
    return {c.id: found[c.id] for c in conversations}


def _encoded(conversation: Conversation, tokenizer: Tokenizer, context: int) -> tuple[list[int], int]:
    """(token ids, how many of them come before the answer)."""
    asked = transcript_prompt(conversation, (), tokenizer)
    if len(asked) > context:
        raise ContextError(f"{conversation.id}: its {len(asked)} prompt tokens leave no room in a context of {context}")
    return [*asked, *tokenizer.encode(f" {conversation.reference}")][: context + 1], len(asked)


def _rows(longest: int) -> int:
    return max(1, min(_ROWS, _TOKENS // longest))


def _losses(base: Base, texts: dict[str, tuple[list[int], int]], rows: int) -> dict[str, float]:
    """Of a batch of at most so many rows."""
    length = _rounded_up(max(len(ids) for ids, _ in texts.values()) - 1)
    answer = _rounded_up(max(len(ids) - start for ids, start in texts.values()))
    tokens, segments = np.full((rows, length), PAD), np.zeros((rows, length), np.int32)
    places, targets = np.zeros((rows, answer), np.int32), np.zeros((rows, answer), np.int32)
    for row, (ids, start) in enumerate(texts.values()):
        tokens[row, : len(ids) - 1], segments[row, : len(ids) - 1] = ids[:-1], 1
        places[row, : len(ids) - start] = np.arange(start - 1, len(ids) - 1)
        targets[row, : len(ids) - start] = ids[start:]
    nll = np.asarray(_nll(base, tokens, segments, places, targets))
    sizes = [len(ids) - start for ids, start in texts.values()]
    return {
        id: round(float(nll[row, :size].mean()), 4) for row, (id, size) in enumerate(zip(texts, sizes, strict=True))
    }


def _rounded_up(length: int) -> int:
    return -(-length // _STEP) * _STEP


@jax.jit
def _nll(
    base: Base,
    tokens: Int[Array, "B T"],
    segments: Int[Array, "B T"],
    places: Int[Array, "B S"],
    targets: Int[Array, "B S"],
) -> Float[Array, "B S"]:
    """-log p of `targets`, which follow the tokens at `places`; the vocabulary is seen by these alone."""
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    hidden, _ = forward(base, tokens, positions, segments)
    rows = jnp.take_along_axis(hidden, places[..., None], axis=1)
    blocks = rows.reshape(-1, _STEP, rows.shape[-1]), targets.reshape(-1, _STEP)
    nll = jax.lax.map(lambda block: token_nll(block[0], jnp.asarray(base.embedding), block[1]), blocks)
    return nll.reshape(targets.shape)
