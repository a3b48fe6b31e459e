"""From likelihoods to rows: what counts as right, and what a model that knows everything or nothing scores."""

import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import pytest

from helptune.evaluate.capability.arithmetic import arithmetic
from helptune.evaluate.capability.items import Choice, Exact, Passage, load_choices
from helptune.evaluate.capability.measure import CAPABILITY, TEXT, measure_capability, pairs_of, shipped_items
from helptune.evaluate.likelihood import likelihoods
from helptune.evaluate.score import score_text

SHORT_IS_RIGHT = Choice("c", "science", "Ice is", "cold", ("warm as summer", "dry", "red"))


@dataclass(frozen=True)
class Likely:
    logprob: float
    greedy: bool = False


def scored(*logprobs):
    """A model that answers with these, one after the other."""
    return lambda pairs: [Likely(logprob) for logprob, _ in zip(logprobs, pairs, strict=True)]


def metrics(item, *logprobs, tokenizer):
    (row,) = measure_capability("base", tokenizer, scored(*logprobs), [item])
    return row.metrics


def test_the_likeliest_ending_is_that_of_the_highest_likelihood_per_character(tokenizer):
    """-8 for 4 characters is less likely than -14 for 14, though the plain likelihood says otherwise."""
    assert metrics(SHORT_IS_RIGHT, -8, -14, -9, -9, tokenizer=tokenizer) == {"correct": 0, "correct_raw": 1}
    assert metrics(SHORT_IS_RIGHT, -3, -14, -9, -9, tokenizer=tokenizer) == {"correct": 1, "correct_raw": 1}
    assert metrics(SHORT_IS_RIGHT, -3, -2.9, -9, -9, tokenizer=tokenizer) == {"correct": 0, "correct_raw": 0}


def test_a_tie_is_wrong(tokenizer):
    same = Choice("c", "science", "Ice is", "cold", ("warm", "dark", "blue"))
    assert metrics(same, -8, -8, -9, -9, tokenizer=tokenizer) == {"correct": 0, "correct_raw": 0}


def test_a_model_that_gives_no_number_is_wrong_and_its_surprise_unknown(tokenizer):
    nan = math.nan
    assert metrics(SHORT_IS_RIGHT, nan, nan, nan, nan, tokenizer=tokenizer) == {"correct": 0, "correct_raw": 0}
    assert metrics(SHORT_IS_RIGHT, -1, nan, -9, -9, tokenizer=tokenizer) == {"correct": 0, "correct_raw": 0}
    assert metrics(Passage("p", "essay", "Once."), nan, tokenizer=tokenizer)["nll"] is None
    assert metrics(Passage("p", "essay", "Once."), -math.inf, tokenizer=tokenizer)["nll"] is None


def test_a_sum_is_right_where_greedy_decoding_writes_the_answer_and_ends_the_line(tokenizer):
    item = Exact("e", "addition", "1 + 1 = 2\n2 + 3 =", "5")
    (before, one), (_, two) = pairs_of(item, tokenizer)
    assert tokenizer.decode(before) == "1 + 1 = 2\n2 + 3 ="
    assert (tokenizer.decode(one), tokenizer.decode(two)) == (" 5\n", " 5\n\n")
    for greedy in ([True, False], [False, True], [False, False]):
        (row,) = measure_capability("base", tokenizer, lambda pairs, g=greedy: [Likely(-1.0, x) for x in g], [item])
        assert row.metrics == {"correct": float(any(greedy)), "strict": float(greedy[0])}
        assert (row.part, row.labels, row.cluster) == (CAPABILITY, {"task": "addition"}, "e")


def test_prose_is_measured_in_nats_per_token(tokenizer):
    passage = Passage("p", "essay", "Once upon a time.")
    ((before, after),) = pairs_of(passage, tokenizer)
    assert len(before) == 1
    (row,) = measure_capability("tuned", tokenizer, scored(-10.0), [passage])
    assert row.metrics == {"nll": 10.0 / len(after), "tokens": len(after)}
    assert (row.part, row.model, row.labels) == (TEXT, "tuned", {"genre": "essay"})


def test_all_items_are_scored_in_one_call_and_each_gets_its_own_row(tokenizer):
    calls = []

    def score(pairs):
        calls.append(len(pairs))
        return [Likely(-float(len(after))) for _, after in pairs]

    rows = measure_capability("base", tokenizer, score)
    items = shipped_items()
    assert [row.item for row in rows] == [item.id for item in items]
    assert calls == [4 * len(load_choices()) + 2 * len(arithmetic()) + len([r for r in rows if r.part == TEXT])]
    assert {row.metrics["nll"] for row in rows if row.part == TEXT} == {1.0}


def test_who_knows_all_endings_gets_all_items_and_who_knows_none_gets_none(tokenizer):
    """In the rows of a mixed call each item meets its own likelihoods."""
    items = [*load_choices(), *arithmetic()]
    right = {item.stem: getattr(item, "right", None) or f"{item.answer}\n" for item in items}

    def knowing(pairs):
        texts = ((tokenizer.decode(before), tokenizer.decode(after)[1:]) for before, after in pairs)
        return [Likely(-1.0 if right[b] == a else -99.0, right[b] == a) for b, a in texts]

    assert {row.metrics["correct"] for row in measure_capability("base", tokenizer, knowing, items)} == {1.0}

    def contrary(pairs):
        return [Likely(-99.0 if one.greedy else -1.0) for one in knowing(pairs)]

    assert {row.metrics["correct"] for row in measure_capability("base", tokenizer, contrary, items)} == {0.0}


def test_the_surprise_of_a_passage_is_that_of_the_text_scored_on_its_own(word_base, tokenizer):
    passages = [item for item in shipped_items() if isinstance(item, Passage)][:2]
    rows = measure_capability("base", tokenizer, lambda pairs: likelihoods(word_base, tokenizer, pairs), passages)
    for row, passage in zip(rows, passages, strict=True):
        assert row.metrics["nll"] == pytest.approx(score_text(word_base, tokenizer, passage.text).mean(), rel=1e-5)


@pytest.mark.real
def test_the_base_is_well_above_chance_and_below_the_ceiling(real_base, tokenizer):
    """On every eighth item: otherwise neither a loss nor a gain could be seen."""
    items = [item for item in shipped_items() if not isinstance(item, Passage)][::8]
    rows = measure_capability("base", tokenizer, lambda pairs: likelihoods(real_base, tokenizer, pairs), items)
    correct = defaultdict(list)
    for row, item in zip(rows, items, strict=True):
        correct[type(item)].append(row.metrics["correct"])
    assert 0.6 < np.mean(correct[Choice]) < 0.9
    assert 0.2 < np.mean(correct[Exact]) < 0.6
