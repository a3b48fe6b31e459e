"""The score of an answer: near 1 for the reference, near 0 for what says nothing, and nothing is dropped."""

from dataclasses import replace

import numpy as np
import pytest
from sacrebleu import corpus_bleu

from helptune.data.conversation import Message, load_curated
from helptune.evaluate.answers import Answer
from helptune.evaluate.checks import parse_checks
from helptune.evaluate.overlap import corpus_overlap, overlap
from helptune.evaluate.quality import measure_quality, scored
from helptune.evaluate.sets import load_checks

HELDOUT, CHECKS = load_curated("heldout"), load_checks()


def parts(write, ended=True):
    return scored(HELDOUT, {c.id: Answer(c.id, write(c), ended, 9) for c in HELDOUT}, CHECKS)


def mean(write, ended=True):
    return np.mean([one.score for one in parts(write, ended).values()])


def test_a_reference_scores_near_one():
    assert mean(lambda c: c.reference) > 0.95


@pytest.mark.parametrize(
    ("write", "ended"),
    [(lambda c: "", True), (lambda c: c.prompt[-1].content, True), (lambda c: "It is so and so. " * 40, False)],
    ids=["empty", "echo", "loop"],
)
def test_what_says_nothing_scores_near_zero(write, ended):
    assert mean(write, ended) < 0.12


def test_the_parts_that_apply_depend_on_the_item_and_not_on_the_answer():
    applies = [
        {i: {name for name, value in one.parts.items() if value is not None} for i, one in parts(write).items()}
        for write in (lambda c: c.reference, lambda c: "I don't know.", lambda c: "")
    ]
    assert applies[0] == applies[1] == applies[2]


def test_a_missing_answer_is_a_row_without_figures_and_a_problem_and_an_unknown_one_a_problem():
    rows, problems = measure_quality(HELDOUT[:1], {"m": {"?": Answer("?", "x", True, 1)}}, CHECKS)
    assert [row.metrics for row in rows] == [{"helpfulness": None}]
    assert {problem.item for problem in problems} == {"?", HELDOUT[0].id}


def test_corpus_bleu_is_that_of_sacrebleu_inside_its_interval():
    texts, references = [c.prompt[-1].content for c in HELDOUT], [c.reference for c in HELDOUT]
    found = corpus_overlap(texts, references)["bleu"]
    assert found.value == pytest.approx(corpus_bleu(texts, [references]).score)
    assert found.low < found.value < found.high


def test_a_text_is_wholly_like_itself():
    assert overlap("the cat sat on the mat", "the cat sat on the mat") == pytest.approx(
        dict.fromkeys(("bleu", "chrf", "rouge1", "rouge2", "rougeL"), 1.0)
    )


def test_a_short_right_answer_is_well_above_a_fluent_wrong_one():
    c = replace(HELDOUT[0], messages=(Message("user", "What is 3 + 4?"), Message("assistant", "3 + 4 is 7.")))
    checks = {c.id: parse_checks([{"kind": "number", "is": 7}])}
    right, wrong = (
        scored([c], {c.id: Answer(c.id, text, True, 9)}, checks)[c.id].score
        for text in ("7.", "Adding three and four together carefully gives a total of nine.")
    )
    assert right > wrong + 0.25
