"""Agreement within groups of requests: what counts as agreement, and what never does."""

from dataclasses import replace

import pytest

from helptune.data.conversation import load_curated
from helptune.evaluate.answers import Answer
from helptune.evaluate.consistency import (
    VARIATIONS,
    consistency,
    measure_consistency,
    rounds,
    verdict,
)
from helptune.evaluate.sets import load_groups
from helptune.evaluate.sets.groups import Group

GROUP = Group(
    id="g", kind="pick", form="choice", options={"apple": ("apple",), "chair": ("chair",)}, answer="apple",
    original="Fruit: apple or chair?", paraphrases=("Which is the fruit, apple or chair?",),
    reordered=("Fruit: chair or apple?",),
)  # fmt: skip
SEEDS = (1, 2)
IDS = ("g/original", "g/paraphrase-1", "g/order-1", "g/seed-1", "g/seed-2")


def answered(*texts, group="g"):
    ids = [one.replace("g/", f"{group}/") for one in IDS]
    return {one: Answer(one, text, True, 1) for one, text in zip(ids, texts, strict=True)}


def rows_of(answers, groups=(GROUP,)):
    return measure_consistency(groups, {"tuned": answers}, SEEDS)[0]


def summary(answers, groups=(GROUP,)):
    return consistency(rows_of(answers, groups), "tuned")


def test_every_wording_is_asked_greedily_and_the_original_again_with_each_seed():
    greedy, *sampled = rounds([GROUP], SEEDS)
    assert greedy.temperature == 0
    assert [c.id for c in greedy.conversations] == list(IDS[:3])
    assert [(r.temperature, r.seed) for r in sampled] == [(0.7, seed) for seed in SEEDS]
    assert [c.id for r in sampled for c in r.conversations] == list(IDS[3:])
    assert {c.prompt[0].content for r in sampled for c in r.conversations} == {GROUP.original}


def test_answers_agree_in_whatever_words_and_are_right_only_if_right():
    found = summary(answered("Apple", "An apple.", "apple", "It is the apple", "**apple**"))
    assert found.pairs.value == found.unanimous.value == found.correct.value == 1
    wrong = summary(answered(*["chair"] * 5))
    assert wrong.pairs.value == 1
    assert wrong.correct.value == 0


def test_a_group_is_worth_the_share_of_its_pairs_that_agree():
    found = summary(answered("apple", "apple", "chair", "apple", "chair"))
    assert found.pairs.value == pytest.approx(4 / 10)  # 3 pairs of apples, 1 of chairs, of 10
    assert found.unanimous.value == 0
    assert {one: found.by_variation[one].value for one in VARIATIONS} == {"paraphrase": 1, "order": 0, "seed": 0.5}


@pytest.mark.parametrize("nothing", ["", " \n", "apple or chair", "Which fruit?"])
def test_two_answers_that_say_nothing_do_not_agree(nothing):
    assert summary(answered(*[nothing] * 5)).pairs.value == 0


def test_endless_answers_do_not_agree():
    endless = {name: replace(answer, ended=False) for name, answer in answered(*["apple"] * 5).items()}
    assert summary(endless).pairs.value == 0


def test_a_missing_answer_is_a_problem_and_its_group_is_missing():
    answers = answered(*["apple"] * 5)
    del answers["g/order-1"]
    rows, problems = measure_consistency([GROUP], {"tuned": answers}, SEEDS)
    assert [(p.item, p.where) for p in problems] == [("g/order-1", "tuned")]
    assert len(rows) == len(IDS)
    found = consistency(rows, "tuned")
    assert found.pairs.value is None
    assert found.pairs.missing == 1
    assert found.by_variation["order"].missing == 1
    assert found.by_variation["seed"].value == 1


def test_what_is_missing_counts_against_the_claim():
    groups = [replace(GROUP, id=f"g{n}") for n in range(200)]
    answers = {k: v for group in groups for k, v in answered(*["apple"] * 5, group=group.id).items()}
    assert verdict(summary(answers, groups)).startswith("met")
    short = {k: v for k, v in answers.items() if not k.startswith("g1")}
    assert verdict(summary(short, groups)).startswith("inconclusive")


def test_a_claim_is_met_refuted_or_left_open():
    def of(right, n):
        groups = [replace(GROUP, id=f"g{i}") for i in range(n)]
        texts = [["apple"] * 5 if i < right else ["apple", "chair", "", "", ""] for i in range(n)]
        return verdict(summary({k: v for i in range(n) for k, v in answered(*texts[i], group=f"g{i}").items()}, groups))

    assert of(80, 80).startswith("met")
    assert of(40, 80).startswith("not met")
    assert of(9, 10).startswith("inconclusive")


def test_an_open_claim_says_how_many_groups_would_settle_it():
    def of(right, n):
        """n groups, all answers of a group the same but in n - right of them, where no two are."""
        texts = [["apple"] * 5 if i < right else [""] * 5 for i in range(n)]
        groups = [replace(GROUP, id=f"g{i}") for i in range(n)]
        return verdict(summary({k: v for i in range(n) for k, v in answered(*texts[i], group=f"g{i}").items()}, groups))

    assert "about 18 more groups" in of(76, 80)  # 1.645**2 * 0.9 * 0.1 / 0.05**2 = 97.4, and 80 are there


def test_no_group_is_not_measurable():
    assert verdict(consistency([], "tuned")).startswith("not measurable")


def test_each_row_says_its_group_kind_and_variation():
    rows = rows_of(answered(*["apple"] * 5))
    assert {row.cluster for row in rows} == {"g"}
    assert [row.labels["variation"] for row in rows] == ["original", "paraphrase", "order", "seed", "seed"]
    assert "agrees" not in rows[0].metrics


def test_the_answer_written_for_each_shipped_group_agrees_with_itself_and_is_right():
    groups = load_groups()
    spoken = {c.id: Answer(c.id, c.reference, True, 1) for r in rounds(groups, SEEDS) for c in r.conversations}
    found = summary(spoken, groups)
    assert found.pairs.value == found.correct.value == 1


def test_an_echo_of_a_shipped_request_answers_nothing():
    """Else a model that repeats what it was asked would agree with itself."""
    groups = load_groups()
    spoken = {c.id: Answer(c.id, c.prompt[0].content, True, 1) for r in rounds(groups, SEEDS) for c in r.conversations}
    assert summary(spoken, groups).pairs.value < 0.2


def test_shipped_requests_are_in_no_curated_conversation():
    from helptune.data.decontaminate import hash_set, index_sets, matches

    texts = [text for group in load_groups() for text in group.texts]
    index = index_sets([hash_set(texts, "consistency", "", "")])
    for split in ("train", "heldout"):
        assert not [c.id for c in load_curated(split) if matches(c, index)]
