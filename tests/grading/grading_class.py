"""A class of hostile and honest learners; and what the tests of grading build their files with."""

import hashlib
import json
import os
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

import jupytext
import nbformat
from hostile_notebooks import NAMES, WANTED

from helptune.exercises.cells import read_solutions
from helptune.exercises.grade.sandbox import Limits
from helptune.exercises.release import release

HERE = Path(__file__).parent
HOSTILE = sorted((HERE / "hostile").glob("*.py"))
NOTEBOOK = "01_small"
LIMITS = Limits(cell_seconds=8, total_seconds=30, memory=400 * 2**20, disk=32 * 2**20)
SECRET = "4815162342"
"""Stands in the private checks and in an honest learner's answer: nobody else may get to know it."""
HIDDEN_INPUT = "8675309"
HONEST = "def squares(values):\n    return float(np.dot(values, values))  # 4815162342\n"
TWICE = "def twice(x):\n    return x + x\n"


def notebook_with(key, **answers):
    """The exercise of a key as a learner's file: a dict, as JSON holds it."""
    exercise = json.loads(nbformat.writes(release(read_solutions(key), key.stem)))
    for cell in exercise["cells"]:
        name = cell["metadata"].get("nbgrader", {}).get("grade_id")
        if name in answers:
            cell["source"] = answers[name]
    return exercise


def submit(folder, learner, notebook, name=NOTEBOOK):
    path = folder / learner / name / f"{name}.ipynb"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(notebook))
    return path


def hostile_answer(path):
    """(what must hold, the source) of a file in hostile/."""
    cell = next(c for c in jupytext.read(path, fmt="py:percent").cells if {"hint", "right"} & set(c.metadata))
    return cell.metadata, cell.source


def digests(folder):
    """{file: its content's digest, or where a link points to}: what must be the same after grading."""
    return {
        str(path): os.readlink(path) if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


@dataclass(frozen=True)
class Class:
    """A graded class: `rows` are those of marks.csv."""

    root: Path
    batch: object
    rows: dict
    before: dict
    listener: socket.socket

    def result(self, learner):
        return next(r for r in self.batch.results if r["learner"] == learner)

    def squares(self, learner):
        return next(q for q in self.result(learner)["questions"] if q["question"] == "squares")

    def feedback(self, learner):
        return (self.root / "out/feedback" / learner / f"{NOTEBOOK}.html").read_text()


def build_class(root, port):
    """A folder with solutions, private checks and submissions: every hostile kind, and honest ones between them."""
    solutions, submissions, extra = root / "solutions", root / "submitted", root / "extra"
    shutil.copytree(HERE / "keys" / NOTEBOOK, solutions / NOTEBOOK)
    key = solutions / NOTEBOOK / f"{NOTEBOOK}.py"
    nbformat.write(read_solutions(key), key.with_suffix(".ipynb"))
    extra.mkdir()
    (extra / f"{NOTEBOOK}.py").write_text(
        f'# %% exercise="squares"\nsecret = {SECRET}\nexpect(squares([2.0] * 5), 20.0)\n'
    )
    places = {"SOLUTIONS": solutions, "SUBMISSIONS": submissions, "EXTRA": extra, "OUT": root / "out"}
    places["PORT"] = port
    for learner in ("honest_first", "honest_middle", "honest_last", *NAMES):
        submit(submissions, learner, notebook_with(key, squares=HONEST, twice=TWICE, why="No sign."))
    for path in HOSTILE:
        source = hostile_answer(path)[1]
        for name, place in places.items():
            source = source.replace(f"{{{name}}}", str(place))
        submit(submissions, path.stem, notebook_with(key, squares=source, twice=TWICE))
    for builder in WANTED:
        path = submit(submissions, builder.__name__, {})
        path.unlink()
        builder(notebook_with(key, squares=HONEST.partition("#")[0], twice=TWICE), path)
    return solutions, submissions, extra
