"""The first pass, a chunk at a time: the filters, and what later passes need of a conversation beside its text.

It runs in worker processes and depends on the chunk and the settings alone, so chunks can be made in any order.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from helptune.data.conversation import DIFFICULTIES, Conversation
from helptune.data.decontaminate import Index, index_sets, matches, read_set
from helptune.data.difficulty import estimate
from helptune.data.duplicates import exact_key, opening_key, signature
from helptune.data.filters import FILTERS, Filter
from helptune.data.mixture.chunks import Chunk
from helptune.data.sources.build import LONGEST_REASON, is_number
from helptune.data.sources.record import Read, Rejected
from helptune.errors import SettingError
from helptune.typed import arguments


@dataclass(frozen=True)
class Rules:
    """What a worker is told: the filters that are wanted, their parameters as JSON, the files of evaluation sets."""

    skip: tuple[str, ...]
    parameters: str
    sets: tuple[str, ...]


def check_filters(skip: Sequence[str], parameters: dict[str, Any]) -> None:
    """Raises SettingError for a filter that is not there, and for a parameter that it does not take."""
    for name in (*skip, *parameters):
        if name not in FILTERS:
            raise SettingError(f"filter {name!r} is not one of {', '.join(FILTERS)}")
    for name, given in parameters.items():
        arguments(FILTERS[name], given, f"filters.{name}")


def sift(chunk: Chunk, reads: Sequence[Read], rules: Rules) -> Chunk:
    """Write `chunk`."""
    filters, prompts = _filters(rules), _evaluation_prompts(rules.sets)
    kept, estimated, dropped, rejected = [], [], [], []
    refused, filtered = Counter[str](), Counter[str]()
    for read in reads:
        if isinstance(read, Rejected):
            rejected.append(_line(asdict(read)))
            refused[read.code] += 1
            continue
        found = _first_fault(read, filters)
        if found:
            dropped.append(drop_line("filter", *found, read))
            filtered[found[0]] += 1
        else:
            kept.append(read if read.difficulty else replace(read, difficulty=estimate(read)))
            estimated.append(not read.difficulty)
    lines = [_line(asdict(c)) for c in kept]
    matched = {row: [asdict(m) for m in matches(c, prompts)] for row, c in enumerate(kept)}
    summary = {
        "read": len(reads),
        "source": dict(sorted(refused.items())),
        "filter": dict(sorted(filtered.items())),
        "ids": [c.id for c in kept],
        "categories": [c.category for c in kept],
        "matches": {row: found for row, found in matched.items() if found},
    }
    arrays = _index(kept, lines) | {"estimated": np.array(estimated, bool)}
    chunk.write(lines, dropped, rejected, arrays, summary)
    return chunk


def drop_line(stage: str, reason: str, detail: str, conversation: Conversation) -> str:
    """One line of `dropped.jsonl`."""
    return _line({"stage": stage, "reason": reason, "detail": detail, "conversation": asdict(conversation)})


def _first_fault(conversation: Conversation, filters: Iterable[tuple[str, Filter]]) -> tuple[str, str] | None:
    for name, test in filters:
        try:
            detail = test(conversation)
        except Exception as error:  # what nobody thought of is one record's end, not the build's
            return "filter_failed", f"{name}: {type(error).__name__}: {error}"[:LONGEST_REASON]
        if detail is not None:
            return name, detail
    return None


def _index(kept: Sequence[Conversation], lines: Sequence[str]) -> dict[str, np.ndarray]:
    sizes = [len(line.encode()) for line in lines]
    return {
        "offset": np.cumsum([0, *sizes[:-1]], dtype=np.int64)[: len(kept)],
        "exact": np.array([np.frombuffer(exact_key(c), np.uint64) for c in kept], np.uint64).reshape(len(kept), 2),
        "signature": np.array([signature(c) for c in kept]),
        "opening": np.array([opening_key(c) for c in kept], np.uint64),
        "difficulty": np.array([DIFFICULTIES.index(c.difficulty) for c in kept], np.int8),
        "quality": np.array([_quality(c) for c in kept], np.float32),
    }


def _quality(conversation: Conversation) -> float:
    rating = conversation.ratings.get("helpfulness")
    return float(rating) if rating is not None and is_number(rating, 0, 1) else np.nan


@cache
def _filters(rules: Rules) -> tuple[tuple[str, Filter], ...]:
    given = json.loads(rules.parameters)
    return tuple(
        (name, partial(f, **arguments(f, given.get(name, {})))) for name, f in FILTERS.items() if name not in rules.skip
    )


@cache
def _evaluation_prompts(paths: tuple[str, ...]) -> Index:
    return index_sets([read_set(Path(path)) for path in paths])


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record) + "\n"
