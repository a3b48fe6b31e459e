"""What became of every record: read, rejected, dropped by which rule, kept. The numbers a mixture answers for."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from helptune.data.mixture.index import Index
from helptune.errors import RunError

STAGES = ("read", "source", "filter", "duplicates", "decontamination", "agreement", "safety", "balance")
"""In the order in which a record meets them: its reader, the filters, ..."""


@dataclass(frozen=True)
class Step:
    """So many conversations of `source` left at `stage` for `reason`."""

    source: str
    stage: str
    reason: str
    count: int


@dataclass(frozen=True)
class Funnel:
    """`read` and `kept` by source, and between them what left, in order. `read` is the sum of `kept` and `steps`."""

    read: dict[str, int]
    steps: tuple[Step, ...]
    kept: dict[str, int]

    def left(self, stage: str, source: str | None = None) -> int:
        return sum(s.count for s in self.steps if s.stage == stage and source in (None, s.source))


def funnel(index: Index, keys: Sequence[str]) -> Funnel:
    """Raises RunError if a record was lost: what is read is either kept, or dropped with a reason."""
    read: Counter[str] = Counter()
    steps: Counter[tuple[str, str, str]] = Counter()
    for chunk in index.chunks:
        summary = chunk.summary()
        read[chunk.key] += summary["read"]
        for stage in ("source", "filter"):
            for reason, count in summary[stage].items():
                steps[chunk.key, stage, reason] += count
    sources = [keys[number] for number in index.columns["source"].tolist()] if len(index) else []
    kept = Counter(sources[row] for row in index.alive)
    for row, drop in index.drops.items():
        steps[sources[row], drop.stage, drop.reason] += 1
    order = {stage: number for number, stage in enumerate(STAGES)}
    rows = sorted(steps.items(), key=lambda item: (keys.index(item[0][0]), order[item[0][1]], item[0][2]))
    found = Funnel(
        {key: read[key] for key in keys}, tuple(Step(*name, n) for name, n in rows), {k: kept[k] for k in keys}
    )
    told = sum(step.count for step in found.steps) + sum(kept.values())
    if told != sum(read.values()):
        raise RunError(
            f"{sum(read.values()):,} records were read, and {told:,} are accounted for; a file of the unfinished build "
            "is damaged: remove its folder, .NAME.building beside the dataset, and build again"
        )
    return found


def table(found: Funnel) -> list[dict[str, Any]]:
    """A row a stage, in order: how many left in all and by source, and how many are left."""
    rows, left = [], sum(found.read.values())
    for stage in STAGES[1:]:
        left -= found.left(stage)
        rows.append(
            {"stage": stage, "dropped": found.left(stage), "left": left}
            | {key: found.left(stage, key) for key in found.read}
        )
    return rows
