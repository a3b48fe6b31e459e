"""From conversations to batches of fixed shape: several short conversations share a row, each in a segment of its own.

Packing costs nothing in quality when segments cannot see each other and positions restart (Krell et al. 2021,
arXiv:2107.02027); it removes almost all padding.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from flax import struct

from helptune.data.conversation import Conversation
from helptune.errors import ContextError
from helptune.gemma.chat import render
from helptune.gemma.config import GemmaConfig
from helptune.gemma.tokenizer import PAD, Tokenizer
from helptune.shapes import AnyArray, Float, Int


@struct.dataclass
class Batch:
    """`targets` is the next token of each token; `weights` is 1 where the loss counts; segment 0 is padding."""

    tokens: Int[AnyArray, "B T"]
    targets: Int[AnyArray, "B T"]
    weights: Float[AnyArray, "B T"]
    positions: Int[AnyArray, "B T"]
    segments: Int[AnyArray, "B T"]


@dataclass(frozen=True)
class Example:
    """One conversation as the model reads it: token ids, and which of them it should have produced itself.

    `id` is the conversation's, for messages.
    """

    ids: tuple[int, ...]
    supervised: tuple[bool, ...]
    id: str = ""

    def __len__(self) -> int:
        """Places it takes in a row: each token but the last predicts the next one."""
        return len(self.ids) - 1


def tokenize(
    conversations: Iterable[Conversation], tokenizer: Tokenizer, config: GemmaConfig, seq_len: int
) -> list[Example]:
    """Examples with assistant-only supervision. Raises ContextError naming a conversation that does not fit `seq_len`.

    Nothing is cut silently: an answer without its end would teach the model not to stop.
    """
    examples = []
    for conversation in conversations:
        ids, supervised = render(conversation.messages, tokenizer, config)
        example = Example(tuple(ids), tuple(supervised), conversation.id)
        if len(ids) > config.context:
            raise ContextError(
                f"conversation {conversation.id!r} has {len(ids)} tokens, the context of {config.name} is "
                f"{config.context}: shorten or leave it out"
            )
        if len(example) > seq_len:
            raise ContextError(
                f"conversation {conversation.id!r} needs {len(example)} tokens, seq_len is {seq_len}: "
                "raise --seq-len, or shorten or leave out the conversation"
            )
        examples.append(example)
    return examples


def pack(lengths: Sequence[int], seq_len: int) -> list[list[int]]:
    """Rows of example numbers, each row at most `seq_len` long: best fit, longest first, ties in the given order."""
    rows: list[list[int]] = []
    space: list[tuple[int, int]] = []  # (free places, row), sorted
    for number in sorted(range(len(lengths)), key=lambda n: -lengths[n]):
        fit = bisect_left(space, (lengths[number], 0))
        if fit == len(space):
            rows.append([])
            free, row = seq_len, len(rows) - 1
        else:
            free, row = space.pop(fit)
        if lengths[number] > free:
            raise ContextError(f"example {number} has {lengths[number]} tokens, a row holds {seq_len}")
        rows[row].append(number)
        insort(space, (free - lengths[number], row))
    return rows


def padding_share(rows: Sequence[Sequence[int]], seq_len: int) -> float:
    """Of all places of rows of `seq_len`, given the lengths of what each holds, the share that holds no token."""
    return 1 - sum(map(sum, rows)) / (seq_len * len(rows))


def collate(examples: Sequence[Example], rows: Sequence[Sequence[int]], seq_len: int, batch_rows: int) -> Batch:
    """A Batch of numpy arrays [batch_rows, seq_len] from rows of example numbers; missing rows are padding."""
    shape = (batch_rows, seq_len)
    tokens, targets = np.full(shape, PAD, np.int32), np.full(shape, PAD, np.int32)
    positions, segments = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    weights = np.zeros(shape, np.float32)
    for r, row in enumerate(rows):
        start = 0
        for segment, number in enumerate(row, start=1):
            example, n = examples[number], len(examples[number])
            span = np.s_[r, start : start + n]
            tokens[span], targets[span] = example.ids[:-1], example.ids[1:]
            weights[span] = example.supervised[1:]
            positions[span], segments[span] = np.arange(n), segment
            start += n
    return Batch(tokens, targets, weights, positions, segments)


def plan_batches(
    lengths: Sequence[int], seq_len: int, batch_rows: int, epochs: int, seed: int, max_steps: int = 0
) -> list[list[list[int]]]:
    """What every step of a run trains on: step -> rows -> example numbers; at most `max_steps` unless that is 0.

    A pure function of its arguments: step k of a resumed run sees exactly what step k of an uninterrupted one sees.
    Every epoch visits every example once, in a new order and a new packing.
    """
    steps: list[list[list[int]]] = []
    for epoch in range(epochs):
        if max_steps and len(steps) >= max_steps:
            break
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(len(lengths))
        rows = [[int(order[i]) for i in row] for row in pack([lengths[n] for n in order], seq_len)]
        rng.shuffle(rows)
        steps += [rows[i : i + batch_rows] for i in range(0, len(rows), batch_rows)]
    return steps[: max_steps or None]
