"""How the next token is chosen from the scores: the likeliest, or at random among the likely ones."""

import math
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp

from helptune.errors import SettingError
from helptune.shapes import AnyArray, Array, Float, Int, PRNGKeyArray

_VOCABULARY_PARTS = 512


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen. Temperature 0 is greedy; `top_k` and `top_p` then do not matter.

    `repetition_penalty` p (Keskar et al. 2019, arXiv:1909.05858) divides the positive and multiplies the negative
    scores of the tokens this answer already holds; 1 switches it off. The prompt's own words are not penalized.

    `top_p` (nucleus sampling, arXiv:1904.09751) acts on what `top_k` left. None switches a filter off. `ignore_stops`
    writes on to the limit, which measuring needs.
    """

    temperature: float = 0.0
    top_k: int | None = 64
    top_p: float | None = 0.95
    max_new_tokens: int = 256
    seed: int = 0
    repetition_penalty: float = 1.0
    ignore_stops: bool = False

    def __post_init__(self) -> None:
        if not self.temperature >= 0:
            raise SettingError(f"temperature={self.temperature}: must be 0 (greedy) or more")
        if self.top_k is not None and self.top_k < 1:
            raise SettingError(f"top_k={self.top_k}: must be at least 1")
        if self.top_p is not None and not 0.0 < self.top_p <= 1.0:
            raise SettingError(f"top_p={self.top_p}: must lie in (0, 1]")
        if not self.repetition_penalty >= 1.0:
            raise SettingError(f"repetition_penalty={self.repetition_penalty}: must be 1 (off) or more")
        if not 0 <= self.seed < 2**32:
            raise SettingError(f"seed={self.seed}: must be at least 0 and below 2**32")
        if self.max_new_tokens < 1:
            raise SettingError(f"max_new_tokens={self.max_new_tokens}: must be at least 1")


GREEDY = Sampling()


@partial(jax.jit, static_argnames="sampling")
def choose(
    scores: Float[Array, "B V"],
    key: PRNGKeyArray,
    numbers: Int[AnyArray, "B"],
    positions: Int[AnyArray, "B"],
    sampling: Sampling,
) -> Int[Array, "B"]:
    """The next token of each row; its randomness depends on the seed, the row's number and the position only."""
    if sampling.temperature == 0:
        return _argmax(scores)
    vocab = scores.shape[-1]
    kept, ids = jax.lax.top_k(scores, min(sampling.top_k or vocab, vocab))
    if sampling.top_p is not None:
        probs = jax.nn.softmax(kept / sampling.temperature, axis=-1)
        before = jnp.cumsum(probs, axis=-1) - probs
        kept = jnp.where(before < sampling.top_p, kept, -jnp.inf)
    row_keys = jax.vmap(lambda number, position: jax.random.fold_in(jax.random.fold_in(key, number), position))(
        numbers, positions
    )
    choice = jax.vmap(jax.random.categorical)(row_keys, kept / sampling.temperature)
    return jnp.take_along_axis(ids, choice[:, None], axis=-1)[:, 0]


def _argmax(scores: Float[Array, "B V"]) -> Int[Array, "B"]:
    """jnp.argmax in two steps, the part of the vocabulary and the place in it: XLA's own takes 20 times as long."""
    parts = scores.reshape(len(scores), math.gcd(scores.shape[-1], _VOCABULARY_PARTS), -1)
    part = jnp.argmax(jnp.max(parts, axis=-1), axis=-1)
    own = jnp.take_along_axis(parts, part[:, None, None], axis=1)[:, 0]
    return part * parts.shape[-1] + jnp.argmax(own, axis=-1)
