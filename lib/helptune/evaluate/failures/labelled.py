"""Real answers labelled by hand with the kinds of failure, and how often each detector agrees with the reader.

Recall says what share of the labelled answers a detector finds, precision what share of those it finds were labelled:
a count of failures is worth no more than these two.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from helptune.data.conversation import Conversation, load_curated
from helptune.errors import DataError
from helptune.evaluate.answers import Answer
from helptune.evaluate.failures.detectors import DETECTORS, Case
from helptune.evaluate.failures.taxonomy import CATEGORIES, OTHER
from helptune.evaluate.statistics.estimate import Estimate
from helptune.evaluate.statistics.intervals import wilson
from helptune.text import markdown_table

SHIPPED = Path(__file__).parent / "labelled.jsonl"


@dataclass(frozen=True)
class Labelled:
    """The answer of `model` to a curated held-out conversation; no labels: a reader found no failure."""

    conversation: Conversation
    model: str
    answer: Answer
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Agreement:
    """Of one detector against the reader. `labelled` answers are in the category, `found` by the detector."""

    category: str
    labelled: int
    found: int
    recall: Estimate
    precision: Estimate


def read_labelled(path: Path = SHIPPED) -> list[Labelled]:
    """Raises DataError as `file:line: what is wrong`, also for a label or conversation that does not exist."""
    asked = {conversation.id: conversation for conversation in load_curated("heldout")}
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            labels = tuple(record["labels"])
            if unknown := sorted(set(labels) - {*CATEGORIES, OTHER}):
                raise DataError(f"label {unknown[0]!r} is not one of {', '.join((*CATEGORIES, OTHER))}")
            if record["id"] not in asked:
                raise DataError(f"conversation {record['id']!r} is not in the curated held-out set")
            answer = Answer(record["id"], record["text"], record["ended"], record["tokens"])
            found.append(Labelled(asked[answer.id], record["model"], answer, labels))
        except (ValueError, KeyError, TypeError, DataError) as error:
            what = f"field {error} is missing" if isinstance(error, KeyError) else error
            raise DataError(f"{path}:{number}: {what}") from error
    return found


def agreement(
    labelled: Sequence[Labelled], case_of: Callable[[Labelled], Case] = lambda one: Case(one.conversation, one.answer)
) -> list[Agreement]:
    """Every detector against the labels. `case_of` adds what was checked, where there are checks."""
    found = []
    cases = [case_of(one) for one in labelled]
    for category, detector in DETECTORS.items():
        said, true = [detector(case) for case in cases], [category in one.labels for one in labelled]
        both = sum(x and y for x, y in zip(said, true, strict=True))
        found.append(Agreement(category, sum(true), sum(said), wilson(both, sum(true)), wilson(both, sum(said))))
    return found


def agreement_table(found: Sequence[Agreement]) -> str:
    """In Markdown, as it stands on the card."""
    rows = [[f"`{a.category}`", a.labelled, a.found, _words(a.recall), _words(a.precision)] for a in found]
    return markdown_table("lrrrr", ["category", "labelled", "found", "recall", "precision"], rows)


def _words(found: Estimate) -> str:
    return "" if found.value is None else f"{found.value:.2f} ({found.low:.2f}-{found.high:.2f})"
