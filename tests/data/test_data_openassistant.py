"""OpenAssistant's trees: one best path each, every message learned at most once, and broken trees told apart."""

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helptune.data.conversation import Conversation
from helptune.data.sources import openassistant
from helptune.data.sources.openassistant import read
from helptune.data.sources.record import MALFORMED, Rejected, Row
from helptune.data.sources.rows import rows

FILES = Path(__file__).parent / "files/oasst"
WHO = ("prompter", "assistant")


def message(id, parent=None, *, tree="t", role=None, **fields):
    """A row of a message file; the role follows from the id's length where none is given: a, ab, abc alternate."""
    role = role or WHO[(len(id) - 1) % 2]
    common = {"message_tree_id": tree, "tree_state": "ready_for_export", "lang": "en"}
    return common | {"message_id": id, "parent_id": parent, "role": role, "text": f"text of {id}"} | fields


def located(*values):
    return [Row("file", line, value) for line, value in enumerate(values, start=1)]


def path(*values, **options):
    """The ids on the one path that was found."""
    (conversation,) = (c for c in read(located(*values), **options) if isinstance(c, Conversation))
    return conversation.meta["message_ids"]


def rejected(*values, **options):
    return [(r.line, r.code) for r in read(located(*values), **options) if isinstance(r, Rejected)]


def rated(helpfulness, count=3):
    return {"helpfulness": {"value": helpfulness, "count": count}}


def nested(*values):
    """The tree file's record of these messages."""

    def node(value):
        return value | {"replies": [node(v) for v in values if v["parent_id"] == value["message_id"]]}

    (root,) = (v for v in values if v["parent_id"] is None)
    return {"message_tree_id": root["message_tree_id"], "tree_state": root["tree_state"], "prompt": node(root)}


def test_the_file_of_messages_and_the_file_of_trees_give_the_same_conversations():
    trees = [c for c in read(rows(FILES / "trees.jsonl")) if isinstance(c, Conversation)]
    messages = [c for c in read(rows(FILES / "messages.jsonl")) if isinstance(c, Conversation)]
    assert len(trees) == 2
    assert messages[:2] == trees  # although the messages of the two trees alternate in their file


def test_the_best_path_and_what_is_kept_beside_it():
    soup, tea = (c for c in read(rows(FILES / "trees.jsonl"), source="oasst1") if isinstance(c, Conversation))
    assert soup.id == "oasst1-t-soup"
    assert soup.license == "Apache-2.0"
    assert soup.category == ""
    assert soup.meta["message_ids"] == ["t-soup", "s-b", "s-b1", "s-b1x"]
    assert [m.role for m in soup.messages] == ["user", "assistant", "user", "assistant"]
    assert soup.ratings["helpfulness"] == 0.75  # of the least helpful turn, the second
    assert soup.ratings["helpfulness_count"] == 3
    assert [turn["helpfulness"]["value"] for turn in soup.ratings["labels"]] == [1.0, 0.75]
    assert tea.meta["lang"] == "de"
    assert tea.meta["message_ids"] == ["t-tea", "e-a"]  # no rank: the more helpful


def test_every_trap_of_the_message_file_is_located():
    found = [(r.line, r.code) for r in read(rows(FILES / "messages.jsonl")) if isinstance(r, Rejected)]
    assert sorted(found) == [
        (12, MALFORMED),  # two first messages
        (16, MALFORMED),  # its parent is missing
        (17, MALFORMED),  # a cycle ...
        (17, MALFORMED),  # ... so its tree has no first message
        (18, MALFORMED),
        (19, "no_answer"),
        (20, "deleted"),
        (22, "tree_state"),
        (24, "no_answer"),  # only a model answered
        (26, MALFORMED),  # an id twice
        (27, MALFORMED),  # a label of 7
        (28, MALFORMED),  # role "system"
        (29, MALFORMED),  # no tree
    ]


def test_rank_decides_then_helpfulness_then_the_id():
    assert path(message("a"), message("ab", "a", rank=1), message("ac", "a", rank=0))[-1] == "ac"
    assert path(message("a"), message("ab", "a"), message("ac", "a", rank=5))[-1] == "ac"
    assert path(message("a"), message("ab", "a", labels=rated(0.2)), message("ac", "a", labels=rated(0.9)))[-1] == "ac"
    assert path(message("a"), message("ac", "a"), message("ab", "a"))[-1] == "ab"


@pytest.mark.parametrize("fields", [{"deleted": True}, {"review_result": False}, {"synthetic": True}])
def test_a_reply_that_cannot_be_used_is_passed_over(fields):
    best = message("ab", "a", rank=0, **fields)
    assert path(message("a"), best, message("ac", "a", rank=1)) == ["a", "ac"]


def test_a_review_that_is_null_is_none():
    assert path(message("a", review_result=None), message("ab", "a", review_result=None, deleted=None)) == ["a", "ab"]


def test_answers_of_models_only_when_asked_for():
    tree = message("a"), message("ab", "a", synthetic=True)
    assert rejected(*tree) == [(1, "no_answer")]
    assert path(*tree, synthetic=True) == ["a", "ab"]


def test_languages_and_states():
    tree = message("a", lang="de"), message("ab", "a", lang="de")
    assert rejected(*tree, languages=["en"]) == [(1, "language")]
    assert path(*tree, languages=["en", "de"]) == ["a", "ab"]
    grown = message("a", tree_state="growing"), message("ab", "a", tree_state="growing")
    assert rejected(*grown) == [(1, "tree_state")]
    assert path(*grown, states=()) == ["a", "ab"]


def test_a_reply_of_the_same_role_is_passed_over():
    assert path(message("a"), message("ab", "a", role="prompter", rank=0), message("ac", "a", rank=1)) == ["a", "ac"]
    assert rejected(message("a", role="assistant"), message("ab", "a", role="prompter")) == [(1, "no_answer")]


FLAT = {"name": ["helpfulness", "spam"], "value": [0.5, 0.0], "count": [2, 3]}
LABELS = {
    "flat": FLAT,
    "nested": {"helpfulness": {"value": 0.5, "count": 2}, "spam": {"value": 0.0, "count": 3}},
    "list": [{"name": "helpfulness", "value": 0.5, "count": 2}, {"name": "spam", "value": 0.0, "count": 3}],
    "with one nobody gave": {"name": [*FLAT["name"], "humor"], "value": [0.5, 0.0, None], "count": [2, 3, 0]},
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_flat_or_nested_are_the_same(name):
    (found,) = read(located(message("a"), message("ab", "a", labels=LABELS[name])))
    assert found.ratings == {"labels": [LABELS["nested"]], "helpfulness": 0.5, "helpfulness_count": 2}


@pytest.mark.parametrize(
    "labels",
    [
        "good",
        3,
        [1],
        {"quality": 0.5},
        FLAT | {"count": [2]},
        FLAT | {"value": [0.5, "0"]},
        FLAT | {"count": [2, True]},
    ],
)
def test_other_labels_are_malformed(labels):
    assert (2, MALFORMED) in rejected(message("a"), message("ab", "a", labels=labels))


def test_a_tree_beyond_reason_is_refused(monkeypatch):
    monkeypatch.setattr(openassistant, "LARGEST_TREE", 10)
    large = [message("a"), *(message(f"{i:02}", "a") for i in range(20))]
    assert rejected(*large) == [(1, MALFORMED)]
    assert rejected(nested(*large)) == [(1, MALFORMED)]
    assert path(*large[:10])


@st.composite
def forests(draw):
    """Sound trees of messages, their rows in any order."""
    values = []
    for tree in range(draw(st.integers(1, 3))):
        ids = [f"{tree}.0"]
        depth = {ids[0]: 0}
        values.append(message(ids[0], tree=f"t{tree}", role="prompter"))
        for i in range(1, draw(st.integers(1, 12))):
            parent, id = draw(st.sampled_from(ids)), f"{tree}.{i}"
            depth[id] = depth[parent] + 1
            ids.append(id)
            rank = draw(st.none() | st.integers(0, 3))
            labels = draw(st.none() | st.builds(rated, st.floats(0, 1)))
            usable = {"deleted": draw(st.booleans() | st.none()), "labels": labels, "rank": rank}
            values.append(message(id, parent, tree=f"t{tree}", role=WHO[depth[id] % 2], **usable))
    return draw(st.permutations(values))


@settings(deadline=None)
@given(forests())
def test_each_tree_gives_one_outcome_and_no_message_is_learned_twice(values):
    found = list(read(located(*values)))
    trees = {value["message_tree_id"] for value in values}
    assert len(found) == len(trees)
    by_id = {value["message_id"]: value for value in values}
    learned = Counter()
    for conversation in found:
        if isinstance(conversation, Rejected):
            assert conversation.code == "no_answer"
            continue
        ids = conversation.meta["message_ids"]
        assert [by_id[id]["parent_id"] for id in ids] == [None, *ids[:-1]]
        assert conversation.messages[-1].role == "assistant"
        assert not any(by_id[id].get("deleted") for id in ids)
        learned.update(ids)
    assert not learned or max(learned.values()) == 1


@settings(deadline=None)
@given(forests(), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_change_what_is_found(values, random):
    shuffled = list(values)
    random.shuffle(shuffled)
    found = [{json.dumps(c.meta) for c in read(located(*v)) if isinstance(c, Conversation)} for v in (values, shuffled)]
    assert found[0] == found[1]
