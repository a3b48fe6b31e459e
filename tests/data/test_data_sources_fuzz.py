"""Whatever a row holds, a source gives conversations that can be written, or says why not: it never raises."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helptune.data.conversation import Conversation, parse_conversation
from helptune.data.sources import helpsteer2, hh_rlhf, messages, openassistant, posts_xml, stackexchange
from helptune.data.sources.record import Rejected, Row
from helptune.data.sources.rows import rows

FILES = Path(__file__).parent / "files"
DUMP = str(FILES / "cooking.stackexchange.com/Posts.xml")
SOURCES = {
    "openassistant": (openassistant.read, "oasst", {"states": ()}),
    "hh_rlhf": (hh_rlhf.read, "hh/helpful-base", {"warning_was_read": True}),
    "stackexchange": (stackexchange.read, "stack_exchange_preferences.jsonl", {}),
    "posts_xml": (posts_xml.read, "cooking.stackexchange.com", {}),
    "helpsteer2": (helpsteer2.read, "helpsteer2/disagreements.jsonl", {}),
    "messages": (messages.read, "messages.jsonl", {"license": "MIT"}),
}
TRUE = {
    name: [row.value for row in rows(FILES / where) if isinstance(row, Row)] for name, (_, where, _) in SOURCES.items()
}
NAMES = sorted(
    {key for records in TRUE.values() for record in records for key in record} | {"replies", "prompt", "row"}
)
ODD = st.sampled_from([float("nan"), float("inf"), 2**80, -(2**63), "\ud800", "\0", "<bos>", b"bytes", 1e308, "²", ""])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | ODD | st.sampled_from(["1", "2", "prompter"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | st.text(), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def mutated(draw, records):
    """One of the true records, with a value anywhere inside of it replaced, left out or repeated."""
    record = json.loads(json.dumps(draw(st.sampled_from(records))))
    for _ in range(draw(st.integers(1, 3))):
        place = record
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], dict | list) and draw(st.booleans()):
                place = place[key]
                continue
            match draw(st.sampled_from(["replace", "replace", "remove", "repeat"])):
                case "replace":
                    place[key] = draw(VALUES)
                case "remove":
                    del place[key]
                case "repeat" if isinstance(place, list):
                    place.append(place[key])
            break
    return record


def holds(name, records):
    read, _, options = SOURCES[name]
    file = DUMP if name == "posts_xml" else "helpful-base/x.jsonl"
    for found in read([Row(file, line, record) for line, record in enumerate(records, start=1)], **options):
        assert isinstance(found, Conversation | Rejected)
        if isinstance(found, Rejected):
            assert found.file.endswith(("x.jsonl", ".xml"))
            assert found.code
            assert found.reason
            assert len(found.reason) < 400
        else:
            written = json.dumps(asdict(found), allow_nan=False)
            assert parse_conversation(json.loads(written)) == found
            assert name == "messages" or 0 <= found.ratings.get("helpfulness", 0) <= 1


@pytest.mark.parametrize("name", SOURCES)
def test_rows_of_any_json(name):
    @settings(max_examples=40, deadline=None)
    @given(st.lists(st.dictionaries(st.sampled_from(NAMES) | st.text(), VALUES, max_size=8), max_size=3))
    def check(records):
        holds(name, records)

    check()


@pytest.mark.parametrize("name", SOURCES)
def test_true_records_with_something_changed(name):
    @settings(max_examples=60, deadline=None)
    @given(st.lists(mutated(TRUE[name]), min_size=1, max_size=6))
    def check(records):
        holds(name, records)

    check()


TEXT = st.lists(
    st.sampled_from(["\n\nHuman:", "\n\nAssistant:", "\n", " ", "<extra_id_1>User\n", "\n<extra_id_1>Assistant\n"])
    | st.text(max_size=5),
    max_size=8,
).map("".join)


@settings(deadline=None)
@given(TEXT, TEXT)
def test_transcripts_of_any_text(first, second):
    holds("hh_rlhf", [{"chosen": first, "rejected": second}])
    scores = dict.fromkeys(helpsteer2.ATTRIBUTES, 2)
    holds("helpsteer2", [{"prompt": first, "response": second} | scores])
