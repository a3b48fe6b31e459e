"""The embedded curated conversations, through the same door as every other source."""

from collections.abc import Iterator
from itertools import chain

from helptune.data.conversation import CATEGORIES, CURATED, read_conversations
from helptune.data.sources.record import Read


def read(split: str = "train", *, instalments: list[int] | None = None) -> Iterator[Read]:
    """Those of `split`; of the given `instalments` alone, where a course compares what more data change."""
    every = chain.from_iterable(read_conversations(CURATED / split / f"{name}.jsonl") for name in CATEGORIES)
    return (c for c in every if instalments is None or c.meta["instalment"] in instalments)
