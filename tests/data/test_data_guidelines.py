"""The rating guidelines are an instruction and an example at once: the example must be what the tools read."""

import re
from pathlib import Path

import pytest

from helptune.data.agreement.coefficients import LEAST_SHARED, measure
from helptune.data.agreement.gate import Gate, check, filtered
from helptune.data.agreement.ratings import HELPSTEER2, MISSING, read_ratings

TEXT = (Path(__file__).parents[2] / "data_cards" / "rating_guidelines.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in TEXT.splitlines() if line.startswith("|")]
WORKED = {row[0]: row for row in ROWS if re.fullmatch(r"w\d\d", row[0])}


def block(language):
    return re.search(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)[1]


@pytest.fixture
def example(tmp_path):
    path = tmp_path / "example.csv"
    path.write_text(block("csv"))
    return read_ratings(path)[""]


def test_every_attribute_has_an_anchor_for_each_rating():
    anchors = {row[0].split(":")[0]: row[1:] for row in ROWS if len(row) == 6 and ":" in row[0]}
    assert set(anchors) == {*HELPSTEER2, "safety"}
    assert all(len(set(row)) == 5 and all(row) for row in anchors.values())


def test_worked_examples_rate_all_attributes_on_the_scale_and_say_why():
    assert len(WORKED) >= 6
    for row in WORKED.values():
        assert all(rating in ("0", "1", "2", "3", "4") for rating in row[3:9])
        assert len(row) == 10
        assert row[9]
    assert {row[3] for row in WORKED.values()} >= {"0", "1", "2", "4"}


def test_one_rater_of_the_example_gave_the_ratings_of_the_worked_examples(example):
    ana = example.values[:, example.raters.index("ana")]
    assert dict(zip(example.items, map(str, ana), strict=True)) == {item: row[3] for item, row in WORKED.items()}


@pytest.mark.parametrize(
    ("name", "level", "row"),
    [
        ("krippendorff_alpha", "ordinal", "Krippendorff's alpha, ordinal"),
        ("weighted_kappa", "quadratic", "weighted kappa, quadratic"),
    ],
)
def test_the_figures_of_the_example_are_those_of_its_file(example, name, level, row):
    found = [measure(part, name, level) for part in (example, filtered(example, 1))]
    stated = next(cells[1:] for cells in ROWS if cells[0] == row)
    assert stated == ["undefined" if part.value is None else f"{part.value:.3f}" for part in found]


def test_the_example_keeps_what_the_text_says_and_is_too_small_for_the_gate(example):
    kept, found = filtered(example, 1), measure(example, "krippendorff_alpha", "ordinal")
    assert f"from {found.low:.3f} to {found.high:.3f}" in TEXT
    assert f"share fewer than {LEAST_SHARED}" in TEXT
    assert f"the {len(kept.items)} that spread at most 1" in TEXT
    assert f"{len(kept.items) / len(example.items):.0%} of the items" in TEXT
    assert check(example, Gate()).reasons[-1].endswith(f"fewer than {Gate().min_items}")
    assert f"asks for {Gate().min_items} at least" in TEXT


def test_the_lines_of_json_are_read(tmp_path):
    path = tmp_path / "example.jsonl"
    path.write_text(block("json"))
    assert read_ratings(path)["helpfulness"].values.tolist() == [[int(WORKED["w01"][3])], [MISSING]]
