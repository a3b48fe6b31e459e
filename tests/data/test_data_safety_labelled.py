"""The labelled set is read whole or not at all, and an error says where."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safety_texts import small_set, write_small_set

from helptune.data.safety.labelled import by_target, load_labelled, parse_labelled, read_labelled, set_sha256
from helptune.errors import DataError

GOOD = vars(small_set("train")[0])
ANSWER = vars(small_set("train")[1])


def test_what_is_written_is_read_back_the_same(tmp_path):
    write_small_set(tmp_path)
    assert load_labelled("train", tmp_path) == small_set("train")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"target": "both"}, "'target': 'both' is not one of prompt, response"),
        ({"prompt": " "}, "'prompt' must be a non-empty string"),
        ({"label": "bad"}, "'label': 'bad'"),
        ({"policy": "taste"}, "'policy': 'taste'"),
        ({"policy": "none"}, "names the policy it breaks"),
        ({"policy": ["crime"]}, "'policy': ['crime']"),
        ({"kind": "plain"}, "does not go with label"),
        ({"subtle": "yes"}, "'subtle' must be true or false"),
        ({"response": "Sure."}, "a record of target prompt cannot have"),
        ({"label": "safe", "kind": "plain", "subtle": True}, "only an unsafe record can be subtle"),
        ({"note": 1}, "'note' is unknown"),
    ],
)
def test_an_error_names_file_line_and_field(tmp_path, change, said):
    path = tmp_path / "train.jsonl"
    path.write_text(f"{json.dumps(ANSWER)}\n\n{json.dumps(GOOD | change)}\n")
    with pytest.raises(DataError) as error:
        list(read_labelled(path))
    assert str(error.value).startswith(f"{path}:3: ")
    assert said in str(error.value)


@pytest.mark.parametrize("line", ["{", "[]", "7", "[" * 100_000, '{"id": 1' + "0" * 5_000 + "}", '"text"'])
def test_a_line_that_is_no_object_is_an_error_of_that_line(tmp_path, line):
    path = tmp_path / "dev.jsonl"
    path.write_text(line)
    with pytest.raises(DataError, match=r"dev\.jsonl:1: "):
        list(read_labelled(path))


def test_an_id_may_come_once(tmp_path):
    path = tmp_path / "dev.jsonl"
    path.write_text(f"{json.dumps(GOOD)}\n{json.dumps(GOOD)}\n")
    with pytest.raises(DataError, match="already used in line 1"):
        list(read_labelled(path))


def test_a_response_needs_an_answer():
    with pytest.raises(DataError, match="'response'"):
        parse_labelled(ANSWER | {"response": ""})


@settings(max_examples=40)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=5), x, max_size=3),
        max_leaves=5,
    )
)
def test_no_json_value_breaks_the_parser(value):
    with pytest.raises(DataError):
        parse_labelled(value)


@given(st.sampled_from(sorted(GOOD)), st.none() | st.integers() | st.lists(st.text()) | st.just({"a": None}))
def test_a_field_of_another_type_is_an_error(name, value):
    with pytest.raises(DataError):
        parse_labelled(GOOD | {name: value})


def test_targets_are_told_apart():
    found = by_target(small_set("dev"))
    assert {r.target for r in found["prompt"]} == {"prompt"}
    assert sum(map(len, found.values())) == len(small_set("dev"))


def test_the_label_is_about_the_target_s_text():
    assert {record.text for record in small_set("dev")} == {r.response or r.prompt for r in small_set("dev")}


def test_the_identity_of_a_set_changes_with_a_label():
    records = small_set("dev")
    changed = [parse_labelled(vars(records[0]) | {"policy": "violence"}), *records[1:]]
    assert set_sha256(records) != set_sha256(changed)
