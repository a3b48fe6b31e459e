"""A solution becomes an exercise: what a learner must not see is gone, and everything else is as it was."""

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from helptune.errors import DataError
from helptune.exercises.cells import cells_of
from helptune.exercises.release import build, drifted, exercise_files, release, stub

ANSWER = """\
def double(x):
    '''Twice x.'''
    ### BEGIN SOLUTION
    y = 2 * x
    return y
    ### END SOLUTION
"""
CHECK = """\
assert double(2) == 4
### BEGIN HIDDEN TESTS
assert double(7) == 14
### END HIDDEN TESTS
"""


def about(name, **more):
    base = {"grade": False, "grade_id": name, "locked": False, "schema_version": 3, "solution": False, "task": False}
    return {"nbgrader": base | more}


def solutions_notebook():
    return new_notebook(
        cells=[
            new_markdown_cell("# Title"),
            new_markdown_cell("## Task", metadata=about("double_card", locked=True)),
            new_code_cell(ANSWER, metadata=about("double", solution=True)),
            new_code_cell(CHECK, metadata=about("double_check", grade=True, locked=True, points=2), execution_count=3),
            new_markdown_cell("Because.", metadata=about("why", grade=True, solution=True, points=1)),
        ]
    )


def test_answers_become_stubs_and_hidden_tests_go():
    title, card, answer, check, why = release(solutions_notebook(), "toy").cells
    assert (title.source, card.source) == ("# Title", "## Task")
    assert answer.source == "def double(x):\n    '''Twice x.'''\n    # YOUR CODE HERE\n    raise NotImplementedError()"
    assert check.source == "assert double(2) == 4"
    assert check.execution_count is None
    assert why.source == "YOUR ANSWER HERE"


def test_the_solution_itself_is_left_as_it_was():
    notebook = solutions_notebook()
    release(notebook, "toy")
    assert notebook.cells[2].source == ANSWER


def test_an_exercise_is_a_valid_notebook_that_runs_to_its_first_check():
    exercise = release(solutions_notebook(), "toy")
    nbformat.validate(exercise)
    namespace = {}
    exec(exercise.cells[2].source, namespace)
    with pytest.raises(NotImplementedError):
        exec(exercise.cells[3].source, namespace)


def test_each_cell_has_one_kind():
    kinds = [(cell.kind, cell.name, cell.points) for cell in cells_of(solutions_notebook())]
    assert kinds == [
        ("plain", "", 0),
        ("card", "double_card", 0),
        ("answer", "double", 0),
        ("check", "double_check", 2),
        ("answer", "why", 1),
    ]


def test_two_cells_of_one_name_are_refused():
    notebook = solutions_notebook()
    notebook.cells.append(notebook.cells[2])
    with pytest.raises(DataError, match="double"):
        cells_of(notebook, "toy")


@pytest.mark.parametrize("mark", ["### BEGIN SOLUTION", "### END HIDDEN TESTS"])
def test_a_mark_without_its_partner_is_refused(mark):
    notebook = solutions_notebook()
    notebook.cells[0].source = mark
    with pytest.raises(DataError, match="come in pairs"):
        cells_of(notebook, "toy")


LINES = st.lists(st.sampled_from(["x = 1", "    return x", "", "# a comment", "        y = 2"]), max_size=5)


@given(LINES, LINES, LINES, st.sampled_from(["", "    ", "        "]))
def test_nothing_between_the_marks_survives_and_nothing_outside_them_changes(before, within, after, indent):
    marked = [f"{indent}### BEGIN SOLUTION", *(f"SECRET {line}" for line in within), f"{indent}### END SOLUTION"]
    found = stub("\n".join([*before, *marked, *after]))
    stubbed = [f"{indent}# YOUR CODE HERE", f"{indent}raise NotImplementedError()"]
    assert found == "\n".join([*before, *stubbed, *after])


@pytest.fixture
def solutions(tmp_path):
    import jupytext

    folder = tmp_path / "solutions" / "00_toy"
    (folder / "expected").mkdir(parents=True)
    (folder / "expected" / "plot.png").write_bytes(b"a picture")
    jupytext.write(solutions_notebook(), folder / "00_toy.py", fmt="py:percent")
    (folder / "mutants.py").write_text("secret")
    return tmp_path / "solutions"


def test_the_same_source_gives_the_same_bytes(solutions):
    path = solutions / "00_toy" / "00_toy.py"
    assert exercise_files(path) == exercise_files(path)


def test_build_writes_what_is_missing_and_then_nothing(solutions, tmp_path):
    out = tmp_path / "exercises"
    written = build(solutions, out)
    assert {path.name for path in written} == {"00_toy.py", "00_toy.ipynb", "plot.png"}
    assert build(solutions, out) == []
    assert not (out / "00_toy" / "mutants.py").exists()


def test_an_edited_exercise_has_drifted(solutions, tmp_path):
    out = tmp_path / "exercises"
    build(solutions, out)
    (out / "00_toy" / "00_toy.py").write_text("edited")
    assert drifted([solutions / "00_toy" / "00_toy.py"], out) == [out / "00_toy" / "00_toy.py"]
    assert build(solutions, out) == [out / "00_toy" / "00_toy.py"]
