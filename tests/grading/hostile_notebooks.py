"""Submissions that are hostile as files: each builder is given the honest notebook, and a path to write to.

The first line of its docstring says what must hold; `wanted` is (status of `squares`, a flag or None).
"""

import json
import os


def _cells(notebook, name):
    return [cell for cell in notebook["cells"] if cell["metadata"].get("nbgrader", {}).get("grade_id") == name]


def _write(path, notebook):
    path.write_text(json.dumps(notebook))


def checks_edited(notebook, path):
    """The key's checks count, whatever the learner's copy says."""
    _cells(notebook, "squares")[0]["source"] = "def squares(values):\n    return 0.0\n"
    _cells(notebook, "squares_check")[0]["source"] = "print('passed')"
    _cells(notebook, "squares_check")[0]["metadata"]["nbgrader"]["points"] = 152
    _write(path, notebook)


def checks_deleted(notebook, path):
    """A question without its check is still asked."""
    _cells(notebook, "squares")[0]["source"] = "def squares(values):\n    return 0.0\n"
    notebook["cells"] = [cell for cell in notebook["cells"] if cell not in _cells(notebook, "squares_check")]
    _write(path, notebook)


def answer_deleted(notebook, path):
    """Nothing is given for what is not there."""
    notebook["cells"] = [cell for cell in notebook["cells"] if cell not in _cells(notebook, "squares")]
    _write(path, notebook)


def answer_duplicated(notebook, path):
    """Two different answers are none."""
    notebook["cells"] += json.loads(json.dumps(_cells(notebook, "squares")))
    notebook["cells"][-1]["source"] = "def squares(values):\n    return 14.0\n"
    _write(path, notebook)


def answer_renamed(notebook, path):
    """A cell of another name is not the answer."""
    _cells(notebook, "squares")[0]["metadata"]["nbgrader"]["grade_id"] = "squares_check"
    _write(path, notebook)


def answer_became_text(notebook, path):
    """A text is no code."""
    _cells(notebook, "squares")[0]["cell_type"] = "markdown"
    _write(path, notebook)


def metadata_stripped(notebook, path):
    """Nobody can say which cell answers what."""
    for cell in notebook["cells"]:
        cell["metadata"] = {}
    _write(path, notebook)


def metadata_of_other_types(notebook, path):
    """Types that nobody expects are no crash."""
    for cell, wrong in zip(
        notebook["cells"], [None, [], 7, "x", {"nbgrader": []}, {"nbgrader": {"grade_id": 3}}], strict=False
    ):
        cell["metadata"], cell["source"] = wrong, {"no": "text"}
    notebook["cells"] = [None, 5, "cell", *notebook["cells"][:6]]
    _write(path, notebook)


def points_claimed(notebook, path):
    """Outputs, marks and metadata of a submission are worth nothing."""
    _cells(notebook, "squares")[0]["source"] = "def squares(values):\n    raise NotImplementedError()\n"
    notebook["metadata"]["score"] = {"squares": 152}
    _cells(notebook, "squares_check")[0]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "✓ squares"}]
    _write(path, notebook)


def no_json(notebook, path):
    """Half a file is no notebook."""
    path.write_text(json.dumps(notebook)[:-40])


def no_text(notebook, path):
    """Nor are bytes of no encoding."""
    path.write_bytes(os.urandom(4096))


def nested_json(notebook, path):
    """A file that is all brackets does not exhaust the reader."""
    path.write_text("[" * 5_000_000)


def deep_source(notebook, path):
    """Nor does code that is all brackets."""
    _cells(notebook, "squares")[0]["source"] = "squares = " + "-" * 30_000 + "1"
    _write(path, notebook)


def hundred_megabytes(notebook, path):
    """A file that is too large is not read."""
    with path.open("wb") as file:
        file.truncate(100 * 2**20)


def old_format(notebook, path):
    """A notebook of format 3 is refused in words."""
    _write(path, {"nbformat": 3, "worksheets": [], "cells": []})


def long_answer(notebook, path):
    """An answer of a megabyte is not an answer."""
    _cells(notebook, "squares")[0]["source"] += "\n#" + "x" * 2**20
    _write(path, notebook)


def half_a_surrogate(notebook, path):
    """Text that no file can hold stops nothing."""
    _cells(notebook, "squares")[0]["source"] = "def squares(values):\n    raise ValueError('\ud800')\n"
    _write(path, notebook)


def link_to_the_key(notebook, path):
    """Links are not followed."""
    path.symlink_to(path.parents[3] / "solutions/01_small/01_small.ipynb")


def link_to_a_neighbour(notebook, path):
    """Not to another learner's folder either."""
    path.parent.rmdir()
    path.parent.symlink_to(path.parents[2] / "honest_first" / "01_small")


def pipe(notebook, path):
    """A file that would never end is not opened."""
    os.mkfifo(path)


def folder(notebook, path):
    """A folder of the notebook's name is none."""
    path.mkdir()


WANTED = {
    checks_edited: ("wrong", "check edited"),
    checks_deleted: ("wrong", "check removed"),
    answer_deleted: ("missing", "cell missing"),
    answer_duplicated: ("missing", "cell duplicated"),
    answer_renamed: ("missing", "cell missing"),
    answer_became_text: ("missing", "wrong cell type"),
    metadata_stripped: ("missing", "cell missing"),
    metadata_of_other_types: ("missing", "cell missing"),
    points_claimed: ("not written", None),
    no_json: ("missing", "unreadable"),
    no_text: ("missing", "unreadable"),
    nested_json: ("missing", "unreadable"),
    deep_source: ("wrong", None),
    hundred_megabytes: ("missing", "unreadable"),
    old_format: ("missing", "unreadable"),
    long_answer: ("missing", "too long"),
    half_a_surrogate: ("wrong", None),
    link_to_the_key: ("missing", "unreadable"),
    link_to_a_neighbour: (None, None),
    pipe: ("missing", "unreadable"),
    folder: ("missing", "unreadable"),
}
"""builder -> (status of `squares`, a flag); None: not a submission at all, and said so."""

NAMES = [
    "=1+1",
    "<img src=x onerror=alert(1)>",
    "-rf",
    "a\nb",
    "\x1b[31mred",
    "..%2F..",
    "x" * 200,
    b"\xff\xfe".decode("utf-8", "surrogateescape"),
]
"""Learners' names, each over an honest notebook."""
