"""A run's own files are what is judged, and a judge's votes lie beside them."""

import json
from dataclasses import asdict

import pytest
from judges import Scripted, answers, conversation, longer

from helptune.data.conversation import write_conversations
from helptune.errors import RunError
from helptune.evaluate.judging.run import VOTES, judge_run
from helptune.evaluate.votes import Vote, read_votes

A, B = answers("short", "short", "short"), answers("longer than that", "longer than that")


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run" / "eval"
    write_conversations(folder / "heldout.jsonl", [conversation(id) for id in "abc"])
    for name, found in (("base", A), ("tuned", B)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(asdict(one)) + "\n" for one in found.values()))
    return tmp_path / "run"


def test_the_answers_of_a_run_are_judged_and_the_votes_kept_beside_them(run):
    report = judge_run(run, Scripted(longer))
    assert (report.a, report.b, report.items, report.score.value) == ("base", "tuned", 3, 1.0)
    assert report.failures == {"nothing to judge": 2}, "tuned gave no answer to the last"
    assert len(read_votes(run / "eval" / VOTES, models=("base", "tuned"), items="abc").votes) == 6


def test_votes_of_people_are_set_beside_them(run):
    people = [Vote(item, "base", "tuned", "second", "ann", "human") for item in "ab"]
    assert judge_run(run, Scripted(longer), human_votes=people).humans.same.value == 1


@pytest.mark.parametrize("model", ["few_shot", "../eval/base", "no such"])
def test_a_model_that_did_not_answer_is_named(model, run):
    with pytest.raises(RunError, match="no answers of"):
        judge_run(run, Scripted(longer), model, "tuned")


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(RunError, match=r"heldout\.jsonl: is not there"):
        judge_run(tmp_path, Scripted(longer))
