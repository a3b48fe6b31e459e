"""A submission on the key's skeleton: the learner's answers by their grade_id, and nothing else of the learner's.

Whatever a notebook file holds, this says in plain words what is wrong with it, and goes on with the rest.
"""

import ast
import json
from dataclasses import dataclass, field
from typing import Any

from helptune.errors import DataError
from helptune.exercises.cells import HIDDEN
from helptune.exercises.grade.key import Key, assigned
from helptune.exercises.release import without

MAX_ANSWER = 64 * 2**10


@dataclass
class Rebuilt:
    """`missing` says why an answer is not there; `flags` are (what, detail); `reason`, if any, is that of all."""

    answers: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    flags: list[tuple[str, str]] = field(default_factory=list)
    own_names: set[str] = field(default_factory=set)
    """What cells define that grading leaves out."""
    reason: str = ""


@dataclass(frozen=True)
class _Found:
    is_code: bool
    source: str
    name: str


def rebuild(content: bytes, key: Key) -> Rebuilt:
    try:
        cells = _cells(content)
    except DataError as error:
        return unreadable(key, str(error))
    built = Rebuilt()
    for name, answer in key.answers.items():
        same = {(cell.is_code, cell.source) for cell in cells if cell.name == name}
        if not same:
            built.missing[name] = f"the cell of this answer (grade_id {name}) is not in the notebook"
            built.flags.append(("cell missing", name))
        elif len(same) > 1:
            built.missing[name] = f"several cells say that they are this answer (grade_id {name}): which one is it?"
            built.flags.append(("cell duplicated", name))
        else:
            ((is_code, source),) = same
            if is_code != answer.is_code:
                built.missing[name] = f"the answer's cell became {'code' if is_code else 'text'}"
                built.flags.append(("wrong cell type", name))
            elif len(source) > MAX_ANSWER:
                built.missing[name] = f"the answer has more than {MAX_ANSWER >> 10} KiB"
                built.flags.append(("too long", name))
            else:
                built.answers[name] = source
    if len(built.missing) == len(key.answers) and not any(cell.name for cell in cells):
        built.reason = (
            "no cell says which answer it is: the cells' metadata were removed. Copy the answers into a fresh exercise."
        )
    _look_at_checks(cells, key, built)
    _look_at_others(cells, key, built)
    return built


def unreadable(key: Key, reason: str) -> Rebuilt:
    return Rebuilt(missing=dict.fromkeys(key.answers, reason), flags=[("unreadable", reason)], reason=reason)


def _cells(content: bytes) -> list[_Found]:
    try:
        notebook = json.loads(content)
    except (ValueError, RecursionError, MemoryError) as error:
        raise DataError("the file is no notebook: it is not valid JSON") from error
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        raise DataError("the file is no notebook of format 4: it holds no list of cells")
    if notebook.get("nbformat") != 4:
        raise DataError("the notebook is not of format 4: open it in JupyterLab and save it again")
    return [_cell(cell) for cell in notebook["cells"] if isinstance(cell, dict)]


def _cell(cell: dict[str, Any]) -> _Found:
    source = cell.get("source", "")
    if isinstance(source, list):
        source = "".join(line for line in source if isinstance(line, str))
    about: Any = cell.get("metadata")
    about = about.get("nbgrader") if isinstance(about, dict) else None
    name = about.get("grade_id") if isinstance(about, dict) else None
    source = source if isinstance(source, str) else ""
    return _Found(cell.get("cell_type") == "code", source, name if isinstance(name, str) else "")


def _look_at_checks(cells: list[_Found], key: Key, built: Rebuilt) -> None:
    """Learners' check cells are not used. That they were changed is worth knowing."""
    for name, source in key.check_cells.items():
        theirs = [cell.source for cell in cells if cell.name == name]
        if not theirs:
            built.flags.append(("check removed", name))
        elif any(without(HIDDEN, text).strip() != source.strip() for text in theirs):
            built.flags.append(("check edited", name))


def _look_at_others(cells: list[_Found], key: Key, built: Rebuilt) -> None:
    """The names defined in cells that are not run, as they are the learner's own."""
    ours = {*key.plain, *key.check_cells.values()}
    known = set().union(*map(_names, key.plain)) if key.plain else set()
    for cell in cells:
        if cell.is_code and cell.name not in key.answers and cell.source not in ours:
            built.own_names |= _names(cell.source)
    built.own_names -= known


def _names(source: str) -> set[str]:
    try:
        tree = ast.parse(source[:MAX_ANSWER])
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    imported = {
        (alias.asname or alias.name).partition(".")[0]
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    try:
        return assigned(tree) | imported
    except RecursionError:
        return imported
