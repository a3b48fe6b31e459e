"""Writing an answer: one pass over the prompts, then one token a step with cached keys and values.

Prompts of different lengths share a batch: rows are padded on the right, padding is a segment of its own that nobody
sees, and each row counts its own positions. Shapes are rounded up, so that few programs are compiled. What all prompts
begin with, such as solved examples, is read once; and rows that have stopped leave the batch.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from helptune.errors import ContextError
from helptune.gemma.attention import QUERIES_AT_ONCE, KVCache, empty_cache, take_rows
from helptune.gemma.base import Base
from helptune.gemma.config import GemmaConfig
from helptune.gemma.layout import adapter_apart, prepared
from helptune.gemma.model import Adapter, forward, logits
from helptune.gemma.sampling import GREEDY, Sampling, choose
from helptune.gemma.sharding import current_mesh
from helptune.gemma.tokenizer import EOS, PAD, Tokenizer
from helptune.shapes import Array, Bool, Int

_LENGTH_STEP, _CACHE_STEP, _SHARED_STEP = 64, 128, 8
_MIN_CPU_ROWS = 2  # XLA's matrix-vector products on CPUs are several times slower than those with two rows
_FEW_ROWS = 8  # on a CPU a step of fewer rows takes nearly as long: no program is compiled for it
SHARED = 128
"""Tokens that all prompts of a batch must begin with to be read once for all of them: fewer are not worth a program."""


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
    return generate_until(base, prompts, lambda row, tokens: False, sampling, adapter)


def generate_until(
    base: Base,
    prompts: Sequence[Sequence[int]],
    finished: Callable[[int, Sequence[int]], bool],
    sampling: Sampling = GREEDY,
    adapter: Adapter | None = None,
    numbers: Sequence[int] | None = None,
) -> list[Completion]:
    """`generate`, where a row has ended too once `finished` says so of its number and its tokens so far.

    `numbers` are those of `stream`.
    """
    tokens: list[list[int]] = [[] for _ in prompts]
    stops, ended = stop_tokens(base.config), [False] * len(prompts)
    over: set[int] = set()
    for step in stream(base, prompts, sampling, adapter, numbers, over):
        for row, token in enumerate(step):
            if token in stops:
                ended[row] = True
            elif token is not None:
                tokens[row].append(token)
                if finished(row, tokens[row]):
                    ended[row] = True
                    over.add(row)
    return [Completion(tuple(t), e) for t, e in zip(tokens, ended, strict=True)]


def stream(
    base: Base,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling = GREEDY,
    adapter: Adapter | None = None,
    numbers: Sequence[int] | None = None,
    over: Collection[int] = (),
) -> Iterator[list[int | None]]:
    """Yield one token a row and step, None for rows that have stopped; ends when all rows have.

    `numbers`, below 2**32, take the place of the rows' own in their randomness: a prompt with a number of its own is
    answered the same whichever batch it is in. A row that the caller puts into `over` has stopped too.
    """
    config, longest = base.config, max(len(p) for p in prompts)
    if min(len(p) for p in prompts) == 0:
        raise ValueError("a prompt is empty: it needs at least <bos>")
    if longest + sampling.max_new_tokens > config.context:
        raise ContextError(
            f"a prompt of {longest} tokens and {sampling.max_new_tokens} new ones exceed the context of "
            f"{config.context}: shorten the prompt or lower max_new_tokens"
        )
    rows, shared = len(prompts), shared_start(prompts, adapter)
    length = _padded(longest - shared)
    tokens, lengths = np.full((rows, length), PAD), np.ones(rows, int)
    for row, prompt in enumerate(prompts):
        tokens[row, : len(prompt) - shared], lengths[row] = prompt[shared:], len(prompt)
    cache = empty_cache(config, rows, _round_up(length + sampling.max_new_tokens, _CACHE_STEP), base.dtype)
    key = jax.random.key(sampling.seed)
    # What is compiled into the choice: a new seed, limit or penalty compiles nothing.
    rule = replace(sampling, seed=0, max_new_tokens=1, ignore_stops=False, repetition_penalty=1.0)
    apart = prepared(base).apart
    base = replace(base, apart=None, head=None if apart is None else apart.head)
    own = np.array(range(rows) if numbers is None else numbers, np.uint32)
    if shared:
        one = empty_cache(config, 1, shared, base.dtype)
        cache = replace(
            cache, start=_read_start(base, _of_rows(adapter, np.zeros(1, int)), one, jnp.asarray([prompts[0][:shared]]))
        )
    at = jnp.asarray(lengths)
    scores, cache = _prefill(base, adapter, cache, jnp.asarray(tokens), at)
    token = choose(scores, key, own, at, rule)
    if apart is not None:
        start = None if cache.start is None else tuple(map(tuple, cache.start))
        base, cache = apart, replace(cache, k=tuple(cache.k), v=tuple(cache.v), start=start)
        adapter = None if adapter is None else adapter_apart(adapter, config.layers)
    written = None if sampling.repetition_penalty == 1.0 else jnp.zeros((rows, config.vocab), bool)
    batch = _Batch(np.arange(rows), np.ones(rows, bool), lengths, own, token, cache, written, adapter)
    alone = jax.default_backend() == "cpu" and current_mesh() is None
    if alone and apart is None and rows < _MIN_CPU_ROWS:
        batch = _with(batch, np.zeros(_MIN_CPU_ROWS, int), np.arange(_MIN_CPU_ROWS) < rows)
    for step in range(sampling.max_new_tokens):
        now = np.asarray(batch.token)
        told = {int(batch.prompts[row]): int(now[row]) for row in np.flatnonzero(batch.running)}
        yield [told.get(row) for row in range(rows)]
        running = batch.running & (sampling.ignore_stops | ~np.isin(now, stop_tokens(config)))
        running &= ~np.isin(batch.prompts, list(over))
        if not running.any() or step + 1 == sampling.max_new_tokens:
            return
        kept = _kept(running) if alone else np.arange(len(running))
        batch = _with(batch, kept, running[kept])
        at = jnp.asarray(batch.lengths + step)
        scores, cache, written = _decode(
            base, batch.adapter, batch.cache, batch.token, at, batch.written, sampling.repetition_penalty
        )
        token = choose(scores, key, batch.numbers, at + 1, rule)
        batch = replace(batch, token=token, cache=cache, written=written)


@dataclass(frozen=True)
class _Batch:
    """Rows that are written together, each with the number of its prompt and whether it still runs.

    The rest is what a step needs: the prompt's length, its number for randomness, the token last chosen, and so on.
    """

    prompts: Int[np.ndarray, "B"]
    running: Bool[np.ndarray, "B"]
    lengths: Int[np.ndarray, "B"]
    numbers: Int[np.ndarray, "B"]
    token: Int[Array, "B"]
    cache: KVCache
    written: Bool[Array, "B V"] | None
    adapter: Adapter | None


def _with(batch: _Batch, rows: np.ndarray, running: np.ndarray) -> _Batch:
    """The batch made of these rows of it, of which those still run."""
    if np.array_equal(rows, np.arange(len(batch.prompts))):
        return replace(batch, running=running)
    return _Batch(
        batch.prompts[rows], running, batch.lengths[rows], batch.numbers[rows], batch.token[rows],
        take_rows(batch.cache, rows), None if batch.written is None else batch.written[rows],
        _of_rows(batch.adapter, rows),
    )  # fmt: skip


def _kept(running: Bool[np.ndarray, "B"]) -> np.ndarray:
    """The rows to go on with: all, or half and half again while that holds all that run: few programs are compiled."""
    size = len(running)
    while size > _FEW_ROWS and running.sum() <= (half := max(_FEW_ROWS, -(-size // 2))):
        size = half
    return np.arange(size) if size == len(running) else np.sort(np.argsort(~running, kind="stable")[:size])


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
    """How many tokens at the start of all prompts are read once: whole steps, 0 below `SHARED`.

    Rows that different adapters compute share nothing, and neither do the devices of a mesh, which divide the rows.
    """
    if len(prompts) == 1 or current_mesh() is not None or len(np.unique(getattr(adapter, "rows", ()))) > 1:
        return 0
    first, last = min(map(list, prompts)), max(map(list, prompts))  # what these two share, all share
    most = min(len(p) for p in prompts) - 1  # the last token of each prompt is read for its scores
    same = next((i for i in range(most) if first[i] != last[i]), most)
    whole = same // _SHARED_STEP * _SHARED_STEP
    # A longer rest has to be read in parts, which attention after a start does not do.
    return whole if whole >= SHARED and max(map(len, prompts)) - whole <= QUERIES_AT_ONCE else 0


def _of_rows(adapter: Adapter | None, rows: np.ndarray) -> Adapter | None:
    """For these rows alone, where an adapter has an entry for each of its `rows`."""
    return adapter if adapter is None or not hasattr(adapter, "rows") else replace(adapter, rows=adapter.rows[rows])  # type: ignore[type-var]


def _padded(length: int) -> int:
    """Whole steps, or half of one: many questions are that short."""
    return _LENGTH_STEP // 2 if length <= _LENGTH_STEP // 2 else _round_up(length, _LENGTH_STEP)


def _round_up(length: int, step: int) -> int:
    return -(-length // step) * step


@jax.jit
def _read_start(base, adapter, cache, tokens):
    """Keys and values of one row of tokens."""
    positions = jnp.arange(tokens.shape[1])[None]
    _, cache = forward(base, tokens, positions, jnp.ones_like(positions), adapter, cache)
    return cache.k, cache.v


@partial(jax.jit, donate_argnames="cache")
def _prefill(base, adapter, cache, tokens, lengths):
    """Scores of what comes after each prompt, and the cache with the prompts in it."""
    read = 0 if cache.start is None else cache.start[0].shape[2]
    positions = jnp.broadcast_to(read + jnp.arange(tokens.shape[1]), tokens.shape)
    segments = (positions < lengths[:, None]).astype(jnp.int32)
    hidden, cache = forward(base, tokens, positions, segments, adapter, cache)
    last = jnp.take_along_axis(hidden, (lengths - read - 1)[:, None, None], axis=1)[:, 0]
    return logits(base, last), cache


@partial(jax.jit, donate_argnames=("cache", "written"))
def _decode(base, adapter, cache, token, positions, written, penalty):
    """Scores of what comes after these tokens, and the cache and the written tokens with them."""
    ones = jnp.ones_like(token)[:, None]
    hidden, cache = forward(base, token[:, None], positions[:, None], ones, adapter, cache)
    scores = logits(base, hidden[:, 0])
    if written is not None:
        written = written.at[jnp.arange(len(token)), token].set(True)
        scores = jnp.where(written, jnp.where(scores > 0, scores / penalty, scores * penalty), scores)
    return scores, cache, written
