"""A submission on the key's skeleton: what is taken from it, what is said of the rest; and a look at its text."""

import json
from pathlib import Path

import pytest
from grading_class import HERE, NOTEBOOK, notebook_with
from hypothesis import given, settings
from hypothesis import strategies as st

from helptune.errors import DataError
from helptune.exercises.grade.key import read_key
from helptune.exercises.grade.look import ways_to_the_library
from helptune.exercises.grade.rebuild import rebuild
from helptune.exercises.grade.submissions import find

KEY_FILE = HERE / "keys" / NOTEBOOK / f"{NOTEBOOK}.py"


@pytest.fixture(scope="module")
def key():
    return read_key(KEY_FILE)


def built(key, notebook):
    return rebuild(json.dumps(notebook).encode(), key)


def test_only_answers_are_taken(key):
    found = built(key, notebook_with(KEY_FILE, squares="mine", twice="two", why="text"))
    assert found.answers == {"squares": "mine", "twice": "two", "why": "text"}
    assert (found.missing, found.flags, found.own_names) == ({}, [], set())


def test_a_copy_of_an_answer_that_is_the_same_is_no_riddle(key):
    notebook = notebook_with(KEY_FILE, squares="mine")
    notebook["cells"] += [cell for cell in notebook["cells"] if cell["source"] == "mine"]
    assert built(key, notebook).answers["squares"] == "mine"


def test_sources_may_be_lists_of_lines(key):
    notebook = notebook_with(KEY_FILE, squares=["a = 1\n", "b = 2"])
    assert built(key, notebook).answers["squares"] == "a = 1\nb = 2"


def test_names_of_cells_that_are_left_out_are_known(key):
    notebook = notebook_with(KEY_FILE)
    more = "import math\nfrom os import path as p\n\ndef helper():\n    inner = 1\n\nlimit, = 3,"
    notebook["cells"].append({"cell_type": "code", "metadata": {}, "source": more})
    assert built(key, notebook).own_names == {"math", "p", "helper", "limit"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["cells", "squares", "code", "nbgrader"]),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(["cells", "metadata", "nbgrader", "grade_id", "source", "cell_type", "nbformat"]), inner
        )
    ),
    max_leaves=30,
)


@settings(max_examples=200)
@given(cells=st.lists(JSON), whole=JSON)
def test_no_json_whatever_is_more_than_a_reason(cells, whole):
    key = read_key_once()
    for notebook in (whole, {"nbformat": 4, "cells": cells}):
        found = built(key, notebook)
        assert set(found.answers) | set(found.missing) == set(key.answers)


def read_key_once(held=[]):  # noqa: B006 (a key for all examples)
    if not held:
        held.append(read_key(KEY_FILE))
    return held[0]


LOOKED_AT = {
    "from helptune.adapt.lora import merge": {"imports helptune"},
    "import helptune as h": {"imports helptune"},
    "import numpy, importlib": {"imports importlib"},
    "import helptune.adapt.lora": {"imports helptune"},
    "__import__('x')": {"uses __import__"},
    "import sys\nsys.modules['x']": {"uses modules"},
    "from sys import modules": {"uses sys.modules"},
    "open('x')": {"uses open"},
    "eval('1')": {"uses eval"},
    "f = getattr(m, 'x')('helptune')": {"names helptune in a text"},
    "%run helptune.py": {"names helptune in a text"},
    "def f():\n    '''As helptune does.'''\n    return jnp.ones(3)  # helptune": set(),
    "import math\nimport jax.numpy as jnp\nfrom functools import partial": set(),
    "re.compile('a')": set(),
    "def f(:": set(),
    "x = " + "(" * 5000: set(),
    "x = " + "-" * 50_000 + "1": set(),
    "x = y" + ".a" * 20_000: set(),
}


@pytest.mark.parametrize("source", LOOKED_AT, ids=lambda source: source[:30])
def test_a_look_finds_the_plain_ways_to_the_library(source):
    assert ways_to_the_library(source) == LOOKED_AT[source]


KEY = """
# %%
{plain}

# %% nbgrader={{"grade": false, "grade_id": "one", "locked": false, "solution": true}}
def one(x):
    ### BEGIN SOLUTION
    {answer}
    ### END SOLUTION

# %%
{after}

# %% nbgrader={{"grade": true, "grade_id": "one_check", "locked": true, "points": 1, "solution": false}}
{check}
"""
UNFIT = {
    "uses made": {"after": "made = one(3)", "check": "assert made == 3"},
    "uses drawn": {"after": "def drawn():\n    return one(3)", "check": "assert one(drawn()) == 3"},
    "calls no function": {"check": "assert callable(one)"},
    "raised AssertionError": {"check": "assert one(3) == 4, 'it is 3'"},
    "something of the type builtin": {"check": "assert one(len) is len"},
    "its own cell": {"plain": "1 / 0"},
    "left margin": {
        "check": "for x in (1, 2):\n    assert one(x)\n    ### BEGIN HIDDEN TESTS\n    one(3)\n    ### END HIDDEN TESTS"
    },
}


@pytest.mark.parametrize("words", UNFIT)
def test_a_key_that_cannot_be_graded_fairly_is_refused(tmp_path, words):
    parts = {"plain": "x = 1", "answer": "return x", "after": "y = 1", "check": "assert one(3) == 3"} | UNFIT[words]
    path = tmp_path / "05_one.py"
    path.write_text(KEY.format(**parts))
    with pytest.raises(DataError, match=words):
        read_key(path)


def test_a_private_check_must_be_of_an_answer_and_pass(tmp_path):
    extra = tmp_path / f"{NOTEBOOK}.py"
    extra.write_text('# %% exercise="cubes"\npass\n')
    with pytest.raises(DataError, match="'cubes'"):
        read_key(KEY_FILE, extra)
    extra.write_text('# %% exercise="twice"\nassert twice(2) == 5\n')
    with pytest.raises(DataError, match="twice: the solution does not pass"):
        read_key(KEY_FILE, extra)


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")


def test_all_layouts_of_submissions_are_found(tmp_path):
    notebooks = ["01_a", "02_b"]
    places = [
        "ann/01_a/01_a.ipynb",
        "ann/02_b.ipynb",
        "ben--01_a.ipynb",
        "cleo/x.ipynb",
        ".git/01_a.ipynb",
        "notes.txt",
    ]
    for name in [*places, "dora.ipynb", "ann--02_b.ipynb"]:
        touch(tmp_path / name)
    (tmp_path / "eve").symlink_to(tmp_path / "ann")
    found, problems = find(tmp_path, notebooks)
    assert [(s.learner, s.notebook) for s in found] == [("ann", "01_a"), ("ben", "01_a"), ("ann", "02_b")]
    words = [
        "ann--02_b.ipynb: not graded",
        "cleo: holds none",
        "dora.ipynb: which notebook",
        "eve: a link",
        "notes.txt: no",
    ]
    assert len(problems) == len(words)
    assert all(any(problem.startswith(start) for problem in problems) for start in words), problems
    found, _ = find(tmp_path, notebooks, "02_b")
    assert [(s.learner, s.notebook) for s in found] == [("ann", "02_b"), ("dora", "02_b")]
    assert Path(found[1].path).name == "dora.ipynb"
