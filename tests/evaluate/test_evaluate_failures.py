"""Detectors of failures: what each finds and leaves alone, and how they are counted, compared, grouped and shown."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar

from helptune.data.conversation import Conversation, Message, load_curated
from helptune.errors import DataError
from helptune.evaluate.answers import Answer
from helptune.evaluate.failures.clusters import cluster
from helptune.evaluate.failures.counts import NO_FAILURE, changes, counts, counts_by, unnamed, with_failures, worst
from helptune.evaluate.failures.detectors import CONTENT, DETECTORS, FORM, Case, checked, failures_of
from helptune.evaluate.failures.labelled import agreement, read_labelled
from helptune.evaluate.failures.taxonomy import CATEGORIES
from helptune.evaluate.table import Row
from helptune.plots import blank, failure_changes, failure_shares

ASKED = "Why does bread rise in a warm oven?"
REFERENCE = (
    "Bread rises because yeast feeds on the sugars of the flour and gives off carbon dioxide. The gas is trapped by "
    "the stretchy dough, whose bubbles swell with the heat until the crust sets around them."
)
GOOD = "Yeast eats sugar and makes carbon dioxide, and the bubbles of gas lift the dough until it is baked."


def asking(prompt: str = ASKED, reference: str = REFERENCE, category: str = "explain") -> Conversation:
    return Conversation(
        "one", "test", "Apache-2.0", (Message("user", prompt), Message("assistant", reference)), category
    )


def case(text: str, ended: bool = True, conversation: Conversation | None = None, **known) -> Case:
    return Case(conversation or asking(), Answer("one", text, ended, len(text.split())), **known)


FAILING = {
    "does_not_stop": case(GOOD, ended=False),
    "repeats": case("It is the yeast. " * 12),
    "echoes_prompt": case(ASKED),
    "garbage": case("Yeast makes gas. mendatang\nThe gas lifts the dough. subtree"),
    "ignores_question": case("My neighbour has a bicycle and likes long journeys."),
    "wrong_fact": case(GOOD, wrong=("mentions",)),
    "wrong_format": case(GOOD, malformed=("max_words",)),
    "too_short": case("Yeast."),
    "over_refuses": case("I'm not sure. Yeast makes gas, perhaps."),
    "unsafe": case(GOOD, unsafe=True),
}


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_category_has_a_detector_and_an_answer_that_it_finds(category):
    assert list(DETECTORS) == list(CATEGORIES) == list(FAILING)
    assert category in failures_of(FAILING[category])


def test_a_good_answer_fails_nowhere():
    assert failures_of(case(GOOD, wrong=(), malformed=(), unsafe=False)) == ()


def test_the_references_of_the_curated_set_fail_nowhere():
    """They are good answers by construction; a detector that finds one is wrong."""
    heldout = load_curated("heldout")
    found = {c.id: failures_of(Case(c, Answer(c.id, c.reference, True, 1))) for c in heldout}
    assert {item: failures for item, failures in found.items() if failures} == {}


def test_copying_is_no_echo_where_the_task_is_to_copy():
    told = 'Correct the spelling: "The yeast makes the doe rise in a warm oven every time."'
    fixed = "The yeast makes the dough rise in a warm oven every time."
    assert "echoes_prompt" not in failures_of(case(fixed, conversation=asking(told, fixed)))


def test_an_echo_of_an_earlier_turn_is_an_echo_too():
    messages = (Message("user", "Name a bread."), Message("assistant", GOOD), *asking().messages)
    assert "echoes_prompt" in failures_of(case(GOOD, conversation=replace(asking(), messages=messages)))


def test_a_script_of_the_prompt_is_no_garbage():
    greek = asking("What does αρτος mean, and how is it said?", "It means bread.")
    assert "garbage" not in failures_of(case("It means bread: αρτος.", conversation=greek))
    assert "garbage" in failures_of(case("It means bread: パン.", conversation=greek))


def test_declining_is_no_failure_where_it_is_due():
    refusal = "I can't help with that."
    assert "over_refuses" in failures_of(case(refusal))
    assert "over_refuses" not in failures_of(case(refusal, conversation=asking(category="refuse")))
    assert "over_refuses" not in failures_of(case(refusal, conversation=asking(reference="I can't know that.")))


def test_an_echo_states_no_wrong_fact():
    assert "wrong_fact" not in failures_of(replace(FAILING["echoes_prompt"], wrong=("mentions",)))


def test_a_refusal_is_not_unsafe():
    assert "unsafe" not in failures_of(case("I can't help with that.", unsafe=True))


def test_a_short_answer_that_passes_its_checks_is_not_too_short():
    assert "too_short" not in failures_of(replace(FAILING["too_short"], wrong=()))


def test_checks_are_sorted_into_content_and_form_and_none_is_not_the_same_as_passed():
    found = checked(asking(), case(GOOD).answer, [("number", False), ("items", True), ("declines", False)])
    assert (found.wrong, found.malformed) == (("number",), ())
    nothing = checked(asking(), case(GOOD).answer, [])
    assert (nothing.wrong, nothing.malformed) == (None, None)
    assert not CONTENT & FORM


def test_an_empty_answer_is_too_short_and_ignores_the_question():
    assert failures_of(case("")) == ("ignores_question", "too_short")


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=400), st.booleans())
def test_no_text_of_a_hostile_model_breaks_a_detector(text, ended):
    assert set(failures_of(case(text, ended))) <= set(CATEGORIES)


def test_the_labelled_sample_is_of_every_category_of_prompt_and_all_three_models():
    sample = read_labelled()
    assert len(sample) == 126
    assert {len([one for one in sample if one.model == model]) for model in ("base", "few_shot", "tuned")} == {36, 54}
    assert len({one.conversation.category for one in sample}) == 18
    assert len({one.conversation.id for one in sample}) == 126


def test_agreement_counts_what_was_found_and_what_was_labelled():
    sample = [one for one in read_labelled() if "does_not_stop" in one.labels][:4]
    first = replace(sample[0], labels=(), answer=replace(sample[0].answer, ended=False))
    last = replace(sample[3], answer=replace(sample[3].answer, ended=True))
    found = agreement([first, sample[1], sample[2], last])[0]
    assert (found.category, found.labelled, found.found) == ("does_not_stop", 3, 3)
    assert found.recall.value == found.precision.value == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"labels": ["rude"]}, "label 'rude' is not one of"),
        ({"id": "nobody"}, "conversation 'nobody' is not in"),
        ({"text": None}, "field 'text' is missing"),
    ],
)
def test_a_bad_line_of_labels_is_named(tmp_path, change, said):
    one = read_labelled()[0]
    record = {"id": one.answer.id, "model": "base", "text": "a", "ended": True, "tokens": 1, "labels": []} | change
    path = tmp_path / "labelled.jsonl"
    path.write_text(json.dumps({name: value for name, value in record.items() if value is not None}))
    with pytest.raises(DataError, match=f"labelled.jsonl:1: {said}"):
        read_labelled(path)


def row(item: str, model: str, *failures: str, score: float | None = None, tokens: float | None = 9, **labels) -> Row:
    return Row("helpful", item, model, {"tokens": tokens, "helpfulness": score}, item, labels, failures)


def test_shares_are_of_the_answers_that_exist_and_missing_ones_are_told():
    rows = [row("1", "tuned", "repeats"), row("2", "tuned"), row("3", "tuned", tokens=None)]
    found = counts(rows, "tuned")
    assert (found["repeats"].value, found["repeats"].n, found["repeats"].missing) == (0.5, 2, 1)
    assert found[NO_FAILURE].value == 0.5


def test_counts_by_a_label_add_up_to_the_counts():
    rows = [row(str(i), "tuned", *(["repeats"] * (i % 2)), difficulty=("easy", "hard")[i % 3 == 0]) for i in range(12)]
    by = counts_by(rows, "tuned", "difficulty")
    assert sum(own["repeats"].value * own["repeats"].n for own in by.values()) == 6
    assert set(by) == {"easy", "hard"}


def test_a_change_is_mcnemars_test_of_pairs_and_holms_correction_of_all():
    rows = []
    for i in range(60):
        rows += [row(str(i), "base", *(["repeats"] if i < 30 else [])), row(str(i), "tuned", *(["garbage"] * (i < 4)))]
    found = {change.category: change for change in changes(rows, "base", "tuned")}
    assert set(found) == {"repeats", "garbage", NO_FAILURE}
    assert found["repeats"].comparison.p == pytest.approx(mcnemar([[0, 30], [0, 30]], exact=True).pvalue)
    assert found["repeats"].comparison.difference.value == -0.5
    assert found["garbage"].holm == pytest.approx(mcnemar([[0, 0], [4, 56]], exact=True).pvalue)
    assert found["repeats"].holm == pytest.approx(3 * found["repeats"].comparison.p)


def test_an_item_that_one_model_did_not_answer_is_missing_from_the_comparison_and_told():
    rows = [row("1", "base", "repeats"), row("1", "tuned"), row("2", "base", "repeats")]
    assert changes(rows, "base", "tuned")[0].comparison.difference.missing == 1


def test_the_worst_is_the_lowest_score_then_the_most_failures_then_the_id():
    rows = [
        row("d", "tuned", score=0.9), row("c", "tuned", "repeats", score=0.1), row("b", "tuned", score=0.1),
        row("a", "tuned", score=0.1), row("e", "tuned", "garbage"), row("x", "base", score=0.0),
        row("y", "tuned", tokens=None, score=0.0),
    ]  # fmt: skip
    assert [one.item for one in worst(rows, "tuned")] == ["c", "a", "b", "d", "e"]
    assert [one.item for one in worst(rows, "tuned", category="garbage")] == ["e"]


def test_unnamed_answers_are_low_and_without_a_category():
    rows = [row("a", "tuned", score=0.2), row("b", "tuned", "repeats", score=0.1), row("c", "tuned", score=0.8)]
    assert [one.item for one in unnamed(rows, "tuned")] == ["a"]


def test_failures_are_put_into_the_rows_of_their_answers_alone():
    cases = {("tuned", "1"): FAILING["does_not_stop"]}
    rows = with_failures([row("1", "tuned"), row("1", "base")], cases)
    assert [one.failures for one in rows] == [("does_not_stop",), ()]


TEXTS = [
    "The yeast makes the dough rise.", "Yeast makes dough rise slowly.", "Rise, said the yeast to the dough.",
    "The train leaves the station at noon.", "At noon a train leaves our station.", "No train leaves our station.",
    "Purple elephants juggle.", "", "it is",
]  # fmt: skip


def test_answers_that_share_words_are_grouped_and_the_odd_one_stays_alone():
    found = cluster(TEXTS)
    assert {one.members for one in found} == {(0, 1, 2), (3, 4, 5)}
    assert all(one.medoid in one.members for one in found)
    assert "yeast" in next(one.name for one in found if 0 in one.members)


def test_groups_do_not_hang_on_the_order_of_the_answers():
    found, turned = cluster(TEXTS), cluster(TEXTS[::-1])
    last = len(TEXTS) - 1
    assert {one.members for one in found} == {tuple(sorted(last - i for i in one.members)) for one in turned}
    assert {one.name for one in found} == {one.name for one in turned}


@pytest.mark.parametrize("texts", [[], ["yeast"], ["", "", ""], ["it is", "the", "of"], ["a b"] * 5])
def test_of_too_few_words_there_are_no_groups(texts):
    assert cluster(texts) == []


def test_copies_of_one_answer_are_one_group():
    (found,) = cluster(["I'm going to the museum."] * 4)
    assert found.members == (0, 1, 2, 3)


def test_the_picture_of_shares_has_a_line_for_each_category_that_occurs():
    rows = [row("1", "base", "repeats", "garbage"), row("1", "tuned", "wrong_fact"), row("2", "tuned")]
    ax = failure_shares(blank(), {model: counts(rows, model) for model in ("base", "tuned")})
    shown = [label.get_text() for label in ax.get_yticklabels()]
    assert shown == ["repeats", "garbage", "wrong fact", "none found"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["base", "tuned"]


def test_the_picture_of_changes_fills_what_is_significant_after_holm():
    rows = []
    for i in range(40):
        rows += [row(str(i), "base", *(["repeats"] * (i < 30))), row(str(i), "tuned", *(["garbage"] * (i < 2)))]
    found = [change for change in changes(rows, "base", "tuned") if change.category != NO_FAILURE]
    ax = failure_changes(blank(), found)
    points = [line for line in ax.lines if line.get_marker() == "D"]
    assert [line.get_fillstyle() for line in points] == ["none", "full"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["garbage", "repeats"]


def test_pictures_of_nothing_are_drawn():
    failure_changes(blank(), [])
    failure_shares(blank(), {"tuned": counts([], "tuned")})
