"""Marks as CSV, for a spreadsheet: a row for each question. And a person's marks, read from such a file."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from helptune.errors import DataError
from helptune.exercises.grade.mark import RIGHT, TO_BE_READ, WRONG
from helptune.exercises.grade.submissions import shown
from helptune.files import write_whole

HEAD = ("learner", "notebook", "question", "points", "of", "status", "hint", "flags", "seconds")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
Marks = dict[tuple[str, str, str], float]
"""(learner as shown, notebook, question) -> points."""


def write_marks(path: Path, results: Sequence[dict[str, Any]]) -> None:
    rows = []
    for result, question in _questions(results):
        others = _names(result) - {question["question"]}
        flags = {what for what, detail in result["flags"] if detail not in others}
        told = (question["status"], question["hint"], "; ".join(sorted(flags)), round(question["seconds"], 2))
        points = (f"{question[name]:g}" for name in ("points", "of"))
        rows.append((*_who(result, question), *points, *told))
    _write(path, HEAD, rows)


def write_to_read(path: Path, results: Sequence[dict[str, Any]]) -> None:
    """The answers that wait for a person. Filled in, the file is what --marks reads."""
    waiting = [(r, q) for r, q in _questions(results) if q["status"] == TO_BE_READ]
    rows = [(*_who(r, q), "", f"{q['of']:g}", "\n".join(q["answers"])) for r, q in waiting]
    _write(path, ("learner", "notebook", "question", "points", "of", "answer"), rows)


def read_marks(path: Path) -> Marks:
    """A person's points, from the columns learner, notebook, question and points; rows without points say nothing."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a readable CSV file ({error})") from error
    marks: Marks = {}
    reader = csv.DictReader(io.StringIO(text, newline=""))
    if missing := {"learner", "notebook", "question", "points"} - set(reader.fieldnames or ()):
        raise DataError(f"{path}: has no column {', '.join(sorted(missing))}")
    for row in reader:
        if not (row["points"] or "").strip():
            continue
        try:
            points = float(row["points"])
        except ValueError as error:
            raise DataError(f"{path}, line {reader.line_num}: {row['points']!r} are no points") from error
        marks[_bare(row["learner"]), row["notebook"], row["question"]] = points
    return marks


def with_marks(results: Sequence[dict[str, Any]], marks: Marks) -> list[dict[str, Any]]:
    """The results with a person's points in place. Raises DataError for points of nothing, or out of range."""
    left, changed = dict(marks), []
    for result in results:
        questions = []
        for question in result["questions"]:
            points = left.pop((shown(result["learner"]), result["notebook"], question["question"]), None)
            questions.append(question if points is None else _given(question, points))
        changed.append(result | {"questions": questions})
    if left:
        raise DataError(f"marks are given for what was not graded: {', '.join(map(str, sorted(left)[:5]))}")
    return changed


def _given(question: dict[str, Any], points: float) -> dict[str, Any]:
    if not 0 <= points <= question["of"]:
        raise DataError(f"{question['question']}: {points:g} points are given, of {question['of']:g}")
    status = RIGHT if points == question["of"] else WRONG
    if points == question["points"] and status == question["status"]:
        return question
    words = "Read by a person." if question["status"] == TO_BE_READ else "A person decided on these points."
    return question | {"points": points, "status": status, "hint": "", "told": words}


def _questions(results: Sequence[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    return [(result, question) for result in results for question in result["questions"]]


def _names(result: dict[str, Any]) -> set[str]:
    return {question["question"] for question in result["questions"]}


def _who(result: dict[str, Any], question: dict[str, Any]) -> tuple[str, str, str]:
    return shown(result["learner"]), result["notebook"], question["question"]


def _write(path: Path, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(head)
    writer.writerows([[_plain(cell) for cell in row] for row in rows])
    data = text.getvalue().encode("utf-8", errors="replace")
    write_whole(path, lambda part: part.write_bytes(data))


def _plain(cell: Any) -> Any:
    """A text that a spreadsheet would take for a formula gets an apostrophe before it."""
    return f"'{cell}" if isinstance(cell, str) and cell.lstrip(" ").startswith(_FORMULA) else cell


def _bare(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and _plain(cell[1:]) == cell else cell
