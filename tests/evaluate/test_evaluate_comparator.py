"""LLM Comparator's files: what we write is read back, and its own examples are understood."""

import json

import numpy as np
import pytest
from ballots import drawn

from helptune.errors import DataError
from helptune.evaluate.comparator import SideBySide, read_comparator, write_comparator
from helptune.evaluate.preference import win_rate
from helptune.evaluate.votes import Vote, VoteSet

SIDES = [
    SideBySide("7", "Which city?", "Seoul.", "Busan, of course.", ("facts", "easy")),
    SideBySide("8", "Why?", "", "\ud800"),
]


def file(path, *examples, models=("A", "B")):
    """A file as its documentation shows it."""
    default = {"input_text": "Hi", "tags": [], "output_text_a": "Hello", "output_text_b": "Hey", "custom_fields": {}}
    whole = {
        "metadata": {"source_path": "n/a", "custom_fields_schema": []},
        "models": [{"name": name} for name in models],
        "examples": [default | example for example in examples],
    }
    path.write_text(json.dumps(whole))
    return path


def rated(*ratings):
    return {
        "score": 0.5,
        "individual_rater_scores": [{"is_flipped": f, "score": s, "rationale": "."} for f, s in ratings],
    }


def test_what_is_written_is_read(tmp_path):
    votes = (
        Vote("7", "base", "tuned", "first", "x", "human"),
        Vote("7", "tuned", "base", "first", "judge", "machine", note="it names a city"),
        Vote("7", "base", "tuned", "tie", "judge", "machine"),
        Vote("7", "base", "tuned", None, "y", "human", note="my screen broke"),
    )
    write_comparator(tmp_path / "c.json", ("tuned", "base"), SIDES, VoteSet(votes))
    names, sides, found = read_comparator(tmp_path / "c.json")
    assert names == ("tuned", "base")
    assert sides == SIDES
    assert found.votes == votes
    example = json.loads((tmp_path / "c.json").read_text())["examples"]
    assert example[0]["score"] == -0.5  # a loss, and a machine's swap disagreement, which is a tie
    assert example[1]["score"] is None
    flipped = example[0]["individual_rater_scores"][0]
    assert (flipped["is_flipped"], flipped["score"], flipped["rating_label"]) == (True, -1.0, "A is better")


def test_a_win_rate_survives_the_round_trip(tmp_path):
    votes = drawn(np.random.default_rng(0), items=30, kind="machine", both_orders=True, ties=0.1)
    sides = [SideBySide(f"item {i}", "?", "!", ".") for i in range(30)]
    write_comparator(tmp_path / "c.json", ("a", "b"), sides, votes)
    _, _, found = read_comparator(tmp_path / "c.json")
    assert win_rate(found, "a", "b", "machine") == win_rate(votes, "a", "b", "machine")


def test_a_judges_scores_speak_of_the_models_in_either_order(tmp_path):
    path = file(tmp_path / "c.json", rated((False, 1.5), (False, 0.0), (True, -0.5), (True, None)))
    _, _, found = read_comparator(path)
    assert [(v.first, v.winner, v.rater, v.kind) for v in found.votes] == [
        ("A", "first", "llm-comparator 1", "machine"),
        ("A", "tie", "llm-comparator 2", "machine"),
        ("B", "first", "llm-comparator 1", "machine"),
        ("B", None, "llm-comparator 2", "machine"),
    ]
    assert found.votes[2].score("A") == 0
    assert found.problems[0].where == f"{path}: example 1, rating 4"


def test_an_example_with_a_score_alone_is_one_vote_that_no_claim_rests_on(tmp_path):
    bare = {"score": 0.5, "individual_rater_scores": []}
    names, sides, found = read_comparator(
        file(tmp_path / "c.json", bare, bare | {"score": -1.0}, bare | {"score": None})
    )
    assert [side.item for side in sides] == ["example 1", "example 2", "example 3"]
    assert [vote.winner for vote in found.votes] == ["first", "second"]
    preference = win_rate(found, *names, "machine", resamples=10)
    assert (preference.judged, preference.one_sided) == (2, 2)


@pytest.mark.parametrize(
    "bad", [{"score": "high"}, {"score": True}, {"score": 1, "custom_fields": {"kind": "alien"}}, 3, None]
)
def test_a_rating_that_cannot_be_read_is_a_lost_vote(tmp_path, bad):
    path = file(tmp_path / "c.json", {"score": 0, "individual_rater_scores": [bad, {"score": 1, "is_flipped": False}]})
    _, _, found = read_comparator(path)
    assert len(found.votes) == len(found.problems) == 1
    assert found.between("A", "B", "machine")[1] == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not a JSON file"),
        ("[]", "field 'models' must name two different models, found None"),
        ('{"models": [{"name": "A"}, {"name": "A"}]}', "field 'models'"),
        ('{"models": [{"name": "A"}, {"name": "B"}], "examples": [3]}', "field 'examples' must be a list of objects"),
        (
            '{"models": [{"name": "A"}, {"name": "B"}], "examples": [{}]}',
            "example 1: field 'input_text' must be a text",
        ),
    ],
)
def test_a_file_that_is_no_comparison_is_an_error(tmp_path, text, said):
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(DataError) as caught:
        read_comparator(tmp_path / "c.json")
    assert str(caught.value).startswith(f"{tmp_path / 'c.json'}: {said}")


def test_two_examples_do_not_share_an_id(tmp_path):
    one = rated() | {"custom_fields": {"id": 3}}
    with pytest.raises(DataError, match="two examples have the id '3'"):
        read_comparator(file(tmp_path / "c.json", one, one))


def test_texts_may_come_in_pieces(tmp_path):
    pieces = [
        {"type": "text", "data": "What is "},
        {"type": "image_byte", "data": "AAAA"},
        {"type": "text", "data": "this?"},
    ]
    _, sides, _ = read_comparator(file(tmp_path / "c.json", rated() | {"input_text": pieces}))
    assert sides[0].prompt == "What is this?"
