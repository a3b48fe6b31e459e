"""Two models of a run side by side: what another program reads is what the run holds, with everybody's votes."""

from dataclasses import replace

import pytest

from helptune.data.conversation import Conversation, Message, write_conversations
from helptune.errors import RunError, SettingError
from helptune.evaluate.answers import Answer, write_answers
from helptune.evaluate.comparator import read_comparator
from helptune.evaluate.judging.run import VOTES as JUDGED
from helptune.evaluate.votes import Vote, answers_hash, write_votes
from helptune.experiment.findings import VOTES
from helptune.experiment.side_by_side import Exported, export_sides

TURNS = (Message("user", "Why is the sky blue?"), Message("assistant", "Blue light is scattered more."))
AGAIN = (Message("user", "And the sea?"), Message("assistant", "It mirrors the sky."))
ASKED = [
    Conversation("sky", "test", "Apache-2.0", TURNS, "explain", "easy"),
    Conversation("sea", "test", "Apache-2.0", TURNS + AGAIN),
]
PEOPLE = [
    Vote("sky", "tuned", "base", "first", "ann", "human", note="it explains"),
    Vote("sea", "base", "tuned", None, "ann", "human"),
]
MACHINES = [Vote("sky", *pair, "tie", "judge", "machine") for pair in (("base", "tuned"), ("tuned", "base"))]


def said(model):
    return [Answer(c.id, f"{model} on {c.id}", True, 3) for c in ASKED]


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run" / "eval"
    write_conversations(folder / "heldout.jsonl", ASKED)
    for model in ("base", "few_shot", "tuned"):
        write_answers(folder / f"{model}.jsonl", said(model))
    write_votes(folder / VOTES, PEOPLE)
    write_votes(folder / JUDGED, MACHINES)
    return tmp_path / "run"


def test_what_is_read_back_is_what_the_run_holds(run, tmp_path):
    found = export_sides(run, tmp_path / "c.json")
    names, (sky, sea), votes = read_comparator(tmp_path / "c.json")
    assert names == ("base", "tuned")
    assert (sky.item, sky.prompt, sky.a, sky.b) == ("sky", TURNS[0].content, "base on sky", "tuned on sky")
    assert (sky.tags, sea.tags) == (("explain", "easy"), ())
    assert sorted(votes.votes, key=str) == sorted([*PEOPLE, *MACHINES], key=str)
    assert (found.prompts, found.votes) == (2, 4)


def test_a_prompt_of_several_turns_says_who_speaks(run, tmp_path):
    export_sides(run, tmp_path / "c.json")
    prompt = read_comparator(tmp_path / "c.json")[1][1].prompt
    assert prompt == ("User: Why is the sky blue?\n\nAssistant: Blue light is scattered more.\n\nUser: And the sea?")


def test_any_two_models_that_answered_are_set_side_by_side_with_the_votes_on_these_two(run, tmp_path):
    write_votes(run / "eval" / VOTES, [*PEOPLE[:1], Vote("sea", "few_shot", "tuned", "second", "ann", "human")])
    assert export_sides(run, tmp_path / "c.json", "tuned", "few_shot") == Exported(2, 1)
    names, sides, votes = read_comparator(tmp_path / "c.json")
    assert (names, sides[0].a, sides[0].b) == (("tuned", "few_shot"), "tuned on sky", "few_shot on sky")
    assert [(vote.item, vote.score("tuned")) for vote in votes.votes] == [("sea", 1.0)]


def test_a_run_without_votes_is_exported_to_be_looked_at(run, tmp_path):
    for name in (VOTES, JUDGED):
        (run / "eval" / name).unlink()
    assert export_sides(run, tmp_path / "c.json") == Exported(2, 0)


def test_what_is_missing_and_what_does_not_count_is_told(run, tmp_path):
    write_answers(run / "eval" / "tuned.jsonl", said("tuned")[:1])
    old = replace(PEOPLE[0], answers=answers_hash("as it was", "then"))
    write_votes(run / "eval" / VOTES, [old, Vote("sky", "tuned", "nobody", "first", "ben", "human")])
    found = export_sides(run, tmp_path / "c.json")
    assert (found.prompts, found.votes) == (1, len(MACHINES))
    missing, changed, unknown = [(problem.item, problem.where, problem.what) for problem in found.problems]
    assert missing == ("sea", "tuned", "sea: the answer is missing")
    assert changed[1] == f"{run / 'eval' / VOTES}:1"
    assert "others now" in changed[2]
    assert "unknown model 'nobody'" in unknown[2]


def test_no_file_is_written_over_and_none_of_a_mistake_is_left(run, tmp_path):
    out = tmp_path / "c.json"
    for models, error in ((("tuned", "tuned"), SettingError), (("base", "nobody"), RunError)):
        with pytest.raises(error):
            export_sides(run, out, *models)
    for name in ("base", "tuned"):
        (run / "eval" / f"{name}.jsonl").write_text("damaged\n")
    with pytest.raises(RunError, match="no held-out prompt has an answer of base and one of tuned"):
        export_sides(run, out)
    assert not out.exists()
    out.write_text("mine")
    with pytest.raises(SettingError, match=r"c\.json: exists; name a new file"):
        export_sides(run, out)
    assert out.read_text() == "mine"
