"""Are wrong answers found out, by name, and other right answers accepted? The checks are tested with mutants.

`solutions/NN_name/mutants.py` holds, one a cell, whole answers to put in place of the solution's:

    # %% exercise="forward" hint="no_scale"     must be rejected with this hint
    # %% exercise="forward" right=true          must be accepted

They are tried in one pass over the solutions notebook: before a check cell runs, it runs with each mutant of the
answers it tests.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helptune.errors import DataError
from helptune.exercises.cells import Cell, cells_of, read_solutions, run_cell, tagged_cells
from helptune.exercises.mistakes import Mistake
from helptune.exercises.release import stub


@dataclass(frozen=True)
class Mutant:
    """An answer to try. `hint` names the mistake it makes; None says that it is right."""

    exercise: str
    source: str
    hint: str | None
    line: int


@dataclass(frozen=True)
class Verdict:
    """What a check said of one answer: the hint of its Mistake, or None when it was accepted."""

    exercise: str
    wanted: str | None
    found: str | None
    text: str
    where: str

    @property
    def holds(self) -> bool:
        return self.found == self.wanted

    def __str__(self) -> str:
        wanted = "accepted" if self.wanted is None else f"rejected with {self.wanted}"
        found = "accepted" if self.found is None else f"rejected with {self.found}: {self.text}"
        return f"{self.where}: {self.exercise}: should be {wanted}; was {found}"


def read_mutants(path: Path) -> list[Mutant]:
    """Raises DataError for a cell that does not say what it is."""
    text, mutants = path.read_text(encoding="utf-8"), []
    for about, source in tagged_cells(path):
        if "exercise" not in about or ("hint" in about) == bool(about.get("right")):
            raise DataError(f'{path}: a cell needs exercise="..." and one of hint="..." and right=true:\n{source}')
        line = text[: max(text.find(source), 0)].count("\n") + 1
        mutants.append(Mutant(about["exercise"], source, about.get("hint"), line))
    return mutants


def try_mutants(solution: Path) -> Iterator[Verdict]:
    """Each mutant of `solution`, a solutions file. Unwritten stubs and the solution itself are mutants, too."""
    cells = cells_of(read_solutions(solution), solution.name)
    path = solution.with_name("mutants.py")
    mutants = read_mutants(path) if path.exists() else []
    answers = {cell.name: cell for cell in cells if cell.kind == "answer" and cell.is_code}
    if unknown := sorted({mutant.exercise for mutant in mutants} - set(answers)):
        raise DataError(f"{path}: no answer of {solution.name} is called {', '.join(unknown)}")
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for cell in cells:
        if cell.is_code and cell.kind == "check":
            tested = [answers[name] for name in answers_tested_by(cell, answers)]
            for answer in tested:
                candidates = [Mutant(answer.name, stub(answer.source), "not_written", 0)]
                candidates += [mutant for mutant in mutants if mutant.exercise == answer.name]
                candidates += [Mutant(answer.name, answer.source, None, 0)]
                for mutant in candidates:
                    yield _verdict(cell, mutant, namespace, f"{path.parent.name}/{path.name}:{mutant.line}")
        if cell.is_code:
            run_cell(cell.source, namespace)


def answers_tested_by(check: Cell, answers: dict[str, Cell]) -> list[str]:
    """The names of the answers whose functions a check cell uses."""
    used = {node.id for node in ast.walk(ast.parse(check.source)) if isinstance(node, ast.Name)}
    return [name for name, answer in answers.items() if used & set(defined_by(answer.source))]


def defined_by(source: str) -> list[str]:
    """The functions that an answer defines at its top level."""
    return [node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]


def _verdict(check: Cell, mutant: Mutant, namespace: dict[str, Any], where: str) -> Verdict:
    trial = dict(namespace)
    try:
        run_cell(mutant.source, trial)
        run_cell(check.source, trial)
    except Mistake as mistake:
        return Verdict(check.name, mutant.hint, mistake.hint, mistake.text, where)
    except Exception as error:
        return Verdict(check.name, mutant.hint, type(error).__name__, str(error), where)
    return Verdict(check.name, mutant.hint, None, "", where)
