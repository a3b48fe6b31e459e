"""The long table of an evaluation: what was measured of one model on one item, a line of JSON each.

Everything that is said of a run is computed from this table, so another run can be set beside it, item by item, and a
reader can look up the answer behind a figure. What should be there and is not is a `Problem`, kept beside the table.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from helptune.errors import RunError
from helptune.files import write_text

ROWS, PROBLEMS = "rows.jsonl", "problems.jsonl"
"""Their names in a run's `eval/`."""


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
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read ({error}); `helptune evaluate` writes it") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            row = Row(**(record | {"failures": tuple(record.get("failures", ()))}))
        except (ValueError, TypeError, AttributeError) as error:
            raise RunError(
                f"{path}:{number}: no row of an evaluation ({error}); run `helptune evaluate` again"
            ) from error
        key = (row.part, row.item, row.model)
        if key in seen:
            raise RunError(f"{path}:{number}: {row.model} on {row.item!r} of {row.part} is already in line {seen[key]}")
        seen[key] = number
        rows.append(row)
    return rows
