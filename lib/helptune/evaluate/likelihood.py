"""How likely is a continuation after its context, and would greedy decoding have written exactly it?

Texts are packed side by side as in training, each a segment of its own; one that begins another is read once, so the
one-token answers to a question cost no more than the question. Only the places that predict a continuation meet the
vocabulary. The two figures are those that the lm-evaluation-harness asks of a model (Gao et al., its `loglikelihood`).
"""

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from helptune.adapt.mixed import Rack, mixed
from helptune.data.packing import pack
from helptune.errors import ContextError
from helptune.gemma.base import Base
from helptune.gemma.model import Adapter, forward
from helptune.gemma.tokenizer import PAD, Tokenizer
from helptune.shapes import AnyArray, Array, Float, Int
from helptune.train.loss import POSITIONS, REST, over_vocabulary

Pair = tuple[Sequence[int], Sequence[int]]
"""Token ids of a context, <bos> included, and of what continues it."""
Text = tuple[int, ...]

_PLACES, _SHORTEST = 2_048, 256
"""Of a batch, and of a row of it. Rows double from the shortest to what the longest text needs."""
_TARGETS = 512
"""Whose own scores are looked up together."""


@dataclass(frozen=True)
class Likelihood:
    """`logprob` is the sum over `tokens` tokens in nats; `greedy`: each of them was the likeliest one at its place."""

    logprob: float
    tokens: int
    greedy: bool


def likelihoods(
    base: Base, tokenizer: Tokenizer, pairs: Sequence[Pair], adapter: Adapter | None = None, desc: str = ""
) -> list[Likelihood]:
    """Of each continuation after its context; an empty one has logprob 0. `desc` names a progress bar, "" shows none.

    Raises ContextError for a pair that does not fit the context, ValueError for a context without tokens.
    """
    return _likelihoods(base, tokenizer, pairs, [""] * len(pairs), lambda _: adapter, desc)


def mixed_likelihoods(
    base: Base, tokenizer: Tokenizer, pairs: Sequence[Pair], rack: Rack, names: Sequence[str], desc: str = ""
) -> list[Likelihood]:
    """`likelihoods` where the pairs are those of `names`, adapters of the rack or "base", one each, in shared batches.

    Raises AdapterError for a name that is not on the rack.
    """
    return _likelihoods(base, tokenizer, pairs, names, lambda rows: mixed(rack, rows), desc)


def _likelihoods(
    base: Base,
    tokenizer: Tokenizer,
    pairs: Sequence[Pair],
    names: Sequence[str],
    adapter_of: Callable[[Sequence[str]], Adapter | None],
    desc: str,
) -> list[Likelihood]:
    _check(base, tokenizer, pairs)
    served: dict[tuple[str, Text], list[int]] = defaultdict(list)  # (name, text) -> numbers of the pairs it serves
    for name in dict.fromkeys(names):
        own = [number for number, other in enumerate(names) if other == name and pairs[number][1]]
        for number, text in zip(own, _read_once([_text(pairs[number]) for number in own]), strict=True):
            served[name, text].append(number)
    found = [Likelihood(0.0, 0, True)] * len(pairs)
    with tqdm(total=sum(len(t) for _, t in served), desc=desc, unit=" tokens", disable=not desc, leave=None) as bar:
        for batch in _batches(list(served)):
            wanted = [(number, place) for text, place in batch.places.items() for number in served[text]]
            targets = [
                (place + len(context) - 1 + i, target)
                for (context, continuation), place in ((pairs[number], place) for number, place in wanted)
                for i, target in enumerate(continuation)
            ]
            scores, best = _scores(base, adapter_of(batch.names), batch, np.array(targets))
            ends = np.cumsum([len(pairs[number][1]) for number, _ in wanted])[:-1]
            for (number, _), logs, hits in zip(wanted, np.split(scores, ends), np.split(best, ends), strict=True):
                found[number] = Likelihood(float(logs.sum()), len(logs), bool(hits.all()))
            bar.update(sum(len(text) for _, text in batch.places))
    return found


def _check(base: Base, tokenizer: Tokenizer, pairs: Sequence[Pair]) -> None:
    for number, (context, continuation) in enumerate(pairs):
        if not len(context):
            raise ValueError(f"pair {number} has an empty context: it needs at least <bos>")
        if (length := len(context) + len(continuation)) > base.config.context:
            start = tokenizer.decode(list(context)[:20])
            raise ContextError(
                f"pair {number}, which begins {start!r}, has {length} tokens, the context of {base.config.name} is "
                f"{base.config.context}: shorten it"
            )


def _text(pair: Pair) -> Text:
    """What the model reads: the last token of a continuation is only predicted."""
    return (*pair[0], *pair[1][:-1])


def _read_once(texts: Sequence[Text]) -> list[Text]:
    """For each text the one to read in its place: a longest one that begins with it."""
    order = sorted(set(texts))
    reads = {text: text for text in order}
    for text, following in reversed(list(itertools.pairwise(order))):
        if following[: len(text)] == text:
            reads[text] = reads[following]
    return [reads[text] for text in texts]


@dataclass(frozen=True)
class _Batch:
    """Packed rows [B, T], whose they are, and the place in B x T where each text begins."""

    tokens: Int[AnyArray, "B T"]
    positions: Int[AnyArray, "B T"]
    segments: Int[AnyArray, "B T"]
    names: list[str]
    places: dict[tuple[str, Text], int]


def _batches(texts: Sequence[tuple[str, Text]]) -> list[_Batch]:
    """Rows of one length to a batch, the longest first; each holds texts of one name."""
    rows: dict[int, list[list[tuple[str, Text]]]] = defaultdict(list)
    sizes = [max(_SHORTEST, 2 ** math.ceil(math.log2(len(text)))) for _, text in texts]
    for name, size in dict.fromkeys((name, size) for (name, _), size in zip(texts, sizes, strict=True)):
        own = [t for t, other in zip(texts, sizes, strict=True) if (t[0], other) == (name, size)]
        rows[size] += [[own[number] for number in row] for row in pack([len(text) for _, text in own], size)]
    batches = []
    for size in sorted(rows, reverse=True):
        count = max(1, _PLACES // size)
        batches += [_collate(rows[size][i : i + count], size) for i in range(0, len(rows[size]), count)]
    return batches


def _collate(rows: Sequence[Sequence[tuple[str, Text]]], size: int) -> _Batch:
    """Rows up to a power of two, so that few programs are compiled; those added are padding."""
    shape = (2 ** math.ceil(math.log2(len(rows))), size)
    tokens, positions, segments = np.full(shape, PAD, np.int32), np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    places = {}
    for r, row in enumerate(rows):
        start = 0
        for segment, (name, text) in enumerate(row, start=1):
            span = np.s_[r, start : start + len(text)]
            tokens[span], positions[span], segments[span] = text, np.arange(len(text)), segment
            places[name, text] = r * size + start
            start += len(text)
    names = [row[0][0] for row in rows]
    return _Batch(tokens, positions, segments, names + names[:1] * (shape[0] - len(names)), places)


def _scores(
    base: Base, adapter: Adapter | None, batch: _Batch, targets: Int[AnyArray, "P 2"]
) -> tuple[np.ndarray, np.ndarray]:
    """(log p, whether it is the likeliest) of each target, given as (place, token)."""
    places, at = np.unique(targets[:, 0], return_inverse=True)
    padded = np.zeros(batch.tokens.size + REST, np.int32)
    padded[: len(places)] = places
    rows, log_sums, best = _survey(
        base, adapter, batch.tokens, batch.positions, batch.segments, padded, np.int32(len(places))
    )
    scores = np.empty(len(targets), np.float64)
    for start in range(0, len(targets), _TARGETS):
        part = np.s_[start : start + _TARGETS]
        where, tokens = np.zeros(_TARGETS, np.int32), np.zeros(_TARGETS, np.int32)
        where[: len(at[part])], tokens[: len(at[part])] = at[part], targets[part, 1]
        scores[part] = np.asarray(_own_scores(rows, base.embedding, where, tokens))[: len(at[part])]
    return scores - np.asarray(log_sums, np.float64)[at], np.asarray(best)[at] == targets[:, 1]


@jax.jit
def _survey(base, adapter, tokens, positions, segments, places, count):
    """(hidden states at the first `count` of `places`, log-sum-exp of their scores, the likeliest token there)."""
    hidden, _ = forward(base, tokens, positions, segments, adapter)
    rows = hidden.reshape(-1, hidden.shape[-1])[places]

    size, rest = min(POSITIONS, len(rows)), min(REST, len(rows))
    whole = count // size

    def chunk(start, size, found):
        new = _most_likely(jax.lax.dynamic_slice_in_dim(rows, start, size), jnp.asarray(base.embedding))
        return jax.tree.map(lambda all, own: jax.lax.dynamic_update_slice(all, own, (start,)), found, new)

    # `places` ends with as much padding as the last chunk may reach beyond the count.
    found = jnp.zeros(len(rows)), jnp.zeros(len(rows), jnp.int32)
    found = jax.lax.fori_loop(0, whole, lambda i, found: chunk(i * size, size, found), found)
    small = -(-(count - whole * size) // rest)
    log_sums, best = jax.lax.fori_loop(0, small, lambda i, found: chunk(whole * size + i * rest, rest, found), found)
    return rows, log_sums, best


def _most_likely(rows, embedding):
    """(log-sum-exp of the scores, the likeliest token, of equals the first) of each row [P], block by block."""

    def visit(first, block, state):
        maximum, total, best = state
        scores = jax.lax.dot_general(rows, block, (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32)
        own = jnp.max(scores, axis=-1)
        # The least number of a word with that score: XLA's argmax takes many times as long on a CPU.
        numbers = first + jnp.arange(len(block), dtype=jnp.int32)
        where = jnp.min(jnp.where(scores == own[:, None], numbers, jnp.iinfo(jnp.int32).max), axis=-1)
        new = jnp.maximum(maximum, own)
        total = total * jnp.exp(maximum - new) + jnp.sum(jnp.exp(scores - new[:, None]), axis=-1)
        return new, total, jnp.where(own > maximum, where, best)

    P = len(rows)
    start = jnp.full(P, -jnp.inf), jnp.zeros(P), jnp.zeros(P, jnp.int32)
    maximum, total, best = over_vocabulary(embedding, visit, start)
    return maximum + jnp.log(total), best


@jax.jit
def _own_scores(
    rows: Float[Array, "P D"], embedding: Float[Array, "V D"], where: Int[Array, "B"], tokens: Int[Array, "B"]
) -> Float[Array, "B"]:
    own = jnp.asarray(embedding)[tokens].astype(jnp.float32)
    return jnp.sum(rows[where].astype(jnp.float32) * own, axis=-1)
