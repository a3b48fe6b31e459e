"""A page for the instructor: how each question went, which mistakes are common, what to look at, and who is missing."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

from markupsafe import Markup

from helptune.exercises.grade.feedback import write_page
from helptune.exercises.grade.submissions import shown
from helptune.experiment.templates import template
from helptune.plots.grading import outcomes
from helptune.plots.style import blank, to_svg
from helptune.text import printable


def write_overview(
    path: Path, results: Sequence[dict[str, Any]], problems: Sequence[str], notebooks: Sequence[str]
) -> None:
    learners = sorted({shown(result["learner"]) for result in results})
    sections = [_section(name, [r for r in results if r["notebook"] == name], learners) for name in notebooks]
    page = template("overview.html.j2", package="helptune.exercises.grade", printable=printable).render(
        learners=learners,
        graded=len(results),
        sections=[section for section in sections if section["graded"]],
        empty=[section["name"] for section in sections if not section["graded"]],
        flags=_flags(results),
        problems=problems,
    )
    write_page(path, page)


def _section(name: str, results: Sequence[dict[str, Any]], learners: Sequence[str]) -> dict[str, Any]:
    rows: dict[str, Counter[str]] = {}
    points: dict[str, list[float]] = {}
    of: dict[str, float] = {}
    titles: dict[str, str] = {}
    for question in (question for result in results for question in result["questions"]):
        key = question["question"]
        rows.setdefault(key, Counter())[question["status"]] += 1
        points.setdefault(key, []).append(question["points"])
        of[key], titles[key] = question["of"], question["title"]
    there = {shown(result["learner"]) for result in results}
    seconds = [result["seconds"] for result in results]
    told = "; ".join(f"{key}: " + ", ".join(f"{n} {status}" for status, n in row.items()) for key, row in rows.items())
    picture = to_svg(outcomes(blank(6.4, 0.9 + 0.42 * len(rows)), rows)) if rows else ""
    return {
        "name": name,
        "graded": len(results),
        "picture": Markup(picture),  # ours, from matplotlib; matplotlib escapes the names in it
        "words": f"How the answers to each question turned out. {told}.",
        "questions": [(key, titles[key], fmean(points[key]), of[key], row) for key, row in rows.items()],
        "mistakes": _mistakes(results),
        "missing": [learner for learner in learners if learner not in there],
        "time": (median(seconds), max(seconds)) if seconds else None,
    }


def _mistakes(results: Sequence[dict[str, Any]]) -> list[tuple[str, str, int, str]]:
    """(question, hint, how many, what one of them was told), the most common first."""
    counts: Counter[tuple[str, str]] = Counter()
    texts: dict[tuple[str, str], str] = {}
    for question in (question for result in results for question in result["questions"]):
        if question["hint"] and question["status"] == "wrong":
            key = (question["question"], question["hint"])
            counts[key] += 1
            texts.setdefault(key, question["text"][:200])
    return [(*key, count, texts[key]) for key, count in counts.most_common()]


def _flags(results: Sequence[dict[str, Any]]) -> list[tuple[str, str, str, str]]:
    """(learner, notebook, what, detail)."""
    return [(shown(r["learner"]), r["notebook"], what, detail) for r in results for what, detail in r["flags"]]
