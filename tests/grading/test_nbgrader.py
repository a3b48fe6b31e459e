"""nbgrader itself works on solutions: what it releases equals what we release, and it grades and gives feedback."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from grading_class import HERE

from helptune.exercises.cells import read_solutions
from helptune.exercises.grade.view import PACKAGE
from helptune.exercises.release import release

ROOT = HERE.parents[1]
NAME = "01_small"
TOOL = [sys.executable, "-m", "nbgrader"]


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course folder with our configuration and one small notebook, graded by nbgrader."""
    root = tmp_path_factory.mktemp("course")
    shutil.copy(ROOT / "nbgrader_config.py", root)
    source = root / "solutions" / NAME
    shutil.copytree(HERE / "keys" / NAME, source)
    notebook = read_solutions(source / f"{NAME}.py")
    nbformat.write(notebook, source / f"{NAME}.ipynb")
    environment = os.environ | {
        "HELPTUNE_PROGRESS": str(root / "progress.json"),
        "JUPYTER_CONFIG_DIR": str(root / "none"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # nbgrader looks for its alembic
        "PYTHONPATH": str(PACKAGE.parent),
    }

    def run(*arguments):
        done = subprocess.run(
            [*TOOL, *arguments], cwd=root, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr[-2000:]

    run("generate_assignment", NAME)
    for learner, answer in {"ann": "return float(np.dot(values, values))", "ben": "return 14.0"}.items():
        submission = root / "submitted" / learner / NAME
        submission.mkdir(parents=True)
        released = nbformat.read(root / "released" / NAME / f"{NAME}.ipynb", 4)
        for cell in released.cells:
            if cell.metadata.get("nbgrader", {}).get("grade_id") == "squares":
                cell.source = f"def squares(values):\n    {answer}"
        nbformat.write(released, submission / f"{NAME}.ipynb")
    run("autograde", NAME)
    run("generate_feedback", NAME)
    return root


def test_nbgrader_releases_what_we_release(course):
    theirs = nbformat.read(course / "released" / NAME / f"{NAME}.ipynb", 4).cells
    ours = release(read_solutions(course / "solutions" / NAME / f"{NAME}.py"), NAME).cells
    assert [cell.source for cell in theirs] == [cell.source for cell in ours]
    assert [cell.cell_type for cell in theirs] == [cell.cell_type for cell in ours]


def test_nbgrader_releases_no_answers(course):
    """Not beside the notebook, either: it would copy the source, too, if its configuration let it."""
    assert [path.name for path in (course / "released" / NAME).iterdir()] == [f"{NAME}.ipynb"]


def test_nbgrader_marks_as_we_do(course):
    """The visible and the hidden tests decide: ann is right, ben knows the visible test only."""
    points = {}
    for learner in ("ann", "ben"):
        notebook = json.loads((course / "autograded" / learner / NAME / f"{NAME}.ipynb").read_text())
        check = next(
            c for c in notebook["cells"] if c["metadata"].get("nbgrader", {}).get("grade_id") == "squares_check"
        )
        points[learner] = not any(output["output_type"] == "error" for output in check["outputs"])
        assert "BEGIN HIDDEN" in "".join(check["source"])
    assert points == {"ann": True, "ben": False}


def test_nbgrader_gives_feedback(course):
    for learner in ("ann", "ben"):
        assert "squares" in (course / "feedback" / learner / NAME / f"{NAME}.html").read_text()
