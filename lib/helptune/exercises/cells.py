"""The parts of a solutions notebook, in nbgrader's format: which cells a learner writes, and which cells test them.

A cell's `nbgrader` metadata says what it is:
    answer   solution: true               code between BEGIN SOLUTION and END SOLUTION, or a text
    check    grade: true, locked: true    tests, some of them between BEGIN HIDDEN TESTS and END HIDDEN TESTS
    card     locked: true                 what is asked, with its hints
A text answer is graded by a person: grade and solution are both true.
"""

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jupytext
from nbformat import NotebookNode

from helptune.errors import DataError

Kind = Literal["answer", "check", "card", "plain"]
SOLUTION = ("### BEGIN SOLUTION", "### END SOLUTION")
HIDDEN = ("### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS")
LEARNER_ONLY = "learner"
"""Tag of a cell that is for a person's eyes: grading does not run it."""


@dataclass(frozen=True)
class Cell:
    """One cell of a solutions notebook. `name` is its grade_id, empty for plain cells; `points` is 0 where none are."""

    kind: Kind
    source: str
    is_code: bool
    name: str = ""
    points: float = 0
    tags: tuple[str, ...] = ()

    @property
    def question(self) -> str:
        """What its points are for: the check "update_check" and the card "update_card" belong to "update"."""
        return self.name.removesuffix("_check").removesuffix("_card")

    @property
    def is_read_by_a_person(self) -> bool:
        return self.kind == "answer" and not self.is_code


def read_solutions(path: Path) -> NotebookNode:
    """The notebook in a py:percent file."""
    return jupytext.read(path, fmt="py:percent")


def tagged_cells(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """(metadata, source) of each piece of code in a py:percent file."""
    for cell in jupytext.read(path, fmt="py:percent").cells:
        if cell.cell_type == "code" and cell.source.strip():
            yield cell.metadata, cell.source


def run_cell(source: str, namespace: dict[str, Any], where: str = "cell") -> None:
    """Run code of the course's own, without what it prints."""
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(source, f"<{where}>", "exec"), namespace)


def cells_of(notebook: NotebookNode, where: str = "notebook") -> list[Cell]:
    """Raises DataError when two cells share a grade_id, or a marker has no partner."""
    cells = [_cell(cell) for cell in notebook.cells]
    names = [cell.name for cell in cells if cell.name]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{where}: more than one cell has the grade_id {', '.join(twice)}")
    for number, cell in enumerate(cells):
        for begin, end in (SOLUTION, HIDDEN):
            if cell.source.count(begin) != cell.source.count(end):
                raise DataError(f"{where}, cell {number} ({cell.name or 'plain'}): {begin} and {end} come in pairs")
    return cells


def _cell(cell: NotebookNode) -> Cell:
    about: dict[str, Any] = cell.metadata.get("nbgrader", {})
    tags = tuple(cell.metadata.get("tags", ()))
    is_code = cell.cell_type == "code"
    if not about:
        return Cell("plain", cell.source, is_code, tags=tags)
    kind: Kind = "answer" if about.get("solution") else "check" if about.get("grade") else "card"
    return Cell(kind, cell.source, is_code, about["grade_id"], float(about.get("points", 0)), tags)
