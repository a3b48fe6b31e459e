"""What a check does besides checking: it says ✓, names whatever was raised, and remembers the outcome."""

import sys
from types import ModuleType

import pytest

from helptune.exercises.check import check, titles
from helptune.exercises.mistakes import Mistake, expect
from helptune.exercises.panel import overview, panel
from helptune.exercises.progress import progress_file, read_progress, record


@pytest.fixture(autouse=True)
def fresh(tmp_path, monkeypatch):
    monkeypatch.setenv("HELPTUNE_PROGRESS", str(tmp_path / "state" / "progress.json"))


@pytest.fixture
def lesson(monkeypatch):
    """A module of checks, as those in helptune.exercises.checks."""

    def double(answer, seed=0):
        """Twice a number.

        More words.
        """
        expect(answer(3 + seed), 6 + 2 * seed)

    double.__module__ = "helptune.exercises.checks.toy"
    module = ModuleType("helptune.exercises.checks.toy")
    module.double = check(double)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def test_a_right_answer_is_told_and_remembered(lesson, capsys):
    lesson.double(lambda x: 2 * x)
    assert capsys.readouterr().out == "✓ double\n"
    assert read_progress() == {"toy": {"double": {"solved": True, "tries": 1, "hint": None}}}


def test_a_mistake_carries_the_name_of_its_exercise(lesson):
    with pytest.raises(Mistake, match=r"^double: the result should be 6; found 3$"):
        lesson.double(lambda x: x)
    assert read_progress()["toy"]["double"] == {"solved": False, "tries": 1, "hint": "wrong_value"}


def test_what_an_answer_raises_becomes_a_mistake(lesson):
    with pytest.raises(Mistake, match="ZeroDivisionError: division by zero") as caught:
        lesson.double(lambda x: x / 0)
    assert caught.value.hint == "raised"


def test_a_stub_is_not_written(lesson):
    def stub(x):
        raise NotImplementedError()

    with pytest.raises(Mistake) as caught:
        lesson.double(stub)
    assert caught.value.hint == "not_written"


def test_solved_stays_solved(lesson):
    lesson.double(lambda x: 2 * x)
    with pytest.raises(Mistake):
        lesson.double(lambda x: x)
    assert read_progress()["toy"]["double"] == {"solved": True, "tries": 2, "hint": "wrong_value"}


def test_a_damaged_file_of_progress_is_begun_anew():
    progress_file().parent.mkdir()
    for damaged in ("{", "[]", '{"toy": 3}', '{"toy": {"double": 3}}'):
        progress_file().write_text(damaged)
        record("toy", "double", None)
        assert read_progress() == {"toy": {"double": {"solved": True, "tries": 1, "hint": None}}}


def test_a_title_is_the_first_line_of_a_check(lesson):
    assert titles(lesson) == {"double": "Twice a number"}


def test_the_panel_follows_what_is_checked(lesson):
    shown = panel("toy")
    assert "not tried" in shown.html()
    with pytest.raises(Mistake):
        lesson.double(lambda x: x)
    assert "wrong value (tries: 1)" in shown._page.value
    lesson.double(lambda x: 2 * x)
    assert "✓ solved" in shown._page.value
    assert shown.words == "1 of 1 exercises solved: double"


def test_the_panel_believes_no_text_of_the_file(lesson):
    record("toy", "double", "<script>alert(1)</script>")
    assert "<script>" not in panel("toy").html()


def test_the_overview_counts_what_is_solved_in_every_notebook():
    assert overview().words.startswith("0 of ")
    record("lora_math", "lora_forward", None)
    record("lora_math", "one_that_was_removed", None)
    assert overview().words.startswith("1 of ")
    assert "02_lora_math" in overview().html()
