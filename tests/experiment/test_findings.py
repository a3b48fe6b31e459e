"""What was found is computed from files alone: the same files, the same findings; a damaged one is named."""

import json
from dataclasses import replace

import pytest

from helptune.errors import RunError
from helptune.evaluate.judging.run import VOTES as JUDGED
from helptune.evaluate.table import PROBLEMS, ROWS, Problem, Row, write_rows
from helptune.evaluate.votes import Vote, write_votes
from helptune.experiment.acceptance import MET, NOT_HERE
from helptune.experiment.findings import COST, EVALUATION, SCREEN, VOTES, read_findings, to_json, write_findings

SCORES = {"base": 0.3, "few_shot": 0.5, "tuned": 0.7}
COSTS = {
    "measured": [{"what": "a step", "unit": "seconds", "lora": 1.0, "full": 20.0, "ratio": 0.05, "how": "measured"}]
}


def rows(models):
    return [
        Row(
            "helpful",
            f"q{i}",
            m,
            {"helpfulness": SCORES.get(m, 0.4) + i / 100, "words": 9.0},
            f"q{i}",
            {"category": "a"},
        )
        for m in models
        for i in range(12)
    ]


def evaluated(folder, models=("base", "few_shot", "tuned"), problems=()):
    write_rows(folder, rows(models), problems)
    return folder


def votes(count, rater, kind):
    return [Vote(f"q{i}", "tuned", "base", "first", rater, kind) for i in range(count)]


def test_the_same_files_give_the_same_findings_and_json(tmp_path):
    folder = evaluated(tmp_path, problems=[Problem("safety", "s1", "no answer", "tuned")])
    found = read_findings(folder)
    assert read_findings(folder) == found
    assert (found.models, found.of("tuned")) == (("base", "few_shot", "tuned"), rows(["tuned"]))
    assert found.problems == (Problem("safety", "s1", "no answer", "tuned"),)
    write_findings(folder, found)
    kept = json.loads((folder / EVALUATION).read_text())
    assert kept == json.loads(to_json(replace(found, rows=())))
    assert [one["status"] for one in kept["sheet"]] == [one.status for one in found.sheet]
    assert kept["compared"][0]["lines"][0]["comparison"]["difference"]["value"] == pytest.approx(0.4)
    assert kept["rows"] == [], "they are in a file of their own"


@pytest.mark.parametrize(
    ("models", "pairs"),
    [
        (("base", "few_shot", "tuned"), [("base", "tuned"), ("few-shot base", "tuned")]),
        (("base", "tuned"), [("base", "tuned")]),
        (("base", "few_shot"), []),
        (("base", "mine", "other"), [("base", "mine"), ("base", "other")]),
        ((), []),
    ],
)
def test_every_adapter_is_set_beside_the_base_and_a_tuned_model_has_a_sheet(models, pairs, tmp_path):
    found = read_findings(evaluated(tmp_path, models))
    assert [(one.a, one.b) for one in found.compared] == pairs
    assert len(found.sheet) == (6 if "tuned" in models else 0)
    json.loads(to_json(found))


def test_votes_of_people_and_of_judges_are_counted_apart(tmp_path):
    folder = evaluated(tmp_path)
    assert (read_findings(folder).people, read_findings(folder).machines) == (None, ())
    write_votes(folder / JUDGED, votes(9, "judge", "machine"))
    judged = read_findings(folder)
    assert (judged.people, judged.machines[0].wins, judged.sheet[0].status) == (None, 9, NOT_HERE)
    write_votes(folder / VOTES, votes(5, "ann", "human"))
    both = read_findings(folder)
    assert (both.people.wins, both.people.raters, both.machines) == (5, 1, judged.machines)
    assert "preferred over base" in both.sheet[0].why


def test_a_vote_that_cannot_be_counted_is_a_problem_and_missing(tmp_path):
    folder = evaluated(tmp_path)
    stranger = Vote("q99", "tuned", "base", "first", "ann", "human")
    write_votes(folder / VOTES, [*votes(5, "ann", "human"), stranger])
    found = read_findings(folder)
    assert (found.people.judged, found.people.missing) == (5, 1 + 7), "and nobody voted on seven prompts"
    assert [(p.item, p.where) for p in found.problems] == [("q99", f"{folder / VOTES}:6")]


def test_costs_fill_their_row_of_the_sheet(tmp_path):
    folder = evaluated(tmp_path)
    (folder / COST).write_text(json.dumps(COSTS))
    assert read_findings(folder).sheet[-1].status == MET


BROKEN = {
    "no rows": (ROWS, None),
    "rows cut short": (ROWS, '{"part": "helpful", "item"'),
    "rows of another kind": (ROWS, '{"part": "helpful"}'),
    "no problems": (PROBLEMS, None),
    "problems of another kind": (PROBLEMS, "[1]"),
    "costs cut short": (COST, '{"measured": ['),
    "costs without a list": (COST, "{}"),
    "costs without a ratio": (COST, '{"measured": [{"what": "a step"}]}'),
    "costs without a way": (COST, '{"measured": [{"what": "a step", "ratio": 0.5}]}'),
    "costs of another kind": (COST, '{"measured": [7]}'),
    "screen cut short": (SCREEN, "{"),
    "screen of another kind": (SCREEN, '{"name": "probe"}'),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_damaged_file_is_named(kind, tmp_path):
    name, text = BROKEN[kind]
    path = evaluated(tmp_path) / name
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(RunError, match=name):
        read_findings(tmp_path)


def test_judges_are_told_one_by_one(tmp_path):
    """A score and a model that reads are two opinions: added up they would look like one with twice the votes."""
    folder = evaluated(tmp_path)
    write_votes(folder / JUDGED, [*votes(9, "one", "machine"), *votes(4, "other", "machine")])
    assert [(one.raters, one.judged) for one in read_findings(folder).machines] == [(1, 9), (1, 4)]


def test_a_prompt_that_nobody_voted_on_is_missing_from_the_votes(tmp_path):
    """Else whoever picks the prompts to be voted on picks the result."""
    folder = evaluated(tmp_path)
    write_votes(folder / VOTES, votes(3, "ann", "human"))
    found = read_findings(folder)
    answered = {row.item for row in found.rows if (row.part, row.model) == ("helpful", "tuned")}
    assert (found.people.judged, found.people.missing) == (3, len(answered) - 3)
