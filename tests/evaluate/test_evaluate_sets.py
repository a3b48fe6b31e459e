"""The evaluation's own data: what it holds, and what is said of a file that is not right."""

import json
from collections import Counter
from dataclasses import asdict

import pytest

from helptune.data.conversation import load_curated
from helptune.errors import DataError
from helptune.evaluate.checks import run_checks
from helptune.evaluate.sets import CONSISTENCY, load_checks, load_groups
from helptune.evaluate.sets.groups import KINDS

RECORD = {
    "id": "a", "kind": "pick", "form": "choice", "options": {"x": ["x"], "y": ["y"]}, "answer": "x",
    "original": "x or y?", "paraphrases": ["Is it x or y?"], "reordered": ["y or x?"],
}  # fmt: skip


def test_groups_are_balanced_over_kinds_and_each_asks_in_at_least_four_ways():
    groups = load_groups()
    assert Counter(group.kind for group in groups) == dict.fromkeys(KINDS, 10)
    assert all(len(group.paraphrases) == 2 and len(group.reordered) >= 1 for group in groups)


def test_no_request_stands_in_two_groups():
    texts = Counter(text for group in load_groups() for text in group.texts)
    assert [text for text, n in texts.items() if n > 1] == []


def test_no_answer_is_favoured():
    """Who always says yes, positive, or the option named first is right in about half of the groups at most."""
    groups = load_groups()
    for kind, constant in (("yes_no", "yes"), ("feeling", "positive")):
        assert sum(group.answer == constant for group in groups if group.kind == kind) == 5
    compared = [group for group in groups if group.kind == "compare"]
    assert sum(next(iter(group.options)) == group.answer for group in compared) == 5
    picked = Counter(list(group.options).index(group.answer) for group in groups if group.kind == "pick")
    assert max(picked.values()) <= 4


def test_a_group_is_written_back_as_it_was_read():
    lines = [json.loads(line) for line in CONSISTENCY.read_text(encoding="utf-8").splitlines()]
    assert [json.loads(json.dumps(asdict(group))) for group in load_groups()] == lines


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "riddle"}, "'kind': 'riddle' is not one of"),
        ({"answer": "z"}, "'answer': 'z' is not one of x, y"),
        ({"form": "number", "answer": "1"}, "a number has no options"),
        ({"form": "number", "options": {}, "answer": "one"}, "no whole number in digits"),
        ({"options": {"x": ["x"], "y": ["X"]}}, "'x' is a spelling of two answers"),
        ({"options": ["x"]}, "'options' must be an object"),
        ({"original": " "}, "'original' must be a non-empty string"),
        ({"paraphrases": []}, "'paraphrases' must be a non-empty list"),
        ({"reordered": ["x or y?"]}, "two of its texts are the same"),
        ({"surplus": 1}, "'surplus' is unknown"),
    ],
)
def test_a_bad_group_is_named_with_its_line_and_field(tmp_path, change, message):
    path = tmp_path / "groups.jsonl"
    path.write_text(json.dumps(RECORD) + "\n" + json.dumps(RECORD | {"id": "b"} | change) + "\n")
    with pytest.raises(DataError, match=r"groups\.jsonl:2: ") as caught:
        load_groups(path)
    assert message in str(caught.value)


def test_a_group_that_is_there_twice_or_is_no_json_is_named_with_its_line(tmp_path):
    path = tmp_path / "groups.jsonl"
    path.write_text(json.dumps(RECORD) + "\n\n" + json.dumps(RECORD) + "\n")
    with pytest.raises(DataError, match=r":3: .*already used in line 1"):
        load_groups(path)
    path.write_text("{")
    with pytest.raises(DataError, match=":1: not usable JSON"):
        load_groups(path)
    with pytest.raises(DataError, match="cannot be read"):
        load_groups(tmp_path / "none.jsonl")


def test_every_held_out_conversation_has_its_line_of_checks_in_order():
    assert list(load_checks()) == [c.id for c in load_curated("heldout")]


def test_whoever_should_ask_back_is_checked_for_asking_back():
    """But for one answer that may give the dates of several countries, and one that may say "please paste it"."""
    owed = {i: {check.kind for check in checks} for i, checks in load_checks().items()}
    asked = [c.id for c in load_curated("heldout") if c.meta["expects"] == "clarify"]
    assert [i for i in asked if "asks" not in owed[i]] == ["facts-medium-h4", "clarify-medium-h1"]
    assert [i for i, kinds in owed.items() if "asks" in kinds and i not in asked] == []


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"id": "a"}, "exactly 'id' and 'checks'"),
        ({"id": "", "checks": []}, "'id' must be a non-empty string"),
        ({"id": "a", "checks": [{"any": ["x"]}]}, "must be an object with a 'kind'"),
        ({"id": "a", "checks": {"kind": "asks"}}, "field 'checks' must be a list"),
    ],
)
def test_a_bad_line_of_checks_is_named(tmp_path, record, message):
    path = tmp_path / "checks.jsonl"
    path.write_text(json.dumps(record))
    with pytest.raises(DataError, match=r"checks\.jsonl:1: ") as caught:
        load_checks(path)
    assert message in str(caught.value)


def test_every_reference_passes_its_own_checks():
    checks = load_checks()
    failed = [
        (c.id, str(one.check))
        for c in load_curated("heldout")
        for one in run_checks(checks[c.id], c.reference)
        if not one.passed
    ]
    assert failed == []
