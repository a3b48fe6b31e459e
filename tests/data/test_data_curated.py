"""The curated conversations: complete, balanced, short enough, without filler, and held-out in earnest."""

import re
from collections import Counter
from itertools import product

import pytest

from helptune.data.conversation import CATEGORIES, CURATED, DIFFICULTIES, load_curated
from helptune.data.packing import tokenize
from helptune.experiment.split import FEW_SHOT_IDS, few_shot_candidates
from helptune.gemma.config import gemma3_270m

TRAIN, HELDOUT = load_curated("train"), load_curated("heldout")
SEQ_LEN = 256
MAX_JACCARD = 0.15
"""Measured: 0.111 at most, by word trigrams that everyone writes ("what can I"). A near-duplicate is above 0.5."""
FILLER = re.compile(
    r"(sure|certainly|of course|absolutely|great|good question|excellent question|happy to|glad to|no problem|"
    r"as an ai|i'd be|i hope this)\b",
    re.IGNORECASE,
)


def words(conversation):
    return re.findall(r"[a-z0-9']+", " ".join(m.content for m in conversation.prompt).lower())


def ngrams(conversation, n):
    w = words(conversation)
    return {tuple(w[i : i + n]) for i in range(len(w) - n + 1)}


def jaccard(a, b):
    return len(a & b) / len(a | b) if a | b else 0.0


@pytest.mark.parametrize(
    ("split", "rows", "per_cell"), [(TRAIN, 1_000, 20), (HELDOUT, 200, 4)], ids=["train", "heldout"]
)
def test_every_category_has_every_difficulty(split, rows, per_cell):
    cells = Counter((c.category, c.difficulty) for c in split)
    assert len(split) >= rows
    assert set(cells) == set(product(CATEGORIES, DIFFICULTIES))
    assert min(cells.values()) >= per_cell


@pytest.mark.parametrize("split", [TRAIN, HELDOUT], ids=["train", "heldout"])
def test_every_category_has_conversations_of_several_turns(split):
    assert {c.category for c in split if len(c.messages) > 2} == set(CATEGORIES)


@pytest.mark.parametrize("split", [TRAIN, HELDOUT], ids=["train", "heldout"])
def test_some_prompts_call_for_a_question_for_not_knowing_or_for_a_refusal(split):
    """Helpful is also to ask back, to say what cannot be known, and to decline what would do harm."""
    assert {c.meta["expects"] for c in split} == {"answer", "clarify", "unknown", "refuse"}


@pytest.mark.parametrize("name", ["train", "heldout"])
def test_a_file_holds_the_category_it_is_named_after(name):
    assert {p.stem for p in (CURATED / name).iterdir()} == set(CATEGORIES)
    for conversation in load_curated(name):
        assert conversation.id.startswith(f"{conversation.category}-{conversation.difficulty}-")


def test_ids_are_unique_over_both_splits():
    assert max(Counter(c.id for c in TRAIN + HELDOUT).values()) == 1


def test_every_record_states_source_and_licence_and_claims_no_rating():
    assert {(c.source, c.license) for c in TRAIN + HELDOUT} == {("helptune-curated", "Apache-2.0")}
    assert not any(c.ratings for c in TRAIN + HELDOUT)


def test_every_conversation_fits_a_row(tokenizer):
    """`tokenize` raises ContextError for one that does not."""
    assert len(tokenize(TRAIN + HELDOUT, tokenizer, gemma3_270m(), SEQ_LEN)) == len(TRAIN + HELDOUT)


def test_no_answer_opens_with_filler():
    answers = [(c.id, m.content) for c in TRAIN + HELDOUT for m in c.messages if m.role == "assistant"]
    assert [(name, text[:40]) for name, text in answers if FILLER.match(text)] == []


def test_no_answer_has_stray_white_space():
    assert [c.id for c in TRAIN + HELDOUT for m in c.messages if m.content != m.content.strip()] == []


def test_no_prompt_occurs_twice():
    assert max(Counter(" ".join(words(c)) for c in TRAIN + HELDOUT).values()) == 1


def test_no_heldout_prompt_is_a_near_duplicate_of_a_training_prompt():
    """Or training would be rewarded for memory."""
    training = [(c.id, ngrams(c, 3)) for c in TRAIN]
    found = max((jaccard(ngrams(h, 3), grams), h.id, name) for h in HELDOUT for name, grams in training)
    assert found[0] < MAX_JACCARD, found


def test_heldout_and_training_share_no_topic():
    assert {c.meta["topic"] for c in HELDOUT}.isdisjoint(c.meta["topic"] for c in TRAIN)


def test_the_near_duplicate_measure_finds_a_reworded_prompt():
    """A measure that finds nothing could be a measure that cannot find anything."""
    longest = max(TRAIN, key=lambda c: len(words(c)))
    assert jaccard(ngrams(longest, 3), ngrams(longest, 3)) == 1.0
    w = words(longest)
    w[len(w) // 2] = "changed"
    changed = {tuple(w[i : i + 3]) for i in range(len(w) - 2)}
    assert jaccard(ngrams(longest, 3), changed) > 0.5 > MAX_JACCARD


def test_the_few_shot_examples_are_training_conversations_of_different_kinds():
    """Held-out prompts must not be among the solved examples that the base model is shown."""
    chosen = few_shot_candidates(TRAIN)
    assert [c.id for c in chosen] == list(FEW_SHOT_IDS)
    assert len({c.category for c in chosen}) == len(chosen)
    assert few_shot_candidates(HELDOUT) == HELDOUT
