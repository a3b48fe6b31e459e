"""The long table of an evaluation: what was measured of one model on one item, a line of JSON each.

Everything that is said of a run is computed from this table, so another run can be set beside it, item by item, and a
reader can look up the answer behind a figure. What should be there and is not is a `Problem`, kept beside the table.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from helptune.errors import RunError
from helptune.files import write_text

ROWS, PROBLEMS = "rows.jsonl", "problems.jsonl"
"""Their names in a run's `eval/`."""
_AGAIN = "run `helptune evaluate` again"


@dataclass(frozen=True)
class Row:
    """`part` is the part of the evaluation (helpful, capability, safety, consistency, ...), `cluster` what shares a
    prompt, `metrics` a number each (True counts as 1), None where it does not apply or could not be had.

    `labels` are what counts are grouped by: category, difficulty, task.
    """

    part: str
    item: str
    model: str
    metrics: Mapping[str, float | None] = field(hash=False)
    cluster: str = ""
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    failures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Problem:
    """One item that could not be counted as asked: an answer that is missing, a vote for an unknown model, ..."""

    part: str
    item: str
    what: str
    where: str = ""


def write_rows(folder: Path, rows: Iterable[Row], problems: Iterable[Problem] = ()) -> None:
    write_text(folder / ROWS, "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows))
    write_text(folder / PROBLEMS, "".join(json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in problems))


def read_rows(folder: Path) -> list[Row]:
    """The rows of a run's `eval/`. Raises RunError naming file and line of a damaged one, and for one that is twice."""
    path, rows, seen = folder / ROWS, list[Row](), dict[tuple[str, str, str], int]()
    for number, record in _records(path):
        try:
            row = parse_row(record)
        except (TypeError, AttributeError) as error:
            raise RunError(f"{path}:{number}: no row of an evaluation ({error}); {_AGAIN}") from error
        key = (row.part, row.item, row.model)
        if key in seen:
            raise RunError(f"{path}:{number}: {row.model} on {row.item!r} of {row.part} is already in line {seen[key]}")
        seen[key] = number
        rows.append(row)
    return rows


def parse_row(record: Any) -> Row:
    """The row that a JSON object holds. Raises TypeError or AttributeError where it holds none."""
    return Row(**(record | {"failures": tuple(record.get("failures", ()))}))


def read_problems(folder: Path) -> list[Problem]:
    """The problems beside the rows. Raises RunError naming file and line of a damaged one."""
    path, found = folder / PROBLEMS, list[Problem]()
    for number, record in _records(path):
        try:
            found.append(Problem(**record))
        except TypeError as error:
            raise RunError(f"{path}:{number}: no problem of an evaluation ({error}); {_AGAIN}") from error
    return found


def _records(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read ({error}); `helptune evaluate` writes it") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                raise RunError(f"{path}:{number}: not usable JSON ({error}); {_AGAIN}") from error
