"""The answer key of a notebook: what runs in the learner's process, what is asked, and the checks, ready to be tried.

A key proves itself when it is read: every check must be passed by the solution's own answers, called as a learner's
are, with all values through wire.py. What cannot be graded fairly is a DataError here, not a zero for a class.
"""

import ast
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType
from typing import Any

from nbformat import NotebookNode

from helptune.errors import DataError
from helptune.exercises import checks
from helptune.exercises.cells import HIDDEN, LEARNER_ONLY, Cell, cells_of, read_solutions, run_cell, tagged_cells
from helptune.exercises.grade import wire
from helptune.exercises.grade.trial import attempt, put_in
from helptune.exercises.mutants import answers_tested_by, defined_by
from helptune.exercises.release import TEXT_STUB, stub, without

_OURS = Path(__file__).parent


@dataclass(frozen=True)
class Step:
    """A cell that runs in the learner's process. `source` is the key's: a learner's answer takes its place."""

    name: str
    source: str
    is_answer: bool


@dataclass(frozen=True)
class Question:
    """What points are given for. `answers` are grade_ids; the parts of its check stand in the order they are tried."""

    name: str
    title: str
    points: float
    answers: tuple[str, ...]
    functions: tuple[str, ...] = ()
    visible: CodeType | None = None
    hidden: tuple[CodeType, ...] = ()
    """The hidden tests, and then the instructor's own checks. A text, read by a person, has no check."""
    namespace: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def is_read_by_a_person(self) -> bool:
        return self.visible is None


@dataclass(frozen=True)
class Key:
    name: str
    steps: tuple[Step, ...]
    questions: tuple[Question, ...]
    answers: dict[str, Cell]
    stubs: dict[str, str]
    check_cells: dict[str, str]
    """The check cells as learners have them."""
    plain: tuple[str, ...]
    """The other cells as learners have them, code only."""
    sentences: frozenset[str]
    """All texts that stand in the checks word for word: what may be told of a hidden test."""

    @property
    def needs_library(self) -> bool:
        return any(re.search(r"^\s*(from|import)\s+helptune", step.source, re.MULTILINE) for step in self.steps)


def fingerprint(solution: Path, extra: Path | None) -> str:
    """Of all that decides a mark beside the submission: key, private checks, and the code of checks and grading."""
    files = [solution, *([extra] if extra else []), *sorted(_checks().glob("*.py"))]
    files += [*sorted(_OURS.glob("*.py")), *(_OURS.parent / f"{name}.py" for name in ("check", "mistakes", "cells"))]
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _checks() -> Path:
    return Path(str(checks.__file__)).parent


def read_key(solution: Path, extra: Path | None = None) -> Key:
    """The key in a solutions file, with the instructor's own checks. Runs all its cells, so it takes their time."""
    notebook, name = read_solutions(solution), solution.stem
    cells = cells_of(notebook, solution.name)
    answers = {cell.name: cell for cell in cells if cell.kind == "answer"}
    written = {name: cell for name, cell in answers.items() if cell.is_code}
    _must_not_leak(cells, written, solution.name)
    private = _read_extra(extra, written) if extra else {}
    questions, namespace = [], {"__name__": "__main__"}
    titles = {cell.question: cell.source.lstrip("# ").partition("\n")[0] for cell in cells if cell.kind == "card"}
    for cell in cells:
        title = titles.get(cell.question, cell.question)
        if cell.is_read_by_a_person:
            questions.append(Question(cell.name, title, cell.points, (cell.name,)))
        elif cell.kind == "check" and cell.is_code:
            questions.append(_question(cell, title, written, private, dict(namespace), solution.name))
        if cell.is_code and LEARNER_ONLY not in cell.tags:  # a check, too: others may use what it imports
            _run(cell, namespace, solution.name)
    for question in questions:
        _prove(question, f"{solution.name}, {question.name}")
    sources = [cell.source for cell in cells if cell.kind == "check"]
    files = [_checks() / f"{_topic(name)}.py", *([extra] if extra else [])]
    sources += [path.read_text(encoding="utf-8") for path in files if path.exists()]
    return Key(
        name=name,
        steps=tuple(_steps(notebook, cells)),
        questions=tuple(questions),
        answers=answers,
        stubs={n: stub(cell.source) if cell.is_code else TEXT_STUB for n, cell in answers.items()},
        check_cells={cell.name: without(HIDDEN, cell.source) for cell in cells if cell.kind == "check"},
        plain=tuple(cell.source for cell in cells if cell.is_code and cell.kind in ("plain", "card")),
        sentences=frozenset(text for source in sources for text in _texts(source)),
    )


def _topic(name: str) -> str:
    return name.partition("_")[2]


def _texts(source: str) -> Iterator[str]:
    nodes = ast.walk(ast.parse(source))
    return (node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))


def _steps(notebook: NotebookNode, cells: list[Cell]) -> Iterator[Step]:
    """All code but checks, what is for a person's eyes, and the pictures beside the answers."""
    for number, (raw, cell) in enumerate(zip(notebook.cells, cells, strict=True)):
        if cell.is_code and cell.kind != "check" and LEARNER_ONLY not in cell.tags and "picture" not in raw.metadata:
            yield Step(cell.name or f"cell {number}", cell.source, cell.kind == "answer")


def _run(cell: Cell, namespace: dict[str, Any], where: str) -> None:
    try:
        run_cell(cell.source, namespace, where)
    except Exception as error:
        raise DataError(f"{where}: its own cell {cell.name or cell.source[:60]!r} raised {error!r}") from error


def _question(
    check: Cell,
    title: str,
    answers: dict[str, Cell],
    private: dict[str, list[str]],
    namespace: dict[str, Any],
    where: str,
) -> Question:
    tested = answers_tested_by(check, answers)
    visible, hidden = _parts(check.source, f"{where}, {check.name}")
    extra = [source for name in tested for source in private.get(name, ())]
    return Question(
        name=check.question,
        title=title,
        points=check.points,
        answers=tuple(tested),
        functions=tuple(name for answer in tested for name in defined_by(answers[answer].source)),
        visible=visible,
        hidden=tuple(code for code in [hidden, *(compile(source, "<extra>", "exec") for source in extra)] if code),
        namespace=namespace,
    )


def _parts(source: str, where: str) -> tuple[CodeType, CodeType | None]:
    """What learners see of a check, and its hidden tests."""
    tree, hidden = ast.parse(source), set()
    inside = False
    for number, line in enumerate(source.splitlines(), 1):
        inside = (inside or line.strip() == HIDDEN[0]) and line.strip() != HIDDEN[1]
        if inside:
            hidden.add(number)
    parts: tuple[list[ast.stmt], list[ast.stmt]] = ([], [])
    for statement in tree.body:
        lines = set(range(statement.lineno, (statement.end_lineno or statement.lineno) + 1))
        if lines & hidden and lines - hidden:
            raise DataError(f"{where}: hidden tests stand in the middle of a statement; put them at the left margin")
        parts[bool(lines & hidden)].append(statement)
    codes = [compile(ast.Module(part, []), "<check>", "exec") for part in parts]
    return codes[0], codes[1] if parts[1] else None


def _read_extra(path: Path, answers: dict[str, Cell]) -> dict[str, list[str]]:
    """{answer: sources} of the instructor's own checks."""
    found: dict[str, list[str]] = {}
    for about, source in tagged_cells(path):
        name = about.get("exercise")
        if name not in answers:
            raise DataError(f'{path}: a cell needs exercise="...", one of {", ".join(answers)}; found {name!r}')
        found.setdefault(name, []).append(source)
    return found


def _prove(question: Question, where: str) -> None:
    """The solution's own answer must pass, through the wire; and it must be asked at all."""
    if question.visible is None:
        return
    namespace = dict(question.namespace)
    own = {name: namespace.get(name) for name in question.functions}

    def ask(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        args, kwargs = _through_the_wire((args, kwargs))
        return _through_the_wire({"value": own[name](*args, **kwargs)})  # type: ignore[misc]

    stand_ins = put_in(namespace, question.functions, ask)
    for code in (question.visible, *question.hidden):
        if found := attempt(code, namespace, stand_ins):
            raise DataError(f"{where}: the solution does not pass its own check, called as answers are: {found.text}")
    if not any(stand_in.calls for stand_in in stand_ins):
        raise DataError(f"{where}: the check calls no function of an answer, so it would pass without one")


def _through_the_wire(value: Any) -> Any:
    message = wire.pack(value)
    size = wire.HEAD.size + wire.sizes(message[: wire.HEAD.size])[0]
    return wire.unpack(message[wire.HEAD.size : size], message[size:])


def _must_not_leak(cells: Iterable[Cell], answers: dict[str, Cell], where: str) -> None:
    """A check may use an answer's functions alone, not what the solution's own answers have left in other cells."""
    functions = {name for answer in answers.values() for name in defined_by(answer.source)}
    made: set[str] = set()
    for cell in cells:
        if not cell.is_code or LEARNER_ONLY in cell.tags:
            continue
        tree = ast.parse(cell.source)
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        if cell.kind == "answer":
            made |= assigned(tree) - functions
            continue
        if cell.kind == "check" and (leaked := sorted(used & made)):
            raise DataError(
                f"{where}, {cell.name}: uses {', '.join(leaked)}, which would be the solution's and not the learner's: "
                "a check may use the functions of answers only"
            )
        if used & (made | functions):
            made |= assigned(tree)


def assigned(tree: ast.AST) -> set[str]:
    """The names that a cell defines at its top level; imports are not among them."""
    names: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif not isinstance(node, ast.Lambda):
            names |= assigned(node)
    return names
