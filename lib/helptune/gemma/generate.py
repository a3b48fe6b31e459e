"""Writing an answer: one pass over the prompts, then one token a step with cached keys and values.

Prompts of different lengths share a batch: rows are padded on the right, padding is a segment of its own that nobody
sees, and each row counts its own positions. Shapes are rounded up, so that few programs are compiled. What all prompts
begin with, such as solved examples, is read once.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from helptune.errors import ContextError, SettingError
from helptune.gemma.attention import empty_cache, with_spare_rows
from helptune.gemma.base import Base
from helptune.gemma.config import GemmaConfig
from helptune.gemma.layout import adapter_apart, prepared
from helptune.gemma.model import Adapter, forward, logits
from helptune.gemma.sharding import current_mesh
from helptune.gemma.tokenizer import EOS, PAD, Tokenizer
from helptune.shapes import Array, Float, Int, PRNGKeyArray

_LENGTH_STEP = 64
_MIN_CPU_ROWS = 2  # XLA's matrix-vector products on CPUs are several times slower than those with two rows
_VOCABULARY_PARTS = 512
SHARED = 128
"""Tokens that all prompts of a batch must begin with to be read once for all of them: fewer are not worth a program."""


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


@dataclass(frozen=True)
class Completion:
    """New tokens of one row, without the token that stopped it; `ended` is False where the length limit cut it off."""

    tokens: tuple[int, ...]
    ended: bool


def stop_tokens(config: GemmaConfig) -> tuple[int, ...]:
    return (EOS, config.turn_end)


def generate(
    base: Base, prompts: Sequence[Sequence[int]], sampling: Sampling = GREEDY, adapter: Adapter | None = None
) -> list[Completion]:
    """Continue each prompt until it stops itself or reaches the limit.

    Raises ContextError when a prompt and its answer may not fit the context.
    """
    tokens: list[list[int]] = [[] for _ in prompts]
    stops, ended = stop_tokens(base.config), [False] * len(prompts)
    for step in stream(base, prompts, sampling, adapter):
        for row, token in enumerate(step):
            if token in stops:
                ended[row] = True
            elif token is not None:
                tokens[row].append(token)
    return [Completion(tuple(t), e) for t, e in zip(tokens, ended, strict=True)]


def generate_until(
    base: Base,
    prompts: Sequence[Sequence[int]],
    finished: Callable[[int, Sequence[int]], bool],
    sampling: Sampling = GREEDY,
    adapter: Adapter | None = None,
    numbers: Sequence[int] | None = None,
) -> list[Completion]:
    """`generate`, where a row has ended too once `finished` says so of its number and its tokens so far.

    Nothing more is computed once all rows have. `numbers` are those of `stream`.
    """
    tokens: list[list[int]] = [[] for _ in prompts]
    stops, ended = stop_tokens(base.config), [False] * len(prompts)
    for step in stream(base, prompts, sampling, adapter, numbers):
        for row, token in enumerate(step):
            if token is None or ended[row]:
                continue
            if token in stops:
                ended[row] = True
                continue
            tokens[row].append(token)
            ended[row] = finished(row, tokens[row])
        if all(ended):
            break
    return [Completion(tuple(t), e) for t, e in zip(tokens, ended, strict=True)]


def stream(
    base: Base,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling = GREEDY,
    adapter: Adapter | None = None,
    numbers: Sequence[int] | None = None,
) -> Iterator[list[int | None]]:
    """Yield one token a row and step, None for rows that have stopped; ends when all rows have.

    `numbers`, below 2**32, take the place of the rows' own in their randomness: a prompt with a number of its own is
    answered the same whichever batch it is in.
    """
    config, longest = base.config, max(len(p) for p in prompts)
    if min(len(p) for p in prompts) == 0:
        raise ValueError("a prompt is empty: it needs at least <bos>")
    if longest + sampling.max_new_tokens > config.context:
        raise ContextError(
            f"a prompt of {longest} tokens and {sampling.max_new_tokens} new ones exceed the context of "
            f"{config.context}: shorten the prompt or lower max_new_tokens"
        )
    rows, length = len(prompts), _round_up(longest)
    shared = shared_start(prompts, adapter)
    tokens, lengths = np.full((rows, length), PAD), np.ones(rows, int)
    for row, prompt in enumerate(prompts):
        tokens[row, : len(prompt)], lengths[row] = prompt, len(prompt)
    cache = empty_cache(config, rows, _round_up(length + sampling.max_new_tokens), base.dtype)
    key = jax.random.key(sampling.seed)
    # The part that is compiled in: a new seed or limit compiles nothing.
    rule = replace(sampling, seed=0, max_new_tokens=1, ignore_stops=False)
    apart = prepared(base).apart
    base = replace(base, apart=None, head=None if apart is None else apart.head)
    own = np.array(range(rows) if numbers is None else numbers, np.uint32)
    if shared:
        one = empty_cache(config, 1, shared, base.dtype)
        cache = _prefill_shared(base, _first_row(adapter), cache, one, jnp.asarray(tokens[:1, :shared]))
    token, cache = _prefill(base, adapter, cache, jnp.asarray(tokens[:, shared:]), jnp.asarray(lengths), key, own, rule)
    spare = 0
    if apart is not None:
        base, cache = apart, replace(cache, k=tuple(cache.k), v=tuple(cache.v))
        adapter = None if adapter is None else adapter_apart(adapter, config.layers)
    elif jax.default_backend() == "cpu":
        spare = max(_MIN_CPU_ROWS - rows, 0)
        token, lengths, cache = jnp.pad(token, (0, spare)), np.pad(lengths, (0, spare)), with_spare_rows(cache, spare)
        own = np.pad(own, (0, spare))
    written = None if sampling.repetition_penalty == 1.0 else jnp.zeros((rows + spare, config.vocab), bool)
    running, stops = np.arange(rows + spare) < rows, np.array(stop_tokens(config))
    for step in range(sampling.max_new_tokens):
        now = np.asarray(token)
        yield [int(t) if run else None for t, run in zip(now[:rows], running[:rows], strict=True)]
        running &= sampling.ignore_stops | ~np.isin(now, stops)
        if not running.any() or step + 1 == sampling.max_new_tokens:
            return
        now_at = jnp.asarray(lengths + step)
        token, cache, written = _decode(base, adapter, cache, token, now_at, written, key, own, rule)


def stream_text(
    base: Base, tokenizer: Tokenizer, prompt: Sequence[int], sampling: Sampling = GREEDY, adapter: Adapter | None = None
) -> Iterator[str]:
    """Pieces of text as they become certain: bytes of an unfinished character wait for the rest of it."""
    tokens: list[int] = []
    shown = ""
    for (token,) in stream(base, [prompt], sampling, adapter):
        if token is None or token in stop_tokens(base.config):
            break
        tokens.append(token)
        text = tokenizer.decode(tokens)
        if not text.endswith("\ufffd"):
            yield text[len(shown) :]
            shown = text
    rest = tokenizer.decode(tokens)[len(shown) :]
    if rest:
        yield rest


def shared_start(prompts: Sequence[Sequence[int]], adapter: Adapter | None = None) -> int:
    """How many tokens at the start of all prompts are read once: whole steps of the padded length, 0 below `SHARED`.

    Rows that different adapters compute share nothing, and neither do the devices of a mesh, which divide the rows.
    """
    if len(prompts) == 1 or current_mesh() is not None or len(np.unique(getattr(adapter, "rows", ()))) > 1:
        return 0
    first, last = min(map(list, prompts)), max(map(list, prompts))  # what these two share, all share
    most = min(len(p) for p in prompts) - 1  # the last token of each prompt is read for its scores
    same = next((i for i in range(most) if first[i] != last[i]), most)
    whole = same // _LENGTH_STEP * _LENGTH_STEP
    return whole if whole >= SHARED else 0


def _first_row(adapter: Adapter | None) -> Adapter | None:
    """For the first row alone, where an adapter has an entry for each of its `rows`."""
    return adapter if adapter is None or not hasattr(adapter, "rows") else replace(adapter, rows=adapter.rows[:1])  # type: ignore[type-var]


def _round_up(length: int) -> int:
    return -(-length // _LENGTH_STEP) * _LENGTH_STEP


@partial(jax.jit, donate_argnames="cache")
def _prefill_shared(base, adapter, cache, one, tokens):
    """The empty cache with one row of tokens, read into the cache `one`, in all its rows."""
    size = tokens.shape[1]
    positions = jnp.arange(size)[None]
    _, one = forward(base, tokens, positions, jnp.ones_like(positions), adapter, one)
    return replace(
        cache,
        k=cache.k.at[:, :, :size].set(one.k),
        v=cache.v.at[:, :, :size].set(one.v),
        positions=cache.positions.at[:, :size].set(one.positions),
        segments=cache.segments.at[:, :size].set(one.segments),
        used=one.used,
    )


@partial(jax.jit, static_argnames="sampling", donate_argnames="cache")
def _prefill(base, adapter, cache, tokens, lengths, key, numbers, sampling):
    read = cache.used
    positions = jnp.broadcast_to(read + jnp.arange(tokens.shape[1]), tokens.shape)
    segments = (positions < lengths[:, None]).astype(jnp.int32)
    hidden, cache = forward(base, tokens, positions, segments, adapter, cache)
    last = jnp.take_along_axis(hidden, (lengths - read - 1)[:, None, None], axis=1)[:, 0]
    return _choose(logits(base, last), key, numbers, lengths, sampling), cache


@partial(jax.jit, static_argnames="sampling", donate_argnames=("cache", "written"))
def _decode(base, adapter, cache, token, positions, written, key, numbers, sampling):
    ones = jnp.ones_like(token)[:, None]
    hidden, cache = forward(base, token[:, None], positions[:, None], ones, adapter, cache)
    scores = logits(base, hidden[:, 0])
    if written is not None:
        written = written.at[jnp.arange(len(token)), token].set(True)
        penalty = sampling.repetition_penalty
        scores = jnp.where(written, jnp.where(scores > 0, scores / penalty, scores * penalty), scores)
    return _choose(scores, key, numbers, positions + 1, sampling), cache, written


def _choose(
    scores: Float[Array, "B V"],
    key: PRNGKeyArray,
    numbers: Int[Array, "B"],
    positions: Int[Array, "B"],
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
