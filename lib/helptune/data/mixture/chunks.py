"""The shelf a build works on: chunks of a thousand records, each whole or not there.

    00012.kept.jsonl      conversations that passed every filter
         .dropped.jsonl   those that did not, with the filter and what it found
         .rejected.jsonl  records that gave no conversation, with file, line and reason
         .index.npz       a row a kept conversation: what the later passes need of it, without its text
         .done.json       ids and counts; written last, so a chunk without it is made again

A killed build goes on from the chunks that are done. Memory holds a few chunks, and the index: 1 KiB a conversation.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np

from helptune.data.conversation import Conversation, parse_conversation
from helptune.data.sources.record import Read, Rejected
from helptune.files import write_text, write_whole

CHUNK, CHARACTERS = 1_000, 2**24
"""Of records and of characters; a chunk ends where the first of them is reached. Several are in memory at a time."""


@dataclass(frozen=True)
class Chunk:
    """Of the source that the recipe calls `key`, the records of batch `number`, in `folder`."""

    folder: Path
    key: str
    number: int

    def file(self, ending: str) -> Path:
        return self.folder / f"{self.number:05d}.{ending}"

    @property
    def done(self) -> bool:
        return self.file("done.json").exists()

    def summary(self) -> dict[str, Any]:
        return json.loads(self.file("done.json").read_text())

    def index(self) -> dict[str, np.ndarray]:
        with np.load(self.file("index.npz"), allow_pickle=False) as arrays:
            return dict(arrays)

    def records(self, ending: str) -> Iterator[dict[str, Any]]:
        with self.file(ending).open(encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)

    def kept(self, rows: Sequence[int]) -> list[Conversation]:
        """The conversations that passed the filters of these numbers, which ascend."""
        wanted = set(rows)
        chosen = (row in wanted for row in range(max(wanted, default=-1) + 1))
        return [parse_conversation(record) for record in compress(self.records("kept.jsonl"), chosen)]

    def write(
        self,
        kept: Iterable[str],
        dropped: Iterable[str],
        rejected: Iterable[str],
        index: dict[str, np.ndarray],
        summary: dict[str, Any],
    ) -> None:
        """Texts are JSON lines, their ends included. Each file is put in place whole, the summary after the others."""
        for ending, lines in (("kept.jsonl", kept), ("dropped.jsonl", dropped), ("rejected.jsonl", rejected)):
            write_text(self.file(ending), "".join(lines))

        def save(part: Path) -> None:
            with part.open("wb") as file:  # given a name, np.savez would add an ending to it
                np.savez(file, **index)  # type: ignore[arg-type]

        write_whole(self.file("index.npz"), save)
        write_text(self.file("done.json"), json.dumps(summary))


def chunks(folder: Path, key: str) -> list[Chunk]:
    """Those that are done, in order."""
    return [Chunk(folder, key, n) for n in sorted(int(p.name.split(".")[0]) for p in folder.glob("*.done.json"))]


def batches(records: Iterable[Read]) -> Iterator[tuple[Read, ...]]:
    """Records by CHUNK, or fewer where their turns have CHARACTERS; the same for the same records."""
    batch: list[Read] = []
    size = 0
    for record in records:
        batch.append(record)
        size += 0 if isinstance(record, Rejected) else sum(len(message.content) for message in record.messages)
        if len(batch) == CHUNK or size >= CHARACTERS:
            yield tuple(batch)
            batch, size = [], 0
    if batch:
        yield tuple(batch)
