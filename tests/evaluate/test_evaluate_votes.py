"""Votes files: what is read, and that no line which cannot be counted goes unsaid."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helptune.errors import DataError
from helptune.evaluate.votes import KINDS, WINNERS, Vote, answers_hash, read_votes, vote_line, write_votes

MODELS, ITEMS = ("base", "tuned"), ("a", "b", "c")


def lines(path, *rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def row(item="a", first="base", second="tuned", winner="second", rater="x", kind="human", **more):
    return {
        "item": item, "first": first, "second": second, "winner": winner, "rater": rater, "kind": kind, **more
    }  # fmt: skip


def read(path, **known):
    return read_votes(path, **({"models": MODELS, "items": ITEMS} | known))


def test_a_vote_scores_for_the_model_wherever_it_was_shown():
    votes = [Vote("a", *order, "first", "x", "human") for order in (("base", "tuned"), ("tuned", "base"))]
    assert [vote.score("tuned") for vote in votes] == [0, 1]
    assert Vote("a", "base", "tuned", "tie", "x", "human").score("tuned") == 0.5
    assert Vote("a", "base", "tuned", None, "x", "human").score("tuned") is None


NAMES = st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip)
VOTES = st.builds(
    Vote, NAMES, st.just("base"), st.just("tuned"), st.sampled_from([*WINNERS, None]), NAMES, st.sampled_from(KINDS),
    st.text(st.characters(exclude_categories=[])), st.text(), st.text(),
)  # fmt: skip


@settings(deadline=None, max_examples=50)
@given(votes=st.lists(VOTES, max_size=5, unique_by=lambda v: v.rater))
def test_what_is_written_is_read(tmp_path_factory, votes):
    path = tmp_path_factory.mktemp("votes") / "votes.jsonl"
    write_votes(path, votes)
    found = read_votes(path)
    assert found.votes == tuple(votes)
    assert len(found.problems) == sum(vote.winner is None for vote in votes)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (row(winner="tuned"), "field 'winner': 'tuned' is not first, second, tie or null"),
        (row(kind="judge"), "field 'kind': 'judge' is not human or machine"),
        (row(kind=None), "field 'kind'"),
        (row(winner=["first"]), "field 'winner'"),
        ({k: v for k, v in row().items() if k != "winner"}, "field 'winner' is missing; null says no vote"),
        ({k: v for k, v in row().items() if k != "rater"}, "field 'rater' is missing"),
        (row(raiter="x"), "field 'raiter' is not one of item, first, second, winner, rater, kind, note, key"),
        (row(first="tuned"), "fields 'first' and 'second' both name 'tuned'"),
        (row(first="gpt"), "field 'first': unknown model 'gpt'; known are base, tuned"),
        (row(item="z"), "field 'item': unknown item 'z'; it is none of the 3 that were answered"),
        (row(item=" "), "field 'item' must be a name or a number"),
        (row(rater=True), "field 'rater' must be a name or a number"),
        (row(note=3), "field 'note' must be a text"),
        ([1], "expected a JSON object, found list"),
        (3, "expected a JSON object, found int"),
        ('{"item": ', "not usable JSON"),
        ("[" * 100_000, "not usable JSON"),
    ],
)
def test_a_bad_line_is_named_and_counted_as_lost(tmp_path, bad, said):
    path = lines(tmp_path / "v.jsonl", row(), "", bad)
    found = read(path)
    assert len(found.votes) == len(found.lost) == len(found.problems) == 1
    assert found.problems[0].where == f"{path}:3"
    assert found.problems[0].what.startswith(said)
    assert found.between("tuned", "base", "human")[1] == 1


def test_one_bad_byte_costs_one_line(tmp_path):
    path = tmp_path / "v.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + vote_line(Vote(**row())).encode() + b"\xff\n" + json.dumps(row("b")).encode())
    found = read(path)
    assert [vote.item for vote in found.votes] == ["a", "b"]
    assert [problem.where for problem in found.problems] == [f"{path}:2"]


def test_a_lost_line_counts_against_each_pair_and_kind_it_may_have_been(tmp_path):
    path = lines(tmp_path / "v.jsonl", row(winner="?"), row(kind="?"), row(first="few_shot", winner="?"), "{")
    found = read(path, models=(*MODELS, "few_shot"))
    assert found.between("tuned", "base", "human")[1] == 3
    assert found.between("tuned", "base", "machine")[1] == 2
    assert found.between("tuned", "few_shot", "human")[1] == 2
    assert found.between("base", "few_shot", "human")[1] == 1


def test_the_same_rater_votes_once_in_each_order(tmp_path):
    path = lines(tmp_path / "v.jsonl", row(), row(first="tuned", second="base"), row(winner="first"))
    found = read(path)
    assert [vote.winner for vote in found.votes] == ["second", "second"]
    assert found.problems[0].what == f"'x' voted on base and tuned in this order already in {path}:1, which counts"
    assert not found.lost  # nothing is missing: the vote is there, once


def test_a_vote_twice_is_found_across_files(tmp_path):
    one, other = (lines(tmp_path / name, row()) for name in ("1.jsonl", "2.jsonl"))
    found = read_votes(one, other)
    assert len(found.votes) == 1
    assert found.problems[0].where == f"{other}:1"


def test_no_name_is_human_and_machine(tmp_path):
    path = lines(tmp_path / "v.jsonl", row(), row("b", kind="machine"))
    found = read(path)
    assert [vote.kind for vote in found.votes] == ["human"]
    assert found.problems[0].what == f"field 'kind': rater 'x' is human in {path}:1 and machine here"


def test_a_null_vote_is_kept_and_told(tmp_path):
    found = read(lines(tmp_path / "v.jsonl", row(winner=None, rater="judge", kind="machine", note="timed out")))
    assert found.votes[0].winner is None
    assert found.problems[0].what == "machine rater 'judge' gave no vote: timed out"


def test_a_vote_on_answers_that_have_changed_since_is_lost(tmp_path):
    """The same run can be answered again; what was said of the answers before says nothing of these."""
    texts = {"base": {"a": "No.", "b": "No."}, "tuned": {"a": "Yes.", "b": "Yes."}}
    path = lines(
        tmp_path / "votes.jsonl",
        row("a", answers=answers_hash("No.", "Yes.")),
        row("b", answers=answers_hash("No.", "Yes, of course.")),
        row("c", answers=answers_hash("No answer is known", "of these")),
        row("a", rater="y"),
        row("a", rater="z", answers=answers_hash("Yes.", "No.")),
    )
    found = read(path, texts=texts)
    assert [(vote.item, vote.rater) for vote in found.votes] == [("a", "x"), ("c", "x"), ("a", "y")]
    assert [(problem.item, problem.where) for problem in found.problems] == [("b", f"{path}:2"), ("a", f"{path}:5")]
    assert all("answers are others now" in problem.what for problem in found.problems)
    assert found.between("tuned", "base", "human")[1] == 2


def test_a_file_that_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"none.jsonl: cannot be read"):
        read_votes(tmp_path / "none.jsonl")
