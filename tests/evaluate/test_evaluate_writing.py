"""How an answer is written: known by hand, in any script, and moved only by what each figure is about."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helptune.evaluate.answers import Answer
from helptune.evaluate.writing import copies, garbage, repeated, sentences, writing

PROMPT = "Why does the old cat sit on the warm mat? It is noon."
SHARES = ("ended", "empty", "repetition", "echo", "garbage")
FEW = st.lists(st.sampled_from("abc"), max_size=24)
"""Three words, so that runs of four come again."""


def of(text, prompt=PROMPT, ended=True, tokens=0):
    return writing(Answer("one", text, ended, tokens), prompt)


def test_a_plain_answer_is_described_by_its_counts_alone():
    assert of("It is warm there.", tokens=5) == {
        "words": 4, "tokens": 5, "ended": 1.0, "empty": 0.0, "repetition": 0.0, "echo": 0.0, "garbage": 0.0,
    }  # fmt: skip


def test_an_answer_that_was_cut_off_differs_in_that_alone():
    assert of("It is", ended=False) == of("It is") | {"ended": 0.0}


@pytest.mark.parametrize("text", ["", " \n\t", "...", "?!", "**", "🙂", "👩‍🔬 🇰🇷 ❤️"])
def test_what_has_no_word_is_empty_and_neither_repeats_nor_echoes_nor_is_garbage(text):
    assert of(text) == {
        "words": 0, "tokens": 0, "ended": 1.0, "empty": 1.0, "repetition": 0.0, "echo": 0.0, "garbage": 0.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "count"),
    [("Yes", 1), ("yes 🙂 yes", 2), ("**bold** _word_", 2), ("2 + 2 = 4", 5), ("Да, конечно", 2), ("東京です", 4)],
)
def test_words_are_counted_in_any_script_and_a_script_without_spaces_by_its_characters(text, count):
    assert of(text)["words"] == count


@given(st.text(), st.text(), st.booleans())
@settings(deadline=None)
def test_of_any_text_every_share_lies_between_0_and_1(text, prompt, ended):
    found = of(text, prompt, ended)
    assert all(0 <= found[name] <= 1 for name in SHARES)
    assert found["empty"] == (found["words"] == 0)


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("a b c d", 0.0),
        ("a b c a b c", 0.0),  # three words came again: no run of four
        ("a b c d a b c d", 4 / 8),
        ("a b c d x a b c d", 4 / 9),
        ("a a a a", 0.0),
        ("a a a a a", 4 / 5),  # the second run of four reaches to the end
        ("a b c d. A, B: c - D!", 4 / 8),  # as words are compared: without case and marks
    ],
)
def test_repetition_is_the_share_of_words_in_runs_of_four_that_came_before(text, share):
    assert of(text)["repetition"] == pytest.approx(share)


@given(FEW)
@settings(deadline=None)
def test_a_word_is_repeated_where_some_run_of_four_around_it_stands_further_left(w):
    starts = [i for i in range(len(w) - 3) if any(w[j : j + 4] == w[i : i + 4] for j in range(i))]
    inside = sum(any(i <= k < i + 4 for i in starts) for k in range(len(w)))
    assert repeated(w) == pytest.approx(inside / len(w) if w else 0.0)
    assert repeated(w) < 1, "what is said first is not said again"


@given(FEW.filter(lambda w: len(w) >= 4), st.integers(2, 6))
@settings(deadline=None)
def test_a_loop_of_k_rounds_repeats_all_but_its_first_and_more_rounds_repeat_more(w, k):
    assert (k - 1) / k <= repeated(w * k) <= repeated(w * (k + 1))


@given(FEW)
@settings(deadline=None)
def test_new_words_dilute_repetition(w):
    assert repeated([*w, "new", "words"]) == pytest.approx(repeated(w) * len(w) / (len(w) + 2))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("One. Two! Three?\nFour", ["One.", "Two!", "Three?", "Four"]),
        ("It is 3.5 m.", ["It is 3.5 m."]),
        ("So ...\n\n---\n🙂\nno", ["So ...", "no"]),
        ("", []),
    ],
)
def test_a_sentence_ends_at_its_mark_or_line_and_has_a_word(text, parts):
    assert sentences(text) == parts


@pytest.mark.parametrize(
    ("sentence", "copied"),
    [
        ("Why does the old cat sit on the warm mat?", True),
        ("WHY does **the old cat** sit, on the warm mat", True),
        ("the old cat sit", True),
        ("the old cat", False),  # anybody says three words again
        ("the old cat sit down", True),  # four of five
        ("so the old cat sit down", False),  # four of six
        ("sit cat old the does Why", False),  # its words in another order
        ("mat It is noon", True),
        ("", False),
        ("🙂 🙂 🙂 🙂", False),
    ],
)
def test_a_sentence_is_copied_where_four_fifths_of_it_stand_in_the_source_in_runs_of_four(sentence, copied):
    assert copies(sentence, PROMPT) is copied


@given(FEW, FEW, FEW)
@settings(deadline=None)
def test_what_was_copied_from_a_text_is_copied_from_a_longer_one(sentence, source, more):
    part, whole = " ".join(sentence), " ".join(source)
    longer = f"{' '.join(more)} {whole} {' '.join(more)}"
    assert copies(part, longer) or not copies(part, whole)


@given(FEW.filter(lambda w: len(w) >= 4))
@settings(deadline=None)
def test_a_sentence_of_four_words_or_more_copies_itself(w):
    assert copies(" ".join(w), " ".join(w))


def test_echo_is_the_share_of_sentences_that_are_the_prompts_own():
    asked, own = "Why does the old cat sit on the warm mat?", "Cats like what is warm."
    shares = [of(text)["echo"] for text in (own, f"{asked} {own} {own}", f"{asked} {own}", f"{asked}\n{asked}\n{own}")]
    assert shares == pytest.approx([0, 1 / 3, 1 / 2, 2 / 3])
    assert of(asked)["echo"] == of("東京は暑いですか", "東京は暑いですか")["echo"] == 1.0


@pytest.mark.parametrize(
    ("text", "prompt", "share"),
    [
        ("ab дж", "hello", 2 / 4),
        ("ab дж", "привет", 0.0),  # asked in this script, and Latin is always at home
        ("東京 ab", "hello", 2 / 4),
        ("東京 ab", "大阪?", 0.0),
        ("ab\ufffd\ufffd", "hello", 2 / 4),
        ("ab\ufffd\ufffd", "\ufffd", 2 / 4),  # no character, whoever began
        ("ab\x00\x07", "hello", 2 / 4),
        ("ab\ud800\ue000", "hello", 2 / 4),  # half of a pair, and private use
        ("a\n\tb", "hello", 0.0),
        ("é ß 3 € — “” 🙂👩‍🔬", "hello", 0.0),
    ],
)
def test_garbage_is_the_share_of_characters_of_a_script_not_asked_for_or_of_none(text, prompt, share):
    assert garbage(text, prompt) == pytest.approx(share)


@given(st.text("abдж東\ufffd "), st.text("abдж"), st.text("дж東"))
@settings(deadline=None)
def test_a_prompt_of_more_scripts_makes_nothing_garbage(text, prompt, more):
    assert garbage(text, prompt + more) <= garbage(text, prompt)
