"""Solutions become exercises: answers turn into stubs, hidden tests and outputs go. As `nbgrader generate_assignment`.

Two files for each notebook, the .ipynb that a learner opens and its py:percent pair. The same source gives the same
bytes: cell ids come from the notebook's name and the cell's place.
"""

import hashlib
import re
from copy import deepcopy
from pathlib import Path

import jupytext
import nbformat
from jupytext.config import JupytextConfiguration
from nbformat import NotebookNode

from helptune.exercises.cells import HIDDEN, SOLUTION, cells_of, read_solutions
from helptune.files import write_whole

CODE_STUB = ("# YOUR CODE HERE", "raise NotImplementedError()")
TEXT_STUB = "YOUR ANSWER HERE"
PICTURES = "expected"
"""The folder, beside a solution, of pictures of what a right answer shows."""

_PAIRS = JupytextConfiguration(
    notebook_metadata_filter="kernelspec,-jupytext.text_representation.jupytext_version",
    cell_metadata_filter="all,-execution,-collapsed,-scrolled,-ExecuteTime",
)
"""As jupytext.toml has it, for a file that is not there yet."""


def release(notebook: NotebookNode, name: str) -> NotebookNode:
    """The exercise of a solutions notebook called `name`."""
    released = deepcopy(notebook)
    for number, (cell, part) in enumerate(zip(released.cells, cells_of(notebook, name), strict=True)):
        cell.id = hashlib.sha256(f"{name}/{number}".encode()).hexdigest()[:8]
        cell.metadata.pop("lines_to_next_cell", None)  # how the source was laid out, not what it says
        if part.is_code:
            cell.outputs, cell.execution_count = [], None
            cell.source = without(HIDDEN, stub(part.source))
        elif part.is_read_by_a_person:
            cell.source = TEXT_STUB
    return released


def stub(source: str) -> str:
    """The code with each solution replaced by `raise NotImplementedError()`, at its indentation."""
    lines = [f"\\g<1>{line}" for line in CODE_STUB]
    return re.sub(rf"^([ \t]*){SOLUTION[0]}$.*?^[ \t]*{SOLUTION[1]}$", "\n".join(lines), source, flags=re.S | re.M)


def without(marks: tuple[str, str], source: str) -> str:
    """The code without what stands between two marks, and without the marks."""
    return re.sub(rf"^[ \t]*{marks[0]}$.*?^[ \t]*{marks[1]}$\n?", "", source, flags=re.S | re.M).rstrip("\n")


def exercise_files(solution: Path) -> dict[str, str]:
    """{file name: its text} of the exercise of `solution`, a py:percent file."""
    name = solution.stem
    released = release(read_solutions(solution), name)
    return {
        f"{name}.py": jupytext.writes(released, fmt="py:percent", config=_PAIRS),
        f"{name}.ipynb": nbformat.writes(released) + "\n",
    }


def solution_files(folder: Path) -> list[Path]:
    """solutions/NN_name/NN_name.py, in order."""
    return sorted(path for path in folder.glob("*/*.py") if path.stem == path.parent.name)


def wanted_files(solution: Path) -> dict[str, bytes]:
    """{name in the exercise's folder: content}: notebook, pair, and the pictures they show."""
    files = {name: text.encode() for name, text in exercise_files(solution).items()}
    return files | {f"{PICTURES}/{path.name}": path.read_bytes() for path in (solution.parent / PICTURES).glob("*.png")}


def build(solutions: Path, exercises: Path) -> list[Path]:
    """Write the exercises of all solutions. Returns the files that changed."""
    changed = _drifted(solution_files(solutions), exercises)
    for path, content in changed.items():
        _write(path, content)
    return list(changed)


def _write(path: Path, content: bytes) -> None:
    write_whole(path, lambda part: part.write_bytes(content))


def drifted(found: list[Path], exercises: Path) -> list[Path]:
    """The files of exercises that are missing, or are not what their solutions give."""
    return list(_drifted(found, exercises))


def _drifted(found: list[Path], exercises: Path) -> dict[Path, bytes]:
    """{file: what it should hold}."""
    wanted = {exercises / path.stem / name: text for path in found for name, text in wanted_files(path).items()}
    return {p: content for p, content in wanted.items() if not p.exists() or p.read_bytes() != content}
