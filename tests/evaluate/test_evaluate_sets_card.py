"""The card of the evaluation sets: every number on it is counted again."""

import hashlib
import re
from collections import Counter
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest
import yaml

from helptune.data.conversation import CATEGORIES, load_curated
from helptune.evaluate.sets import CONSISTENCY, HELDOUT_CHECKS, load_checks, load_groups
from helptune.evaluate.sets.groups import KINDS, Group

CARD = Path(__file__).parents[2] / "data_cards" / "evaluation_sets.md"


@cache
def card():
    """(YAML header, the text below it)."""
    _, header, text = CARD.read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(header), text


@cache
def tables():
    """First cell of the heading row -> rows of cells, as text."""
    found = {}
    for block in re.findall(r"(?:^\|.*\n)+", card()[1], re.MULTILINE):
        heading, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
        found[heading[0]] = rows
    return found


def kind_rows():
    """Of each kind: groups, and requests."""
    groups = load_groups()
    counted = [(kind, [group for group in groups if group.kind == kind]) for kind in KINDS]
    rows = [[kind, str(len(own)), str(sum(len(group.texts) for group in own))] for kind, own in counted]
    return [*rows, ["all", str(len(groups)), str(sum(len(group.texts) for group in groups))]]


def side_rows():
    """Which of two the right answer is, where two are named: as `options` has them, which is as the original does."""
    groups = [group for group in load_groups() if len(group.options) == 2 and group.form != "word"]
    first = sum(next(iter(group.options)) == group.answer for group in groups)
    return [["the first", str(first)], ["the second", str(len(groups) - first)]]


def category_rows():
    checks = load_checks()
    rows = []
    for category in CATEGORIES:
        ids = [c.id for c in load_curated("heldout") if c.category == category]
        checked = sum(bool(checks[one]) for one in ids)
        rows.append([category, str(checked), str(len(ids) - checked)])
    return [*rows, ["all", *(str(sum(int(row[i]) for row in rows)) for i in (1, 2))]]


def check_rows():
    owed = [[check.kind for check in checks] for checks in load_checks().values()]
    times = Counter(kind for kinds in owed for kind in kinds)
    return [[f"`{kind}`", str(n), str(sum(kind in kinds for kinds in owed))] for kind, n in times.most_common()]


def file_rows():
    return [
        [f"`{path.name}`", str(n), hashlib.sha256(path.read_bytes()).hexdigest()]
        for path, n in ((CONSISTENCY, len(load_groups())), (HELDOUT_CHECKS, len(load_checks())))
    ]


def test_the_header_is_what_hugging_face_reads():
    header = card()[0]
    assert header | {"license": "apache-2.0", "language": ["en"], "task_categories": ["text-generation"]} == header


def test_groups_are_counted():
    assert [[row[0].strip("`"), *row[2:]] for row in tables()["kind"]] == kind_rows()
    assert tables()["of the requests that name two options or labels, the right one is"] == side_rows()


def test_checks_are_counted():
    assert tables()["conversations"] == category_rows()
    assert sorted(tables()["check"]) == sorted(check_rows())


def test_records_and_checksums_are_those_of_the_files():
    assert tables()["file"] == file_rows()


def test_every_field_of_a_group_is_described():
    assert [row[0].strip("`") for row in tables()["field"]] == [field.name for field in fields(Group)]


def test_there_are_no_other_numbers_to_go_stale():
    """Prose says what does not change; what is counted stands in a table."""
    prose = "\n".join(line for line in card()[1].splitlines() if not line.startswith("|"))
    assert re.findall(r"\d+", re.sub(r"Apache-2\.0|sha256|UTF-8", "", prose)) == []


@pytest.mark.parametrize("said", ["help of a language model", "No human has rated", "English only"])
def test_the_card_says_plainly_what_this_is_not(said):
    assert said in " ".join(card()[1].split())
