"""The validator of conversation files: it accepts what the format allows, and of anything else says where and why."""

import json
import re
from dataclasses import asdict

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from helptune.data.conversation import CATEGORIES, DIFFICULTIES, Conversation, parse_conversation, read_conversations
from helptune.errors import DataError

GOOD = {
    "id": "greeting-1",
    "source": "test",
    "license": "Apache-2.0",
    "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}],
    "category": "write",
    "difficulty": "easy",
    "ratings": {"helpful": 4},
    "meta": {"topic": "greeting"},
}
USER, ASSISTANT = GOOD["messages"]
SYSTEM = {"role": "system", "content": "Be brief."}


def record(**changes):
    """GOOD with some fields replaced; None leaves a field out."""
    return {name: value for name, value in (GOOD | changes).items() if value is not None}


def chat(*messages):
    return record(messages=list(messages))


def said(content, **more):
    return chat(USER, {"role": "assistant", "content": content, **more})


# What is wrong -> the line of the file, and what the message must name.
MALFORMED = {
    "bad JSON": ('{"id": "a",', "not valid JSON"),
    "a number of five thousand digits": ("1" * 5000, "not usable JSON"),
    "a hundred thousand open brackets": ("[" * 100_000, "not usable JSON"),
    "not an object": ([1, 2], "expected a JSON object, found list"),
    "missing id": (record(id=None), "'id' must be a non-empty string"),
    "empty id": (record(id=" "), "'id' must be a non-empty string"),
    "id is a number": (record(id=7), "'id' must be a non-empty string, found 7"),
    "missing source": (record(source=None), "'source' must be"),
    "missing license": (record(license=None), "'license' must be"),
    "unknown field": (record(text="hi"), "'text' is not one of id, source"),
    "wrong category": (record(category="poetry"), "'category': 'poetry' is not one of explain"),
    "wrong difficulty": (record(difficulty=3), "'difficulty': 3 is not one of easy"),
    "ratings are a list": (record(ratings=[4]), "'ratings' must be an object"),
    "meta is a string": (record(meta="x"), "'meta' must be an object"),
    "missing messages": (record(messages=None), "'messages' must be a non-empty list"),
    "no messages": (chat(), "'messages' must be a non-empty list"),
    "assistant first": (chat(ASSISTANT, USER), "'messages[0].role': expected 'user', found 'assistant'"),
    "two user turns": (chat(USER, USER), "'messages[1].role': expected 'assistant', found 'user'"),
    "late system message": (chat(USER, SYSTEM), "'messages[1].role': expected 'assistant', found 'system'"),
    "order wrong after a system message": (chat(SYSTEM, ASSISTANT), "'messages[1].role': expected 'user'"),
    "unknown role": (chat(USER, {"role": "model", "content": "x"}), "'messages[1].role': expected 'assistant'"),
    "role is a list": (chat({"role": [], "content": "x"}, ASSISTANT), "'messages[0].role': expected 'user'"),
    "ends on user": (chat(USER, ASSISTANT, USER), "'messages': the last turn must be the assistant's"),
    "system message alone": (chat(SYSTEM), "'messages': the last turn must be the assistant's"),
    "message is a string": (chat("Hi", ASSISTANT), "'messages[0]' must be an object"),
    "extra key in message": (said("x", name="Bo"), "'messages[1]' must be an object with exactly"),
    "empty content": (said(" \n"), "'messages[1].content' must be a non-empty string"),
    "content not a string": (said(4), "'messages[1].content' must be a non-empty string, found 4"),
    "control token in content": (said("a<end_of_turn>b"), "'messages[1].content' contains the control token <end_of"),
    "half a character in content": (said("\ud83d"), "'messages[1].content' contains half of a character"),
}


@pytest.fixture
def write(tmp_path):
    """Lines (text, or objects that become JSON) -> path of a file that holds them."""

    def write_lines(*lines):
        path = tmp_path / "some.jsonl"
        path.write_text("".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines), encoding="utf-8")
        return path

    return write_lines


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_malformed_line_is_reported_with_file_line_and_field(kind, write):
    line, told = MALFORMED[kind]
    path = write(record(id="first"), "", line)
    with pytest.raises(DataError, match=rf"^{re.escape(str(path))}:3: .*{re.escape(told)}"):
        list(read_conversations(path))


def test_a_repeated_id_names_the_line_of_its_first_use(write):
    path = write(record(id="a"), record(id="b"), "", record(id="a"))
    with pytest.raises(DataError, match=rf"^{re.escape(str(path))}:4: field 'id': 'a' was already used in line 1$"):
        list(read_conversations(path))


def test_the_same_id_in_two_files_is_no_error_of_either(write):
    """A file is checked alone; `test_data_curated.py` holds the curated set to more."""
    path = write(GOOD)
    assert list(read_conversations(path)) == list(read_conversations(path))


def test_invalid_utf8_is_reported_with_its_line(tmp_path):
    path = tmp_path / "latin1.jsonl"
    path.write_bytes(json.dumps(GOOD).encode() + b"\n" + b'{"id": "caf\xe9"}\n')
    with pytest.raises(DataError, match=r"latin1\.jsonl:2: not UTF-8 text"):
        list(read_conversations(path))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.jsonl: cannot be read"):
        list(read_conversations(tmp_path / "nowhere.jsonl"))


def test_a_folder_is_not_a_file(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        list(read_conversations(tmp_path))


def test_good_lines_before_a_bad_one_are_still_read(write):
    """Reading is lazy, so a file of any size can be checked without holding it as objects."""
    reader = read_conversations(write(GOOD, "{"))
    assert next(reader).id == GOOD["id"]
    with pytest.raises(DataError):
        next(reader)


def test_a_valid_file_round_trips(write):
    unicode_line = record(id="ü", messages=[USER, {"role": "assistant", "content": "one\u2028two\u0085three 🙂"}])
    records = [GOOD, unicode_line, chat(USER, ASSISTANT, USER, ASSISTANT) | {"id": "long"}]
    read = list(read_conversations(write(*records)))
    assert [json.loads(json.dumps(asdict(c))) for c in read] == records


def test_windows_line_ends_are_read(tmp_path):
    path = tmp_path / "windows.jsonl"
    path.write_bytes(json.dumps(GOOD).encode() + b"\r\n\r\n")
    assert [c.id for c in read_conversations(path)] == [GOOD["id"]]


def test_a_system_message_may_come_first():
    conversation = parse_conversation(chat(SYSTEM, USER, ASSISTANT))
    assert [m.role for m in conversation.messages] == ["system", "user", "assistant"]


def test_labels_ratings_and_meta_may_be_left_out():
    """Records of other sources have none."""
    conversation = parse_conversation(record(category=None, difficulty=None, ratings=None, meta=None))
    assert (conversation.category, conversation.difficulty, conversation.ratings, conversation.meta) == ("", "", {}, {})


def test_prompt_and_reference_make_up_the_conversation():
    conversation = parse_conversation(chat(USER, ASSISTANT, USER, {"role": "assistant", "content": "Bye!"}))
    assert [m.content for m in conversation.prompt] == ["Hi", "Hello!", "Hi"]
    assert conversation.reference == "Bye!"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)
ROLES = st.sampled_from(["system", "user", "assistant"])
MESSAGES = st.fixed_dictionaries({"role": ROLES | JSON, "content": st.text() | JSON})
FIELDS = {
    "id": st.text() | JSON,
    "messages": st.lists(MESSAGES, max_size=5) | JSON,
    "category": st.sampled_from(CATEGORIES) | JSON,
    "difficulty": st.sampled_from(DIFFICULTIES) | JSON,
    "ratings": JSON,
    "meta": JSON,
}
ALMOST_RECORDS = st.fixed_dictionaries({}, optional=FIELDS).map(lambda changes: GOOD | changes)


@given(JSON | ALMOST_RECORDS)
def test_arbitrary_json_is_a_conversation_or_a_data_error(value):
    """Whatever it is, there is no third outcome; and what is accepted ends on an answer."""
    try:
        conversation = parse_conversation(value)
    except DataError:
        return
    assert isinstance(conversation, Conversation)
    assert conversation.messages[-1].role == "assistant"


@given(st.binary(max_size=200))
@example(b"\xef\xbb\xbf{}")
@example(b'"\\ud800"')
def test_arbitrary_bytes_are_conversations_or_a_data_error(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "bytes.jsonl"
    path.write_bytes(data)
    try:
        assert list(read_conversations(path)) == []
    except DataError as error:
        message = str(error)
    else:
        return
    assert message.startswith(str(path))
