"""What was answered to a closed request, in whatever words: the laws that make two answers comparable."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helptune.evaluate.closed import first_sentence, said

HEAVIER = "Which is heavier, a brick or a feather?"
THINGS = {"brick": ("brick", "bricks"), "feather": ("feather",)}
YES_NO = {"yes": ("yes", "yeah"), "no": ("no",)}
CAPITALS = {"Rome": ("Rome",), "Milan": ("Milan",)}
PENS = "There are 2 red pens and 3 blue pens. How many pens is that?"


@pytest.mark.parametrize(
    "text",
    ["Brick", "a brick.", "**Brick**", "- The bricks", "The answer is:\n\nbrick", '"Brick."', "A brick, not a feather"],
)
def test_a_choice_is_the_same_however_it_is_worded(text):
    assert said(text, "choice", THINGS, HEAVIER) == "brick"


def test_of_several_named_options_the_one_that_the_sentence_is_about_was_chosen():
    assert said("A brick is heavier than a feather.", "choice", THINGS, HEAVIER) == "brick"


@pytest.mark.parametrize(
    "text", ["brick or feather", "Brick, feather", "A brick and a feather are", HEAVIER, "A stone."]
)
def test_who_names_all_options_or_none_has_not_chosen(text):
    assert said(text, "choice", THINGS, HEAVIER) is None


def test_a_denied_option_is_not_chosen():
    assert said("Not a brick.", "choice", THINGS, HEAVIER) is None


def test_an_option_inside_another_word_is_not_named():
    assert said("A brickyard", "choice", THINGS, HEAVIER) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Yes.", "yes"),
        ("No, fish have fins.", "no"),
        ("The answer is yes", "yes"),
        ("Answer: no", "no"),
        ("Yeah", "yes"),
        ("There are no legs on it.", None),
        ("I know that one", None),
    ],
)
def test_yes_and_no_count_where_a_sentence_begins_or_ends(text, expected):
    assert said(text, "yes_no", YES_NO, "Do fish have legs?") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5", "5"),
        ("There are five pens.", "5"),
        ("2 + 3 = 5", "5"),
        ("2 red and 3 blue pens make 5.", "5"),
        ("5.0", "5"),
        ("1,200 pens", "1200"),
        ("twenty-one", "21"),
        ("2", "2"),
        ("2 and 3", None),
        ("5 or 6", None),
        ("many", None),
        ("2 + 3 =", None),
    ],
)
def test_a_number_is_the_one_that_the_request_did_not_give(text, expected):
    assert said(text, "number", {}, PENS) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Rome", "Rome"),
        ("It is Rome.", "Rome"),
        ("The capital of Italy is Rome.", "Rome"),
        ("Florence!", "florence"),
        ("It is Florence", "florence"),
        ("I do not really know this", None),
    ],
)
def test_a_word_that_is_not_known_stands_for_itself(text, expected):
    assert said(text, "word", CAPITALS, "What is the capital of Italy?") == expected


def test_only_the_first_sentence_counts():
    assert said("Brick. A feather is light.", "choice", THINGS, HEAVIER) == "brick"
    assert said("7. One more line", "number", {}, "How many days?") == "7"
    assert said("Two. They are:\n\nA: 6", "number", {}, "How many?") == "2"
    assert first_sentence("\n1. The pump costs 3.50 today. Buy it.") == "The pump costs 3.50 today."


@given(st.text(max_size=80), st.sampled_from(["yes_no", "choice", "number", "word"]))
def test_no_text_breaks_the_rules_and_nothing_is_read_out_of_a_text_without_words(text, form):
    options = {"yes_no": YES_NO, "choice": THINGS, "number": {}, "word": CAPITALS}[form]
    found = said(text, form, options, HEAVIER)
    assert found is None or found
    if form in ("yes_no", "choice"):
        assert found in (None, *options)
    assert said("…" + " \n", form, options, HEAVIER) is None


@given(st.integers(0, 99))
def test_a_number_in_digits_is_itself(number):
    assert said(f"It is {number}.", "number", {}, "How many?") == str(number)
