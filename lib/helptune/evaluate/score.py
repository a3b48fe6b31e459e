"""How surprised is the model by a text? Negative log-likelihood token by token."""

import jax
import jax.numpy as jnp
import numpy as np

from helptune.errors import ContextError
from helptune.gemma.base import Base
from helptune.gemma.model import Adapter, forward
from helptune.gemma.tokenizer import BOS, PAD, Tokenizer
from helptune.train.loss import token_nll

_LENGTH_STEP = 64


def score_text(base: Base, tokenizer: Tokenizer, text: str, adapter: Adapter | None = None) -> np.ndarray:
    """-log p of each token of `text` in nats, [T]; <bos> is put in front once and not scored itself.

    Raises ContextError when the text does not fit the model's context.
    """
    ids = [BOS, *tokenizer.encode(text)]
    if len(ids) > base.config.context:
        raise ContextError(f"a text of {len(ids)} tokens exceeds the context of {base.config.context}: split it")
    n = len(ids) - 1
    length = max(_LENGTH_STEP, -(-n // _LENGTH_STEP) * _LENGTH_STEP)
    tokens = np.full((2, length), PAD)
    tokens[0, :n], tokens[1, :n] = ids[:-1], ids[1:]
    return np.asarray(_nll(base, adapter, tokens[:1], tokens[1:], np.int32(n)))[0, :n]


@jax.jit
def _nll(base, adapter, tokens, targets, n):
    positions = jnp.arange(tokens.shape[1])[None]
    hidden, _ = forward(base, tokens, positions, (positions < n).astype(jnp.int32), adapter)
    blocks = hidden.reshape(-1, _LENGTH_STEP, hidden.shape[-1]), targets.reshape(-1, _LENGTH_STEP)
    return jax.lax.map(lambda block: token_nll(block[0], base.embedding, block[1]), blocks).reshape(targets.shape)
