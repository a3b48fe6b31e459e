"""Read samples of a dataset that was built: what got in, and what did not, and why."""

import json
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from helptune.data.mixture.writing import DROPPED, HELDOUT, REJECTED, TRAIN, read_manifest
from helptune.errors import DataError
from helptune.text import printable

KEPT = "kept"


@dataclass(frozen=True)
class Wanted:
    """Which samples; "" is any. `reason` is KEPT, or the reason code for which records are missing."""

    category: str = ""
    source: str = ""
    difficulty: str = ""
    reason: str = KEPT


@dataclass(frozen=True)
class Sample:
    """`conversation` is None for a record that gave none; `detail` says why it is not in the dataset, if so.

    `source` is that of the conversation, or for a record without one what the recipe calls its source.
    """

    reason: str
    detail: str
    source: str
    conversation: dict[str, Any] | None


def samples(folder: Path, wanted: Wanted, count: int = 5, seed: int = 0) -> list[Sample]:
    """`count` of those that fit, drawn with `seed`, in their order in the files. Memory holds these alone.

    Raises DataError when `folder` is no dataset, and when nothing fits, with the reasons and sources that are there.
    """
    manifest, draw = read_manifest(folder), random.Random(seed)
    chosen: list[tuple[int, Sample]] = []
    for number, sample in enumerate(_fitting(folder, wanted)):  # reservoir sampling, Vitter's algorithm R
        if number < count:
            chosen.append((number, sample))
        elif (place := draw.randrange(number + 1)) < count:
            chosen[place] = (number, sample)
    if not chosen:
        known = f"; sources, in the records' own words: {', '.join(sources(folder))}" if wanted.source else ""
        raise DataError(
            f"{folder}: nothing fits {_said(wanted)}; reasons for which records are missing: "
            + (", ".join(reasons(manifest)) or "none")
            + known
        )
    return [sample for _, sample in sorted(chosen, key=lambda item: item[0])]


def reasons(manifest: dict[str, Any]) -> list[str]:
    return sorted({step["reason"] for step in manifest["funnel"]["steps"]})


def sources(folder: Path) -> list[str]:
    """Of all records, as `Wanted` takes them; every file is read once."""
    found = {record["source"] for name in (TRAIN, HELDOUT, REJECTED) for record in _lines(folder / name)}
    return sorted(found | {record["conversation"]["source"] for record in _lines(folder / DROPPED)})


def text(sample: Sample) -> str:
    """For a terminal: whatever a text contains, it moves no cursor and colours nothing."""
    why = "" if sample.reason == KEPT else f"[{sample.reason}] {sample.detail}\n"
    if sample.conversation is None:
        return printable(why.rstrip("\n"))
    c = sample.conversation
    about = [c["id"], c["source"], c["license"], c["category"], c["difficulty"]]
    head = " · ".join(" ".join(part.split()) for part in about if part)
    turns = "\n".join(f"  {m['role']}: {m['content']}" for m in c["messages"])
    return printable(f"{head}\n{why}{turns}")


def _said(wanted: Wanted) -> str:
    return ", ".join(f"{name} {value!r}" for name, value in asdict(wanted).items() if value)


def _fitting(folder: Path, wanted: Wanted) -> Iterator[Sample]:
    for sample in _all(folder, wanted.reason):
        c = sample.conversation or {}
        found = {"source": sample.source, "category": c.get("category", ""), "difficulty": c.get("difficulty", "")}
        if all(getattr(wanted, name) in ("", value) for name, value in found.items()):
            yield sample


def _all(folder: Path, reason: str) -> Iterator[Sample]:
    if reason == KEPT:
        for name in (TRAIN, HELDOUT):
            yield from (Sample(KEPT, "", record["source"], record) for record in _lines(folder / name))
        return
    for record in _lines(folder / DROPPED):
        if record["reason"] == reason:
            yield Sample(reason, record["detail"], record["conversation"]["source"], record["conversation"])
    for record in _lines(folder / REJECTED):
        if record["code"] == reason:
            yield Sample(reason, f"{record['file']}:{record['line']}: {record['reason']}", record["source"], None)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)
