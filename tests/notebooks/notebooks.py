"""The notebooks that are committed with outputs, and their cells, for the tests beside this file."""

import re
from pathlib import Path

import jupytext
import nbformat

ROOT = Path(__file__).parents[2]
COURSE = sorted((ROOT / "course").glob("*.ipynb"))
SOLUTIONS = sorted((ROOT / "solutions").glob("*/*.ipynb"))
EXERCISES = sorted((ROOT / "exercises").glob("*/*.ipynb"))
EXECUTED = COURSE + SOLUTIONS


def name(path):
    return str(path.relative_to(ROOT))


def read(path):
    return nbformat.read(path, as_version=4)


def pair(path):
    """The notebook that the py:percent file beside `path` makes."""
    return jupytext.read(path.with_suffix(".py"), fmt="py:percent")


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def prose(notebook):
    """All Markdown, without code blocks: headings and links there are none."""
    text = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return re.sub(r"```.*?```", "", text, flags=re.S)
