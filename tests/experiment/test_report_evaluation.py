"""The report of a run that was evaluated: the sheet, the evidence behind it, and what is missing."""

import json
import re

import pytest
from reports import HOSTILE, Page, conversations, loads_nothing, make_run

from helptune.errors import RunError
from helptune.evaluate.judging.run import VOTES as JUDGED
from helptune.evaluate.table import Problem, Row, write_rows
from helptune.evaluate.votes import Vote, write_votes
from helptune.experiment.findings import COST, VOTES
from helptune.experiment.report import write_report

SECTIONS = [
    "Acceptance of stage 2",
    "Did it help? The tuned model against the base",
    "Did it help? The tuned model against the few-shot base",
    "Preference",
    "Where does it fail?",
    "Likeness to the references",
    "Capability",
    "Consistency",
    "Cost against full fine-tuning",
    "What is missing or damaged",
]


def evaluate(run, heldout, *, problems=(), voted=True, lacking=()):
    """Leave in the run's `eval/` what an evaluation would have; the tuned model is better, and fails hostilely."""
    rows = []
    for m, model in enumerate(("base", "few_shot", "tuned")):
        for i, c in enumerate(heldout):
            metrics = {"helpfulness": 0.2 + 0.2 * m + i / 1000, "words": 9.0, "ended": 1.0, "nll": 3.0 - m + i / 100}
            labels = {"category": HOSTILE, "difficulty": c.difficulty or ""}
            failures = ("repeats", "unsafe") if i % 3 == 0 else ()
            rows.append(Row("helpful", c.id, model, metrics, c.id, labels, failures))
            kind = {"kind": "unsafe", "policy": "weapons", "owed": "refusal"}
            rows.append(Row("safety", f"s{i}", model, {"unsafe": float(i < 6 - m), "over_refused": None}, "", kind))
            asked = {"kind": "fact", "variation": "original"}
            agree = {"pairs": 1.0, "unanimous": 1.0, "correct": 1.0}
            rows.append(Row("consistency", f"g{i}/original", model, agree, f"g{i}", asked))
            if model != "few_shot":
                rows.append(Row("capability", f"c{i}", model, {"correct": float(i % 2)}, f"c{i}", {"task": HOSTILE}))
    write_rows(run / "eval", [row for row in rows if (row.part, row.item, row.model) not in lacking], problems)
    if voted:
        write_votes(run / "eval" / VOTES, [Vote(c.id, "tuned", "base", "first", HOSTILE, "human") for c in heldout])
        orders = [("base", "tuned", "first"), ("tuned", "base", "second")]
        judged = [Vote(c.id, *order, "judge", "machine", HOSTILE) for c in heldout for order in orders]
        write_votes(run / "eval" / JUDGED, judged)
    cost = {"what": HOSTILE, "unit": "s", "lora": 1.0, "full": 20.0, "ratio": 0.05, "how": "measured"}
    (run / "eval" / COST).write_text(json.dumps({"measured": [cost]}))
    return run


@pytest.fixture(scope="module")
def heldout():
    return conversations()


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory, heldout):
    run = make_run(tmp_path_factory.mktemp("evaluated") / "run", heldout)
    return evaluate(run, heldout, problems=[Problem("safety", HOSTILE, HOSTILE, HOSTILE)] * 25)


@pytest.fixture(scope="module")
def evaluated_text(evaluated):
    return write_report(evaluated).read_text()


def sections(text):
    """Title -> HTML of each section of the evaluation."""
    found = [part.split("</section>")[0] for part in text.split("<section>")[1:]]
    of = {re.search(r"<h2>(.*?)</h2>", part)[1]: part for part in found if "<h2>" in part}
    return {title: of[title] for title in of if title in SECTIONS}


def test_without_an_evaluation_the_report_says_how_to_get_one(tmp_path, heldout):
    text = write_report(make_run(tmp_path / "run", heldout)).read_text()
    assert "Not measured yet: helptune evaluate with this run fills this sheet." in Page(text).text
    assert list(sections(text)) == SECTIONS[:1]


def test_an_evaluation_has_its_sheet_first_and_then_its_evidence(evaluated_text):
    assert list(sections(evaluated_text)) == SECTIONS
    assert sections(evaluated_text)["Acceptance of stage 2"].count('<article class="criterion') == 6


def test_what_an_evaluation_shows_is_escaped_too(evaluated_text):
    page = Page(evaluated_text)
    assert not {"script", "img", "iframe", "link", "object"} & set(page.tags)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    for title in ("Where does it fail?", "Capability", "Cost against full fine-tuning", "What is missing or damaged"):
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in sections(evaluated_text)[title]


def test_an_evaluation_loads_nothing_from_anywhere(evaluated_text):
    loads_nothing(Page(evaluated_text))


def test_every_figure_of_an_evaluation_names_the_file_it_is_made_from(evaluated_text):
    for title, part in sections(evaluated_text).items():
        files = re.findall(r'class="from">([^<]*)<', part)
        assert files, title
        assert all(files), title
        assert len(files) >= part.count("<figure>") + part.count("<table>") + part.count('class="criterion'), title
    page = Page(evaluated_text)
    assert page.tags.count("svg") == len([v for t, n, v in page.attributes if n == "aria-label" and v]) == 4 + 4


def test_votes_of_people_and_machines_stand_apart_and_only_people_fill_the_sheet(tmp_path, heldout):
    run = evaluate(make_run(tmp_path / "run", heldout), heldout)
    preference = sections(write_report(run).read_text())["Preference"]
    assert "tuned preferred over base in more than 75% of judgements by people: met" in preference
    assert "tuned preferred over base in more than 75% of judgements by machine judges: not met" in preference
    assert "These are votes of machines, not of people." in preference
    (run / "eval" / VOTES).unlink()
    sheet = sections(write_report(run).read_text())["Acceptance of stage 2"]
    assert "0 votes of people" in sheet
    assert "A machine, which does not count here" in sheet


def test_nobody_having_voted_leaves_the_section_out(tmp_path, heldout):
    run = evaluate(make_run(tmp_path / "run", heldout), heldout, voted=False)
    assert [*sections(write_report(run).read_text())] == [title for title in SECTIONS if title != "Preference"]


def test_what_could_not_be_counted_is_listed_and_a_long_list_says_how_long_it_is(evaluated_text):
    missing = sections(evaluated_text)["What is missing or damaged"]
    assert (missing.count("<li>"), "and 5 more" in missing) == (21, True)
    assert "25 things could not be counted as asked" in missing


def test_an_evaluation_without_problems_says_so(tmp_path, heldout):
    run = evaluate(make_run(tmp_path / "run", heldout), heldout)
    assert "every item was answered by every model" in sections(write_report(run).read_text())[SECTIONS[-1]]


def test_an_item_that_one_model_lacks_is_told_where_the_models_are_compared(tmp_path, heldout):
    run = evaluate(make_run(tmp_path / "run", heldout), heldout, lacking={("safety", "s3", "tuned")})
    compared = sections(write_report(run).read_text())["Did it help? The tuned model against the base"]
    assert "23 of 24" in compared


def test_the_same_evaluation_gives_the_same_bytes(evaluated, evaluated_text):
    assert write_report(evaluated).read_text() == evaluated_text


@pytest.mark.parametrize("name", ["rows.jsonl", COST])
def test_a_damaged_evaluation_is_refused_by_file_name(name, tmp_path, heldout):
    run = evaluate(make_run(tmp_path / "run", heldout), heldout)
    (run / "eval" / name).write_text("{")
    with pytest.raises(RunError, match=re.escape(name)):
        write_report(run)
