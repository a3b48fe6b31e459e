"""The difficulty pass, for a recipe that asks for it: what nobody labelled, estimated anew with the base model's loss.

The first pass has estimated it from what can be counted. Who computes the loss is handed in: data come before models.
"""

import json
from collections.abc import Callable, Mapping, Sequence

from tqdm import tqdm

from helptune.data.conversation import DIFFICULTIES, Conversation
from helptune.data.difficulty import estimate
from helptune.data.mixture.chunks import Chunk
from helptune.data.mixture.index import Index
from helptune.data.mixture.recipe import fingerprint
from helptune.files import write_text

LOSS = "loss"
"""Of a recipe that asks for it."""

Losses = Callable[[Sequence[Conversation]], Mapping[str, float]]
"""Conversations -> nats per token of each one's last answer under the base model, by id."""

_LONGEST, _SPEAKER = 12_000, 16
"""Bytes, and what the name of a turn's speaker takes of them at most. The estimate of a longer conversation stays: it
would cost minutes, and fit no small model's context. A token is a byte or more, so there are no more tokens."""


def estimate_by_loss(index: Index, losses: Losses) -> None:
    """Write each chunk's estimates beside it, and take them over. Labels that came with a source stay."""
    estimated = index.columns["estimated"]
    jobs = []
    for number, (chunk, start) in enumerate(zip(index.chunks, index.starts, strict=False)):
        jobs.append((chunk, start, [row for row in index.alive_in(number) if estimated[start + row]]))
    for chunk, start, rows in tqdm(jobs, desc="difficulty", unit=" chunks"):
        file = chunk.file(f"difficulty-{fingerprint(json.dumps(rows))}.json")
        if not file.exists():
            write_text(file, json.dumps(_estimates(chunk, rows, losses)))
        for row, difficulty in json.loads(file.read_text()).items():
            index.columns["difficulty"][start + int(row)] = DIFFICULTIES.index(difficulty)


def _estimates(chunk: Chunk, rows: Sequence[int], losses: Losses) -> dict[int, str]:
    short = {row: c for row, c in zip(rows, chunk.kept(rows), strict=True) if _bytes(c) <= _LONGEST}
    known = losses(list(short.values())) if short else {}
    return {row: estimate(c, known[c.id]) for row, c in short.items()}


def _bytes(conversation: Conversation) -> int:
    """Of its transcript, "User: ...", in UTF-8, or a few more."""
    return sum(len(message.content.encode()) + _SPEAKER for message in conversation.messages)
