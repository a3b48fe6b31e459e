"""All conversations that passed the filters, without their texts: a row each, from which the later passes decide.

Rows stand in the order of the recipe's sources and of their files; nothing that decides depends on anything else.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from helptune.data.mixture.chunks import Chunk, chunks


@dataclass(frozen=True)
class Drop:
    """Why a row does not get into the dataset: the pass, its reason code, and the words for a reader."""

    stage: str
    reason: str
    detail: str


@dataclass
class Index:
    """`columns` holds arrays of one entry a row; `drops` is what has been decided so far, by row, and `p_unsafe` what
    the safety classifier said of each target."""

    chunks: list[Chunk]
    starts: list[int]
    ids: list[str]
    categories: list[str]
    matches: dict[int, list[dict[str, Any]]]
    columns: dict[str, np.ndarray]
    drops: dict[int, Drop] = field(default_factory=dict)
    p_unsafe: dict[int, dict[str, float]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def alive(self) -> list[int]:
        return [row for row in range(len(self)) if row not in self.drops]

    def rows_of(self, chunk: int) -> range:
        return range(self.starts[chunk], self.starts[chunk + 1])

    def alive_in(self, chunk: int) -> list[int]:
        """Numbers within the chunk of its rows that are not dropped."""
        start = self.starts[chunk]
        return [row - start for row in self.rows_of(chunk) if row not in self.drops]


def gather(shelves: dict[str, Path]) -> Index:
    """The index of all chunks on the `shelves` of the sources; column `source` counts these in their order."""
    found = [(number, chunk) for number, key in enumerate(shelves) for chunk in chunks(shelves[key], key)]
    index = Index([chunk for _, chunk in found], [0], [], [], {}, {})
    parts: dict[str, list[np.ndarray]] = {}
    for source, chunk in found:
        start, summary, arrays = len(index), chunk.summary(), chunk.index()
        index.matches |= {start + int(row): matches for row, matches in summary["matches"].items()}
        index.ids += summary["ids"]
        index.categories += summary["categories"]
        index.starts.append(len(index))
        arrays["source"] = np.full(len(summary["ids"]), source, np.int16)
        for name, values in arrays.items():
            if len(values):
                parts.setdefault(name, []).append(values)
    index.columns = {name: np.concatenate(values) for name, values in parts.items()}
    return index


def lines(index: Index, rows: Iterable[int]) -> Iterator[str]:
    """The kept records of `rows`, in their order, as they stand in the chunks."""
    offsets, starts = index.columns["offset"], np.array(index.starts)
    opened: dict[int, Any] = {}
    try:
        for row in rows:
            number = int(np.searchsorted(starts, row, side="right")) - 1
            if number not in opened:
                if len(opened) == _OPEN_FILES:
                    opened.pop(next(iter(opened))).close()
                opened[number] = index.chunks[number].file("kept.jsonl").open(encoding="utf-8")
            opened[number].seek(int(offsets[row]))
            yield opened[number].readline()
    finally:
        for file in opened.values():
            file.close()


def conversations(index: Index, rows: Iterable[int]) -> Iterator[dict[str, Any]]:
    return (json.loads(line) for line in lines(index, rows))


_OPEN_FILES = 200
