"""What the capability of a model is measured on: choices to complete, exact answers, and plain prose.

Written for the project as cloze texts: a base model that never saw a question-and-answer format can be measured by
how likely it finds each ending (Brown et al. 2020, arXiv:2005.14165, sec. 2.4). See data_cards/capability.md.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helptune.data.records import read_records
from helptune.errors import DataError

SHIPPED = Path(__file__).parent / "items"
TASKS = ("knowledge", "common_sense", "language", "science", "reading")
GENRES = ("narrative", "manual", "news", "science", "dialogue", "essay")
_WRONG = 3


@dataclass(frozen=True)
class Choice:
    """`stem` and a space go before each ending; one of them is right."""

    id: str
    task: str
    stem: str
    right: str
    wrong: tuple[str, ...]

    @property
    def endings(self) -> tuple[str, ...]:
        """The right one is the first: no ending sees another, so their order says nothing to the model."""
        return (self.right, *self.wrong)


@dataclass(frozen=True)
class Exact:
    """`stem`, a space and `answer`, which is right only as it stands, followed by the end of the line."""

    id: str
    task: str
    stem: str
    answer: str


@dataclass(frozen=True)
class Passage:
    """A text of its own, not continued from another."""

    id: str
    genre: str
    text: str


def load_choices(folder: Path = SHIPPED) -> list[Choice]:
    """Of all TASKS, in order. Raises DataError naming file, line and field."""
    found = [choice for task in TASKS for choice in read_records(folder / f"{task}.jsonl", _choice)]
    _check_ids(folder, [choice.id for choice in found])
    return found


def load_passages(folder: Path = SHIPPED) -> list[Passage]:
    """Raises DataError naming file, line and field."""
    found = list(read_records(folder / "passages.jsonl", _passage))
    _check_ids(folder, [passage.id for passage in found])
    return found


def _choice(record: Any) -> Choice:
    _check_fields(record, Choice)
    wrong = record["wrong"]
    if not isinstance(wrong, list) or len(wrong) != _WRONG:
        raise DataError(f"field 'wrong' must be a list of {_WRONG} texts, found {wrong!r}")
    for name, text in [(name, record[name]) for name in ("id", "stem", "right")] + [("wrong", text) for text in wrong]:
        _check_text(name, text)
    if record["task"] not in TASKS:
        raise DataError(f"field 'task': {record['task']!r} is not one of {', '.join(TASKS)}")
    if len({text.lower() for text in (record["right"], *wrong)}) <= _WRONG:
        raise DataError("fields 'right' and 'wrong': two endings are the same")
    return Choice(**record | {"wrong": tuple(wrong)})


def _passage(record: Any) -> Passage:
    _check_fields(record, Passage)
    for name in ("id", "text"):
        _check_text(name, record[name])
    if record["genre"] not in GENRES:
        raise DataError(f"field 'genre': {record['genre']!r} is not one of {', '.join(GENRES)}")
    return Passage(**record)


def _check_fields(record: Any, kind: type) -> None:
    if not isinstance(record, dict):
        raise DataError(f"expected a JSON object, found {type(record).__name__}")
    names = tuple(kind.__dataclass_fields__)  # type: ignore[attr-defined]
    if wrong := sorted(set(record) ^ set(names)):
        raise DataError(f"field {wrong[0]!r} is {'unknown' if wrong[0] in record else 'missing'}; a record has {names}")


def _check_text(name: str, text: Any) -> None:
    if not isinstance(text, str) or not text or text != text.strip():
        raise DataError(f"field {name!r} must be a text without spaces around it, found {text!r}")


def _check_ids(folder: Path, ids: list[str]) -> None:
    if len(set(ids)) < len(ids):
        twice = next(id for id in ids if ids.count(id) > 1)
        raise DataError(f"{folder}: the id {twice!r} comes twice")
