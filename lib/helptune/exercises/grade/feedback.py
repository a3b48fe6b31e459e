"""A page for a learner: each question's points and reason, beside what was written. Hidden tests are not told."""

from pathlib import Path
from typing import Any

from helptune.exercises.grade.mark import NOT_GRADED, TO_BE_READ
from helptune.exercises.grade.submissions import shown
from helptune.experiment.templates import template
from helptune.files import write_whole
from helptune.text import printable

SYMBOLS = {"right": "✓", "wrong": "✗", "not written": "–", "missing": "?", "to be read": "…", NOT_GRADED: "!"}
_LONGEST = 20_000


def write_feedback(path: Path, result: dict[str, Any]) -> None:
    questions = result["questions"]
    waiting = sum(question["of"] for question in questions if question["status"] == TO_BE_READ)
    page = template("feedback.html.j2", package="helptune.exercises.grade", shown=_shown, told=_told).render(
        learner=shown(result["learner"]),
        notebook=result["notebook"],
        reason=result["reason"],
        questions=questions,
        points=sum(question["points"] for question in questions),
        of=sum(question["of"] for question in questions),
        waiting=waiting,
        symbols=SYMBOLS,
    )
    write_page(path, page)


def write_page(path: Path, page: str) -> None:
    data = page.encode("utf-8", errors="replace")
    write_whole(path, lambda part: part.write_bytes(data))


def _shown(text: str) -> str:
    return printable(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}\n(and more)")


def _told(question: dict[str, Any]) -> str:
    """A sentence of its own."""
    text = printable(question["told"])
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?", "!")) else ".")
