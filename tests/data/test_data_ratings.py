"""Rating files: what is read, and what is said about a file that cannot be."""

import csv
import gzip
import json
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helptune.data.agreement.ratings import HELPSTEER2, MISSING, TOP, read_ratings
from helptune.errors import DataError, HelptuneError


def lines(path, *rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def row(item="a", rater="x", rating=3, **more):
    return {"item": item, "rater": rater, "rating": rating, **more}


def error(path):
    with pytest.raises(DataError) as caught:
        read_ratings(path)
    return str(caught.value)


def test_a_file_becomes_a_matrix_of_items_and_raters_for_each_attribute(tmp_path):
    path = lines(
        tmp_path / "r.jsonl",
        row("a", "x", 3, attribute="helpfulness"),
        row("a", "y", None, attribute="helpfulness", note="not my language"),
        row("b", "y", 0, attribute="helpfulness"),
        row(7, 1, 4, attribute="correctness"),
    )
    found = read_ratings(path)
    assert list(found) == ["helpfulness", "correctness"]
    assert found["helpfulness"].values.tolist() == [[3, MISSING], [MISSING, 0]]
    assert found["helpfulness"].items == ("a", "b")
    assert found["correctness"].items == ("7",)
    assert found["correctness"].raters == ("1",)


CELL = st.integers(0, TOP) | st.none()
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0", exclude_categories=["Cc"]), min_size=1)
CELLS = st.dictionaries(st.tuples(NAMES.filter(str.strip), NAMES.filter(str.strip)), CELL, min_size=1, max_size=8)


@settings(deadline=None, max_examples=50)
@given(cells=CELLS)
def test_csv_and_json_lines_hold_the_same(tmp_path_factory, cells):
    folder = tmp_path_factory.mktemp("ratings")
    as_json = lines(folder / "r.jsonl", *(row(item, rater, rating) for (item, rater), rating in cells.items()))
    with (folder / "r.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["rating", "item", "rater"])
        writer.writerows([rating, item, rater] for (item, rater), rating in cells.items())
    one, other = read_ratings(as_json)[""], read_ratings(folder / "r.csv")[""]
    assert (one.items, one.raters) == (other.items, other.raters)
    np.testing.assert_array_equal(one.values, other.values)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (row(rating=3.5), "field 'rating' must be a whole number from 0 to 100, or null, found 3.5"),
        (row(rating=-1), "field 'rating'"),
        (row(rating=101), "field 'rating'"),
        (row(rating=True), "field 'rating'"),
        (row(rating="3"), "field 'rating'"),
        ('{"item": "a", "rater": "x", "rating": NaN}', "field 'rating'"),
        ('{"item": "a", "rater": "x", "rating": 1e999}', "field 'rating'"),
        ({"item": "a", "rater": "x"}, "field 'rating' is missing; null says"),
        (row(item=""), "field 'item' must be a name or a number"),
        (row(rater=None), "field 'rater' must be a name or a number"),
        (row(attribute=3), "field 'attribute' must be a name"),
        (row(atribute="helpfulness"), "field 'atribute' is not one of item, rater, rating, attribute, note"),
        ([1], "expected a JSON object, found list"),
        ('{"item": ', "not valid JSON"),
        ("[" * 100_000, "not usable JSON"),
    ],
)
def test_a_bad_row_is_named_by_file_line_and_field(tmp_path, bad, said):
    path = lines(tmp_path / "r.jsonl", row("fine"), "", bad)
    assert error(path).startswith(f"{path}:3: {said}")


def test_the_same_rater_cannot_rate_an_item_twice(tmp_path):
    path = lines(tmp_path / "r.jsonl", row(), row(attribute="correctness"), row(rating=4))
    assert error(path) == f"{path}:3: field 'rater': 'x' rated 'a' already in line 1; keep one of the two"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("item,rater\na,x\n", ":1: the column 'rating' is missing"),
        ("item,rater,rating,rating\n", ":1: a column comes twice"),
        ("item,rater,rating\na,x\n", ":2: expected 3 cells, found 2"),
        ("item,rater,rating\na,x,good\n", ":2: field 'rating' must be a whole number from 0 to 100, or null"),
        (f"item,rater,rating\na,x,{'9' * 5_000}\n", ":2: field 'rating' must be a whole number from 0 to 100, or null"),
        ('item,rater,rating\na,"x,3\n', ":2: not valid CSV"),
        ("item,rater,rating\n", ": holds no ratings"),
    ],
)
def test_a_bad_table_is_named_by_file_and_line(tmp_path, text, said):
    path = tmp_path / "r.csv"
    path.write_text(text)
    assert error(path).startswith(f"{path}{said}")


def test_what_is_no_text_or_no_file_is_said(tmp_path):
    (tmp_path / "r.jsonl").write_bytes(b'{"item": "a", "rater": "x", "rating": 1}\n\xff\n')
    assert "r.jsonl:2: not UTF-8 text" in error(tmp_path / "r.jsonl")
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(json.dumps(row()).encode())[:-4])
    assert "cannot be read" in error(tmp_path / "cut.jsonl.gz")
    assert "cannot be read" in error(tmp_path / "none.jsonl")


@settings(deadline=None, max_examples=100)
@given(data=st.binary(max_size=80))
def test_no_bytes_break_the_reader(tmp_path_factory, data):
    for name in ("r.jsonl", "r.csv"):
        path = tmp_path_factory.mktemp("ratings") / name
        path.write_bytes(data)
        with suppress(HelptuneError):
            read_ratings(path)


def scores(**given):
    return {"prompt": "p", "response": "r"} | {name: given.get(name, [4, 4, 3]) for name in HELPSTEER2}


def test_helpsteer2_gives_anonymous_ratings_of_five_attributes(tmp_path):
    text = "".join(json.dumps(record) + "\n" for record in (scores(helpfulness=[0, 2]), scores()))
    (tmp_path / "disagreements.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    found = read_ratings(tmp_path / "disagreements.jsonl.gz")
    assert tuple(found) == HELPSTEER2
    assert found["helpfulness"].values.tolist() == [[0, 2, MISSING], [4, 4, 3]]
    assert found["helpfulness"].items == ("line 1", "line 2")
    assert found["helpfulness"].anonymous


@pytest.mark.parametrize("wrong", [3, [], [5], ["4"], None])
def test_helpsteer2_without_lists_of_raw_scores_is_refused(tmp_path, wrong):
    path = lines(tmp_path / "train.jsonl", scores(), scores(correctness=wrong))
    assert error(path).startswith(f"{path}:2: field 'correctness' must be a list of scores from 0 to 4")
