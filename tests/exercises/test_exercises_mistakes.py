"""A wrong answer is told apart from the right one, and known mistakes are told apart from each other."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from helptune.exercises.mistakes import Known, Mistake, difference, expect

NUMBERS = arrays(np.float64, array_shapes(max_dims=3, max_side=4), elements=st.floats(-1e3, 1e3))


def hint_of(found, right, known=()):
    with pytest.raises(Mistake) as caught:
        expect(found, right, known)
    return caught.value.hint


@given(NUMBERS)
def test_what_is_right_is_accepted_in_every_clothing(right):
    for found in (right, jnp.asarray(right), right.tolist(), right.astype(np.float32)):
        expect(found, right)


@given(NUMBERS, st.floats(0.01, 10))
def test_an_array_that_is_off_is_not_accepted(right, by):
    found = right.copy()
    found.flat[0] += by * max(1.0, np.abs(right).max())
    assert hint_of(found, right) == "wrong_value"


def test_rounding_of_a_number_near_zero_is_no_mistake():
    """Its neighbours say how large the terms were that cancelled."""
    expect(np.array([1000.0, 1e-4]), np.array([1000.0, 0.0]))


def test_a_known_mistake_is_named_by_the_value_it_gives():
    known = [Known("doubled", 6.0, "twice too much"), Known("negative", -3.0, "the sign")]
    assert hint_of(6, 3.0, known) == "doubled"
    assert hint_of(np.float32(-3), 3.0, known) == "negative"
    assert hint_of(7, 3.0, known) == "wrong_value"


def test_a_mistake_that_gives_the_right_value_is_an_error_of_the_check():
    with pytest.raises(ValueError, match="doubled"):
        expect(0.0, 0.0, [Known("doubled", 0.0, "twice too much")])


def test_counts_and_ids_are_right_or_wrong():
    assert hint_of(np.array([262_143]), np.array([262_144])) == "wrong_value"
    expect(262_144.0, 262_144)


def test_an_object_that_equals_everything_equals_nothing_here():
    class Yes:
        def __eq__(self, other):
            return True

        __hash__ = None

    assert hint_of(Yes(), 3.0) == "not_numbers"
    assert hint_of(Yes(), "text") == "wrong_value"
    assert hint_of({"a": Yes()}, {"a": np.ones(3)}) == "not_numbers"
    assert hint_of([Yes()], ["text"]) == "wrong_value"


@pytest.mark.parametrize(
    ("found", "right", "hint"),
    [
        (None, 1.0, "nothing_returned"),
        (np.ones((2, 3)), np.ones((3, 2)), "wrong_shape"),
        (np.array([1.0, np.nan]), np.ones(2), "nan"),
        ("1.0", 1.0, "not_numbers"),
        ([[1.0], [1.0, 2.0]], np.ones((2, 2)), "not_numbers"),
        ({"a": 1.0}, {"a": 1.0, "b": 2.0}, "wrong_structure"),
        ([1.0], {"a": 1.0}, "wrong_structure"),
        ({"a": 1.0, "b": 3.0}, {"a": 1.0, "b": 2.0}, "wrong_value"),
        (["x"], ["x", "y"], "wrong_structure"),
        (1, True, "wrong_value"),
        (b"x", "x", "wrong_value"),
    ],
)
def test_what_differs_has_a_name(found, right, hint):
    assert hint_of(found, right) == hint


def test_a_difference_says_where_it_is():
    told = difference({"b": np.array([1.0, 2.0, 5.0])}, {"b": np.array([1.0, 2.0, 3.0])})
    assert told == ("wrong_value", "['b'] is off by up to 2, at [2]: 5 in place of 3")


def test_bfloat16_is_made_of_numbers():
    expect(jnp.ones(3, jnp.bfloat16), np.ones(3))


def test_a_notebook_shows_one_line():
    assert Mistake("no_scale", "scale it", "forward")._render_traceback_() == ["✗ forward: scale it"]
