"""Hostile submissions, graded in one batch with honest ones: none escapes, hangs, reads, or gains by what it does.

The kinds are the files in hostile/ and the builders of hostile_notebooks.py; each says what must hold for it.
"""

import json
import re

import pytest
from grading_class import HIDDEN_INPUT, HOSTILE, SECRET, digests, hostile_answer
from hostile_notebooks import NAMES, WANTED

from helptune.exercises.grade.submissions import safe, shown


@pytest.mark.parametrize("path", HOSTILE, ids=lambda path: path.stem)
def test_a_hostile_answer_gets_what_it_earned_and_a_reason(hostile_class, path):
    wanted, _ = hostile_answer(path)
    found = hostile_class.squares(path.stem)
    if wanted.get("right"):
        assert (found["status"], found["points"]) == ("right", 3)
        return
    hints = [wanted["hint"]] if isinstance(wanted["hint"], str) else wanted["hint"]
    assert (found["status"], found["points"]) == ("wrong", 0)
    assert found["hint"] in hints, found
    assert found["told"]
    assert re.search(wanted.get("text", ""), found["text"])
    assert found["hidden"] is wanted.get("hidden", False)
    assert wanted.get("flag") in [None, *found["flags"]]


@pytest.mark.parametrize("path", HOSTILE, ids=lambda path: path.stem)
def test_the_other_answer_of_a_hostile_learner_keeps_its_points(hostile_class, path):
    """Honest learners loop for ever, too. What shares a process with a forger has no such promise."""
    question = next(q for q in hostile_class.result(path.stem)["questions"] if q["question"] == "twice")
    if path.stem not in ("patches_the_wire", "forges_replies", "loop_in_the_cell"):
        assert (question["status"], question["points"]) == ("right", 1), question


@pytest.mark.parametrize("builder", WANTED, ids=lambda builder: builder.__name__)
def test_a_hostile_file_gets_a_plain_reason(hostile_class, builder):
    status, flag = WANTED[builder]
    if status is None:
        assert any(builder.__name__ in problem for problem in hostile_class.batch.problems)
        return
    found = hostile_class.squares(builder.__name__)
    assert (found["status"], found["points"]) == (status, 0)
    assert found["told"]
    assert flag in [None, *(what for what, _ in hostile_class.result(builder.__name__)["flags"])]


@pytest.mark.parametrize("learner", ["honest_first", "honest_middle", "honest_last", *NAMES], ids=ascii)
def test_an_honest_submission_among_them_gets_full_marks_whatever_its_learner_is_called(hostile_class, learner):
    result = hostile_class.result(learner)
    assert [(q["status"], q["points"]) for q in result["questions"]] == [("right", 3), ("right", 1), ("to be read", 0)]
    assert result["flags"] == []


def test_every_submission_is_graded_and_has_a_page(hostile_class):
    skipped = sum(status is None for status, _ in WANTED.values())
    assert len(hostile_class.batch.results) == 3 + len(NAMES) + len(HOSTILE) + len(WANTED) - skipped
    assert all(result["graded"] for result in hostile_class.batch.results)
    for result in hostile_class.batch.results:
        assert hostile_class.feedback(safe(result["learner"])).startswith("<!doctype html>")


def test_nothing_outside_was_written(hostile_class):
    root = hostile_class.root
    assert hostile_class.before == digests(root / "submitted") | digests(root / "solutions") | digests(root / "extra")


def test_nobody_came_through_the_network(hostile_class):
    with pytest.raises(TimeoutError):
        hostile_class.listener.accept()


def test_no_secret_was_read(hostile_class):
    """Neither the private checks nor another learner's answer is in what hostile learners said, or are told."""
    honest = {"honest_first", "honest_middle", "honest_last", *NAMES}
    for result in hostile_class.batch.results:
        if result["learner"] not in honest:
            assert SECRET not in json.dumps(result)
            assert SECRET not in hostile_class.feedback(safe(result["learner"]))


def test_no_page_tells_of_a_hidden_test(hostile_class):
    for result in hostile_class.batch.results:
        assert HIDDEN_INPUT not in hostile_class.feedback(safe(result["learner"]))
    assert HIDDEN_INPUT in hostile_class.squares("tells_of_hidden_tests")["text"]  # the instructor may see it


def test_pages_hold_no_markup_of_learners(hostile_class):
    for page in hostile_class.root.glob("out/**/*.html"):
        assert not re.search(r"<script|<img|onerror=(?!alert\(1\)&gt;)", page.read_text())
    assert "&lt;script&gt;" in hostile_class.feedback("markup")


def test_no_cell_of_the_table_is_a_formula(hostile_class):
    for name in ("marks.csv", "to_read.csv"):
        text = (hostile_class.root / "out" / name).read_text()
        assert not re.search(r'(^|,)"?[=+@\t-]', text, re.MULTILINE)
    assert ("'=1+1", "squares") in hostile_class.rows


def test_names_are_shown_without_what_a_terminal_obeys(hostile_class):
    assert all(c.isprintable() for learner, _ in hostile_class.rows for c in learner)
    assert shown("a\nb\x1b[31m") == "a\ufffdb\ufffd[31m"


def test_folders_of_names_are_plain_and_all_different():
    names = ["..", ".", "a/../b", "a%2Fb", "a b", "x" * 300, "x" * 301, "é", "A", "a", *NAMES]
    folders = [safe(name) for name in names]
    assert len(set(folders)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9_%~@+,= -][A-Za-z0-9_.%~@+,= -]*", folder) for folder in folders)
    assert all(len(folder) <= 100 for folder in folders)
