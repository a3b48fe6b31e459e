"""Every exercise is graded as its notebook checks it: the same verdicts, by the same names, through the sandbox."""

import json
import shutil
from pathlib import Path

import pytest
from grading_class import notebook_with

from helptune.exercises.cells import cells_of, read_solutions
from helptune.exercises.grade.batch import grade_all
from helptune.exercises.grade.key import read_key
from helptune.exercises.grade.sandbox import Limits, Sandbox
from helptune.exercises.grade.trial import attempt, put_in
from helptune.exercises.grade.view import View
from helptune.exercises.mutants import read_mutants
from helptune.exercises.release import solution_files

SOLUTIONS = Path(__file__).parents[2] / "solutions"
LORA = SOLUTIONS / "02_lora_math" / "02_lora_math.py"


@pytest.mark.parametrize("solution", solution_files(SOLUTIONS), ids=lambda path: path.stem)
def test_answers_get_the_same_verdicts_in_the_sandbox_as_in_the_notebook(solution, needs_bwrap, tmp_path, monkeypatch):
    """One worker for all of them: each known answer takes the solution's place, is checked, and gives it back."""
    monkeypatch.setenv("HELPTUNE_PROGRESS", str(tmp_path / "progress.json"))
    key = read_key(solution)
    mutants = solution.with_name("mutants.py")
    wrong = []
    with Sandbox(Limits(), View(key.needs_library)) as worker:

        def define(name, source):
            return worker.ask({"run": source, "name": name})

        def ask(name, args, kwargs):
            return worker.ask({"call": name, "args": list(args), "kwargs": kwargs})

        for step in key.steps:
            assert "value" in define(step.name, step.source), step.name
        for mutant in read_mutants(mutants) if mutants.exists() else []:
            define(mutant.exercise, mutant.source)
            for question in (q for q in key.questions if mutant.exercise in q.answers and q.visible):
                namespace = dict(question.namespace)
                stand_ins = put_in(namespace, question.functions, ask)
                found = (attempt(part, namespace, stand_ins) for part in (question.visible, *question.hidden))
                hint = next((one.hint for one in found if one), None)
                if hint != mutant.hint:
                    wrong.append((mutant.exercise, mutant.line, mutant.hint, hint))
            define(mutant.exercise, key.answers[mutant.exercise].source)
    assert wrong == []


def right_answers(solution):
    """The solution itself, and each other right answer that is known."""
    yield "solution", notebook_with(solution, **solution_sources(solution))
    for mutant in read_mutants(solution.with_name("mutants.py")):
        if mutant.hint is None:
            sources = solution_sources(solution) | {mutant.exercise: mutant.source}
            yield f"line_{mutant.line}", notebook_with(solution, **sources)


def solution_sources(solution):
    return {cell.name: cell.source for cell in cells_of(read_solutions(solution)) if cell.kind == "answer"}


def test_right_answers_get_full_marks_whoever_wrote_them(tmp_path, needs_bwrap):
    """A small class on a real notebook: what the guide's 100 submissions are in large, with hostile ones among them."""
    shutil.copytree(LORA.parent, tmp_path / "solutions" / LORA.stem)
    (tmp_path / "submitted").mkdir()
    for name, notebook in right_answers(LORA):
        (tmp_path / "submitted" / f"{name}.ipynb").write_text(json.dumps(notebook))
    for name, (source, _) in HOSTILE_HERE.items():
        notebook = notebook_with(LORA, **solution_sources(LORA) | {"lora_forward": source})
        (tmp_path / "submitted" / f"{name}.ipynb").write_text(json.dumps(notebook))
    done = grade_all(tmp_path / "submitted", tmp_path / "out", tmp_path / "solutions")
    results = {result["learner"]: result for result in done.results}
    for name, (_, hint) in HOSTILE_HERE.items():
        question = next(q for q in results.pop(name)["questions"] if q["question"] == "lora_forward")
        assert (question["points"], question["hint"]) == (0, hint), question
    assert len(results) >= 2
    for result in results.values():
        assert result["flags"] == []
        assert {q["status"] for q in result["questions"]} <= {"right", "to be read"}


FUNCTION = "def lora_forward(x, w, a, b, alpha):\n    "
HOSTILE_HERE = {
    "asks_the_checks": ("from helptune.exercises.checks import lora_math as lora_forward", "asks_the_library"),
    "loads_the_checks": (
        FUNCTION + "fetch = getattr(x, '__cla' + 'ss__').__base__\n    "
        "return getattr(__build_class__, '__se' + 'lf__').__import__('helpt' + 'une.adapt.lora')",
        "asks_the_library",
    ),
    "finds_the_loader": (
        FUNCTION + "load = getattr(getattr(__build_class__, '__se' + 'lf__'), '__imp' + 'ort__')\n    "
        "return load('helpt' + 'une.adapt.lora', fromlist=['x'])",
        "not_data",  # this notebook needs the library, so the module is there; it is no array
    ),
    "forks": (FUNCTION + "import os\n    os.fork()\n    return x @ w", "raised"),
    "ends": (FUNCTION + "import os\n    os._exit(0)", "ended"),
    "patches_jax": (
        "import jax.numpy as jnp\njnp.allclose = lambda *a, **k: True\n" + FUNCTION + "return x @ w",
        "no_update",
    ),
}
"""name -> (an answer on the real key, the hint it gets)."""
