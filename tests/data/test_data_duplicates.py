"""Duplicates: copies are found however they were typed, different texts stay, and the earlier of two wins."""

import random
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from helptune.data.conversation import Conversation, Message, load_curated
from helptune.data.duplicates import BANDS, BUCKET, NearDuplicates, exact_key, minhash, shingles, signature
from helptune.data.words import words

CURATED = load_curated("train") + load_curated("heldout")
LONGER = [c for c in CURATED if len(shingles(c.messages)) >= 60]


def chat(*turns):
    said = tuple(Message(("user", "assistant")[i % 2], turn) for i, turn in enumerate(turns))
    return Conversation("id", "test", "Apache-2.0", said)


def jaccard(a, b):
    return len(set(a) & set(b)) / len(set(a) | set(b))


def one_word_changed(conversation, seed):
    rng = random.Random(seed)
    w = conversation.reference.split(" ")
    w[rng.randrange(len(w))] = "marmalade"
    return replace(conversation, messages=(*conversation.prompt, Message("assistant", " ".join(w))))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Hello, World!", "hello   world"),
        ("ﬁne “café”", 'fine "cafe\u0301"'),
        ("**Bold** and _soft_\n- list", "bold and _soft_ list"),
        ("ＡＢＣ １２", "abc 12"),
        ("STRASSE", "straße"),
    ],
)
def test_case_spaces_punctuation_and_composition_make_no_difference(a, b):
    assert exact_key(chat("Hi", a)) == exact_key(chat("Hi", b))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("2 + 2", "2 - 2"),
        ("3.5", "35"),
        ("C", "C++"),
        ("-5", "5"),
        ("$5", "€5"),
        ("x = y", "x < y"),
        ("10:30", "10 30"),
    ],
)
def test_signs_that_carry_meaning_make_a_difference(a, b):
    assert exact_key(chat("Hi", a)) != exact_key(chat("Hi", b))


def test_who_says_it_and_where_a_turn_ends_make_a_difference():
    assert exact_key(chat("a b", "c")) != exact_key(chat("a", "b c"))
    assert exact_key(chat("?", "yes")) != exact_key(chat("!", "yes"))
    assert len({exact_key(c) for c in CURATED}) == len(CURATED)


SIGNS = st.text(st.sampled_from("0123ab -*/:.+=<>$%@&|^\\_\n"))


@given(st.text() | SIGNS, st.text() | SIGNS)
@example("ŉ", "İ")
def test_words_of_words_are_the_same_words(a, b):
    """But for the minus of "-5", which a space now parts from its number."""
    once = words(a + " " + b)
    again = words(" ".join(once))
    assert [w for w in again if w != "-"] == [w for w in once if w != "-"]
    assert again == once or "-" in once


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.8, 0.9, 1.0])
def test_the_estimate_agrees_with_exact_jaccard(share):
    """Its standard error with 128 permutations is at most .044."""
    estimates, exact = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        pool = [f"w{i}" for i in rng.choice(10**9, 200, replace=False)]
        common = int(100 * share)
        a, b = pool[:100], pool[:common] + pool[100 : 200 - common]
        estimates.append((minhash(a, 128) == minhash(b, 128)).mean())
        exact.append(jaccard(a, b))
    assert np.abs(np.subtract(estimates, exact)).max() < 0.18
    assert np.mean(estimates) == pytest.approx(np.mean(exact), abs=0.03)


def test_copies_with_one_word_changed_are_found():
    index = NearDuplicates()
    assert [index.first_like(c.id, signature(c)) for c in LONGER] == [None] * len(LONGER)
    changed = [one_word_changed(c, seed) for seed, c in enumerate(LONGER)]
    found = [index.first_like(f"copy of {c.id}", signature(c)) for c in changed]
    assert np.mean([name == c.id for name, c in zip(found, LONGER, strict=True)]) > 0.98
    assert {f for f, c in zip(found, LONGER, strict=True) if f != c.id} <= {None}


def test_different_conversations_are_not_merged():
    index = NearDuplicates()
    assert [c.id for c in CURATED if index.first_like(c.id, signature(c))] == []


def test_another_answer_to_a_prompt_stays_however_long_the_prompt():
    for c, other in pairwise(CURATED):
        index = NearDuplicates()
        index.first_like("an answer", signature(c))
        assert index.first_like("another", signature(replace(c, messages=(*c.prompt, other.messages[-1])))) is None


def test_a_short_answer_may_be_given_again_and_a_long_one_may_not():
    short, long = "Yes, it is.", LONGER[0].reference
    index = NearDuplicates()
    assert index.first_like("1", signature(chat("Is the sea salty everywhere?", short))) is None
    assert index.first_like("2", signature(chat("Is the moon smaller than the earth?", short))) is None
    assert index.first_like("3", signature(chat("Go on.", long))) is None
    assert index.first_like("4", signature(chat("Tell me.", long))) == "3"


def random_words(rng, count):
    return [f"w{i}" for i in rng.integers(10**9, size=count)]


@pytest.mark.parametrize(("threshold", "share"), [(0.7, 0.97), (0.8, 0.995), (0.9, 0.995)])
def test_a_pair_estimated_at_the_threshold_is_found(threshold, share):
    """Runs of words are exchanged, so that the estimates lie on both sides of the threshold."""
    alike = found = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        said = random_words(rng, 150)
        cut = int(150 * (1 - 2 * threshold / (1 + threshold)))
        a, b = (signature(chat("Go on.", " ".join(w))) for w in (said, [*said[cut:], *random_words(rng, cut)]))
        same = (a == b).reshape(5, -1).mean(axis=1)
        if same[:4].mean() >= threshold:
            index = NearDuplicates(threshold)
            index.first_like("a", a)
            alike, found = alike + 1, found + (index.first_like("b", b) == "a")
    assert alike > 100
    assert found >= share * alike


TEMPLATES = {
    "a long prompt, other answers": lambda rng: (LONGER[0].reference, random_words(rng, 12)),
    "answers that begin alike": lambda rng: (LONGER[0].reference, ["Here", "is", "it:", *random_words(rng, 12)]),
    "a template and few labels": lambda rng: (
        " ".join([LONGER[0].reference, *random_words(rng, 40)]), [("Good.", "Bad.")[rng.integers(2)]]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TEMPLATES)
def test_one_template_for_all_texts_makes_few_comparisons_and_copies_are_found(name):
    index, rng, made = NearDuplicates(), np.random.default_rng(0), []
    for i in range(600):
        asked, answered = TEMPLATES[name](rng)
        made.append((asked, " ".join(answered)))
        assert index.first_like(str(i), signature(chat(*made[-1]))) is None
    for i, (asked, answered) in enumerate(made[:200]):
        copy = signature(chat(f"{asked} Please.", answered))
        assert len(index._candidates(index._buckets(copy.astype(np.uint16)[None])[0])) <= BANDS * BUCKET < 600
        assert index.first_like("copy", copy) == str(i)


def test_the_earliest_of_several_alike_is_named_and_only_the_first_is_kept():
    a = LONGER[0]
    index = NearDuplicates()
    assert index.first_like("first", signature(a)) is None
    assert index.first_like("second", signature(one_word_changed(a, 1))) == "first"
    assert index.first_like("third", signature(a)) == "first"
    assert index.ids == ["first"]


@given(groups=st.lists(st.integers(0, 5), min_size=1, max_size=40))
def test_in_any_order_the_first_of_each_group_stays(groups):
    index = NearDuplicates(capacity=2)
    first = {}
    for position, group in enumerate(groups):
        found = index.first_like(str(position), signature(chat("Go.", " ".join(f"w{group}x{i}" for i in range(30)))))
        assert found == first.get(group)
        first.setdefault(group, str(position))


def test_growing_loses_nothing():
    small, large = NearDuplicates(capacity=1), NearDuplicates(capacity=1024)
    for index in (small, large):
        assert not any(index.first_like(c.id, signature(c)) for c in CURATED)
    for c in CURATED:
        assert small.first_like("again", signature(c)) == large.first_like("again", signature(c)) == c.id


def test_another_process_finds_the_same_keys_and_signatures():
    program = (
        "from helptune.data.conversation import load_curated; from helptune.data.duplicates import *; "
        "c = load_curated('train')[0]; print(exact_key(c).hex(), signature(c).tobytes().hex())"
    )
    here = [exact_key(CURATED[0]).hex(), signature(CURATED[0]).tobytes().hex()]
    for seed in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
        )  # fmt: skip
        assert run.stdout.split() == here
