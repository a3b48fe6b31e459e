"""Every check of the course rejects every known wrong answer by the name of its mistake, and accepts what is right."""

from collections import Counter
from pathlib import Path

import pytest

from helptune.errors import DataError
from helptune.exercises.cells import cells_of, read_solutions
from helptune.exercises.mutants import Mutant, answers_tested_by, read_mutants, try_mutants
from helptune.exercises.release import solution_files

ROOT = Path(__file__).parents[2]
SOLUTIONS = solution_files(ROOT / "solutions")


@pytest.fixture(autouse=True)
def fresh(tmp_path, monkeypatch):
    monkeypatch.setenv("HELPTUNE_PROGRESS", str(tmp_path / "progress.json"))


@pytest.mark.real
@pytest.mark.parametrize("solution", SOLUTIONS, ids=lambda path: path.stem)
def test_wrong_answers_are_found_out_and_right_ones_are_not(solution):
    assert [str(verdict) for verdict in try_mutants(solution) if not verdict.holds] == []


@pytest.mark.parametrize("solution", SOLUTIONS, ids=lambda path: path.stem)
def test_every_exercise_has_wrong_answers_and_core_ones_six_and_another_right_one(solution):
    cells = cells_of(read_solutions(solution))
    mutants = read_mutants(solution.with_name("mutants.py"))
    wrong = Counter(mutant.exercise for mutant in mutants if mutant.hint is not None)
    right = Counter(mutant.exercise for mutant in mutants if mutant.hint is None)
    cards = {cell.name.removesuffix("_card"): cell.source for cell in cells if cell.kind == "card"}
    for answer in [cell.name for cell in cells if cell.kind == "answer" and cell.is_code]:
        is_core = "**core" in cards[answer]
        assert wrong[answer] >= (6 if is_core else 2), answer
        assert right[answer] >= (1 if is_core else 0), answer


TOY = """\
# %% nbgrader={"grade": false, "grade_id": "double", "locked": false, "schema_version": 3, "solution": true, "task": false}
def double(x):
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "double_check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
from helptune.exercises.mistakes import Known, Mistake, expect

try:
    expect(double(3), 6, [Known("squared", 9, "not the square")])
except NotImplementedError:
    raise Mistake("not_written", "nothing is written here yet") from None
"""  # noqa: E501


def toy(folder, mutants):
    path = folder / "00_toy" / "00_toy.py"
    path.parent.mkdir()
    path.write_text(TOY)
    (path.parent / "mutants.py").write_text(mutants)
    return path


def test_a_check_that_lets_a_mistake_pass_is_found(tmp_path):
    """As it happened elsewhere: a test that compares 0 with 0 accepts everything."""
    path = toy(tmp_path, '# %% exercise="double" hint="zero"\ndef double(x):\n    return 6\n')
    (bad,) = [verdict for verdict in try_mutants(path) if not verdict.holds]
    assert "should be rejected with zero; was accepted" in str(bad)
    assert bad.where == "00_toy/mutants.py:2"


def test_a_mistake_found_under_another_name_is_not_enough(tmp_path):
    path = toy(tmp_path, '# %% exercise="double" hint="doubled_twice"\ndef double(x):\n    return x * x\n')
    assert [verdict.found for verdict in try_mutants(path) if not verdict.holds] == ["squared"]


def test_a_right_answer_that_is_rejected_is_found(tmp_path):
    path = toy(tmp_path, '# %% exercise="double" right=true\ndef double(x):\n    return x + 2\n')
    assert [verdict.wanted for verdict in try_mutants(path) if not verdict.holds] == [None]


@pytest.mark.parametrize(
    "cell",
    [
        "# %%\nx = 1\n",
        '# %% exercise="double"\nx = 1\n',
        '# %% exercise="double" hint="zero" right=true\nx = 1\n',
        '# %% hint="zero"\nx = 1\n',
    ],
)
def test_a_mutant_says_what_it_is(tmp_path, cell):
    (tmp_path / "mutants.py").write_text(cell)
    with pytest.raises(DataError, match=r"exercise="):
        read_mutants(tmp_path / "mutants.py")


def test_a_mutant_of_no_exercise_is_refused(tmp_path):
    path = toy(tmp_path, '# %% exercise="triple" hint="zero"\ndef triple(x):\n    return 6\n')
    with pytest.raises(DataError, match="triple"):
        list(try_mutants(path))


def test_mutants_know_where_they_stand(tmp_path):
    (tmp_path / "mutants.py").write_text('# %% exercise="a" hint="b"\nx = 1\n\n# %% exercise="a" right=true\nx = 2\n')
    assert read_mutants(tmp_path / "mutants.py") == [Mutant("a", "x = 1", "b", 2), Mutant("a", "x = 2", None, 5)]


def test_a_check_tests_the_answers_whose_functions_it_uses():
    check, *others = [cell for cell in reversed(cells_of(read_solutions(SOLUTIONS[0]))) if cell.is_code]
    answers = {cell.name: cell for cell in others if cell.kind == "answer"}
    if check.kind == "check":
        assert set(answers_tested_by(check, answers)) <= set(answers)
