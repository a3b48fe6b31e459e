"""What a program can check: every reference keeps its own checks, and no text, however hostile, breaks one."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helptune.data.conversation import load_curated
from helptune.errors import DataError
from helptune.evaluate.checks import parse_checks, run_checks, says_unknown, sentence_count
from helptune.evaluate.numbers import numbers
from helptune.evaluate.sets import load_checks

KEYS, WORDS = st.sampled_from(["kind", "any", "n", "is", "min"]), st.sampled_from(["mentions", "items", "json"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(KEYS | st.text(), inner | WORDS),
)
LANGUAGES = ("python", "sql", "bash", "javascript", "html", "css", "regex", "other")
ALL = parse_checks(
    [{"kind": "mentions", "any": ["x"]}, {"kind": "number", "is": 7}, {"kind": "max_sentences", "n": 1}]
    + [{"kind": kind} for kind in ("json", "asks", "unknown", "declines")]
    + [{"kind": "items", "min": 1}, *({"kind": "code", "language": name} for name in LANGUAGES)]
)


def test_every_reference_of_the_held_out_set_passes_its_own_checks():
    checks, references = load_checks(), {c.id: c.reference for c in load_curated("heldout")}
    assert checks.keys() == references.keys()
    assert [(i, one) for i in checks for one in run_checks(checks[i], references[i]) if not one.passed] == []


@given(JSON)
def test_any_json_is_either_read_or_is_a_data_error(record):
    with contextlib.suppress(DataError):
        assert len(parse_checks(record)) == len(record)


@given(st.text())
def test_any_text_can_be_checked(text):
    assert len(run_checks(ALL, text)) == len(ALL)


@pytest.mark.parametrize("unit", ["a", "[", "“", "<a", "a{", ".a", "```a\n", "\0", "\ud800", "I can't ", "1,", "p.m. "])
def test_a_hostile_text_of_100_000_characters_costs_no_more_than_its_length(unit):
    run_checks(ALL, unit * (100_000 // len(unit)))


@given(st.integers(-(10**9), 10**9))
def test_a_number_is_found_however_its_thousands_are_written(n):
    assert numbers(f"it is {n}.") == numbers(f"it is {n:,}.") == [n]


def test_a_time_of_day_does_not_end_a_sentence_and_a_plain_no_does():
    assert sentence_count("Meet at 7:30 p.m. Bram comes too.") == 1
    assert sentence_count("No. It is not.") == 2


def test_what_would_be_luck_is_not_known():
    assert says_unknown("Being right would be pure luck.")


def test_a_sign_can_be_avoided():
    check = parse_checks([{"kind": "avoids", "any": ["!"]}])
    assert [run_checks(check, text)[0].passed for text in ("Fine.", "Fine!", "")] == [True, False, False]


def test_a_field_of_another_type_is_told_whatever_it_is():
    for language in ([], {}, 3, None):
        with pytest.raises(DataError, match=r"checks\[0\]: field 'language' of 'code' cannot be"):
            parse_checks([{"kind": "code", "language": language}])


def test_json_has_no_nan():
    check = parse_checks([{"kind": "json"}])
    assert [run_checks(check, text)[0].passed for text in ("[1]", "NaN", "[Infinity]")] == [True, False, False]


def test_a_number_inside_a_name_is_none():
    check = parse_checks([{"kind": "number", "is": 7}])
    assert [run_checks(check, text)[0].passed for text in ("7 kg", "$7", "x7", "3-7", "seven")] == [
        True,
        True,
        False,
        True,
        True,
    ]
