"""A class is graded once: what is done stays, what changed or was damaged is done again; people have the last word."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from grading_class import HERE, HONEST, LIMITS, NOTEBOOK, notebook_with, submit

from helptune.errors import DataError, SettingError
from helptune.exercises.grade.batch import grade_all
from helptune.exercises.grade.table import read_marks, with_marks
from helptune.exercises.grade.view import PACKAGE
from helptune.exercises.progress import progress_file

KEY = HERE / "keys" / NOTEBOOK / f"{NOTEBOOK}.py"


@pytest.fixture
def place(tmp_path, needs_bwrap):
    shutil.copytree(KEY.parent, tmp_path / "solutions" / NOTEBOOK)
    for learner in ("ann", "ben", "cleo"):
        submit(tmp_path / "submitted", learner, notebook_with(KEY, squares=HONEST, why="=1+1 is why"))
    return tmp_path


def grade(place, **options):
    return grade_all(place / "submitted", place / "out", place / "solutions", limits=LIMITS, **options)


def marks(place):
    with (place / "out/marks.csv").open(newline="") as file:
        return {(row["learner"], row["question"]): row["points"] for row in csv.DictReader(file)}


def test_only_what_changed_or_is_damaged_is_graded_again(place):
    assert grade(place, jobs=1).kept == 0
    assert grade(place, jobs=1).kept == 3
    submission = place / "submitted/ann" / NOTEBOOK / f"{NOTEBOOK}.ipynb"
    submission.write_text(submission.read_text().replace("np.dot(values, values)", "14.0"))
    stored = [place / "out/results" / learner / f"{NOTEBOOK}.json" for learner in ("ben", "cleo")]
    stored[0].write_text(stored[0].read_text()[:-100])
    stored[1].write_text(stored[1].read_text().replace('"points": 3.0', '"points": 152.0'))
    again = grade(place, jobs=1)
    assert again.kept == 0
    assert [marks(place)[learner, "squares"] for learner in ("ann", "ben", "cleo")] == ["0", "3", "3"]
    extra = place / "extra"
    extra.mkdir()
    (extra / f"{NOTEBOOK}.py").write_text('# %% exercise="squares"\nassert squares([2.0]) == 4.0\n')
    assert grade(place, extra=extra, jobs=1).kept == 0
    assert grade(place, extra=extra, jobs=1).kept == 3


def test_a_private_check_decides_and_is_not_told(place):
    extra = place / "extra"
    extra.mkdir()
    (extra / f"{NOTEBOOK}.py").write_text('# %% exercise="squares"\nassert squares([]) == 0, "of nothing, 4711"\n')
    sly = "def squares(values):\n    return float(np.dot(values, values)) if values else 1.0"
    submit(place / "submitted", "sly", notebook_with(KEY, squares=sly))
    done = grade(place, extra=extra)
    found = done.results[-1]["questions"][0]
    assert (found["status"], found["hidden"], found["text"]) == ("wrong", True, "of nothing, 4711")
    assert "In a case that you do not see" in found["told"]
    assert marks(place)["ann", "squares"] == "3"


@pytest.fixture(scope="module")
def asked(tmp_path_factory, needs_bwrap):
    """{learner: the outcome of squares} of a class with things that honest people do."""
    place = tmp_path_factory.mktemp("asked")
    shutil.copytree(KEY.parent, place / "solutions" / NOTEBOOK)
    own_cell = notebook_with(KEY, squares="def squares(values):\n    return helper(values)")
    own_cell["cells"].append({"cell_type": "code", "metadata": {}, "source": "def helper(v):\n    return 14.0"})
    answers = {
        "magics": notebook_with(KEY, squares=f"%precision 3\n{HONEST}"),
        "own_cell": own_cell,
        "error_below": notebook_with(KEY, squares=f"{HONEST}\nassert squares([1]) == 2"),
        "spelled": notebook_with(KEY, squares=HONEST.replace("squares", "sqares")),
        "half": notebook_with(KEY, squares="def squares(values):"),
    }
    for learner, notebook in answers.items():
        submit(place / "submitted", learner, notebook)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HELPTUNE_PROGRESS", str(place / "progress.json"))
        done = grade(place)
        assert not progress_file().exists()  # the instructor's own
    return {result["learner"]: result["questions"][0] for result in done.results}


def test_a_name_defined_in_a_cell_that_is_left_out_is_named(asked):
    assert asked["own_cell"]["hint"] == "defined_elsewhere"
    assert "put what defines `helper` into the answer" in asked["own_cell"]["told"]


def test_magics_and_failing_lines_below_a_right_answer_are_no_error(asked):
    assert {asked[learner]["status"] for learner in ("magics", "error_below")} == {"right"}


def test_an_answer_that_is_not_there_is_told_from_one_that_fails(asked):
    assert "there is no function `squares`" in asked["spelled"]["told"]
    assert (
        "the answer's cell raised SyntaxError" in asked["half"]["told"] or "IndentationError" in asked["half"]["told"]
    )


def test_a_person_gives_points_in_the_table_of_what_is_to_be_read(place):
    grade(place)
    table = place / "out/to_read.csv"
    rows = list(csv.DictReader(table.open(newline="")))
    assert [(row["learner"], row["question"], row["answer"]) for row in rows] == [
        (learner, "why", "'=1+1 is why") for learner in ("ann", "ben", "cleo")
    ]
    rows[0]["points"], rows[1]["points"] = "2", "0.5"
    with (place / "read.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    assert grade(place, marks=place / "read.csv").kept == 3
    assert [marks(place)[learner, "why"] for learner in ("ann", "ben", "cleo")] == ["2", "0.5", "0"]
    assert "2 points" in (place / "out/feedback/ann" / f"{NOTEBOOK}.html").read_text()


def test_points_of_nobody_or_out_of_range_are_refused(place):
    results = [{"learner": "ann", "notebook": NOTEBOOK, "questions": [{"question": "why", "of": 2.0}]}]
    with pytest.raises(DataError, match="not graded"):
        with_marks(results, {("nobody", NOTEBOOK, "why"): 1.0})
    with pytest.raises(DataError, match="3 points are given, of 2"):
        with_marks(results, {("ann", NOTEBOOK, "why"): 3.0})
    with pytest.raises(DataError, match="nan points are given"):
        with_marks(results, {("ann", NOTEBOOK, "why"): float("nan")})
    (place / "bad.csv").write_text("learner,notebook,question,points\nann,01_small,why,two\n")
    with pytest.raises(DataError, match="line 2: 'two'"):
        read_marks(place / "bad.csv")


def test_a_grader_that_hangs_or_dies_costs_one_result_and_no_more(place):
    """A check that does not come to an end with what an answer gave."""
    key = place / "solutions" / NOTEBOOK / f"{NOTEBOOK}.py"
    check = "expect(squares([1.0, 2.0, 3.0]), 14.0"
    bad = "import os, time\nfound = squares([2.0])\nwhile found == 5.0: time.sleep(1)\nif found == 6.0: os._exit(1)\n"
    key.write_text(key.read_text().replace(check, bad + check))
    for learner, value in {"ada": 5.0, "bob": 6.0}.items():
        submit(place / "submitted", learner, notebook_with(KEY, squares=f"def squares(values):\n    return {value}"))
    short = type(LIMITS)(cell_seconds=4, total_seconds=4, memory=LIMITS.memory)
    done = grade_all(place / "submitted", place / "out", place / "solutions", limits=short)
    graded = {result["learner"]: result["graded"] for result in done.results}
    assert graded == {"ada": False, "ann": True, "ben": True, "bob": False, "cleo": True}
    assert {q["status"] for q in done.results[0]["questions"]} == {"not graded"}
    assert "did not come to an end" in done.results[0]["flags"][0][1]
    assert [marks(place)[learner, "squares"] for learner in ("ann", "ben", "cleo")] == ["3", "3", "3"]


def test_an_interrupted_batch_keeps_what_is_done(place):
    """Ctrl-C reaches the whole group of processes, as a terminal sends it."""
    submit(place / "submitted", "zoe", notebook_with(KEY, squares="while True:\n    pass"))
    command = [sys.executable, "-m", "helptune", "grade", "submitted", "--out", "out", "--jobs", "1"]
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
    with (place / "log").open("w") as log:
        options = {"cwd": place, "env": environment, "stdout": log, "stderr": log}
        running = subprocess.Popen(command, start_new_session=True, **options)
        last = place / "out/results/cleo" / f"{NOTEBOOK}.json"
        deadline = time.monotonic() + 120
        while not last.exists() and time.monotonic() < deadline and running.poll() is None:
            time.sleep(0.1)
        os.killpg(running.pid, signal.SIGINT)
        assert running.wait(timeout=30) == 130, (place / "log").read_text()
    assert "run the same command again" in (place / "log").read_text()
    (place / "submitted/zoe" / NOTEBOOK / f"{NOTEBOOK}.ipynb").write_text("{")
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=120)
    assert "4 graded (3 of them before)" in done.stdout, done.stderr
    assert json.loads(last.read_text())["questions"][0]["points"] == 3


def test_a_key_that_is_unfit_stops_the_batch_with_its_name(place):
    key = place / "solutions" / NOTEBOOK / f"{NOTEBOOK}.py"
    key.write_text(key.read_text().replace("return 2 * x", "return 3 * x"))
    with pytest.raises(DataError, match="its own cell 'twice_check'"):
        grade(place)


def test_settings_that_cannot_be_are_refused(place):
    with pytest.raises(SettingError, match="has 01_small"):
        grade(place, notebook="09_none")
    with pytest.raises(SettingError, match="no such folder"):
        grade(place, extra=place / "none")
    with pytest.raises(DataError, match="no such folder of submissions"):
        grade_all(place / "none", place / "out", place / "solutions")
