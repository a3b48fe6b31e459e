"""Every exercise has a card: what it asks, how long it takes, three hints to unfold, and what one should see."""

import re
from pathlib import Path

import pytest

from helptune.exercises.cells import cells_of, read_solutions
from helptune.exercises.release import solution_files

SOLUTIONS = solution_files(Path(__file__).parents[2] / "solutions")
CARDS = [
    pytest.param(path, cell, id=f"{path.stem}-{cell.name}")
    for path in SOLUTIONS
    for cell in cells_of(read_solutions(path))
    if cell.kind == "card"
]


@pytest.mark.parametrize(("path", "card"), CARDS)
def test_a_card_has_its_parts(path, card):
    assert re.match(r"## Exercise \d · .+", card.source)
    assert re.search(r"\*\*(warm-up|core|open) · about \d+ minutes · \d+ points?\*\*", card.source)
    assert "*Objective: " in card.source
    assert "You should see" in card.source or "**open" in card.source
    hints = re.findall(r"<details><summary>Hint (\d): [^<]+</summary>\n\n.+?\n\n</details>", card.source, re.S)
    assert hints == ["1", "2", "3"]


@pytest.mark.parametrize(("path", "card"), CARDS)
def test_a_card_tells_the_points_that_its_exercise_gives(path, card):
    cells = {cell.name: cell for cell in cells_of(read_solutions(path)) if cell.name}
    name = card.name.removesuffix("_card")
    graded = cells[name] if cells[name].is_read_by_a_person else cells[f"{name}_check"]
    assert float(re.search(r"(\d+) points?\*\*", card.source)[1]) == graded.points


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_a_notebook_has_a_warm_up_a_core_piece_and_an_open_question(path):
    cards = [cell.source for cell in cells_of(read_solutions(path)) if cell.kind == "card"]
    kinds = [re.search(r"\*\*(warm-up|core|open) ·", card)[1] for card in cards]
    assert set(kinds) == {"warm-up", "core", "open"}
    assert [int(re.match(r"## Exercise (\d)", card)[1]) for card in cards] == list(range(1, len(cards) + 1))


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_every_code_answer_is_a_function_with_a_check(path):
    """A stub that raises in its cell would stop the notebook."""
    cells = {cell.name: cell for cell in cells_of(read_solutions(path)) if cell.name}
    for answer in [cell for cell in cells.values() if cell.kind == "answer" and cell.is_code]:
        assert re.search(r"^def ", answer.source, re.M)
        assert not re.search(r"^### BEGIN SOLUTION", answer.source, re.M)
        assert "BEGIN HIDDEN TESTS" in cells[f"{answer.name}_check"].source


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_checks_are_imported_by_check_cells_alone(path):
    """In grading the other cells run where there are no checks: an import would end the cell it stands in."""
    cells = [cell for cell in cells_of(read_solutions(path)) if cell.is_code and cell.kind != "check"]
    assert [cell.source for cell in cells if "helptune.exercises.checks" in cell.source] == []


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_the_solution_is_not_in_the_card(path):
    cells = {cell.name: cell for cell in cells_of(read_solutions(path)) if cell.name}
    for answer in [cell for cell in cells.values() if cell.kind == "answer" and cell.is_code]:
        solution = answer.source.partition("### BEGIN SOLUTION\n")[2].partition("### END")[0].strip()
        assert solution not in cells[f"{answer.name}_card"].source
