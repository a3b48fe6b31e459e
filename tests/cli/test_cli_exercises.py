"""helptune exercises: build and check, as an instructor types them."""

import pytest
from typer.testing import CliRunner

from helptune.cli import app

RUN = CliRunner()
SOURCE = """\
# %% [markdown]
# # Toy

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
SQUARED = '# %% exercise="double" hint="squared"\ndef double(x):\n    return x * x\n'


@pytest.fixture
def folders(tmp_path):
    (tmp_path / "solutions" / "00_toy").mkdir(parents=True)
    (tmp_path / "solutions" / "00_toy" / "00_toy.py").write_text(SOURCE)
    (tmp_path / "solutions" / "00_toy" / "mutants.py").write_text(SQUARED)
    return ["--solutions", str(tmp_path / "solutions"), "--exercises", str(tmp_path / "exercises")]


def exercises(verb, *words):
    result = RUN.invoke(app, ["exercises", verb, *words])
    return result.exit_code, result.output


def test_build_says_what_it_wrote_and_then_that_nothing_changed(folders):
    code, said = exercises("build", *folders)
    assert code == 0
    assert [line.split("/")[-1] for line in said.splitlines()] == ["00_toy.py", "00_toy.ipynb"]
    assert exercises("build", *folders) == (0, "nothing changed\n")


def test_check_passes_on_what_was_built(folders):
    exercises("build", *folders)
    assert exercises("check", *folders) == (0, "00_toy: 3 of 3 verdicts as they should be\n")


def test_check_finds_what_has_drifted(folders, tmp_path):
    exercises("build", *folders)
    (tmp_path / "exercises" / "00_toy" / "00_toy.py").write_text("edited")
    code, said = exercises("check", *folders)
    assert code == 1
    assert "helptune exercises build" in said


def test_check_finds_a_mistake_that_passes(folders, tmp_path):
    exercises("build", *folders)
    (tmp_path / "solutions" / "00_toy" / "mutants.py").write_text(SQUARED.replace("x * x", "x + x"))
    code, said = exercises("check", "00_toy", *folders)
    assert code == 1
    assert "should be rejected with squared; was accepted" in said


def test_a_name_that_is_not_there_is_told_with_those_that_are(folders):
    result = RUN.invoke(app, ["exercises", "check", "99_none", *folders])
    assert "99_none" in str(result.exception)
    assert "00_toy" in str(result.exception)


def test_a_folder_that_is_not_there_is_told(tmp_path):
    result = RUN.invoke(app, ["exercises", "build", "--solutions", str(tmp_path / "none")])
    assert "no such folder" in str(result.exception)
