"""A notebook and its py:percent file hold the same cells. Files' times say nothing: a checkout sets them anew."""

import re

import pytest
from notebooks import COURSE, EXECUTED, EXERCISES, ROOT, code, name, pair, read

from helptune.exercises.release import drifted, solution_files

OF_ONE_FILE_ALONE = ("execution", "collapsed", "scrolled", "ExecuteTime", "lines_to_next_cell")


def cells(notebook):
    """What of each cell stands in both files."""
    return [
        (
            cell.cell_type,
            cell.source.strip(),
            {key: value for key, value in cell.metadata.items() if key not in OF_ONE_FILE_ALONE},
        )
        for cell in notebook.cells
    ]


@pytest.mark.parametrize("path", EXECUTED + EXERCISES, ids=name)
def test_notebook_and_script_hold_the_same_cells(path):
    assert cells(read(path)) == cells(pair(path)), f"run .ci/notebooks.py {name(path.with_suffix('.py'))}"


def test_every_source_has_its_notebook():
    sources = [*(ROOT / "course").glob("*.py"), *solution_files(ROOT / "solutions")]
    assert sorted(path.with_suffix(".ipynb") for path in sources) == sorted(EXECUTED)


def test_exercises_are_what_the_solutions_give():
    assert drifted(solution_files(ROOT / "solutions"), ROOT / "exercises") == [], "run helptune exercises build"


def test_no_exercise_is_without_its_solution():
    names = {path.stem for path in solution_files(ROOT / "solutions")}
    assert {path.parent.name for path in EXERCISES} == names


def test_no_exercise_shows_an_answer():
    for path in EXERCISES:
        text = path.read_text() + path.with_suffix(".py").read_text()
        assert not re.search("BEGIN SOLUTION|HIDDEN TESTS", text), name(path)
        assert all(cell.outputs == [] and cell.execution_count is None for cell in code(read(path))), name(path)


def test_numbers_and_names_agree():
    """course/NN_name, solutions/NN_name and the check's module `name`."""
    lessons = {path.stem for path in COURSE}
    for path in EXERCISES:
        assert path.stem == path.parent.name
        assert path.stem in lessons
        assert (ROOT / "lib/helptune/exercises/checks" / f"{path.stem[3:]}.py").exists()
