"""What a reader may count on in every lesson: its parts, its length, and words for every picture."""

import re
from itertools import pairwise

import pytest
from notebooks import COURSE, EXECUTED, code, name, prose, read

LESSONS = COURSE[1:]
WORDS, LINES = 3_000, 15


@pytest.mark.parametrize("path", EXECUTED, ids=name)
def test_cells_are_short(path):
    assert [cell.source for cell in code(read(path)) if len(cell.source.splitlines()) > LINES] == []


@pytest.mark.parametrize("path", EXECUTED, ids=name)
def test_a_notebook_is_read_in_one_sitting(path):
    assert len(prose(read(path)).split()) <= WORDS


@pytest.mark.parametrize("path", EXECUTED, ids=name)
def test_headings_begin_with_the_title_and_skip_no_level(path):
    levels = [len(m.group(1)) for m in re.finditer(r"^(#+) ", prose(read(path)), re.M)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in pairwise(levels))


@pytest.mark.parametrize("path", EXECUTED, ids=name)
def test_every_image_has_a_text_in_its_place(path):
    text = prose(read(path))
    alts = re.findall(r"!\[(.*?)\]\(", text) + [
        (re.search(r"alt=(['\"])(.+?)\1", tag) or ["", "", ""])[2] for tag in re.findall(r"<img\b.*?>", text, re.S)
    ]
    assert [alt for alt in alts if len(alt) < 15] == []


@pytest.mark.parametrize("path", EXECUTED, ids=name)
def test_every_picture_is_told_in_words(path):
    """The next Markdown cell begins with `*In words:`, or an Explorer tells it itself."""
    cells = read(path).cells
    for place, cell in enumerate(cells):
        if cell.cell_type == "code" and any("image/png" in output.get("data", {}) for output in cell.outputs):
            below = next((c.source for c in cells[place + 1 :] if c.cell_type == "markdown"), "")
            assert below.startswith("*In words:"), cell.source


@pytest.mark.parametrize("path", COURSE, ids=name)
def test_a_lesson_says_what_it_is_for(path):
    text = prose(read(path))
    head = text[: text.index("\n## ")]
    assert re.match(r"# \d\d · .+", text)
    assert "**Question:" in head
    assert re.search(r"\bminutes?\b", head)
    assert re.search(r"You need|You should", head)
    assert "Afterwards you can" in head


@pytest.mark.parametrize("path", COURSE, ids=name)
def test_a_lesson_ends_with_what_was_learned_and_where_it_leads(path):
    headings = re.findall(r"^## (.+)$", prose(read(path)), re.M)
    expected = ["Summary", "Toward constitutional training", "Exercises", "Further reading"]
    if path == COURSE[0]:
        expected.remove("Exercises")
    assert headings[-len(expected) :] == expected


@pytest.mark.parametrize("path", LESSONS, ids=name)
def test_a_lesson_asks_before_it_tells_and_lets_you_fail(path):
    notebook = read(path)
    assert len(re.findall(r"\*\*Predict", prose(notebook))) >= 4
    assert sum("assert " in cell.source for cell in code(notebook)) >= 2


@pytest.mark.parametrize("path", LESSONS, ids=name)
def test_further_reading_names_its_sources(path):
    text = prose(read(path))
    assert len(re.findall(r"\]\(https://", text[text.index("## Further reading") :])) >= 3
