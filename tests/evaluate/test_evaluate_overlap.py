"""ROUGE, chrF and BLEU are what their papers define: held against nltk or the definition, written out here."""

import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.stem.porter import PorterStemmer
from nltk.translate.bleu_score import SmoothingFunction, corpus_bleu, sentence_bleu

from helptune.evaluate.overlap import corpus_overlap, overlap

WORDS = st.sampled_from(["the", "a", "cat", "cats", "walked", "walks", "slowly", "on", "running", "42", ",", "."])
"""Few, so that short texts share some; of several, Porter's stemmer leaves the same."""


def texts_of(least):
    return st.lists(WORDS, min_size=least, max_size=9).map(" ".join)


TEXTS = texts_of(1)


def corpora(least=1):
    return st.lists(st.tuples(texts_of(least), texts_of(least)), min_size=1, max_size=4)


def grams(sequence, n):
    return Counter(tuple(sequence[i : i + n]) for i in range(len(sequence) - n + 1))


def harmonic(hits, said, wanted, beta=1):
    precision, recall = (hits / of if of else 0.0 for of in (said, wanted))
    below = beta**2 * precision + recall
    return (1 + beta**2) * precision * recall / below if below else 0.0


def stems(text):
    words = "".join(c if c.isascii() and c.isalnum() else " " for c in text.lower()).split()
    return [PorterStemmer().stem(word) if len(word) > 3 else word for word in words]


def rouge_n(text, reference, n):
    """Lin 2004, section 2: of the multisets of n-grams."""
    own, wanted = grams(stems(text), n), grams(stems(reference), n)
    return harmonic((own & wanted).total(), own.total(), wanted.total())


def rouge_l(text, reference):
    """Lin 2004, section 3.1: of the longest common subsequence."""

    def common(x, y):
        if not x or not y:
            return 0
        if x[0] == y[0]:
            return 1 + common(x[1:], y[1:])
        return max(common(x[1:], y), common(x, y[1:]))

    own, wanted = stems(text), stems(reference)
    return harmonic(common(own, wanted), len(own), len(wanted))


def chrf(*pairs):
    """Popović 2015: characters without white space, n to 6; beta 2. Counts are of all pairs, and precision and recall
    are means over those n of which both sides have any; a reference too short for an n asks nothing of its answer."""
    precisions, recalls = [], []
    for n in range(1, 7):
        counted = [[grams("".join(text.split()), n) for text in pair] for pair in pairs]
        hits = sum((own & wanted).total() for own, wanted in counted)
        said, needed = (sum(both[i].total() for both in counted if both[1]) for i in (0, 1))
        if said and needed:
            precisions.append(hits / said)
            recalls.append(hits / needed)
    return harmonic(1, len(precisions) / sum(precisions), len(recalls) / sum(recalls), beta=2) if any(recalls) else 0.0


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_rouge_is_the_harmonic_mean_that_lin_defines(text, reference):
    found = overlap(text, reference)
    assert found["rouge1"] == pytest.approx(rouge_n(text, reference, 1))
    assert found["rouge2"] == pytest.approx(rouge_n(text, reference, 2))
    assert found["rougeL"] == pytest.approx(rouge_l(text, reference))


@pytest.mark.parametrize(
    ("text", "rouge2", "rouge_l"),
    [("the gunman kill police", 1 / 3, 1 / 2), ("the gunman police killed", 2 / 3, 1 / 2)],
)
def test_rouge_of_the_sentences_that_lin_works_out(text, rouge2, rouge_l):
    """Section 3.1: the first shares one bigram of three, `the gunman`; either has two words of four in order."""
    found = overlap(text, "police killed the gunman")
    assert (found["rouge2"], found["rougeL"]) == pytest.approx((rouge2, rouge_l))


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_chrf_is_the_mean_over_character_n_grams_that_popovic_defines(text, reference):
    assert overlap(text, reference)["chrf"] == pytest.approx(chrf((text, reference)))


@settings(max_examples=20, deadline=None)  # each with 1,000 resamples
@given(corpora())
def test_chrf_of_a_corpus_counts_over_all_its_texts(pairs):
    texts, references = zip(*pairs, strict=True)
    assert corpus_overlap(texts, references)["chrf"].value == pytest.approx(100 * chrf(*pairs))


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_bleu_of_a_sentence_is_that_of_nltk_with_as_many_orders_as_it_has_and_smoothing_of_chen_and_cherry(
    text, reference
):
    wanted = sentence_bleu(
        [reference.split()], text.split(), smoothing_function=SmoothingFunction().method3, auto_reweigh=True
    )
    assert overlap(text, reference)["bleu"] == pytest.approx(wanted)


@settings(max_examples=20, deadline=None)
@given(corpora(least=4))
def test_bleu_of_a_corpus_is_that_of_nltk(pairs):
    """Over all its texts every n up to 4 has a hit, here from one pair that is alike: nothing is smoothed. Texts have
    four words, for nltk counts an n-gram that is not there as one that missed."""
    pairs = [*pairs, ("so the cats walked on", "so the cats walked on")]
    texts, references = zip(*pairs, strict=True)
    wanted = corpus_bleu([[reference.split()] for reference in references], [text.split() for text in texts])
    assert corpus_overlap(texts, references)["bleu"].value == pytest.approx(100 * wanted)


def test_bleu_of_a_corpus_is_not_the_mean_of_its_sentences():
    texts, references = ["the cat sat on the mat", "no"], ["the cat sat on the mat", "yes it is so"]
    found = corpus_overlap(texts, references)["bleu"].value
    mean = sum(overlap(*pair)["bleu"] for pair in zip(texts, references, strict=True)) / 2
    assert mean == pytest.approx(0.5)
    brevity = math.exp(1 - 10 / 7)
    assert found == pytest.approx(100 * brevity * (6 / 7) ** 0.25)  # one word of seven has no hit; it has no bigram


@pytest.mark.parametrize(("text", "reference"), [("", "the cat"), ("the cat", ""), ("", ""), ("x", "東京")])
def test_texts_that_share_nothing_are_not_alike(text, reference):
    assert overlap(text, reference) == dict.fromkeys(("bleu", "chrf", "rouge1", "rouge2", "rougeL"), 0.0)


def test_rouge_sees_latin_letters_and_digits_alone():
    """Of other scripts BLEU and chrF tell something, ROUGE nothing: it is a limit of Lin's tokens."""
    found = overlap("東京 は 大きい", "東京 は 大きい")
    assert (found["rouge1"], found["rougeL"], found["chrf"]) == (0.0, 0.0, 1.0)


def test_of_no_texts_there_is_no_figure():
    found = corpus_overlap([], [])
    assert [(one.value, one.why) for one in (found["bleu"], found["chrf"])] == 2 * [(None, "nothing was observed")]
